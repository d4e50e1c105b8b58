"""Reading the parameters of ``test:``; each raises ``ValueError`` with the value when it is nonsense."""

import math
from collections.abc import Mapping
from fractions import Fraction

from ..common.constraints import VideoWish, checked_frame_rate, whole_number

# A recording's frames are numbered with 64 bits; a run this long (a year) is as good as endless.
DURATION_MAX_S = 366 * 86_400
SECOND_NS = 1_000_000_000


def asked_frame_rate(parameters: Mapping[str, str], wish: VideoWish | None) -> float:
    """Frames per second: the wish, else the parameter, else 30."""
    if wish is not None and wish.frame_rate is not None:
        return wish.frame_rate
    return checked_frame_rate(asked_number(parameters, "frame_rate", 30.0, 0.0, math.inf))


def asked_duration(parameters: Mapping[str, str], frame_rate: float) -> Fraction | None:
    if "frames" in parameters and "duration" in parameters:
        raise ValueError("test: frames and duration say the same thing; give one of them")
    if "frames" in parameters:
        frames = asked_whole(parameters, "frames", 0, 1, int(DURATION_MAX_S * frame_rate))
        return frames / Fraction(frame_rate).limit_denominator(1001 * 1000)
    if "duration" in parameters:
        duration = Fraction(asked_number(parameters, "duration", 0.0, 0.0, DURATION_MAX_S)).limit_denominator(SECOND_NS)
        if duration <= 0:
            raise ValueError("test: duration must be above 0 s")
        return duration
    return None


def asked_whole(parameters: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    if name not in parameters:
        return default
    try:
        value = int(parameters[name])
    except ValueError:
        raise ValueError(f"test: {name} must be a whole number, not {parameters[name]!r}") from None
    return whole_number(f"test: {name}", value, low, high)


def asked_number(parameters: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    try:
        value = float(parameters.get(name, default))
    except ValueError:
        raise ValueError(f"test: {name} must be a number, not {parameters[name]!r}") from None
    if not low <= value <= high:  # also refuses NaN
        raise ValueError(f"test: {name} must be within {low:g} to {high:g}, not {value}")
    return value
