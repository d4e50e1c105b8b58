"""A recorder's options: what may be given, and what is made of it."""

from __future__ import annotations

import math
import operator
from decimal import Decimal
from numbers import Real
from typing import NamedTuple, SupportsIndex

from .. import errors
from ..common.media import AUDIO_BITS_MAX, AUDIO_BITS_MIN, FRAME_RATE_MAX, VIDEO_BITS_MAX, VIDEO_BITS_MIN
from ..common.recorded import UINT32_MAX
from .origin import Track

AUDIO_BITS_DEFAULT, VIDEO_BITS_DEFAULT = 128_000, 2_500_000


class Bitrates(NamedTuple):
    audio: int
    video: int


def check_tracks(tracks: list[Track]) -> None:
    if not tracks:
        raise errors.NotSupportedError("the stream has no live track")
    for kind in ("audio", "video"):
        same = [track for track in tracks if track.kind == kind]
        if len(same) > 1:
            raise errors.NotSupportedError(
                f"the stream has {len(same)} live {kind} tracks; {same[1].label!r} ({same[1].id}) is one too many"
            )


def split(bits_per_second: int, kinds: set[str]) -> Bitrates:
    """A tenth for sound, the rest for pictures; a kind that is absent gets 0 and the other everything."""
    if "video" not in kinds:
        return Bitrates(possible(bits_per_second, 0).audio, 0)
    if "audio" not in kinds:
        return Bitrates(0, possible(0, bits_per_second).video)
    audio = possible(bits_per_second // 10, 0).audio
    return possible(audio, bits_per_second - audio)


def possible(audio: int, video: int) -> Bitrates:
    """What the codecs can do that is nearest to these; any uint32 may be asked for."""
    return Bitrates(
        min(max(audio, AUDIO_BITS_MIN), AUDIO_BITS_MAX),
        min(max(video, VIDEO_BITS_MIN), VIDEO_BITS_MAX),
    )


def integer(name: str, value: object, low: int, high: int) -> int:
    try:
        if isinstance(value, bool) or not isinstance(value, SupportsIndex):
            raise TypeError
        found = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if not low <= found <= high:
        raise ValueError(f"{name} must be {low} to {high}, got {found}")
    return int(found)


def uint32(name: str, value: object) -> int | None:
    return None if value is None else integer(name, value, 0, UINT32_MAX)


def milliseconds(name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of milliseconds or None, got {value!r}")
    if not (math.isfinite(value) and 0 <= value <= UINT32_MAX):
        raise ValueError(f"{name} must be 0 to {UINT32_MAX} ms, got {value}")
    return float(value)


def choice(name: str, value: object, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {value!r}")
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def rate_settings(frame_rate: object) -> dict[str, float]:
    """What a track's settings say of the rate that its pictures are declared to have; nothing for ``None``."""
    if frame_rate is None:
        return {}
    expected = f"frame_rate must be a number above 0 and at most {FRAME_RATE_MAX:g}"
    if isinstance(frame_rate, bool) or not isinstance(frame_rate, (Real, Decimal)):
        raise TypeError(f"{expected}, got {frame_rate!r}")
    rate = float(frame_rate)
    if not 0 < rate <= FRAME_RATE_MAX:  # nor is NaN
        raise ValueError(f"{expected}, got {frame_rate}")
    return {"frame_rate": rate}
