"""The user's terminal: keys, the live line, and output that lasts longer than whoever reads it."""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TextIO

from ..common.descriptions import RecordingStatistics
from ..common.limits import PLAIN_LINE_NS, S
from .rows import meter

Show = Callable[[str, str], None]
"""``show(line, hint)``: the hint is shown only where keys can be pressed."""


class _Lasting(io.FileIO):
    """Drops what it cannot write, instead of failing, since the recording is what counts: ``recsvc record … | head
    -2``, a terminal that was closed, a log on a full disk."""

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        try:
            written: int | None = super().write(data)
        except OSError:
            return size
        return size if written is None else written  # ``None``: a descriptor that does not block has no room


def make_output_last() -> None:
    """From now on printing never fails."""
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


def _lasting(stream: TextIO) -> TextIO:
    try:
        stream.flush()
        file = _Lasting(stream.fileno(), "w", closefd=False)
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file of the system's
        return stream
    # Names of files may have characters that this terminal or file cannot take.
    return io.TextIOWrapper(io.BufferedWriter(file), stream.encoding, "backslashreplace", line_buffering=True)


def in_foreground(stream: TextIO | None) -> bool:
    """Whether this is a terminal, and our process group is the one in its foreground: not so for ``recsvc … &``."""
    try:
        if stream is None or not stream.isatty():
            return False
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except OSError:  # a terminal that controls nobody
        return True
    except ValueError:  # closed
        return False


def go_on_in_background() -> None:
    """A shell's job that touches its terminal from the background would be stopped, and its recording with it."""
    for number in (signal.SIGTTOU, signal.SIGTTIN):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def ending_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP in the block are as Ctrl-C: what was begun is removed."""
    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _: object) -> NoReturn:
    raise KeyboardInterrupt


class Keys:
    """Single keys, while this process is in the foreground of a terminal."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None
        self._gone = False

    def wait(self, seconds: float) -> str:
        """The next key, or ``""`` when none was pressed within this time."""
        if self._gone or not in_foreground(sys.stdin):
            time.sleep(seconds)
            return ""
        descriptor = sys.stdin.fileno()
        try:
            mode = termios.tcgetattr(descriptor)
            if mode[3] & termios.ICANON:  # at first, and after Ctrl-Z and `fg`
                self._before = self._before or mode
                tty.setcbreak(descriptor)
            ready, _, _ = select.select([descriptor], [], [], seconds)
            data = os.read(descriptor, 1) if ready else None
        except (OSError, termios.error):
            data = b""
        self._gone = data == b""  # the terminal was closed
        return data.decode(errors="replace") if data else ""

    def close(self) -> None:
        """The terminal is as it was. In the background it is the shell's."""
        if self._before is not None and in_foreground(sys.stdin):
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._before)
        self._before = None


@contextlib.contextmanager
def live_line(out: TextIO, quiet: bool) -> Iterator[Show]:
    """At a terminal one line that is drawn anew, else a plain line each second."""
    if quiet:
        yield lambda line, hint: None
    elif in_foreground(out):
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        with Live(console=Console(file=out), refresh_per_second=8, transient=True) as live:
            yield lambda line, hint: live.update(Text(line + hint, overflow="ellipsis"))
    else:
        next_s = 0.0

        def plain(line: str, hint: str) -> None:
            nonlocal next_s
            now_s = time.monotonic()
            if now_s >= next_s:
                next_s = now_s + PLAIN_LINE_NS / S
                print(line, file=out, flush=True)

        yield plain


@contextlib.contextmanager
def screen(out: TextIO) -> Iterator[Callable[[list[str]], None]]:
    """At a terminal: lines that are drawn anew, and stay as they were last."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(file=out), auto_refresh=False, vertical_overflow="crop") as live:

        def show(lines: list[str]) -> None:
            text = Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
            live.update(text, refresh=True)

        yield show


@contextlib.contextmanager
def progress(what: str, total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """``advance(bytes)``; a bar on standard error, where that is a terminal."""
    if quiet or not in_foreground(sys.stderr):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


class Rates:
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
        parts += [meter(t.level_dbfs) for t in statistics.tracks if t.kind == "audio" and t.level_dbfs is not None]
        return "  ".join(parts)
