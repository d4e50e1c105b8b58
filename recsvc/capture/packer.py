"""Decoded pictures into buffers as a sink takes them: tightly packed, upright, in one format from first to last.

They are converted only when they are not in that format: another pixel format than the core reads, full range,
another size or matrix than the track began with.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from av.video.reformatter import ColorRange, VideoReformatter

from ..common.constraints import VideoWish
from ..common.limits import S
from ..common.media import BYTES_PER_PIXEL, FRAME_SIDE_MAX, UNKNOWN, Colours, colours, colours_of_rgb, usual_space
from ..errors import OverconstrainedError
from .source import VideoFormat
from .upright import Turn

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
"""FFmpeg's names of what can be delivered as it is. bgr0 and rgb0 have an unused fourth byte where bgra and rgba have
opacity, which a recording ignores."""

SPACES = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}
SCALER_SPACES = {"bt709": 1, "bt601": 5, "bt2020": 9}
"""FFmpeg's numbers of matrices (ITU-T H.273) that a recording can have, and what swscale calls them. Others are
converted to the usual one."""


class PicturePacker:
    """Turns decoded pictures of one stream into packed buffers of one ``VideoFormat``. Not thread-safe."""

    def __init__(self, stream: Any, rate: float | None, wish: VideoWish, turn: Turn | None = None) -> None:
        """``stream``: PyAV's, its codec's parameters known. A wished size scales; with one side given the other
        follows; either way pictures keep their shape. ``turn`` puts them upright; sizes are meant upright."""
        codec = stream.codec_context
        self._turn = turn
        width, height = codec.width, codec.height
        aspect = stream.sample_aspect_ratio or codec.sample_aspect_ratio or Fraction(1)
        if aspect <= 0:
            aspect = Fraction(1)
        is_quarter = turn is not None and turn.is_quarter
        if is_quarter:
            width, height, aspect = height, width, 1 / aspect
        if not (0 < width <= FRAME_SIDE_MAX and 0 < height <= FRAME_SIDE_MAX):
            raise OverconstrainedError(
                f"pictures of {width}x{height}; at most {FRAME_SIDE_MAX}x{FRAME_SIDE_MAX} is recorded"
            )
        size = (
            wish.width or max(1, round(width * (wish.height or height) / height)),
            wish.height or max(1, round(height * (wish.width or width) / width)),
        )
        if wish.frame_rate is not None and (rate is None or rate > wish.frame_rate):
            rate = wish.frame_rate
        self.format = VideoFormat.of(
            size,
            DIRECT.get(codec.format.name, "i420"),
            rate,
            _colours(codec, size[1]),
            _display(size, aspect * Fraction(width, height)),
            wish,
        )
        self._unturned = size[::-1] if is_quarter else size
        self._av_format = {"i420": "yuv420p"}.get(self.format.pixel_format, self.format.pixel_format)
        self._is_rgb = self.format.pixel_format in BYTES_PER_PIXEL
        self._usual_space = usual_space(size[1])
        self._reformatter = VideoReformatter()
        self._interval_ns = 0 if wish.frame_rate is None else int(S / wish.frame_rate)
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
        frame = self._converted(frame)
        if self._turn is not None:
            frame = self._turn.applied(frame)
        return _packed(frame, self.format)

    def _converted(self, frame: Any) -> Any:
        """In the track's pixel format, range and matrix, and of the size that it will have when it is turned."""
        form = self.format
        same_format = DIRECT.get(frame.format.name) == form.pixel_format
        same_size = (frame.width, frame.height) == self._unturned
        if frame.format.is_rgb:
            if same_format and same_size:
                return frame
            source: dict[str, Any] = {}
        else:
            number = frame.colorspace
            space = self._usual_space if number in UNKNOWN else SPACES.get(number)
            is_limited = frame.color_range != ColorRange.JPEG and not frame.format.name.startswith("yuvj")
            if same_format and same_size and is_limited and space == form.color_space:
                return frame
            source = {
                "src_colorspace": SCALER_SPACES.get(space or "", number),
                "src_color_range": ColorRange.MPEG if is_limited else ColorRange.JPEG,
            }
        if not self._is_rgb:
            source["dst_colorspace"] = SCALER_SPACES[form.color_space]
        target_range = ColorRange.JPEG if self._is_rgb else ColorRange.MPEG
        return self._reformatter.reformat(
            frame, *self._unturned, self._av_format, dst_color_range=target_range, threads=1, **source
        )


def _colours(codec: Any, lines: int) -> Colours:
    """The colours that the stream names; the others are as usual."""
    if codec.format.is_rgb:
        return colours_of_rgb(lines)
    space = SPACES.get(codec.colorspace, usual_space(lines))
    return colours(space, codec.color_primaries, codec.color_trc)


def _display(size: tuple[int, int], shape: Fraction) -> tuple[int, int]:
    """The size at which pictures of this size are of that shape (width by height): larger in one direction, or, where
    players refuse so much, smaller in the other."""
    wide, high = max(size[0], round(size[1] * shape)), max(size[1], round(size[0] / shape))
    if wide > FRAME_SIDE_MAX:
        return size[0], max(1, round(size[0] / shape))
    if high > FRAME_SIDE_MAX:
        return max(1, round(size[1] * shape)), size[1]
    # What is less than a pixel apart is rounding.
    return (wide if wide > size[0] + 1 else size[0]), (high if high > size[1] + 1 else size[1])


def _packed(frame: Any, form: VideoFormat) -> bytes | memoryview:
    chroma = ((form.width + 1) // 2, (form.height + 1) // 2)
    if form.pixel_format == "i420":
        shapes = [(form.width, form.height), chroma, chroma]
    elif form.pixel_format == "nv12":
        shapes = [(form.width, form.height), (chroma[0] * 2, chroma[1])]
    else:
        shapes = [(form.width * BYTES_PER_PIXEL[form.pixel_format], form.height)]
    pieces: list[memoryview] = []
    for plane, (row_bytes, rows) in zip(frame.planes, shapes, strict=False):
        view, stride = memoryview(plane), plane.line_size
        if stride == row_bytes:
            pieces.append(view[: row_bytes * rows])
            continue
        starts = range(0, abs(stride) * rows, abs(stride))
        # A negative stride: the picture is stored bottom up, the view begins with its last row.
        pieces += [view[start : start + row_bytes] for start in (starts if stride > 0 else reversed(starts))]
    return pieces[0].toreadonly() if len(pieces) == 1 else b"".join(pieces)
