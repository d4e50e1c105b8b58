"""What a caller may ask of a source, checked before anything is opened.

``AudioWish`` and ``VideoWish`` are constraint dictionaries after the check: every field is either ``None``
(the source chooses) or a number within its bounds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

from ..errors import OverconstrainedError
from .limits import FRAME_BYTES_MAX
from .media import (
    CHANNEL_COUNT_MAX,
    FRAME_RATE_MAX,
    FRAME_SIDE_MAX,
    SAMPLE_RATE_MAX,
    SAMPLE_RATE_MIN,
    picture_bytes,
)

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

    @property
    def first(self) -> str:
        """The name of the first constraint that was asked for; ``""``: none."""
        return next((name for name, value in vars(self).items() if value is not None), "")


def whole_number(name: str, value: object, low: int, high: int) -> int:
    """``value`` as an int within ``low`` … ``high``: any kind of number that is whole, of numpy too.

    Raises ``TypeError`` when it is not a whole number, ``ValueError`` when it is out of range.
    """
    number = _number(value)
    if number is None or not math.isfinite(number) or number != int(number):
        raise TypeError(f"{name} must be a whole number of {low} to {high}, not {value!r}")
    if not low <= number <= high:
        raise ValueError(f"{name} must be within {low} to {high}, not {value}")
    return int(number)


def checked_frame_rate(value: object) -> float:
    """``value``, any kind of number, as frames per second within 0 (exclusive) … ``FRAME_RATE_MAX``; same errors."""
    number = _number(value)
    if number is None:
        raise TypeError(f"frame_rate must be a number of frames per second, not {value!r}")
    if not (math.isfinite(number) and 0 < number <= FRAME_RATE_MAX):
        raise ValueError(f"frame_rate must be above 0 and at most {FRAME_RATE_MAX:g}, not {value}")
    return float(number)


def _number(value: object) -> Any:
    return value if isinstance(value, (Real, Decimal)) and not isinstance(value, bool) else None


def _wished(name: str, value: object, low: int, high: int) -> int:
    """As ``whole_number``; a number that a source could have, but that none is recorded with, is
    ``OverconstrainedError``."""
    try:
        return whole_number(name, value, low, high)
    except ValueError:
        if _number(value) < 1:
            raise
        raise OverconstrainedError(f"{name}: {value} cannot be recorded; {low} to {high} can") from None


def _wished_frame_rate(value: object) -> float:
    try:
        return checked_frame_rate(value)
    except ValueError:
        if not FRAME_RATE_MAX < _number(value) < math.inf:
            raise
        raise OverconstrainedError(f"frame_rate: {value} cannot be recorded; at most {FRAME_RATE_MAX:g} can") from None


def checked_audio(constraints: Mapping[str, object] | None) -> AudioWish | None:
    """The checked form of an audio constraint dictionary; ``None`` stays ``None`` (no audio asked for).

    Raises ``TypeError`` or ``ValueError`` for nonsense, ``OverconstrainedError`` for what might exist but is not
    recorded (of sample sizes, only 16 and 32 bits are).
    """
    given = _known("audio", constraints, ("sample_rate", "channel_count", "sample_size"))
    if given is None:
        return None
    rate, channels, size = (given.get(name) for name in ("sample_rate", "channel_count", "sample_size"))
    sample_format = None
    if size is not None:
        bits = _wished("sample_size", size, 1, 64)
        sample_format = SAMPLE_FORMAT_OF_SIZE.get(bits)
        if sample_format is None:
            raise OverconstrainedError(
                f"sample_size: {bits} cannot be recorded; 16 bits (whole numbers) and 32 bits (float) can"
            )
    return AudioWish(
        None if rate is None else _wished("sample_rate", rate, SAMPLE_RATE_MIN, SAMPLE_RATE_MAX),
        None if channels is None else _wished("channel_count", channels, 1, CHANNEL_COUNT_MAX),
        sample_format,
    )


def checked_video(constraints: Mapping[str, object] | None) -> VideoWish | None:
    """The checked form of a video constraint dictionary; ``None`` stays ``None`` (no video asked for).

    Raises ``TypeError`` or ``ValueError`` for nonsense, ``OverconstrainedError`` for what cannot be recorded.
    """
    given = _known("video", constraints, ("width", "height", "frame_rate"))
    if given is None:
        return None
    width, height, rate = (given.get(name) for name in ("width", "height", "frame_rate"))
    wish = VideoWish(
        None if width is None else _wished("width", width, 1, FRAME_SIDE_MAX),
        None if height is None else _wished("height", height, 1, FRAME_SIDE_MAX),
        None if rate is None else _wished_frame_rate(rate),
    )
    if wish.width and wish.height and picture_bytes("i420", wish.width, wish.height) > FRAME_BYTES_MAX:
        raise OverconstrainedError(
            f"width: pictures of {wish.width}x{wish.height} cannot be recorded; {FRAME_BYTES_MAX} bytes at most can"
        )
    return wish


def plain(constraints: Mapping[str, Any]) -> dict[str, Any]:
    """Checked constraints as they can be sent: ints, floats and the source's string, nothing that is ``None``."""
    kinds = {"frame_rate": float, "source": str}
    return {name: kinds.get(name, int)(value) for name, value in constraints.items() if value is not None}


def _known(kind: str, given: Mapping[str, object] | None, names: tuple[str, ...]) -> Mapping[str, object] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise TypeError(f"{kind} constraints must be a dict, not {given!r}")
    unknown = sorted(str(name) for name in given if name not in names and name != "source")
    if unknown:
        raise ValueError(f"unknown {kind} constraint {', '.join(unknown)}; known are {', '.join(names)}")
    return given
