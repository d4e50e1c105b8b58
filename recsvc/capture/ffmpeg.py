"""Opening and reading with PyAV: FFmpeg's errors become ours."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import av.error

from ..common.limits import S
from ..common.media import FRAME_RATE_MAX
from ..common.redact import redacted
from ..errors import NotFoundError, NotReadableError, RecorderError
from .limits import SOURCE_OPEN_NS, SOURCE_READ_NS, STALL_REST_NS

OPEN_ERRORS = (av.error.FFmpegError, OSError, ValueError)
"""What PyAV raises when it cannot open something."""


def opened(url: str, limit_ns: int | None = None, **options: Any) -> Any:
    """PyAV's container of what can be read there; blocks at most this long (``SOURCE_OPEN_NS``). Raises
    ``OPEN_ERRORS``."""
    return av.open(url, timeout=((limit_ns or SOURCE_OPEN_NS) / S, (limit_ns or SOURCE_READ_NS) / S), **options)


@contextlib.contextmanager
def closed_on_error(container: Any) -> Iterator[None]:
    """Closes it when the block fails."""
    try:
        yield
    except BaseException:
        container.close()
        raise


def stream_rate(stream: Any) -> float | None:
    """Frames per second that a video stream states, ``None`` when it does not."""
    rate: Fraction | None = stream.average_rate or stream.guessed_rate
    return float(rate) if rate and 0 < rate <= FRAME_RATE_MAX else None


def open_error(error: Exception, what: str) -> RecorderError:
    """What the caller sees when FFmpeg could not open ``what``."""
    match error:
        case av.error.FileNotFoundError() | av.error.HTTPNotFoundError():
            return NotFoundError(f"{what} does not exist")
        case av.error.ConnectionRefusedError():
            return NotFoundError(f"{what}: nothing listens there (connection refused)")
        case av.error.ProtocolNotFoundError():
            text = ": this build of PyAV does not know that protocol"
        case av.error.PermissionError():
            text = ": permission denied; check the owner and mode, or the user's groups"
        case av.error.InvalidDataError():
            text = " holds no media that FFmpeg can read"
        case av.error.ExitError() | av.error.TimeoutError():
            text = f": no media came within {SOURCE_OPEN_NS / S:g} s"
        case _:
            text = f" cannot be read: {_reason(error)}"
    return NotReadableError(what + text)


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Raises ``NotReadableError`` where FFmpeg's reading of ``what`` fails in the block; its end is no failure."""
    try:
        yield
    except av.error.EOFError:
        pass
    except (av.error.ExitError, av.error.TimeoutError):
        raise stalled(what) from None
    except av.error.FFmpegError as error:
        raise NotReadableError(f"{what}: reading failed: {_reason(error)}") from None


def stalled(what: str) -> NotReadableError:
    return NotReadableError(f"{what}: nothing came for {SOURCE_READ_NS / S:g} s")


def watched(packets: Iterator[Any], stream_count: int, on_stall: Callable[[], None]) -> Iterator[Any]:
    """The same, and a call from another thread where nothing comes for ``SOURCE_READ_NS``. A read that is given up then
    fails only if the streams' parsers have nothing left; else it brings that, and the next one takes as long again.
    """
    timer: threading.Timer | None = None
    left = 0  # so many packets at most were left, one of each stream
    try:
        begin_ns = time.monotonic_ns()
        for packet in packets:
            if time.monotonic_ns() - begin_ns >= SOURCE_READ_NS and timer is None:
                timer, left = threading.Timer(STALL_REST_NS / S, on_stall), stream_count
                timer.daemon = True
                timer.start()
            elif timer is not None and (left := left - 1) <= 0:  # it was this process that stood still
                timer.cancel()
                timer = None
            yield packet
            begin_ns = time.monotonic_ns()
    finally:
        if timer is not None:
            timer.cancel()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or redacted(str(error))
