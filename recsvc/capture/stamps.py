"""Time stamps of an input whose counter wraps, or begins anew in its midst. Pure logic."""

from __future__ import annotations

from ..common.limits import S
from .limits import STAMP_BACK_NS, STAMP_FORWARD_NS

WRAP_NS = (1 << 33) * S // 90_000
"""MPEG-TS counts ticks of 90 kHz in 33 bits: 26.5 hours."""

_OFFSETS_MAX = 4
"""The newest counters of which a track may still bring something, while others are on the next already."""


class Stamps:
    """Puts the stamps of all tracks of one input on one line: what follows a jump goes on where its track was."""

    def __init__(self) -> None:
        self._offsets = [0]  # the newest first
        self._next_ns: dict[str, int] = {}

    def place(self, kind: str, stamp_ns: int, lasts_ns: int) -> tuple[int, bool]:
        """Where a packet of this track stands, and whether its counter has jumped since the one before. ``lasts_ns``:
        how long it lasts, or is supposed to."""
        expected_ns = self._next_ns.get(kind)
        at_ns, jumped = stamp_ns + self._offsets[0], False
        if expected_ns is not None and not self._fits(at_ns, expected_ns):
            wrapped = [self._offsets[0] + WRAP_NS, self._offsets[0] - WRAP_NS]
            known = [offset for offset in (*self._offsets, *wrapped) if self._fits(stamp_ns + offset, expected_ns)]
            offset = known[0] if known else expected_ns - stamp_ns
            jumped = offset not in self._offsets
            if jumped:
                self._offsets = [offset, *self._offsets][:_OFFSETS_MAX]
            at_ns = stamp_ns + offset
        self._next_ns[kind] = at_ns + lasts_ns
        return at_ns, jumped

    @staticmethod
    def _fits(at_ns: int, expected_ns: int) -> bool:
        return -STAMP_BACK_NS <= at_ns - expected_ns <= STAMP_FORWARD_NS
