"""Decoded frames into buffers as a sink takes them, and FFmpeg's errors into ours.

Pictures leave here tightly packed in a pixel format that the core reads; they are converted only when their
own format is none of those. Samples leave interleaved.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import av.error
from av.audio.resampler import AudioResampler
from av.video.reformatter import ColorRange, VideoReformatter

from recsvc.capture.constraints import (
    CHANNELS_MAX,
    SAMPLE_RATE_MAX,
    SAMPLE_RATE_MIN,
    SIDE_MAX,
    AudioWish,
    VideoWish,
)
from recsvc.capture.source import AudioFormat, VideoFormat
from recsvc.errors import NotFoundError, NotReadableError, OverconstrainedError, RecorderError
from recsvc.redact import redacted

SECOND_NS = 1_000_000_000

# FFmpeg's names of what can be delivered as it is. bgr0 and rgb0 have an unused fourth byte where bgra and
# rgba have opacity, which a recording ignores.
DIRECT = {
    "yuv420p": "i420",
    "nv12": "nv12",
    "rgb24": "rgb24",
    "bgr24": "bgr24",
    "rgba": "rgba",
    "rgb0": "rgba",
    "bgra": "bgra",
    "bgr0": "bgra",
}
LAYOUT_OF_COUNT = {
    1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1",
}  # fmt: skip


class PicturePacker:
    """Turns decoded pictures of one stream into packed buffers of one ``VideoFormat``. Not thread-safe.

    A picture of another size or pixel format than the stream began with is converted to ``format``.
    """

    def __init__(self, pixel_format: str, width: int, height: int, rate: float | None, wish: VideoWish) -> None:
        """``pixel_format``: FFmpeg's name. A wished size scales; with one side given the other follows."""
        if not (0 < width <= SIDE_MAX and 0 < height <= SIDE_MAX):
            raise OverconstrainedError(f"pictures of {width}x{height}; at most {SIDE_MAX}x{SIDE_MAX} is recorded")
        target_width, target_height = _scaled(width, height, wish)
        if wish.frame_rate is not None and (rate is None or rate > wish.frame_rate):
            rate = wish.frame_rate
        self.format = VideoFormat(target_width, target_height, DIRECT.get(pixel_format, "i420"), rate)
        self._av_format = {"i420": "yuv420p"}.get(self.format.pixel_format, self.format.pixel_format)
        self._reformatter = VideoReformatter()
        self._interval_ns = 0 if wish.frame_rate is None else int(SECOND_NS / wish.frame_rate)
        self._next_ns: int | None = None

    def wanted(self, media_ns: int) -> bool:
        """Whether the picture of this time is to be delivered; thins a stream out to the wished rate."""
        if not self._interval_ns:
            return True
        if self._next_ns is None or abs(media_ns - self._next_ns) > 2 * self._interval_ns:
            self._next_ns = media_ns
        if media_ns < self._next_ns - self._interval_ns // 4:
            return False
        self._next_ns += self._interval_ns
        return True

    def pack(self, frame: Any) -> bytes | memoryview:
        """The picture in ``format``, tightly packed; where nothing was copied it keeps the frame alive."""
        form = self.format
        full_range = frame.color_range == ColorRange.JPEG and not frame.format.is_rgb
        direct = DIRECT.get(frame.format.name) == form.pixel_format and not full_range
        if not (direct and frame.width == form.width and frame.height == form.height):
            frame = self._reformatter.reformat(
                frame,
                form.width,
                form.height,
                self._av_format,
                dst_color_range=ColorRange.JPEG if self._av_format.startswith(("rgb", "bgr")) else ColorRange.MPEG,
                threads=1,
            )
        chroma = ((form.width + 1) // 2, (form.height + 1) // 2)
        if form.pixel_format == "i420":
            shapes = [(form.width, form.height), chroma, chroma]
        elif form.pixel_format == "nv12":
            shapes = [(form.width, form.height), (chroma[0] * 2, chroma[1])]
        else:
            shapes = [(form.width * (3 if form.pixel_format.endswith("24") else 4), form.height)]
        pieces: list[memoryview] = []
        for plane, (row_bytes, rows) in zip(frame.planes, shapes, strict=False):
            view = memoryview(plane)
            stride = plane.line_size
            if stride == row_bytes:
                pieces.append(view[: row_bytes * rows])
            elif stride > 0:
                pieces += [view[start : start + row_bytes] for start in range(0, stride * rows, stride)]
            else:
                raise NotReadableError(f"pictures stored bottom up ({frame.format.name}) are not supported")
        return pieces[0].toreadonly() if len(pieces) == 1 else b"".join(pieces)


class SampleConverter:
    """Turns decoded sound of one stream into interleaved samples of one ``AudioFormat``. Not thread-safe."""

    def __init__(self, rate: int, channels: int, layout: str, wish: AudioWish) -> None:
        count = wish.channel_count or min(channels, CHANNELS_MAX)
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


def _scaled(width: int, height: int, wish: VideoWish) -> tuple[int, int]:
    if wish.width and wish.height:
        return wish.width, wish.height
    if wish.width:
        width, height = wish.width, max(1, round(height * wish.width / width))
    elif wish.height:
        width, height = max(1, round(width * wish.height / height)), wish.height
    if width > SIDE_MAX or height > SIDE_MAX:
        raise OverconstrainedError(f"scaled pictures would be {width}x{height}; at most {SIDE_MAX} a side")
    return width, height


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
