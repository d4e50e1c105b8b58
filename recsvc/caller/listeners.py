"""Who hears of a recorder's events: handlers, listeners, waiters and iterators."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, overload

from ..common.limits import EVENTS_KEPT_MAX
from ..errors import InvalidStateError
from ..wire.lending import lend
from .events import EVENT_TYPES, BlobEvent, ErrorEvent, Event

log = logging.getLogger("recsvc")

Listener = Callable[[Any], object]
E = TypeVar("E", bound=Event)


def checked_type(type: Any) -> str:
    """``type`` if it is one of a recorder's events, else ``TypeError`` or ``ValueError``."""
    if not isinstance(type, str):
        raise TypeError(f"an event type is a string, got {type!r}")
    if type not in EVENT_TYPES:
        raise ValueError(f"unknown event type {type!r}: a recorder fires {', '.join(EVENT_TYPES)}")
    return type


def checked_timeout(timeout: Any) -> float | None:
    """``timeout`` if it is a number of seconds or ``None``, else ``TypeError``."""
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float))):
        raise TypeError(f"timeout must be seconds or None, got {timeout!r}")
    return timeout


def log_failure(event: Event) -> None:
    """What every listener's exception comes to: ``SystemExit`` and ``CancelledError`` as well as an ``Exception``. The
    data that it was to have are kept."""
    kept = event.data._owe() if isinstance(event, BlobEvent) else []
    where = f"; what was recorded is kept in {', '.join(kept)}" if kept else ""
    log.exception("a listener of %r failed; the recording goes on%s", event.type, where)


class Registry:
    """The handlers and listeners of one recorder. Thread-safe: tuples are replaced, never changed."""

    def __init__(self) -> None:
        self.handlers: dict[str, Listener | None] = dict.fromkeys(EVENT_TYPES)
        self._listeners: dict[str, tuple[Listener, ...]] = dict.fromkeys(EVENT_TYPES, ())
        self._changing = threading.RLock()  # a signal handler may add a listener while one is being added

    def set_handler(self, type: str, handler: Listener | None) -> None:
        if handler is not None and not callable(handler):
            raise TypeError(f"on{type} must be callable or None, got {handler!r}")
        self.handlers[type] = handler

    def add(self, type: str, listener: Listener) -> None:
        if not callable(listener):
            raise TypeError(f"a listener must be callable, got {listener!r}")
        checked_type(type)
        with self._changing:
            if listener not in self._listeners[type]:
                self._listeners[type] += (listener,)

    def remove(self, type: str, listener: Listener) -> None:
        checked_type(type)
        with self._changing:
            self._listeners[type] = tuple(one for one in self._listeners[type] if one != listener)

    def turn(self, type: str) -> Iterator[Listener]:
        """The handler, then the listeners that are there now and still there at their turn."""
        handler = self.handlers[type]
        if handler is not None:
            yield handler
        for listener in self._listeners[type]:
            if listener in self._listeners[type]:
                yield listener


class Handler(Generic[E]):
    """The attribute ``on<type>`` of a recorder: a function, or ``None``."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._type = name.removeprefix("on")
        self.__doc__ = f"Called with each {self._type!r} event, before the listeners; ``None``: nothing."

    @overload
    def __get__(self, recorder: None, owner: type) -> Handler[E]: ...
    @overload
    def __get__(self, recorder: EventTarget, owner: type) -> Callable[[E], object] | None: ...
    def __get__(self, recorder: EventTarget | None, owner: type) -> Handler[E] | Callable[[E], object] | None:
        return self if recorder is None else recorder._listeners.handlers[self._type]

    def __set__(self, recorder: EventTarget, handler: Callable[[E], object] | None) -> None:
        recorder._listeners.set_handler(self._type, handler)


class EventTarget:
    """What the recorders of both faces have in common. Those of ``recsvc.aio`` take coroutine functions, too."""

    _listeners: Registry

    onstart = Handler[Event]()
    onstop = Handler[Event]()
    ondataavailable = Handler[BlobEvent]()
    onpause = Handler[Event]()
    onresume = Handler[Event]()
    onerror = Handler[ErrorEvent]()

    def add_event_listener(self, type: str, listener: Listener) -> None:
        """``listener(event)`` is called for each event of this type; added twice it is called once."""
        self._listeners.add(type, listener)

    def remove_event_listener(self, type: str, listener: Listener) -> None:
        """Undoes ``add_event_listener``; one that is not there changes nothing."""
        self._listeners.remove(type, listener)


class Listeners(Registry):
    """Those of a synchronous recorder. Events are fired one at a time, by one thread.

    No lock: whoever waits may be halted or interrupted by a signal handler after any step, and nobody else must wait
    for that. Each step is one operation of a queue or a list, which no handler splits.
    """

    def __init__(self) -> None:
        super().__init__()
        self._log: deque[tuple[int, Event]] = deque(maxlen=EVENTS_KEPT_MAX)
        self._count = 0
        self._unwaited: dict[str, SimpleQueue[Event]] = {type: SimpleQueue() for type in EVENT_TYPES}
        self._iterators: list[SimpleQueue[None]] = []  # which have to look again
        self._over = False
        self._firing: int | None = None

    def forget(self) -> None:
        """A new recording begins: what was fired before counts no more for ``wait`` and ``iterate``."""
        self._log.clear()
        for unwaited in self._unwaited.values():
            with suppress(Empty):
                while True:
                    unwaited.get_nowait()
        self._over = False

    def end(self) -> None:
        """Nothing more will be fired for now: iterators end."""
        self._over = True
        self._wake_iterators()

    def fire(self, event: Event) -> None:
        """Calls the handler, then the listeners that are there now and still there at their turn; then waiters wake."""
        self._firing = threading.get_ident()
        try:
            for listener in self.turn(event.type):
                self._call(listener, event)
        finally:
            self._firing = None
        self._log.append((self._count, event))
        self._count += 1
        unwaited = self._unwaited[event.type]
        if unwaited.qsize() >= EVENTS_KEPT_MAX:
            with suppress(Empty):
                unwaited.get_nowait()
        unwaited.put(event)
        self._wake_iterators()

    def _call(self, listener: Listener, event: Event) -> None:
        try:
            listener(event)
        except BaseException:
            log_failure(event)

    def _wake_iterators(self) -> None:
        for iterator in tuple(self._iterators):
            iterator.put(None)

    def wait(self, type: str, timeout: float | None) -> Event:
        """The oldest event of this type not yet waited for; blocks until there is one. ``TimeoutError``."""
        checked_type(type)
        checked_timeout(timeout)
        if self._firing == threading.get_ident():
            raise InvalidStateError(f"wait({type!r}) inside a listener would wait for itself")
        limit_s = None if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)
        try:
            with lend():
                return self._unwaited[type].get(timeout=limit_s)
        except Empty:
            raise TimeoutError(f"no {type!r} event within {timeout} s") from None

    def iterate(self) -> Iterator[Event]:
        """Events since the last start, then new ones as they come, until the recording is over."""
        news: SimpleQueue[None] = SimpleQueue()
        self._iterators.append(news)
        try:
            following = -1
            while True:
                over = self._over
                fresh = [(number, event) for number, event in list(self._log) if number > following]
                if not fresh:
                    if over:
                        return
                    if self._firing == threading.get_ident():
                        raise InvalidStateError("events() inside a listener would wait for itself")
                    with lend():
                        news.get()
                for number, event in fresh:
                    following = number
                    yield event
        finally:
            self._iterators.remove(news)
