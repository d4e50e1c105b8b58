"""A recorder's handlers and listeners, and how a synchronous recorder calls them and lets threads wait for events."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, Generic, Literal, TypeVar, overload

from ..errors import InvalidStateError
from ..wire.lending import lend
from .blob import content_of
from .event_log import EventLog
from .events import EVENT_TYPES, BlobEvent, ErrorEvent, Event

log = logging.getLogger("recsvc")

Listener = Callable[[Any], object]
E = TypeVar("E", bound=Event)


def checked_type(type: object) -> str:
    """``type`` if it is one of a recorder's events, else ``TypeError`` or ``ValueError``."""
    if not isinstance(type, str):
        raise TypeError(f"an event type is a string, got {type!r}")
    if type not in EVENT_TYPES:
        raise ValueError(f"unknown event type {type!r}: a recorder fires {', '.join(EVENT_TYPES)}")
    return type


def checked_timeout(timeout: object) -> float | None:
    """``timeout`` if it is a number of seconds or ``None``, else ``TypeError``."""
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float))):
        raise TypeError(f"timeout must be seconds or None, got {timeout!r}")
    return timeout


def log_failure(event: Event) -> None:
    """Logs what a listener raised, ``SystemExit`` and ``CancelledError`` as well as an ``Exception``. The files of a
    ``dataavailable`` event stay in the spool then."""
    kept = content_of(event.data).owe() if isinstance(event, BlobEvent) else []
    where = f"; what was recorded is kept in {', '.join(kept)}" if kept else ""
    log.exception("a listener of %r failed; the recording goes on%s", event.type, where)


class Registry:
    """The handlers and listeners of one recorder. Thread-safe, since its tuples are replaced and never changed."""

    def __init__(self) -> None:
        self.handlers: dict[str, Listener | None] = dict.fromkeys(EVENT_TYPES)
        self._listeners: dict[str, tuple[Listener, ...]] = dict.fromkeys(EVENT_TYPES, ())
        self._changing = threading.RLock()  # reentrant: a signal handler may add a listener while one is being added

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
        """The handler, then each listener that is there now and is still there at its turn."""
        handler = self.handlers[type]
        if handler is not None:
            yield handler
        for listener in self._listeners[type]:
            if listener in self._listeners[type]:
                yield listener

    def forget(self) -> None:
        """A new recording begins. Those who wait no longer see what was fired before."""
        raise NotImplementedError

    def fire(self, event: Event) -> None:
        """Has the listeners called, then wakes those who wait. Called on the recorder's thread."""
        raise NotImplementedError

    def end(self) -> None:
        """Nothing more will be fired for now."""
        raise NotImplementedError


class Handler(Generic[E]):
    """The attribute ``on<type>`` of a recorder, which is a function or ``None``."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._type = name.removeprefix("on")
        self.__doc__ = f"Called with each {self._type!r} event, before the listeners. ``None``: no handler."

    @overload
    def __get__(self, recorder: None, owner: type) -> Handler[E]: ...
    @overload
    def __get__(self, recorder: EventTarget, owner: type) -> Callable[[E], object] | None: ...
    def __get__(self, recorder: EventTarget | None, owner: type) -> Handler[E] | Callable[[E], object] | None:
        return self if recorder is None else recorder._listeners.handlers[self._type]  # noqa: SLF001 one of its own

    def __set__(self, recorder: EventTarget, handler: Callable[[E], object] | None) -> None:
        recorder._listeners.set_handler(self._type, handler)  # noqa: SLF001 one of its own


class EventTarget:
    """The handlers and listeners of a recorder. Those of a ``recsvc.aio`` recorder may be coroutine functions, too."""

    _listeners: Registry

    onstart = Handler[Event]()
    onstop = Handler[Event]()
    ondataavailable = Handler[BlobEvent]()
    onpause = Handler[Event]()
    onresume = Handler[Event]()
    onerror = Handler[ErrorEvent]()

    @overload
    def add_event_listener(self, type: Literal["dataavailable"], listener: Callable[[BlobEvent], object]) -> None: ...
    @overload
    def add_event_listener(self, type: Literal["error"], listener: Callable[[ErrorEvent], object]) -> None: ...
    @overload
    def add_event_listener(self, type: str, listener: Callable[[Event], object]) -> None: ...
    def add_event_listener(self, type: str, listener: Listener) -> None:
        """Calls ``listener(event)`` for each event of this type. A listener that is added twice is called once."""
        self._listeners.add(type, listener)

    def remove_event_listener(self, type: str, listener: Listener) -> None:
        """Undoes ``add_event_listener``. Does nothing for a listener that was not added."""
        self._listeners.remove(type, listener)


class Listeners(Registry):
    """The registry of a synchronous recorder, which fires events one at a time, on one thread.

    There is no lock, because a signal handler may halt or interrupt a waiting thread after any step, and no other
    thread may have to wait for that.
    """

    def __init__(self) -> None:
        super().__init__()
        self._log = EventLog()
        self._waiting: dict[SimpleQueue[None], str] = {}  # each wakes one waiter, for events of this type ("": any)
        self._firing: int | None = None  # the thread that is calling listeners

    def forget(self) -> None:
        """A new recording begins. ``wait`` and ``iterate`` no longer see what was fired before."""
        self._log.forget()

    def end(self) -> None:
        """Nothing more will be fired for now, and iterators end."""
        self._log.over = True
        self._wake("")

    def fire(self, event: Event) -> None:
        """Calls the handler and the listeners, then wakes the waiters."""
        self._firing = threading.get_ident()
        try:
            for listener in self.turn(event.type):
                self._call(listener, event)
        finally:
            self._firing = None
        self._log.add(event)
        self._wake(event.type)

    def _call(self, listener: Listener, event: Event) -> None:
        try:
            listener(event)
        except BaseException:
            log_failure(event)

    def _wake(self, type: str) -> None:
        for change, wanted in tuple(self._waiting.items()):
            if wanted in ("", type):
                change.put(None)

    def _await(self, change: SimpleQueue[None], until_s: float, call: str) -> None:
        """Blocks until there is a change. ``Empty`` where there is none until then."""
        if self._firing == threading.get_ident():
            raise InvalidStateError(f"{call} inside a listener would wait for itself")
        with lend():
            change.get(timeout=min(max(until_s - time.monotonic(), 0), threading.TIMEOUT_MAX))

    def wait(self, type: str, timeout: float | None) -> Event:
        """Returns the oldest event of this type that was not waited for yet, and blocks until there is one.
        ``TimeoutError``."""
        checked_type(type)
        limit_s = checked_timeout(timeout)
        until_s = math.inf if limit_s is None else time.monotonic() + limit_s
        change: SimpleQueue[None] = SimpleQueue()
        self._waiting[change] = type
        try:
            while self._firing == threading.get_ident() or (event := self._log.take(type)) is None:
                self._await(change, until_s, f"wait({type!r})")
            return event
        except Empty:
            raise TimeoutError(f"no {type!r} event within {timeout} s") from None
        finally:
            del self._waiting[change]

    def iterate(self) -> Iterator[Event]:
        """Yields the events since the last start, then new ones as they come, until the recording is over."""
        change: SimpleQueue[None] = SimpleQueue()
        self._waiting[change] = ""
        try:
            for event in self._log.walk():
                if event is None:
                    self._await(change, math.inf, "events()")
                else:
                    yield event
        finally:
            del self._waiting[change]
