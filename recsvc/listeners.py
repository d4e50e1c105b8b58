"""Who hears of a recorder's events: handlers, listeners, waiters and iterators."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from .errors import InvalidStateError
from .events import EVENT_TYPES, Event
from .limits import EVENTS_KEPT_MAX

log = logging.getLogger("recsvc")

Listener = Callable[[Any], Any]


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


class Listeners:
    """Thread-safe. Events are fired one at a time, by one thread."""

    def __init__(self) -> None:
        self.handlers: dict[str, Listener | None] = dict.fromkeys(EVENT_TYPES)
        self._listeners: dict[str, list[Listener]] = {type: [] for type in EVENT_TYPES}
        self._changed = threading.Condition()
        self._log: deque[tuple[int, Event]] = deque(maxlen=EVENTS_KEPT_MAX)
        self._count = 0
        self._unwaited: dict[str, deque[Event]] = {}
        self._over = False
        self._firing: int | None = None
        self.forget()

    def forget(self) -> None:
        """A new recording begins: what was fired before counts no more for ``wait`` and ``iterate``."""
        with self._changed:
            self._log.clear()
            self._unwaited = {type: deque(maxlen=EVENTS_KEPT_MAX) for type in EVENT_TYPES}
            self._over = False

    def end(self) -> None:
        """Nothing more will be fired for now: iterators end."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def set_handler(self, type: str, handler: Listener | None) -> None:
        if handler is not None and not callable(handler):
            raise TypeError(f"on{type} must be callable or None, got {handler!r}")
        self.handlers[type] = handler

    def add(self, type: str, listener: Listener) -> None:
        if not callable(listener):
            raise TypeError(f"a listener must be callable, got {listener!r}")
        listeners = self._listeners[checked_type(type)]
        if listener not in listeners:
            listeners.append(listener)

    def remove(self, type: str, listener: Listener) -> None:
        listeners = self._listeners[checked_type(type)]
        if listener in listeners:
            listeners.remove(listener)

    def fire(self, event: Event) -> None:
        """Calls the handler, then the listeners that are there now and still there at their turn; then waiters wake."""
        self._firing = threading.get_ident()
        try:
            handler = self.handlers[event.type]
            if handler is not None:
                self._call(handler, event)
            for listener in list(self._listeners[event.type]):
                if listener in self._listeners[event.type]:
                    self._call(listener, event)
        finally:
            self._firing = None
        with self._changed:
            self._log.append((self._count, event))
            self._count += 1
            self._unwaited[event.type].append(event)
            self._changed.notify_all()

    def _call(self, listener: Listener, event: Event) -> None:
        try:
            listener(event)
        except Exception:
            log.exception("a listener of %r failed; the recording goes on", event.type)

    def wait(self, type: str, timeout: float | None) -> Event:
        """The oldest event of this type not yet waited for; blocks until there is one. ``TimeoutError``."""
        checked_type(type)
        checked_timeout(timeout)
        if self._firing == threading.get_ident():
            raise InvalidStateError(f"wait({type!r}) inside a listener would wait for itself")
        with self._changed:
            if not self._changed.wait_for(lambda: self._unwaited[type], timeout):
                raise TimeoutError(f"no {type!r} event within {timeout} s")
            return self._unwaited[type].popleft()

    def iterate(self) -> Iterator[Event]:
        """Events since the last start, then new ones as they come, until the recording is over."""
        following = -1
        while True:
            with self._changed:
                fresh = [(number, event) for number, event in self._log if number > following]
                if not fresh:
                    if self._over:
                        return
                    if self._firing == threading.get_ident():
                        raise InvalidStateError("events() inside a listener would wait for itself")
                    self._changed.wait()
                    continue
            for number, event in fresh:
                following = number
                yield event
