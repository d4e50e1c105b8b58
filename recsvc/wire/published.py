"""What comes by a subscription."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from . import messages, sockets

log = logging.getLogger("recsvc")

Event = messages.RecorderEvent | messages.SourceEvent | messages.Subscribed


def published(socket: sockets.Socket[bytes]) -> Iterator[Event]:
    """The events that are there. Waits for nothing; what is none is logged and left out."""
    while sockets.readable(socket):
        try:
            event: Event = messages.EVENTS.decode(sockets.receive_event(socket))
        except ValueError as error:
            log.warning("an event was refused: %s", error)
        else:
            yield event
