"""Time stamps of an input whose counter wraps, or begins anew in its midst. Pure logic."""

from __future__ import annotations

from typing import NamedTuple

from ..common.limits import S
from .limits import STAMP_BACK_NS, STAMP_FORWARD_NS

WRAP_NS = (1 << 33) * S // 90_000
"""MPEG-TS counts ticks of 90 kHz in 33 bits: 26.5 hours."""


class _Last(NamedTuple):
    """The packet of a track before: where it stands, where the next one is expected, where all up to it were shown."""

    at_ns: int
    next_ns: int
    shown_ns: int


class Stamps:
    """Puts the stamps of all tracks of one input on one line: what follows a jump goes on where its track was."""

    def __init__(self, *, may_skip: bool = True) -> None:
        """``may_skip``: whether to doubt a counter that goes far forth, too."""
        self._forward_ns = STAMP_FORWARD_NS if may_skip else 1 << 62
        self._newest = 0
        self._offsets: dict[str, int] = {}  # of the counter that each track is on: one may be behind the other
        self._last: dict[str, _Last] = {}

    def place(self, kind: str, stamp_ns: int, lasts_ns: int, offset_ns: int = 0) -> tuple[int, bool]:
        """Where a packet of this track stands, and whether its counter has jumped since the one before. ``lasts_ns``:
        how long it lasts, or is supposed to; ``offset_ns``: how much later than it is decoded a picture is shown."""
        offset = self._offsets.setdefault(kind, self._newest)
        last = self._last.get(kind) or _Last(stamp_ns + offset, stamp_ns + offset, stamp_ns + offset + offset_ns)
        known = set(self._offsets.values())
        jumped = False
        if len(known) > 1 or not self._fits(stamp_ns + offset, last):
            fitting = [one for one in known if self._fits(stamp_ns + one, last)]
            if not fitting:
                jumped = True
                wrapped = (self._newest + WRAP_NS, self._newest - WRAP_NS)
                fitting = [one for one in wrapped if abs(stamp_ns + one - last.next_ns) <= STAMP_FORWARD_NS]
                # It is shown after all before it, too, though it may be decoded as long before as those, or not at all.
                goes_on = max(last.next_ns - stamp_ns, last.shown_ns - stamp_ns - offset_ns)
                self._newest = fitting[0] if fitting else goes_on
                fitting = [self._newest]
            offset = self._offsets[kind] = min(fitting, key=lambda one: abs(stamp_ns + one - last.next_ns))
        at_ns = stamp_ns + offset
        shown_ns = at_ns + offset_ns + lasts_ns
        self._last[kind] = _Last(at_ns, at_ns + lasts_ns, shown_ns if jumped else max(shown_ns, last.shown_ns))
        return at_ns, jumped

    def _fits(self, at_ns: int, last: _Last) -> bool:
        """How long a picture lasts is a supposition where a file's rate varies: the next one may come sooner."""
        return last.at_ns - STAMP_BACK_NS <= at_ns <= last.next_ns + self._forward_ns
