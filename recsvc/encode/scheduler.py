"""Decides which frame a worker encodes next. Pure logic: no sockets, no clocks, no codecs.

Frames of stopping recordings first, then the oldest frame: so a stop waits for at most one frame of a
neighbour, and no recording starves. Within a route the order of arrival is kept.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class _Route(Generic[Item]):
    __slots__ = ("items", "name", "stopping", "version")

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: deque[tuple[int, Item]] = deque()
        self.stopping = False
        self.version = 0  # an entry of the heap with an older one is void


class Scheduler(Generic[Item]):
    """Bounded by the credits of its routes; it adds no bound of its own."""

    def __init__(self) -> None:
        self._routes: dict[str, _Route[Item]] = {}
        self._heap: list[tuple[bool, int, int, str, int]] = []
        self._tie = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def waiting(self, route: str) -> int:
        """Frames of one route that wait."""
        return len(self._routes[route].items) if route in self._routes else 0

    def add(self, route: str) -> None:
        self._routes.setdefault(route, _Route(route))

    def remove(self, route: str) -> int:
        """Forgets a route; the number of its frames that nobody will encode."""
        removed = self._routes.pop(route, None)
        if removed is None:
            return 0
        self._length -= len(removed.items)
        return len(removed.items)

    def push(self, route: str, captured_ns: int, item: Item) -> None:
        """A frame has come. The route must have been added."""
        entry = self._routes[route]
        entry.items.append((captured_ns, item))
        self._length += 1
        if len(entry.items) == 1:
            self._announce(entry)

    def stop(self, route: str) -> None:
        """From now on the frames of this route go first."""
        entry = self._routes.get(route)
        if entry is not None and not entry.stopping:
            entry.stopping = True
            if entry.items:
                self._announce(entry)

    def pop(self) -> tuple[str, Item] | None:
        """``(route, frame)`` to encode now, or ``None``."""
        while self._heap:
            _, _, _, name, version = heapq.heappop(self._heap)
            entry = self._routes.get(name)
            if entry is None or entry.version != version or not entry.items:
                continue
            _, item = entry.items.popleft()
            self._length -= 1
            if entry.items:
                self._announce(entry)
            return name, item
        return None

    def pop_from(self, route: str) -> tuple[str, Item]:
        """The next frame of one route, whatever its turn; ``IndexError`` where it has none."""
        entry = self._routes[route]
        _, item = entry.items.popleft()
        self._length -= 1
        entry.version = 0
        if entry.items:
            self._announce(entry)
        return route, item

    def _announce(self, entry: _Route[Item]) -> None:
        """Puts the head of a route into the heap; what stood there for it before becomes void."""
        self._tie += 1
        entry.version = self._tie
        heapq.heappush(self._heap, (not entry.stopping, entry.items[0][0], self._tie, entry.name, entry.version))
