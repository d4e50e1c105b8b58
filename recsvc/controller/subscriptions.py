"""Who gets which events: each subscription is granted by the permissions of who asks for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .. import errors
from ..common.complaints import Complaints
from ..common.service_limits import REQUESTS_PER_TURN
from ..wire import sockets
from ..wire.gate import Gate
from .permissions import Permissions

complaints = Complaints(logging.getLogger("recsvc.controller"))


class Subscriptions:
    """Not thread-safe: the controller's loop calls it."""

    def __init__(self, socket: Any, gate: Gate, permissions: Permissions, on_begin: Callable[[str], None]) -> None:
        """``on_begin(topic)``: somebody gets the events whose topic begins so."""
        self._socket = socket
        self._gate = gate
        self._permissions = permissions
        self._on_begin = on_begin

    def take(self) -> None:
        """Handles those that are there. Others than programs of ours may send anything, which is left."""
        for _ in range(REQUESTS_PER_TURN):
            if not sockets.readable(self._socket):
                return
            frame = self._socket.recv(sockets.NOBLOCK, copy=False)
            news = frame.bytes
            if news[:1] == b"\x01":
                self._begins(frame, news[1:])
            elif news[:1] == b"\x00":
                sockets.subscription(self._socket, news[1:], begins=False)

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
