"""What sound and pictures can be: the bounds that codecs and formats set, and what colours mean. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .limits import FRAME_BYTES_MAX, S

FRAME_SIDE_MAX = 16383
"""VP8 has 14 bits for width and height."""

FRAME_RATE_MAX = 1000.0
"""Above this no capture device delivers, and frame times would come near the file's milliseconds."""
LATENCY_MAX_S = 1
"""Seconds of sound that a device may be asked to keep before it brings them."""

SAMPLE_RATE_MIN, SAMPLE_RATE_MAX = 8_000, 192_000
"""Telephony's lowest rate, and the highest one that sound cards offer."""

CHANNEL_COUNT_MAX = 8
"""Opus' mapping family 1 (7.1) ends here."""

BYTES_PER_SAMPLE = {"s16": 2, "f32": 4}
"""The sample formats: native-endian int16, and float32 with full scale ±1."""

OPUS_RATE = 48_000
"""Opus counts in 48 kHz samples whatever the input's rate (RFC 7845 section 4)."""

OPUS_PACKET_SAMPLES = 960
"""Every packet of sound holds 20 ms: shorter ones cost more bytes, longer ones make a stop wait."""

AUDIO_BITS_MIN, AUDIO_BITS_MAX = 6_000, 510_000
"""Opus' own range."""

VIDEO_BITS_MIN, VIDEO_BITS_MAX = 75_000, 1_000_000_000
"""Below the lower bound a VGA picture falls to pieces; libvpx cannot count much higher than the upper one."""

BYTES_PER_PIXEL = {"rgb24": 3, "bgr24": 3, "rgba": 4, "bgra": 4}
YUV_FORMATS = ("i420", "nv12")
PIXEL_FORMATS = (*YUV_FORMATS, *BYTES_PER_PIXEL)
COLOR_SPACES = ("bt601", "bt709", "bt2020")

HD_LINES = 720
"""Pictures of at least this many lines are BT.709 where their source names no matrix; players suppose the same."""


@dataclass(frozen=True)
class AudioFormat:
    """Interleaved samples of a format of ``BYTES_PER_SAMPLE``."""

    sample_rate: int
    channel_count: int
    sample_format: str

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channel_count * BYTES_PER_SAMPLE[self.sample_format]

    def duration_ns(self, count: int) -> int:
        """How long ``count`` samples of every channel last."""
        return count * S // self.sample_rate


class Colours(NamedTuple):
    """How Y, U and V, of limited range, become light; numbers are those of ITU-T H.273, as in Matroska and FFmpeg."""

    space: str
    """One of ``COLOR_SPACES``: the matrix."""
    primaries: int
    transfer: int

    @property
    def matrix(self) -> int:
        return _MATRICES[self.space]

    def coded_as(self, codec: str) -> Colours:
        """VP8 is BT.601 by its specification, and FFmpeg and Firefox show it so whatever the container says (Chromium
        alone believes it): the core converts to that."""
        return self._replace(space="bt601") if codec == "vp8" else self


_MATRICES = {"bt601": 6, "bt709": 1, "bt2020": 9}
_USUAL = {"bt601": (6, 6), "bt709": (1, 1), "bt2020": (9, 14)}
"""Primaries and transfer that belong to each."""
_SRGB = (1, 13)
UNKNOWN = (0, 2, 3)
"""H.273: reserved, unspecified."""


def usual_space(lines: int) -> str:
    """The matrix of pictures whose source names none, and by which RGB is converted."""
    return "bt709" if lines >= HD_LINES else "bt601"


def colours(space: str, primaries: int = 0, transfer: int = 0) -> Colours:
    """``primaries`` and ``transfer`` that are not known are those that belong to the space. Chromium uses none of the
    three unless the file has all."""
    usual = _USUAL[space]
    return Colours(
        space,
        usual[0] if primaries in UNKNOWN else primaries,
        usual[1] if transfer in UNKNOWN else transfer,
    )


BT601 = colours("bt601")


def colours_of_rgb(lines: int) -> Colours:
    """The colours of pictures that come as RGB, which is sRGB."""
    return Colours(usual_space(lines), *_SRGB)


def colours_of(settings: Mapping[str, Any]) -> Colours:
    """The colours that a track's settings describe; what they leave out is as usual."""
    if "color_space" not in settings:
        if str(settings.get("pixel_format", "i420")) in YUV_FORMATS:
            return colours("bt601")
        return colours_of_rgb(int(settings["height"]))
    space = str(settings["color_space"])
    primaries, transfer = (int(settings.get(name, 0)) for name in ("color_primaries", "color_transfer"))
    return colours(space if space in COLOR_SPACES else "bt601", primaries, transfer)


def picture_bytes(pixel_format: str, width: int, height: int) -> int:
    """Bytes of a tightly packed picture; ``ValueError`` for an unknown format. Sides in pixels."""
    if pixel_format in YUV_FORMATS:
        return width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)
    if pixel_format not in BYTES_PER_PIXEL:
        raise ValueError(f"unknown pixel format {pixel_format!r}: expected {', '.join(PIXEL_FORMATS)}")
    return width * height * BYTES_PER_PIXEL[pixel_format]


def picture_settings(width: int, height: int, pixel_format: str, color_space: str) -> dict[str, Any]:
    """The settings of a pushed track; ``color_space``: the matrix of its YUV. ``ValueError``: it can never be sent."""
    if color_space not in ("bt601", "bt709"):
        raise ValueError(f'color_space must be "bt601" or "bt709", got {color_space!r}')
    size = picture_bytes(pixel_format, width, height)
    if size > FRAME_BYTES_MAX:
        raise ValueError(
            f"pictures of {width}x{height} {pixel_format} have {size} bytes; at most {FRAME_BYTES_MAX} are recorded"
        )
    known = colours(color_space) if pixel_format in YUV_FORMATS else colours_of_rgb(height)
    return {
        "width": width,
        "height": height,
        "pixel_format": pixel_format,
        "color_space": known.space,
        "color_primaries": known.primaries,
        "color_transfer": known.transfer,
    }


def check_settings(kind: str, settings: Mapping[str, Any]) -> None:
    """``ValueError`` unless a track of this kind can be recorded with these settings, as far as they say something."""
    if kind not in ("audio", "video"):
        raise ValueError(f"a track is of kind audio or video, not {kind!r}")
    if kind == "audio":
        _check(settings, "sample_rate", SAMPLE_RATE_MIN, SAMPLE_RATE_MAX)
        _check(settings, "channel_count", 1, CHANNEL_COUNT_MAX)
    elif settings.get("frame_rate") is not None:
        _check(settings, "frame_rate", 0, FRAME_RATE_MAX, is_whole=False)


def _check(settings: Mapping[str, Any], name: str, least: float, most: float, *, is_whole: bool = True) -> None:
    value = settings.get(name)
    if isinstance(value, int if is_whole else (int, float)) and not isinstance(value, bool) and least <= value <= most:
        return
    raise ValueError(f"{name} of a track: expected a number from {least:g} to {most:g}, not {str(value)[:100]}")
