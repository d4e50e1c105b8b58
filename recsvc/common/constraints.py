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
    LATENCY_MAX_S,
    SAMPLE_RATE_MAX,
    SAMPLE_RATE_MIN,
    picture_bytes,
)
from .packet_limits import PREROLL_S_MAX

SAMPLE_FORMAT_OF_SIZE = {16: "s16", 32: "f32"}

BOUNDS: dict[str, dict[str, tuple[int, float]]] = {
    "audio": {
        "sample_rate": (SAMPLE_RATE_MIN, SAMPLE_RATE_MAX),
        "channel_count": (1, CHANNEL_COUNT_MAX),
        "sample_size": (1, 64),
        "latency": (0, LATENCY_MAX_S),
    },
    "video": {
        "width": (1, FRAME_SIDE_MAX),
        "height": (1, FRAME_SIDE_MAX),
        "frame_rate": (0, FRAME_RATE_MAX),
        "preroll": (0, PREROLL_S_MAX),
    },
}
"""The constraints of each kind, with the lowest and the highest value that can be recorded."""

FRACTIONAL = {"frame_rate", "latency", "preroll"}
"""Those that need not be whole numbers, and are more than the lowest value (``preroll`` may be that)."""

ENCODED = "encoded"
"""The constraint of both kinds that is no number: whether packets are recorded as the source has them."""


@dataclass(frozen=True)
class AudioWish:
    """Constraints of an audio track: Hz, channels, ``s16`` or ``f32``, seconds of sound that a device may keep before
    it brings them; ``None``: the source chooses. ``encoded``: packets are recorded as the source has them."""

    sample_rate: int | None = None
    channel_count: int | None = None
    sample_format: str | None = None
    latency: float | None = None
    encoded: bool = False


@dataclass(frozen=True)
class VideoWish:
    """Constraints of a video track: pixels, frames per second; ``None``: the source chooses. ``encoded``: packets are
    recorded as the source has them, from a key frame on that is at most ``preroll`` seconds older than ``start()``."""

    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    preroll: float | None = None
    encoded: bool = False

    @property
    def first(self) -> str:
        """The name of the first constraint of pictures that was asked for; ``""``: none."""
        return next((name for name in ("width", "height", "frame_rate") if getattr(self, name) is not None), "")


def checked_audio(constraints: Mapping[str, object] | None) -> AudioWish | None:
    """The checked form of an audio constraint dictionary; ``None`` stays ``None`` (no audio asked for).

    Raises ``TypeError`` or ``ValueError`` for nonsense, ``OverconstrainedError`` for what might exist but is not
    recorded (of sample sizes, only 16 and 32 bits are).
    """
    if constraints is None:
        return None
    wishes = _wishes("audio", constraints)
    bits = wishes.pop("sample_size", None)
    if bits is not None and bits not in SAMPLE_FORMAT_OF_SIZE:
        raise OverconstrainedError(
            f"sample_size: {bits} cannot be recorded; 16 bits (whole numbers) and 32 bits (float) can"
        )
    wish = AudioWish(**wishes, sample_format=SAMPLE_FORMAT_OF_SIZE.get(bits))
    _check_encoded(constraints, wish.encoded)
    return wish


def checked_video(constraints: Mapping[str, object] | None) -> VideoWish | None:
    """The checked form of a video constraint dictionary; ``None`` stays ``None`` (no video asked for).

    Raises ``TypeError`` or ``ValueError`` for nonsense, ``OverconstrainedError`` for what cannot be recorded.
    """
    if constraints is None:
        return None
    wish = VideoWish(**_wishes("video", constraints))
    _check_encoded(constraints, wish.encoded)
    if wish.preroll is not None and not wish.encoded:
        raise OverconstrainedError("preroll: pictures that come raw need none; give it beside encoded=True")
    if wish.width and wish.height and picture_bytes("i420", wish.width, wish.height) > FRAME_BYTES_MAX:
        raise OverconstrainedError(
            f"width: pictures of {wish.width}x{wish.height} cannot be recorded; {FRAME_BYTES_MAX} bytes at most can"
        )
    return wish


def plain(constraints: Mapping[str, Any]) -> dict[str, Any]:
    """Checked constraints as they can be sent: numbers, the source's string, whether it comes encoded; nothing that is
    ``None``."""
    kinds = {**dict.fromkeys(FRACTIONAL, float), "source": str, ENCODED: bool}
    return {name: kinds.get(name, int)(value) for name, value in constraints.items() if value is not None}


def _wishes(kind: str, given: Mapping[str, object]) -> dict[str, Any]:
    """The constraints of this kind that were given, as numbers that can be recorded."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{kind} constraints must be a dict, not {given!r}")
    bounds = BOUNDS[kind]
    unknown = sorted(str(name) for name in given if name not in bounds and name not in ("source", ENCODED))
    if unknown:
        raise ValueError(f"unknown {kind} constraint {', '.join(unknown)}; known are {', '.join((*bounds, ENCODED))}")
    wishes: dict[str, Any] = {
        name: _wish(name, given[name], *bounds[name]) for name in bounds if given.get(name) is not None
    }
    encoded = given.get(ENCODED)
    if encoded is not None and not isinstance(encoded, bool):
        raise TypeError(f"{ENCODED} must be True or False, not {encoded!r}")
    return {**wishes, ENCODED: bool(encoded)}


def _check_encoded(given: Mapping[str, object], encoded: bool) -> None:
    """``OverconstrainedError`` for what would have to be changed of media that is recorded as it is."""
    fitting = ("source", ENCODED, "preroll")
    changing = [name for name, value in given.items() if value is not None and name not in fitting]
    if encoded and changing:
        raise OverconstrainedError(
            f"{changing[0]}: {given[changing[0]]} cannot be met by packets that are recorded as they come; leave it or "
            "encoded=True (--copy) out"
        )


def _wish(name: str, value: object, low: int, high: float) -> int | float:
    """Any kind of number, of numpy too, as int or float. One that a source could have, but that none is recorded with,
    is ``OverconstrainedError``."""
    is_whole = name not in FRACTIONAL
    expected = f"a whole number of {low} to {high}" if is_whole else f"a number above {low} and at most {high:g}"
    is_number = isinstance(value, (Real, Decimal)) and not isinstance(value, bool)
    number: Any = value if is_number else math.nan
    try:
        is_finite = math.isfinite(number)
    except OverflowError:  # no float holds it, so it is beyond every bound
        is_finite = True
    if not is_number or (is_whole and not (is_finite and number == int(number))):
        raise TypeError(f"{name} must be {expected}, not {value!r}")
    if not is_finite or number < 0 or (number == 0 and name != "preroll"):
        raise ValueError(f"{name} must be {expected}, not {value}")
    if not low <= number <= high:
        raise OverconstrainedError(f"{name}: {value} cannot be recorded; {expected} can")
    return int(number) if is_whole else float(number)
