"""Time stamps of an input whose counter wraps, or begins anew in its midst. Pure logic."""

from __future__ import annotations

from ..common.limits import S
from .limits import STAMP_BACK_NS, STAMP_FORWARD_NS

WRAP_NS = (1 << 33) * S // 90_000
"""MPEG-TS counts ticks of 90 kHz in 33 bits: 26.5 hours."""


class Stamps:
    """Puts the stamps of all tracks of one input on one line: what follows a jump goes on where its track was."""

    def __init__(self, *, may_skip: bool = True) -> None:
        """``may_skip``: whether to doubt a counter that goes far forth, too."""
        self._forward_ns = STAMP_FORWARD_NS if may_skip else 1 << 62
        self._newest = 0
        self._offsets: dict[str, int] = {}  # of the counter that each track is on: one may be behind the other
        self._last_ns: dict[str, tuple[int, int]] = {}  # where the last packet stands, and where the next one may

    def place(self, kind: str, stamp_ns: int, lasts_ns: int) -> tuple[int, bool]:
        """Where a packet of this track stands, and whether its counter has jumped since the one before. ``lasts_ns``:
        how long it lasts, or is supposed to."""
        offset = self._offsets.setdefault(kind, self._newest)
        last_ns, expected_ns = self._last_ns.get(kind, (stamp_ns + offset,) * 2)
        known = set(self._offsets.values())
        jumped = False
        if len(known) > 1 or not self._fits(stamp_ns + offset, last_ns, expected_ns):
            fitting = [one for one in known if self._fits(stamp_ns + one, last_ns, expected_ns)]
            if not fitting:
                jumped = True
                wrapped = (self._newest + WRAP_NS, self._newest - WRAP_NS)
                fitting = [one for one in wrapped if abs(stamp_ns + one - expected_ns) <= STAMP_FORWARD_NS]
                self._newest = fitting[0] if fitting else expected_ns - stamp_ns
                fitting = [self._newest]
            offset = self._offsets[kind] = min(fitting, key=lambda one: abs(stamp_ns + one - expected_ns))
        self._last_ns[kind] = stamp_ns + offset, stamp_ns + offset + lasts_ns
        return stamp_ns + offset, jumped

    def _fits(self, at_ns: int, last_ns: int, expected_ns: int) -> bool:
        """How long a picture lasts is a supposition where a file's rate varies: the next one may come sooner."""
        return last_ns - STAMP_BACK_NS <= at_ns <= expected_ns + self._forward_ns
