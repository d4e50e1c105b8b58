"""When the parts of a stream came to a reader, and so what of it was under way at an instant. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple


class Part(NamedTuple):
    """A block or a picture: from when to when on the stream's own clock (the same, of a picture), and when it came."""

    begin_ns: int
    end_ns: int
    arrived_ns: int


@dataclass
class Arrivals:
    """The last parts of a track. The clock that all tracks of a stream have is fitted to the earliest arrivals: they
    show what way there is at least, and a recorder knows of no other."""

    parts: deque[Part] = field(default_factory=lambda: deque(maxlen=1000))

    def add(self, begin_ns: int, end_ns: int, arrived_ns: int) -> None:
        self.parts.append(Part(begin_ns, end_ns, arrived_ns))

    @property
    def offset_ns(self) -> int:
        """From the stream's clock to ours."""
        return min(part.arrived_ns - part.end_ns for part in self.parts)

    def newest_ns(self, offset_ns: int) -> int:
        """When the last part that came began, on our clock."""
        return self.parts[-1].begin_ns + offset_ns

    def under_way_ns(self, at_ns: int, offset_ns: int) -> int:
        """How long after ``at_ns`` the last part that had begun by then came: 0 where it was here. ``ValueError`` where
        none of these had begun."""
        begun = [part for part in self.parts if part.begin_ns + offset_ns <= at_ns]
        if not begun:
            raise ValueError(f"no part is as old as {at_ns} ns")
        return max(0, begun[-1].arrived_ns - at_ns)
