"""The ends of the sources that this process has opened: a subscription, and who wants to know of which track."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection

from ..common.limits import CLOSED_TRACKS_KEPT
from ..wire import messages, sockets
from ..wire.published import published

log = logging.getLogger("recsvc")

Handler = Callable[[messages.SourceEvent], None]


class SourceEvents:
    """``take`` and ``keep_only`` are called by the thread that owns the socket, ``on_track`` by any."""

    def __init__(self, socket: sockets.Socket[bytes]) -> None:
        """``socket``: subscribed to these events."""
        self.socket = socket
        self._lock = threading.Lock()
        self._handlers: dict[str, Handler] = {}
        self._asked: list[str] = []
        self._ended: deque[messages.SourceEvent] = deque(maxlen=CLOSED_TRACKS_KEPT)  # which no handler has had

    def on_track(self, track: str, handler: Handler | None) -> None:
        """``handler`` is called when a captured track ends by itself, at once where it has ended. ``None``: no more."""
        if handler is None:
            self._handlers.pop(track, None)
            return
        with self._lock:
            early = next((event for event in self._ended if event.track == track), None)
            if early is None:
                self._handlers[track] = handler
        if early is not None:
            handler(early)

    def take(self) -> bool:
        """Reads what is there. Whether the subscription was renewed meanwhile: then something may have been missed."""
        renewed = False
        for event in published(self.socket):
            renewed |= isinstance(event, messages.Subscribed)
            if isinstance(event, messages.SourceEvent):
                self._over(event)
        return renewed

    def note(self) -> None:
        """The service is asked now which tracks still go on there."""
        self._asked = list(self._handlers)

    def keep_only(self, living: Collection[str]) -> None:
        """Its answer: of the tracks that there were then, the ``living`` go on."""
        for track in self._asked:
            if track not in living:
                text = "the connection to the service was interrupted, and the source has ended meanwhile"
                self._over(messages.SourceEvent(track=track, error="UnknownError", text=text))

    def _over(self, event: messages.SourceEvent) -> None:
        with self._lock:
            handler = self._handlers.pop(event.track, None)
            if handler is None:  # its source ended before the answer to who opened it was read
                self._ended.append(event)
        try:
            if handler is not None:
                handler(event)
        except Exception:
            log.exception("handling %s failed", event)
