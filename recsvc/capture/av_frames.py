"""Decoded sound into buffers as a sink takes them, and FFmpeg's errors into ours. Pictures: ``packer``."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import av.error
from av.audio.resampler import AudioResampler

from ..common.constraints import AudioWish
from ..common.media import CHANNEL_COUNT_MAX, SAMPLE_RATE_MAX, SAMPLE_RATE_MIN
from ..common.redact import redacted
from ..errors import NotFoundError, NotReadableError, RecorderError
from .source import AudioFormat

SECOND_NS = 1_000_000_000

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


def stream_rate(stream: Any) -> float | None:
    """Frames per second that a video stream states, ``None`` when it does not."""
    rate: Fraction | None = stream.average_rate or stream.guessed_rate
    return float(rate) if rate and 0 < rate <= 1000 else None


def open_error(error: Exception, what: str, limit_s: float) -> RecorderError:
    """What the caller sees when FFmpeg could not open ``what`` within ``limit_s`` seconds."""
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
        return NotReadableError(f"{what}: no media came within {limit_s:g} s")
    if isinstance(error, av.error.InvalidDataError):
        return NotReadableError(f"{what} holds no media that FFmpeg can read")
    reason = getattr(error, "strerror", None) or redacted(str(error))
    return NotReadableError(f"{what} cannot be read: {reason}")


def read_error(error: Exception, what: str, limit_s: float) -> RecorderError:
    """The error with which a track ends when reading ``what`` failed after it had begun."""
    if isinstance(error, RecorderError):
        return error
    if isinstance(error, (av.error.ExitError, av.error.TimeoutError)):
        return NotReadableError(f"{what}: nothing came for {limit_s:g} s")
    return NotReadableError(f"{what}: reading failed: {getattr(error, 'strerror', None) or redacted(str(error))}")
