"""What ``recsvc record`` does at a terminal: keys, the live line, the report."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from . import errors, mime
from .capture.source import parse_source
from .limits import DRAIN_DEADLINE_NS, S
from .recorder import MediaRecorder
from .stream import MediaStream, enumerate_devices, get_user_media
from .wire.messages import RecordingStatistics

_LOOK_S = 0.25  # how often the live line is drawn and keys are looked for
_PLAIN_EVERY_S = 1.0  # a line for logs and pipes
_LEVEL_FLOOR_DB = -60.0
_STOP_WAIT_S = 2 * DRAIN_DEADLINE_NS / S


class UsageError(ValueError):
    """The arguments can never work; exit code 2."""


class Failed(Exception):
    """The recording did not succeed; exit code 1. The text is one line."""


def check_arguments(duration: float | None, output: Path | None) -> None:
    """Before anything is recorded: ``UsageError`` for nonsense, ``Failed`` for a place that cannot be written."""
    if duration is not None and not 0 < duration < 10**9:
        raise UsageError(f"--duration must be more than 0 seconds, got {duration:g}")
    if output is None:
        return
    if output.is_dir():
        raise Failed(f"cannot write {output}: it is a directory; name a file")
    directory = output.absolute().parent
    try:
        descriptor, name = tempfile.mkstemp(prefix=".recsvc-", dir=directory)
        os.close(descriptor)
        os.unlink(name)
        if output.exists():
            output.open("r+b").close()
    except OSError as error:
        raise Failed(f"cannot write {output}: {error.strerror}; choose another place with -o") from None


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
    reason = mime.why_not_supported(mime_type)
    if reason is not None:
        raise UsageError(f"--type {mime_type!r} cannot be recorded: {reason}; see `recsvc types`")
    for wish in wishes.values():
        if wish is not None:
            try:
                parse_source(wish["source"])
            except errors.NotFoundError as error:
                raise UsageError(str(error)) from None
    wanted = wishes if any(wishes.values()) else _default_sources()
    try:
        with get_user_media(**wanted, service=service) as stream:
            recorder = MediaRecorder(
                stream,
                mime_type=mime_type,
                audio_bits_per_second=audio_bits_per_second,
                video_bits_per_second=video_bits_per_second,
                service=service,
            )
            return _Session(stream, recorder, duration, output, quiet).run()
    except errors.OverconstrainedError as error:
        raise UsageError(str(error)) from None
    except errors.RecorderError as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(f"{error.filename or output}: {error.strerror or error}") from error


def _default_sources() -> dict[str, Any]:
    found = enumerate_devices()
    wanted: dict[str, Any] = {}
    for name, kind in (("audio", "audioinput"), ("video", "videoinput")):
        source = next((d.device_id for d in found if d.kind == kind and not d.device_id.startswith("screen:")), None)
        if source is not None:
            wanted[name] = {"source": source}
    if not wanted:
        raise Failed("there is no microphone and no camera here; try: recsvc record --audio test: --video test:")
    return wanted


class _Session:
    """One run of ``recsvc record``."""

    def __init__(
        self, stream: MediaStream, recorder: MediaRecorder, duration: float | None, output: Path | None, quiet: bool
    ) -> None:
        self._stream = stream
        self._recorder = recorder
        self._duration = duration
        self._output = output
        self._quiet = quiet
        self._saved: Path | None = None
        self._problems: list[Exception] = []
        self._stop_asked = False
        self._stopped_ns: int | None = None
        self._available_ns: int | None = None
        self._recorded_s = 0.0
        self._since: float | None = None

    def run(self) -> dict[str, Any]:
        self._recorder.ondataavailable = self._save
        self._recorder.onerror = lambda event: self._problems.append(event.error)
        previous = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with _keys() as keys, _live_line(self._quiet) as show:
                self._recorder.start()
                self._since = time.monotonic()
                while self._recorder.state != "inactive" and not self._over():
                    self._take_key(keys(self._left_s()))
                    show(self._recorder.state, self._elapsed_s(), self._recorder.statistics())
            if self._recorder.state != "inactive":
                self._stopped_ns = time.monotonic_ns()
                self._recorder.stop()
            self._recorder.wait("stop", _STOP_WAIT_S)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self._problems:
            kept = f"; what was recorded is in {self._saved}" if self._saved else ""
            raise Failed(f"{self._problems[0]}{kept}")
        return self._report()

    def _ask_to_stop(self, *_: object) -> None:
        self._stop_asked = True

    def _elapsed_s(self) -> float:
        return self._recorded_s + (0.0 if self._since is None else time.monotonic() - self._since)

    def _left_s(self) -> float:
        if self._duration is None or self._since is None:
            return _LOOK_S
        return max(0.0, min(_LOOK_S, self._duration - self._elapsed_s()))

    def _over(self) -> bool:
        return self._stop_asked or (self._duration is not None and self._elapsed_s() >= self._duration)

    def _take_key(self, key: str) -> None:
        if key == "q":
            self._stop_asked = True
        elif key == "p" and self._recorder.state == "recording":
            self._recorder.pause()
            self._recorded_s, self._since = self._elapsed_s(), None
        elif key == "p" and self._recorder.state == "paused":
            self._recorder.resume()
            self._since = time.monotonic()

    def _save(self, event: Any) -> None:
        self._available_ns = time.monotonic_ns()
        try:
            if self._output is None:
                suffix = mime.choose(event.data.type, {t.kind for t in self._stream.get_tracks()}).suffix
                self._output = Path(f"recording-{datetime.now():%Y%m%d-%H%M%S}{suffix}")
            self._saved = event.data.save(self._output)
        except OSError as error:
            self._problems.append(errors.UnknownError(f"cannot write {self._output}: {error.strerror}"))

    def _report(self) -> dict[str, Any]:
        statistics = self._recorder.statistics()
        asked_ns, available_ns = self._stopped_ns, self._available_ns
        took_ms = None if asked_ns is None or available_ns is None else (available_ns - asked_ns) / 1e6
        seconds = statistics.duration
        return {
            "file": str(self._saved),
            "mime_type": self._recorder.recording.type if self._recorder.recording else "",
            "duration": seconds,
            "size_bytes": self._saved.stat().st_size if self._saved else 0,
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


@contextlib.contextmanager
def _keys() -> Iterator[Any]:
    """``keys(seconds)`` waits that long at most for a key and returns it, or ``""``."""
    if not sys.stdin or not sys.stdin.isatty():

        def idle(seconds: float) -> str:
            time.sleep(seconds)
            return ""

        yield idle
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([descriptor], [], [], seconds)
        return os.read(descriptor, 1).decode(errors="replace") if ready else ""

    try:
        yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _live_line(quiet: bool) -> Iterator[Any]:
    """``show(state, elapsed_s, statistics)``: a live line at a terminal, else a plain line each second."""
    rates = _Rates()
    if quiet:
        yield lambda *_: None
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        with Live(console=Console(), refresh_per_second=8, transient=True) as live:
            yield lambda *what: live.update(Text(rates.line(*what) + "   p pause/resume, q stop", overflow="ellipsis"))
    else:
        next_s = 0.0

        def plain(state: str, elapsed_s: float, statistics: RecordingStatistics) -> None:
            nonlocal next_s
            if elapsed_s >= next_s:
                next_s = elapsed_s + _PLAIN_EVERY_S
                print(rates.line(state, elapsed_s, statistics), flush=True)

        yield plain


class _Rates:
    """Bit rate and frame rate over the last look."""

    def __init__(self) -> None:
        self._last: tuple[float, int, int] | None = None

    def line(self, state: str, elapsed_s: float, statistics: RecordingStatistics) -> str:
        pictures = sum(track.frames_encoded for track in statistics.tracks if track.kind == "video")
        dropped = sum(track.frames_dropped for track in statistics.tracks)
        before_s, before_bytes, before_pictures = self._last or (0.0, 0, 0)
        past_s = elapsed_s - before_s
        if past_s >= 1.0 or self._last is None:
            self._last = (elapsed_s, statistics.size_bytes, pictures)
        kbits = max(0, statistics.size_bytes - before_bytes) * 8 / 1000 / past_s if past_s > 0 else 0.0
        parts = [
            f"{state:<9}",
            f"{elapsed_s:6.1f} s",
            f"{statistics.size_bytes / 1000:8.0f} kB",
            f"{kbits:6.0f} kbit/s",
        ]
        if any(track.kind == "video" for track in statistics.tracks):
            parts.append(f"{max(0, pictures - before_pictures) / past_s if past_s > 0 else 0:5.1f} frames/s")
        parts.append(f"{dropped} dropped")
        parts += [_meter(t.level_dbfs) for t in statistics.tracks if t.kind == "audio" and t.level_dbfs is not None]
        return "  ".join(parts)


def _meter(level_db: float) -> str:
    filled = round(10 * max(0.0, 1 - level_db / _LEVEL_FLOOR_DB))
    return f"[{'#' * filled}{'.' * (10 - filled)}] {level_db:4.0f} dBFS"


def print_report(report: dict[str, Any]) -> None:
    """The final report, for people."""
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
