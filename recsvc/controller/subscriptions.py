"""Who gets which events: each subscription is granted by the permissions of who asks for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .. import errors
from ..common.complaints import Complaints
from ..common.service_limits import REQUESTS_PER_TURN, SUBSCRIPTIONS_MAX, TOPIC_CHARACTERS_MAX
from ..wire import sockets
from ..wire.gate import Gate, connection_of
from .permissions import Permissions

complaints = Complaints(logging.getLogger("recsvc.controller"))


class Subscriptions:
    """Not thread-safe: the controller's loop calls it."""

    def __init__(
        self, socket: sockets.Socket[bytes], gate: Gate, permissions: Permissions, on_begin: Callable[[str], None]
    ) -> None:
        """``on_begin(topic)``: somebody gets the events whose topic begins so."""
        self._socket = socket
        self._gate = gate
        self._permissions = permissions
        self._on_begin = on_begin
        self._counts: dict[int, tuple[int, int]] = {}  # by descriptor: which connection has it, and its topics

    def take(self) -> None:
        """Handles those that are there. Others than programs of ours may send anything, which is left."""
        for _ in range(REQUESTS_PER_TURN):
            if not sockets.readable(self._socket):
                return
            frame = self._socket.recv(sockets.NOBLOCK, copy=False)
            news = frame.bytes
            if news[:1] == b"\x01":
                if self._may_have(frame, news[1:]):
                    self._begins(frame, news[1:])
            elif news[:1] == b"\x00":
                sockets.subscription(self._socket, news[1:], begins=False)
                self._counted(frame, -1)

    def _counted(self, frame: Any, more: int) -> tuple[tuple[int, int] | None, int]:
        """By which connection it came, and how many topics that has now. The end of a connection ends its subscriptions
        too; those come by none."""
        connection = connection_of(frame)
        if connection is None:
            return None, 0
        descriptor, number = connection
        before = self._counts.get(descriptor, (0, 0))
        count = max(0, (before[1] if before[0] == number else 0) + more)
        self._counts[descriptor] = number, count
        return connection, count

    def _may_have(self, frame: Any, topic: bytes) -> bool:
        """A connection that asks for what nobody can need is ended."""
        connection, count = self._counted(frame, 1)
        if connection is None:
            return False
        if count <= SUBSCRIPTIONS_MAX and len(topic) <= TOPIC_CHARACTERS_MAX:
            return True
        self._gate.refused["subscriptions"] += 1
        peer = self._gate.peer(frame)
        what = f"{count} topics" if count > SUBSCRIPTIONS_MAX else f"a topic of {len(topic)} characters"
        text = f"at most {SUBSCRIPTIONS_MAX} are taken, of {TOPIC_CHARACTERS_MAX} characters"
        complaints.about(f"subscriptions {peer}", f"a connection of {peer} that subscribed to {what} was ended: {text}")
        self._gate.end(connection)
        return False

    def _begins(self, frame: Any, encoded: bytes) -> None:
        topic = encoded.decode(errors="replace")
        peer = self._gate.peer(frame)
        try:
            self._permissions.check_topic(peer, topic)
        except errors.NotAllowedError as error:
            self._gate.refused[error.name] += 1
            complaints.about(f"{peer}", f"a subscription to {topic[:200]!r} was refused: {error}")
            return
        sockets.subscription(self._socket, encoded, begins=True)
        self._on_begin(topic)
