"""What comes by a subscription."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from ..common.complaints import Complaints
from . import messages, sockets
from .replies import turn

complaints = Complaints(logging.getLogger("recsvc"))

Event = messages.RecorderEvent | messages.SourceEvent | messages.Subscribed


def published(socket: sockets.Socket[bytes]) -> Iterator[Event]:
    """The events that are there, as many as a turn takes. Waits for nothing; what is none is logged and left out."""
    for _ in turn(socket):
        try:
            event: Event = messages.EVENTS.decode(sockets.receive_event(socket))
        except ValueError as error:
            complaints.about("events", f"an event was refused: {error}")
        else:
            yield event
