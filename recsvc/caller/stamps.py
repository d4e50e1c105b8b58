"""The time stamps of pushed frames: the caller's, or made where none is given."""

from __future__ import annotations

import operator
import threading
import time
from typing import SupportsIndex

from ..common.limits import VIDEO_DURATION_DEFAULT_NS, S

_TIME_MAX_NS = 2**62


class Stamps:
    """Of one source. Where none is given: now, or by the clock ``"media"`` the position after the frame before it,
    which is 0 for the first. Sound lasts as long as its samples, a picture as long as the one before it. Thread-safe.
    """

    def __init__(self, clock: object, sample_rate: int | None = None) -> None:
        """``sample_rate``: ``None`` for pictures."""
        if clock not in ("monotonic", "media"):
            raise ValueError(f'clock must be "monotonic" or "media", got {clock!r}')
        self.is_media = clock == "media"
        self._sample_rate = sample_rate
        self._lock = threading.RLock()
        self._from_ns = 0  # the newest stamp that was given
        self._samples = 0  # since then
        self._next_ns = 0
        self._last_ns: int | None = None
        self._interval_ns = VIDEO_DURATION_DEFAULT_NS

    def stamp(self, timestamp_ns: SupportsIndex | None, sample_count: int = 0) -> int:
        """That of the next frame. ``TypeError``, ``ValueError``."""
        given_ns = None if timestamp_ns is None else _checked(timestamp_ns)
        if not self.is_media:
            return time.monotonic_ns() if given_ns is None else given_ns
        with self._lock:
            at_ns = min(self._next_ns, _TIME_MAX_NS) if given_ns is None else given_ns
            if self._sample_rate is not None:
                if given_ns is not None:
                    self._from_ns, self._samples = given_ns, 0
                self._samples += sample_count
                self._next_ns = self._from_ns + self._samples * S // self._sample_rate
            else:
                if self._last_ns is not None and at_ns > self._last_ns:
                    self._interval_ns = at_ns - self._last_ns
                self._last_ns, self._next_ns = at_ns, at_ns + self._interval_ns
            return at_ns


def _checked(timestamp_ns: SupportsIndex) -> int:
    if type(timestamp_ns) is int and -_TIME_MAX_NS <= timestamp_ns <= _TIME_MAX_NS:
        return timestamp_ns  # nearly all
    if isinstance(timestamp_ns, bool):
        raise TypeError(f"timestamp_ns must be an integer or None, got {timestamp_ns!r}")
    try:
        value = operator.index(timestamp_ns)
    except TypeError:
        raise TypeError(f"timestamp_ns must be an integer or None, got {timestamp_ns!r}") from None
    if not -_TIME_MAX_NS <= value <= _TIME_MAX_NS:
        raise ValueError(f"timestamp_ns {value} is out of range: nanoseconds from -2**62 to 2**62 are taken")
    return value
