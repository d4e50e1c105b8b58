"""Decoded sound into buffers as a sink takes them, and FFmpeg's errors into ours. Pictures: ``packer``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.error
from av.audio.resampler import AudioResampler

from ..common.constraints import AudioWish
from ..common.limits import SOURCE_OPEN_NS, SOURCE_READ_NS, S
from ..common.media import CHANNEL_COUNT_MAX, FRAME_RATE_MAX, SAMPLE_RATE_MAX, SAMPLE_RATE_MIN
from ..common.redact import redacted
from ..errors import NotFoundError, NotReadableError, RecorderError
from .source import AudioFormat

OPEN_ERRORS = (av.error.FFmpegError, OSError, ValueError)
"""What PyAV raises when it cannot open something."""

LAYOUT_OF_COUNT = {
    1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1",
}  # fmt: skip


class SampleConverter:
    """Turns decoded sound of one stream into interleaved samples of one ``AudioFormat``. Not thread-safe."""

    def __init__(self, rate: int, channels: int, layout: str, wish: AudioWish) -> None:
        count = wish.channel_count or min(channels, CHANNEL_COUNT_MAX)
        rate = wish.sample_rate or min(max(rate, SAMPLE_RATE_MIN), SAMPLE_RATE_MAX)
        self.format = AudioFormat(rate, count, wish.sample_format or "s16")
        self._resampler = AudioResampler(
            format={"s16": "s16", "f32": "flt"}[self.format.sample_format],
            layout=layout if count == channels else LAYOUT_OF_COUNT[count],
            rate=rate,
        )

    def convert(self, frame: Any | None) -> bytes:
        """The samples that ``frame`` makes available (``None``: the last ones); may be empty."""
        size = self.format.frame_bytes
        return b"".join(
            bytes(memoryview(out.planes[0])[: out.samples * size]) for out in self._resampler.resample(frame)
        )


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
    if isinstance(error, RecorderError):
        return error
    if isinstance(error, (av.error.FileNotFoundError, av.error.HTTPNotFoundError)):
        return NotFoundError(f"{what} does not exist")
    if isinstance(error, av.error.ConnectionRefusedError):
        return NotFoundError(f"{what}: nothing listens there (connection refused)")
    if isinstance(error, av.error.ProtocolNotFoundError):
        return NotReadableError(f"{what}: this build of PyAV does not know that protocol")
    if isinstance(error, av.error.PermissionError):
        return NotReadableError(f"{what}: permission denied; check the owner and mode, or the user's groups")
    if isinstance(error, (av.error.ExitError, av.error.TimeoutError)):
        return NotReadableError(f"{what}: no media came within {SOURCE_OPEN_NS / S:g} s")
    if isinstance(error, av.error.InvalidDataError):
        return NotReadableError(f"{what} holds no media that FFmpeg can read")
    return NotReadableError(f"{what} cannot be read: {_reason(error)}")


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Raises ``NotReadableError`` where FFmpeg's reading of ``what`` fails in the block; its end is no failure."""
    try:
        yield
    except av.error.EOFError:
        pass
    except (av.error.ExitError, av.error.TimeoutError):
        raise NotReadableError(f"{what}: nothing came for {SOURCE_READ_NS / S:g} s") from None
    except av.error.FFmpegError as error:
        raise NotReadableError(f"{what}: reading failed: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or redacted(str(error))
