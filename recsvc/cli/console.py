"""What ``recsvc record`` does: opens, records until it is over, puts the recording where it belongs, reports."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn, TextIO

from .. import errors
from ..caller.recorder import MediaRecorder
from ..caller.stream import MediaStream
from ..caller.user_media import enumerate_devices, get_user_media
from ..common import mime
from ..common.descriptions import RecordingStatistics
from ..common.limits import DRAIN_DEADLINE_NS, MS, S
from ..common.sources import parse_source
from . import target, terminal
from .target import Failed, UsageError

_LOOK_S = 0.25  # how often the live line is drawn and keys are looked for
_ANSWER_NS = 200 * MS  # a worker that does not answer by then is busy: the line shows what was last known
_STOP_WAIT_S = 2 * DRAIN_DEADLINE_NS / S
_STREAM_MS = 250.0  # of media in each piece that goes to standard output
_AGAIN_S = 0.3  # one Ctrl-C may come twice, from the terminal and from whoever started us
_EXIT_INTERRUPTED = 130


def record(
    wishes: dict[str, dict[str, Any] | None],
    *,
    duration: float | None,
    output: Path | None,
    service: str | None,
    quiet: bool,
    mime_type: str,
    audio_bits_per_second: int | None,
    video_bits_per_second: int | None,
) -> dict[str, Any]:
    """Opens, records until it is over, saves; the report as plain data. Raises ``UsageError``, ``Failed``."""
    if duration is not None and not 0 < duration < 10**9:
        raise UsageError(f"--duration must be more than 0 seconds, got {duration:g}")
    reason = mime.why_not_supported(mime_type)
    if reason is not None:
        raise UsageError(f"--type {mime_type!r} cannot be recorded: {reason}; see `recsvc types`")
    for wish in wishes.values():
        if wish is not None:
            try:
                parse_source(wish["source"])
            except errors.NotFoundError as error:
                raise UsageError(str(error)) from None
    mime_type = target.choose_type(output, mime_type, {kind for kind, wish in wishes.items() if wish is not None})
    target.check(output)
    wanted = wishes if any(wishes.values()) else _default_sources(with_video=mime_type != "audio/ogg")
    try:
        with get_user_media(**wanted, service=service) as stream:
            recorder = MediaRecorder(
                stream,
                mime_type=mime_type,
                audio_bits_per_second=audio_bits_per_second,
                video_bits_per_second=video_bits_per_second,
                service=service,
            )
            return _Session(stream, recorder, duration, target.Target(output), quiet).run()
    except errors.OverconstrainedError as error:
        raise UsageError(str(error)) from None
    except errors.RecorderError as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(f"{error.filename or output}: {error.strerror or error}") from error


def _default_sources(with_video: bool) -> dict[str, Any]:
    found = enumerate_devices()
    wanted: dict[str, Any] = {}
    for name, kind in (("audio", "audioinput"), *((("video", "videoinput"),) if with_video else ())):
        source = next((d.device_id for d in found if d.kind == kind and not d.device_id.startswith("screen:")), None)
        if source is not None:
            wanted[name] = {"source": source}
    if not wanted:
        raise Failed("there is no microphone and no camera here; try: recsvc record --audio test: --video test:")
    return wanted


class _Session:
    """One run of ``recsvc record``."""

    def __init__(
        self,
        stream: MediaStream,
        recorder: MediaRecorder,
        duration: float | None,
        place: target.Target,
        quiet: bool,
    ) -> None:
        self._stream = stream
        self._recorder = recorder
        self._duration = duration
        self._target = place
        self._quiet = quiet
        self._out = sys.stderr if place.streams else sys.stdout
        self._keys = terminal.Keys()
        self._rates = terminal.Rates()
        self._statistics = RecordingStatistics(state="recording")
        self._problems: list[Exception] = []
        self._path = ""  # of the spool file
        self._stop_asked_s: float | None = None
        self._stopped_ns: int | None = None
        self._available_ns: int | None = None
        self._recorded_s = 0.0
        self._since: float | None = None

    def run(self) -> dict[str, Any]:
        self._recorder.ondataavailable = self._take
        self._recorder.onerror = lambda event: self._problems.append(event.error)
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # else it was started to outlive its terminal
            signals.append(signal.SIGHUP)
        previous = {number: signal.signal(number, self._ask_to_stop) for number in signals}
        try:
            with contextlib.closing(self._keys), self._line() as show:
                self._recorder.start(_STREAM_MS if self._target.streams else None)
                self._since = time.monotonic()
                while self._recorder.state != "inactive" and not self._over():
                    self._take_key(self._keys.wait(self._left_s()))
                    self._look(show)
                if self._recorder.state != "inactive":
                    self._stopped_ns = time.monotonic_ns()
                    self._recorder.stop()
                self._await_end(show)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self._target.problem:
            raise Failed(f"{self._target.problem}; {self._target.hint(self._target.kept)}")
        if self._problems:
            place = "standard output" if self._target.streams else self._target.saved
            kept = f"; what was recorded is in {place}" if self._target.saved else ""
            raise Failed(f"{self._problems[0]}{kept}")
        return self._report()

    def _line(self) -> contextlib.AbstractContextManager[terminal.Show]:
        return terminal.live_line(self._out, self._quiet)

    def _look(self, show: terminal.Show) -> None:
        if not self._path:
            self._path = next((session.path for session in list(self._recorder._sessions.values())), "")
        if not self._quiet:
            self._statistics = self._recorder._statistics_within(_ANSWER_NS) or self._statistics
            line = self._rates.line(self._recorder.state, self._elapsed_s(), self._statistics)
            show(line, "   p pause/resume, q stop")

    def _await_end(self, show: terminal.Show) -> None:
        """Until the recording is where it belongs. Its end has a limit; copying takes as long as it takes."""
        deadline_s = time.monotonic() + _STOP_WAIT_S
        while True:
            try:
                self._recorder.wait("stop", _LOOK_S)
                return
            except TimeoutError:
                pass
            total = self._target.total
            if self._available_ns is None and time.monotonic() > deadline_s:
                where = self._target.hint([self._path]) if self._path else "what was recorded is in the spool"
                raise Failed(f"the recording did not end within {_STOP_WAIT_S:g} s; {where}")
            if total:
                done = self._target.copied
                show(f"saving     {done / 1e6:.1f} of {total / 1e6:.1f} MB, {100 * done // total} %", "")

    def _ask_to_stop(self, number: int, _: object) -> None:
        now_s = time.monotonic()
        if self._stop_asked_s is None:
            self._stop_asked_s = now_s
        elif number == signal.SIGINT and now_s - self._stop_asked_s > _AGAIN_S:
            self._abandon()

    def _abandon(self) -> NoReturn:
        """Whoever asks twice wants to leave now: the controller finishes the recording, which stays in the spool."""
        self._target.abandoned = True  # what was copied in part is removed
        with contextlib.suppress(TimeoutError, errors.RecorderError):
            self._recorder.wait("dataavailable", _LOOK_S)
        self._keys.close()
        paths = self._target.kept or ([self._path] if self._path else [])
        where = f"; {self._target.hint(paths)}" if paths else ""
        print(f"\nrecsvc: interrupted{where}", file=sys.stderr, flush=True)
        os._exit(_EXIT_INTERRUPTED)

    def _elapsed_s(self) -> float:
        return self._recorded_s + (0.0 if self._since is None else time.monotonic() - self._since)

    def _left_s(self) -> float:
        if self._duration is None or self._since is None:
            return _LOOK_S
        return max(0.0, min(_LOOK_S, self._duration - self._elapsed_s()))

    def _over(self) -> bool:
        asked = self._stop_asked_s is not None or bool(self._target.problem)
        return asked or (self._duration is not None and self._elapsed_s() >= self._duration)

    def _take_key(self, key: str) -> None:
        with contextlib.suppress(errors.InvalidStateError):  # it ended by itself meanwhile
            if key == "q":
                self._stop_asked_s = time.monotonic()
            elif key == "p" and self._recorder.state == "recording":
                self._recorder.pause()
                self._recorded_s, self._since = self._elapsed_s(), None
            elif key == "p" and self._recorder.state == "paused":
                self._recorder.resume()
                self._since = time.monotonic()

    def _take(self, event: Any) -> None:
        if self._recorder.state == "inactive":
            self._available_ns = time.monotonic_ns()
        self._target.take(event.data)

    def _report(self) -> dict[str, Any]:
        statistics = self._recorder.statistics()
        asked_ns, available_ns = self._stopped_ns, self._available_ns
        took_ms = None if asked_ns is None or available_ns is None else (available_ns - asked_ns) / 1e6
        seconds = statistics.duration
        return {
            "file": str(self._target.saved),
            "mime_type": self._recorder.recording.type if self._recorder.recording else "",
            "duration": seconds,
            "size_bytes": self._target.size,
            "bits_per_second": round(statistics.size_bytes * 8 / seconds) if seconds else 0,
            "tracks": [
                {
                    "kind": track.kind,
                    "frames_accepted": track.frames_accepted,
                    "frames_encoded": track.frames_encoded,
                    "frames_dropped": track.frames_dropped,
                    "dropped_by_cause": track.dropped_by_cause,
                    "timestamps_corrected": track.timestamps_corrected,
                }
                for track in statistics.tracks
            ],
            "stop_to_dataavailable_ms": took_ms,
            "stop_stages_ms": {name: at_ns / 1e6 for name, at_ns in statistics.stop_stages_ns.items()},
        }


def print_report(report: dict[str, Any], out: TextIO) -> None:
    """The final report, for people."""
    with contextlib.redirect_stdout(out):
        _print_report(report)


def _print_report(report: dict[str, Any]) -> None:
    print(f"duration   {report['duration']:.3f} s")
    for track in report["tracks"]:
        unit = "samples" if track["kind"] == "audio" else "frames"
        causes = ", ".join(f"{cause} {count}" for cause, count in track["dropped_by_cause"].items())
        print(
            f"{track['kind']:<10} {track['frames_accepted']} {unit} captured, {track['frames_encoded']} encoded, "
            f"{track['frames_dropped']} dropped{f' ({causes})' if causes else ''}"
        )
        if track["timestamps_corrected"]:
            corrected = ", ".join(f"{kind} {count}" for kind, count in track["timestamps_corrected"].items())
            print(f"{'':<10} corrected: {corrected}")
    print(f"size       {report['size_bytes']} bytes, {report['bits_per_second'] / 1000:.0f} kbit/s on average")
    took_ms = report["stop_to_dataavailable_ms"]
    if took_ms is not None:
        stages = ", ".join(f"{name} {at_ms:.2f}" for name, at_ms in report["stop_stages_ms"].items())
        print(f"stop       dataavailable after {took_ms:.2f} ms ({stages})")
    print(f"file       {report['file']} ({report['mime_type']})")
