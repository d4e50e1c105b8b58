"""How one asyncio recorder's events reach its event loop: handlers, listeners, waiters and iterators there."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

from ..caller.blob import content_of
from ..caller.event_log import EventLog
from ..caller.events import BlobEvent, Event
from ..caller.listeners import Listener, Registry, log_failure
from ..errors import InvalidStateError

log = logging.getLogger("recsvc")


class Room:
    """Delivers a recorder's events, one at a time, on one event loop, or on another one after that has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listeners: Registry) -> None:
        self.loop = loop
        self.begun = 0  # recordings whose stop event has not been delivered yet
        self.log = EventLog()
        self._listeners = listeners
        self._coming: deque[Event] = deque()  # events to deliver; the recorder's thread appends to it
        self._turn: Iterator[Listener] | None = None  # the listeners that have not had the first of these yet
        self.delivery: asyncio.Task[None] | None = None  # exists while there is something to deliver
        self._changed = asyncio.Event()  # is set at the next change, then replaced

    def move(self, loop: asyncio.AbstractEventLoop) -> None:
        """Goes on, on another loop, with the first listener that was not called yet."""
        self.loop, self.delivery, self._changed = loop, None, asyncio.Event()
        self._wake()

    def put(self, event: Event) -> None:
        """Hands an event over to the loop. Called on the recorder's thread."""
        # Until somebody could have it, a recording stays in the spool.
        kept = content_of(event.data).owe() if isinstance(event, BlobEvent) else []
        self._coming.append(event)  # first, so that a loop that takes over at this moment finds it
        try:
            self.loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            log.warning(
                "the event loop of this recorder has ended: %r is not delivered unless another loop goes on%s",
                event.type,
                "".join(f"; the recording stays in {path}" for path in kept),
            )

    def _wake(self) -> None:
        if self.delivery is None and self._coming:
            self.delivery = self.loop.create_task(self._deliver())
            self.delivery.add_done_callback(self._go_on)

    def _go_on(self, ended: asyncio.Task[None]) -> None:
        """Starts another delivery after one that was cancelled, as by a program that cancels all of its tasks."""
        if self.delivery is ended:
            self.delivery = None
            self._wake()

    async def _deliver(self) -> None:
        """Delivers one event after the other, until none is left."""
        while self._coming:
            event = self._coming[0]
            if self._turn is None:
                self._turn = self._listeners.turn(event.type)
            for listener in self._turn:
                await self._call(listener, event)
            self._turn = None
            self._coming.popleft()
            if isinstance(event, BlobEvent):
                content_of(event.data).owe_no_more()
            self.log.add(event)
            if event.type == "stop":
                self.one_less()
            self._notify()

    async def _call(self, listener: Listener, event: Event) -> None:
        try:
            result = listener(event)
            if inspect.isawaitable(result):
                await result
        except GeneratorExit:  # a loop that was closed in the middle
            raise
        except BaseException as error:
            log_failure(event)
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # the delivery itself was cancelled, not a task of the listener

    def one_less(self) -> None:
        """One recording fewer: it is over, or it never began."""
        self.begun -= 1
        self.log.over = self.begun == 0
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def inside_a_listener(self) -> bool:
        return self.delivery is not None and asyncio.current_task() is self.delivery

    def _check_here(self, call: str) -> None:
        if asyncio.get_running_loop() is not self.loop:
            raise InvalidStateError(f"{call}: the recorder is in use by another event loop, which is still running")

    async def _await_change(self, call: str) -> None:
        if self.inside_a_listener():
            raise InvalidStateError(f"{call} inside a listener would wait for itself")
        await self._changed.wait()

    async def wait(self, type: str) -> Event:
        """Returns the oldest event of this type that was not waited for yet."""
        call = f"wait({type!r})"
        self._check_here(call)
        while self.inside_a_listener() or (event := self.log.take(type)) is None:
            await self._await_change(call)
        return event

    async def iterate(self) -> AsyncIterator[Event]:
        """Yields the events since the last start, then new ones as they come, until no recording is left."""
        self._check_here("events()")
        for event in self.log.walk():
            if event is None:
                await self._await_change("events()")
            else:
                yield event

    async def delivered(self) -> None:
        """Waits until nothing is left to deliver. Inside a listener it does not wait, since that is the delivery."""
        while self.delivery is not None and not self.inside_a_listener() and asyncio.get_running_loop() is self.loop:
            await asyncio.wait([self.delivery])


class Rooms(Registry):
    """The listeners of an asyncio recorder, and the rooms in which its recordings' events are delivered."""

    def __init__(self) -> None:
        super().__init__()
        self._room: Room | None = None  # the present loop's
        self._rooms: deque[Room] = deque()  # one for each recording whose stop event has not come yet

    def here(self) -> Room:
        """Where events are delivered. From now on that is the running loop, if the one before has ended."""
        loop = asyncio.get_running_loop()
        if self._room is None:
            self._room = Room(loop, self)
        elif self._room.loop is not loop and not self._room.loop.is_running():
            self._room.move(loop)
        return self._room

    def enter(self, *, fresh: bool) -> Room:
        """Where the events of a recording will be delivered. ``fresh``: what was fired before counts no more."""
        loop = asyncio.get_running_loop()
        if fresh:
            if self._room is None or self._room.loop is not loop:
                self._room = Room(loop, self)
            self._room.log.forget()
        room = self.here()
        room.begun += 1
        self._rooms.append(room)
        return room

    def leave(self, room: Room) -> None:
        """A recording never began. Called on any thread."""
        with suppress(ValueError):  # it was stopped meanwhile
            self._rooms.remove(room)
            room.loop.call_soon_threadsafe(room.one_less)

    def fire(self, event: Event) -> None:
        room = self._rooms.popleft() if event.type == "stop" else self._rooms[0]
        room.put(event)

    def forget(self) -> None:
        """Nothing: a room forgets on its own loop, when a recording is begun there."""

    def end(self) -> None:
        """Nothing: a room is over when it has delivered the stop event of each of its recordings."""
