"""Decides which frame a worker encodes next. Pure logic: no sockets, no clocks, no codecs.

Each frame that comes gives its recording a turn, and turns are taken in the order in which they were given: so no
recording starves, and none gains by what its time stamps claim. Frames of stopping recordings go before all others.
A frame that takes long is encoded in parts, each in a turn of its own: so a stop waits for at most one frame of a
neighbour. Within a route the order of arrival is kept; of a recording's routes the one goes whose track is least far,
which keeps sound and pictures together in the file.

A recording that need not keep up with its media takes the time that others leave, and one turn in ``SPARE_EVERY`` where
they leave none: however much of it waits, it delays nobody who must keep up, also when it stops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

_PASSED_MAX = 100
"""Turns in which a route may be passed over in favour of another of its recording, so that broken times starve nobody.
Sound in parts of 20 ms has a hundred turns between pictures 2 s apart: with fewer it would run ahead of them."""
_NOWHERE = -(2**63)
SPARE_EVERY = 5
"""A worker that is never idle would not come to them at all."""


class _Queue(Generic[Item]):
    """The frames of one route that wait."""

    __slots__ = ("items", "name", "passed", "position", "recording", "spare", "stopping")

    def __init__(self, name: str, recording: str, position: Callable[[], int | None], spare: bool) -> None:
        self.name = name
        self.recording = recording
        self.position = position
        self.items: deque[Item] = deque()
        self.spare = spare
        self.stopping = False
        self.passed = 0


class Scheduler(Generic[Item]):
    """Bounded by the credits of its routes; it adds no bound of its own."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue[Item]] = {}
        self._recordings: dict[str, list[_Queue[Item]]] = {}  # whose queues share their turns
        self._turns: deque[str] = deque()  # names of recordings
        self._stopping_turns: deque[str] = deque()
        self._spare_turns: deque[str] = deque()
        self._others = 0  # turns since the last of these
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def waiting(self, route: str) -> int:
        """Frames of one route that wait."""
        return len(self._queues[route].items) if route in self._queues else 0

    def add(self, route: str, recording: str, position: Callable[[], int | None], *, spare: bool = False) -> None:
        """``position``: how far the route's track is in its recording, in any unit that its recording's others share;
        ``None``: it has not begun. ``spare``: its recording, with all its routes, need not keep up."""
        queue = self._queues[route] = _Queue(route, recording, position, spare)
        self._recordings.setdefault(recording, []).append(queue)

    def remove(self, route: str) -> None:
        """Forgets a route, and its frames: nobody will encode them."""
        queue = self._queues.pop(route, None)
        if queue is None:
            return
        self._length -= len(queue.items)
        others = self._recordings[queue.recording]
        others.remove(queue)
        if not others:
            del self._recordings[queue.recording]

    def push(self, route: str, item: Item) -> None:
        """A frame has come. The route must have been added."""
        queue = self._queues[route]
        queue.items.append(item)
        self._give_turn(queue)

    def again(self, route: str, item: Item) -> None:
        """The frame that was popped last is not done: the rest of it stays before its route's others, and waits for a
        further turn after those that were given meanwhile."""
        queue = self._queues[route]
        queue.items.appendleft(item)
        self._give_turn(queue)

    def _give_turn(self, queue: _Queue[Item]) -> None:
        self._length += 1
        turns = self._spare_turns if queue.spare else self._stopping_turns if queue.stopping else self._turns
        turns.append(queue.recording)

    def stop(self, route: str) -> None:
        """From now on the frames of this route go first."""
        queue = self._queues.get(route)
        if queue is not None and not queue.stopping and not queue.spare:
            queue.stopping = True
            self._stopping_turns.extend([queue.recording] * len(queue.items))

    def pop(self) -> tuple[str, Item] | None:
        """``(route, frame)`` to encode now, or ``None``."""
        if self._others >= SPARE_EVERY - 1 and (picked := self._take(self._spare_turns)):
            self._others = 0
            return picked
        picked = self._take(self._stopping_turns, stopping=True) or self._take(self._turns)
        if picked is None:
            self._others = 0
            return self._take(self._spare_turns)
        self._others += 1
        return picked

    def _take(self, turns: deque[str], *, stopping: bool = False) -> tuple[str, Item] | None:
        while turns:
            queues = self._recordings.get(turns.popleft(), ())
            waiting = [queue for queue in queues if queue.items and (queue.stopping or not stopping)]
            if waiting:  # else what this turn was for has gone already, or will never go
                queue = waiting[0] if len(waiting) == 1 else _choose(waiting)
                self._length -= 1
                return queue.name, queue.items.popleft()
        return None


def _choose(waiting: list[_Queue[Item]]) -> _Queue[Item]:
    """The queue of the track that is least far; one that has shown no frame yet is awaited by all."""
    chosen = max(waiting, key=lambda queue: queue.passed)
    if chosen.passed < _PASSED_MAX:
        positions = [(_NOWHERE if (at := queue.position()) is None else at) for queue in waiting]
        chosen = waiting[positions.index(min(positions))]
    for queue in waiting:
        queue.passed += 1
    chosen.passed = 0
    return chosen
