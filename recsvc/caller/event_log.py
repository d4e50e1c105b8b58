"""The events that a recorder has fired, for those who ask afterwards. The same under both faces."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ..common.limits import EVENTS_KEPT_MAX
from .events import EVENT_TYPES, Event


class EventLog:
    """What was fired since the last ``start()``, in its order, and what of it nobody has waited for yet.

    Needs no lock: each step is one operation of a deque, which neither a thread nor a signal handler splits. Events are
    added by one thread at a time.
    """

    def __init__(self) -> None:
        self.over = False
        """Whether nothing more will be fired for now."""
        self._fired: deque[tuple[int, Event]] = deque(maxlen=EVENTS_KEPT_MAX)  # numbered from 0, without a gap
        self._count = 0
        self._unwaited: dict[str, deque[Event]] = {type: deque(maxlen=EVENTS_KEPT_MAX) for type in EVENT_TYPES}

    def forget(self) -> None:
        """A new recording begins: what was fired before counts no more."""
        self._fired.clear()
        for unwaited in self._unwaited.values():
            unwaited.clear()
        self.over = False

    def add(self, event: Event) -> None:
        """Adds an event, whose listeners have been called."""
        self._fired.append((self._count, event))
        self._count += 1
        self._unwaited[event.type].append(event)

    def take(self, type: str) -> Event | None:
        """The oldest event of this type that was not taken yet; ``None`` where there is none."""
        try:
            return self._unwaited[type].popleft()
        except IndexError:
            return None

    def walk(self) -> Iterator[Event | None]:
        """All events and then, as they come, new ones, until it is over. ``None``: there is no other yet; go on after
        the next change."""
        following = 0
        while True:
            over = self.over  # before the look at the events: what was added before it was over is then among them
            fired = list(self._fired)
            fresh = fired[max(following - fired[0][0], 0) :] if fired else []
            for number, event in fresh:
                following = number + 1
                yield event
            if not fresh:
                if over:
                    return
                yield None
