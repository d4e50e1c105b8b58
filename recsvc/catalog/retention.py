"""Which finished recordings are deleted, and when: by age, by the size of all, by what is free. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..common.service_limits import CLOCK_DOUBT_S, CLOCK_JUMP_S


class Kept(NamedTuple):
    """A finished recording: when it ended (seconds since 1970), and its bytes."""

    recording: str
    ended: float
    size: int


class Bounds(NamedTuple):
    """0: no bound."""

    age_s: float = 0.0
    bytes_max: int = 0
    free_bytes_min: int = 0

    @property
    def none(self) -> bool:
        """Whether everything is kept for ever."""
        return not any(self)


class Used(NamedTuple):
    """What there is: bytes of all recordings, those that go on too, and bytes that are free where they are."""

    total_bytes: int
    free_bytes: int

    def without(self, size: int) -> Used:
        """After so many bytes were deleted."""
        return Used(self.total_bytes - size, self.free_bytes + size)


class Calendar:
    """Whether the time of day can be believed: after a jump of it all recordings may seem to be years old."""

    def __init__(self) -> None:
        self._ahead_s: float | None = None
        self._doubted_until_s = float("-inf")

    def jump(self, now: float, steady_s: float) -> float:
        """By how many seconds the time of day (``now``) has jumped since the last look; 0.0: it has not. ``steady_s``:
        a clock that nobody sets, and which goes on while the machine sleeps."""
        ahead_s, before_s = now - steady_s, self._ahead_s
        self._ahead_s = ahead_s
        if before_s is None or abs(ahead_s - before_s) <= CLOCK_JUMP_S:
            return 0.0
        self._doubted_until_s = steady_s + CLOCK_DOUBT_S
        return ahead_s - before_s

    def is_believed(self, steady_s: float) -> bool:
        """Whether ages may be reckoned by it."""
        return steady_s >= self._doubted_until_s


def why_too_many(kept: Kept, bounds: Bounds, used: Used, now: float) -> str:
    """Why the oldest finished recording is to go; ``""``: it may stay, and with it all newer ones."""
    if bounds.age_s and now - kept.ended > bounds.age_s:
        return f"it is older than {bounds.age_s:g} s"
    if bounds.bytes_max and used.total_bytes > bounds.bytes_max:
        return f"all recordings have {used.total_bytes} bytes, and {bounds.bytes_max} is the bound"
    if bounds.free_bytes_min and used.free_bytes < bounds.free_bytes_min:
        return f"{used.free_bytes} bytes are free, and {bounds.free_bytes_min} are to be"
    return ""


def delete_surplus(
    oldest_first: Iterable[Kept], bounds: Bounds, used: Used, now: float, delete: Callable[[Kept, str], bool]
) -> None:
    """Calls ``delete(kept, why)`` for one finished recording after the other until the bounds are kept. What it does
    not delete, since somebody reads it, counts on, and newer ones go in its place where that helps."""
    for kept in oldest_first:
        why = why_too_many(kept, bounds, used, now)
        if not why:
            return
        if delete(kept, why):
            used = used.without(kept.size)
