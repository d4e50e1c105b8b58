"""What ``recsvc record`` does: opens the sources, records until it is over, and puts the recording where it belongs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from .. import errors
from ..caller.events import BlobEvent
from ..caller.media_recorder import MediaRecorder
from ..caller.recorder import statistics_within
from ..caller.user_media import enumerate_devices, get_user_media
from ..common.descriptions import RecordingStatistics
from ..common.limits import LIVE_LINE_NS, OUTPUT_PIECE_MS, SECOND_CTRL_C_NS, STATISTICS_WAIT_NS, STOP_WAIT_NS, S
from . import report, rows, target, terminal
from .exit_codes import EXIT_INTERRUPTED
from .target import Failed, UsageError


def record(
    wishes: dict[str, dict[str, Any] | None],
    *,
    duration: float | None,
    output: Path | None,
    service: str | None,
    quiet: bool,
    mime_type: str,
    **bitrates: int | None,
) -> dict[str, Any]:
    """Opens the sources, records until it is over, saves; returns the report as plain data.

    ``wishes``: constraints for ``audio`` and ``video``. Raises ``UsageError``, ``Failed`` and what the API raises.
    """
    if duration is not None and not 0 < duration < 10**9:
        raise UsageError(f"--duration must be more than 0 seconds, got {duration:g}")
    target.check_wanted(wishes, mime_type)
    mime_type = target.choose_type(output, mime_type, wishes)
    target.check(output)
    wanted = wishes if any(wishes.values()) else _default_sources(with_video=mime_type != "audio/ogg")
    with get_user_media(**wanted, service=service) as stream:
        options: dict[str, Any] = {"mime_type": mime_type, "service": service, **bitrates}
        return _Run(MediaRecorder(stream, **options), duration, target.Target(output), quiet).to_the_end()


def _default_sources(with_video: bool) -> dict[str, Any]:
    found = [device for device in enumerate_devices() if not device.device_id.startswith("screen:")]
    wanted = {}
    for name, kind in (("audio", "audioinput"), ("video", "videoinput" if with_video else "")):
        source = next((device.device_id for device in found if device.kind == kind), None)
        if source is not None:
            wanted[name] = {"source": source}
    if not wanted:
        raise Failed("there is no microphone and no camera here; try: recsvc record --audio test: --video test:")
    return wanted


class _Run:
    """One run of ``recsvc record``."""

    def __init__(self, recorder: MediaRecorder, duration: float | None, place: target.Target, quiet: bool) -> None:
        self._recorder = recorder
        self._duration_s = duration
        self._target = place
        self._quiet = quiet
        self._keys = terminal.Keys()
        self._rates = terminal.Rates()
        self._statistics = RecordingStatistics(state="recording")
        self._problems: list[Exception] = []
        self._asked_ns: int | None = None  # when a signal or a key asked for the end
        self._stopped_ns: int | None = None
        self._available_ns: int | None = None  # when the last data came
        self._recorded_s = 0.0  # before the last pause
        self._since_s: float | None = None  # when the recording began, or went on

    def to_the_end(self) -> dict[str, Any]:
        self._recorder.ondataavailable = self._take
        self._recorder.onerror = lambda event: self._problems.append(event.error)
        out = sys.stderr if self._target.streams else sys.stdout
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            is_ignored = signal.getsignal(number) == signal.SIG_IGN
            if number != signal.SIGHUP or not is_ignored:  # else it was started to outlive its terminal
                signal.signal(number, self._ask_to_stop)
        with contextlib.closing(self._keys), terminal.live_line(out, self._quiet) as show:
            self._record(show)
            if self._recorder.state != "inactive":
                self._stopped_ns = time.monotonic_ns()
                self._recorder.stop()
            self._await_end(show)
        if self._target.problem:
            raise Failed(f"{self._target.problem}; {self._target.hint(self._target.kept)}")
        if self._problems:
            place = "standard output" if self._target.streams else self._target.saved
            kept = f"; what was recorded is in {place}" if self._target.saved else ""
            raise Failed(f"{self._problems[0]}{kept}")
        return self._report()

    def _record(self, show: terminal.Show) -> None:
        self._recorder.start(OUTPUT_PIECE_MS if self._target.streams else None)
        self._since_s = time.monotonic()
        while self._recorder.state != "inactive" and not self._over():
            left_s = LIVE_LINE_NS / S
            if self._duration_s is not None and self._since_s is not None:
                left_s = max(0.0, min(left_s, self._duration_s - self._elapsed_s()))
            self._obey(self._keys.wait(left_s))
            if not self._quiet:
                self._statistics = statistics_within(self._recorder, STATISTICS_WAIT_NS) or self._statistics
                line = self._rates.line(self._recorder.state, self._elapsed_s(), self._statistics)
                show(line, "   p pause/resume, q stop")

    def _over(self) -> bool:
        asked = self._asked_ns is not None or bool(self._target.problem)
        return asked or (self._duration_s is not None and self._elapsed_s() >= self._duration_s)

    def _elapsed_s(self) -> float:
        return self._recorded_s + (0.0 if self._since_s is None else time.monotonic() - self._since_s)

    def _obey(self, key: str) -> None:
        with contextlib.suppress(errors.InvalidStateError):  # the recording ended by itself meanwhile
            if key == "q":
                self._asked_ns = time.monotonic_ns()
            elif key == "p" and self._recorder.state == "recording":
                self._recorder.pause()
                self._recorded_s, self._since_s = self._elapsed_s(), None
            elif key == "p" and self._recorder.state == "paused":
                self._recorder.resume()
                self._since_s = time.monotonic()

    def _await_end(self, show: terminal.Show) -> None:
        """Waits until the recording is where it belongs. Its end has a limit; copying takes as long as it takes."""
        deadline_ns = time.monotonic_ns() + STOP_WAIT_NS
        while True:
            with contextlib.suppress(TimeoutError):
                self._recorder.wait("stop", LIVE_LINE_NS / S)
                return
            if self._available_ns is None and time.monotonic_ns() > deadline_ns:
                where = self._target.hint(self._recorder.service_given_up())
                raise Failed(f"the recording did not end within {STOP_WAIT_NS / S:g} s; {where}")
            done, total = self._target.copied, self._target.total
            if total:
                show(f"saving     {rows.bar(done / total)} {done / 1e6:.1f} of {total / 1e6:.1f} MB", "")

    def _ask_to_stop(self, number: int, _: object) -> None:
        now_ns = time.monotonic_ns()
        if self._asked_ns is None:
            self._asked_ns = now_ns
        elif number == signal.SIGINT and now_ns - self._asked_ns > SECOND_CTRL_C_NS:
            self._abandon()

    def _abandon(self) -> NoReturn:
        """Whoever asks twice wants to leave now: the controller finishes the recording, which stays in the spool."""
        self._target.abandoned = True  # what was copied in part is removed
        with contextlib.suppress(TimeoutError, errors.RecorderError):
            self._recorder.wait("dataavailable", LIVE_LINE_NS / S)
        self._keys.close()
        paths = self._target.kept or self._recorder.service_given_up()
        where = f"; {self._target.hint(paths)}" if paths else ""
        print(f"\nrecsvc: interrupted{where}", file=sys.stderr, flush=True)
        os._exit(EXIT_INTERRUPTED)

    def _take(self, event: BlobEvent) -> None:
        if self._recorder.state == "inactive":
            self._available_ns = time.monotonic_ns()
        self._target.take(event.data)

    def _report(self) -> dict[str, Any]:
        asked_ns, available_ns = self._stopped_ns, self._available_ns
        recording = self._recorder.recording
        return report.made(
            self._recorder.statistics(),
            str(self._target.saved),
            "" if recording is None else recording.type,
            self._target.size,
            None if asked_ns is None or available_ns is None else available_ns - asked_ns,
        )
