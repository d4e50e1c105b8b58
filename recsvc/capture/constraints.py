"""What a caller may ask of a source, checked before anything is opened.

``AudioWish`` and ``VideoWish`` are constraint dictionaries after the check: every field is either ``None``
(the source chooses) or a number within its bounds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from recsvc.errors import OverconstrainedError

# VP8 and VP9 headers hold 14 bits (VP8) of width and height: nothing larger can be recorded.
SIDE_MAX = 16383
# Above this no capture device delivers, and frame times would come near the clock's resolution.
FRAME_RATE_MAX = 1000.0
# Telephony's lowest rate, and the highest one that sound cards offer.
SAMPLE_RATE_MIN, SAMPLE_RATE_MAX = 8_000, 192_000
# Opus' mapping family 1 (7.1) ends here.
CHANNELS_MAX = 8

SAMPLE_FORMAT_OF_SIZE = {16: "s16", 32: "f32"}


@dataclass(frozen=True)
class AudioWish:
    """Constraints of an audio track: Hz, channels, ``s16`` or ``f32``; ``None``: the source chooses."""

    sample_rate: int | None = None
    channel_count: int | None = None
    sample_format: str | None = None


@dataclass(frozen=True)
class VideoWish:
    """Constraints of a video track: pixels, frames per second; ``None``: the source chooses."""

    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None


def whole_number(name: str, value: object, low: int, high: int) -> int:
    """``value`` as an int within ``low`` … ``high``.

    Raises ``TypeError`` when it is not a whole number, ``ValueError`` when it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        else:
            raise TypeError(f"{name} must be a whole number of {low} to {high}, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be within {low} to {high}, not {value}")
    return value


def checked_frame_rate(value: object) -> float:
    """``value`` as frames per second within 0 (exclusive) … ``FRAME_RATE_MAX``; same errors."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)):
        raise TypeError(f"frame_rate must be a number of frames per second, not {value!r}")
    if not (math.isfinite(value) and 0 < value <= FRAME_RATE_MAX):
        raise ValueError(f"frame_rate must be above 0 and at most {FRAME_RATE_MAX:g}, not {value}")
    return float(value)


def checked_audio(constraints: Mapping[str, object] | None) -> AudioWish | None:
    """The checked form of an audio constraint dictionary; ``None`` stays ``None`` (no audio asked for).

    Raises ``TypeError`` or ``ValueError`` for nonsense, ``OverconstrainedError`` for a sample size that
    exists but is not recorded (only 16 and 32 bits are).
    """
    given = _known("audio", constraints, ("sample_rate", "channel_count", "sample_size"))
    if given is None:
        return None
    rate, channels, size = (given.get(name) for name in ("sample_rate", "channel_count", "sample_size"))
    sample_format = None
    if size is not None:
        bits = whole_number("sample_size", size, 1, 64)
        sample_format = SAMPLE_FORMAT_OF_SIZE.get(bits)
        if sample_format is None:
            raise OverconstrainedError(
                f"sample_size {bits}: samples are taken with 16 bits (whole numbers) or 32 bits (float)"
            )
    return AudioWish(
        None if rate is None else whole_number("sample_rate", rate, SAMPLE_RATE_MIN, SAMPLE_RATE_MAX),
        None if channels is None else whole_number("channel_count", channels, 1, CHANNELS_MAX),
        sample_format,
    )


def checked_video(constraints: Mapping[str, object] | None) -> VideoWish | None:
    """The checked form of a video constraint dictionary; ``None`` stays ``None`` (no video asked for).

    Raises ``TypeError`` or ``ValueError`` for nonsense.
    """
    given = _known("video", constraints, ("width", "height", "frame_rate"))
    if given is None:
        return None
    width, height, rate = (given.get(name) for name in ("width", "height", "frame_rate"))
    return VideoWish(
        None if width is None else whole_number("width", width, 1, SIDE_MAX),
        None if height is None else whole_number("height", height, 1, SIDE_MAX),
        None if rate is None else checked_frame_rate(rate),
    )


def _known(kind: str, given: Mapping[str, object] | None, names: tuple[str, ...]) -> Mapping[str, object] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise TypeError(f"{kind} constraints must be a dict, not {given!r}")
    unknown = sorted(str(name) for name in given if name not in names and name != "source")
    if unknown:
        raise ValueError(f"unknown {kind} constraint {', '.join(unknown)}; known are {', '.join(names)}")
    return given
