"""Decides which frame a worker encodes next. Pure logic: no sockets, no clocks, no codecs.

Each frame that comes gives its recording a turn, and turns are taken in the order in which they were given: so no
recording starves, and none gains by what its time stamps claim. Frames of stopping recordings go before all others.
A frame that takes long is encoded in parts, each in a turn of its own: so a stop waits for at most one frame of a
neighbour. Within a route the order of arrival is kept; of a recording's routes the one goes whose track is behind the
others, which keeps sound and pictures together in the file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Turns a route may be passed over in favour of another of its recording, so that broken times starve nobody. Sound in
# parts of 20 ms has a hundred turns between pictures that are 2 s apart: with fewer they would run ahead of it.
_PASSED_MAX = 100
_NOWHERE = -(2**63)


class _Route(Generic[Item]):
    __slots__ = ("items", "name", "passed", "position", "recording", "stopping")

    def __init__(self, name: str, recording: _Recording[Item], position: Callable[[], int | None]) -> None:
        self.name = name
        self.recording = recording
        self.position = position
        self.items: deque[Item] = deque()
        self.stopping = False
        self.passed = 0


class _Recording(Generic[Item]):
    """The routes that share their turns."""

    __slots__ = ("name", "routes")

    def __init__(self, name: str) -> None:
        self.name = name
        self.routes: list[_Route[Item]] = []

    def choose(self, *, stopping: bool) -> _Route[Item] | None:
        """Whose turn it is; ``None``: what this turn was for has gone already, or will never go."""
        waiting = [route for route in self.routes if route.items and (route.stopping or not stopping)]
        if len(waiting) <= 1:
            return waiting[0] if waiting else None
        chosen = max(waiting, key=lambda route: route.passed)
        if chosen.passed < _PASSED_MAX:
            chosen = min(waiting, key=_position)
        for route in waiting:
            route.passed += 1
        chosen.passed = 0
        return chosen


def _position(route: _Route[Item]) -> int:
    """A track that has shown no frame yet is the one that all others wait for."""
    position = route.position()
    return _NOWHERE if position is None else position


class Scheduler(Generic[Item]):
    """Bounded by the credits of its routes; it adds no bound of its own."""

    def __init__(self) -> None:
        self._routes: dict[str, _Route[Item]] = {}
        self._recordings: dict[str, _Recording[Item]] = {}
        self._turns: deque[_Recording[Item]] = deque()
        self._stopping_turns: deque[_Recording[Item]] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def waiting(self, route: str) -> int:
        """Frames of one route that wait."""
        return len(self._routes[route].items) if route in self._routes else 0

    def add(self, route: str, recording: str, position: Callable[[], int | None]) -> None:
        """``position``: how far the route's track is in its recording, in any unit that its recording's others share;
        ``None``: it has not begun."""
        its = self._recordings.setdefault(recording, _Recording(recording))
        self._routes[route] = added = _Route(route, its, position)
        its.routes.append(added)

    def remove(self, route: str) -> int:
        """Forgets a route; the number of its frames that nobody will encode."""
        removed = self._routes.pop(route, None)
        if removed is None:
            return 0
        its = removed.recording
        its.routes.remove(removed)
        if not its.routes:
            del self._recordings[its.name]
        self._length -= len(removed.items)
        return len(removed.items)

    def push(self, route: str, item: Item) -> None:
        """A frame has come. The route must have been added."""
        entry = self._routes[route]
        entry.items.append(item)
        self._give_turn(entry)

    def again(self, route: str, item: Item) -> None:
        """The frame that was popped last is not done: the rest of it stays before its route's others, and waits for a
        further turn behind those that were given meanwhile."""
        entry = self._routes[route]
        entry.items.appendleft(item)
        self._give_turn(entry)

    def _give_turn(self, entry: _Route[Item]) -> None:
        self._length += 1
        (self._stopping_turns if entry.stopping else self._turns).append(entry.recording)

    def stop(self, route: str) -> None:
        """From now on the frames of this route go first."""
        entry = self._routes.get(route)
        if entry is not None and not entry.stopping:
            entry.stopping = True
            self._stopping_turns.extend([entry.recording] * len(entry.items))

    def pop(self) -> tuple[str, Item] | None:
        """``(route, frame)`` to encode now, or ``None``."""
        for turns, stopping in ((self._stopping_turns, True), (self._turns, False)):
            while turns:
                route = turns.popleft().choose(stopping=stopping)
                if route is not None:
                    self._length -= 1
                    return route.name, route.items.popleft()
        return None
