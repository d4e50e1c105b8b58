"""What becomes of a client's attempts to reach a service, so that one that cannot succeed is not waited for."""

from __future__ import annotations

import time
from typing import Any

from .. import errors
from ..common.limits import S
from ..common.service import ServiceAddress
from ..common.service_limits import ATTEMPTS_NS, HANDSHAKES_MIN, HANDSHAKES_NS
from ..wire import sockets

_NOT_AUTHORIZED = 400
"""How ZeroMQ's authentication answers a key that is not let in."""


def send(socket: sockets.Socket[bytes], address: ServiceAddress, encoded: bytes) -> None:
    """A request. ``ServiceError`` where ZeroMQ has given up the connection, since its key is refused: nothing is taken
    then, and waiting would have no end."""
    try:
        socket.send(encoded, sockets.NOBLOCK)
    except sockets.Again:
        text = f"the service at {address} takes no request any more: it may not let this key in now, or stands still"
        raise errors.ServiceError(text) from None


class Attempts:
    """Those of one socket, which is the owner's from here on. ZeroMQ goes on trying for ever: who waits for an answer
    calls ``look`` now and then. Used by one thread."""

    def __init__(self, address: ServiceAddress) -> None:
        self._address = address
        self._begun_ns = time.monotonic_ns()
        self._unreached = self._refused = 0  # attempts, all that there were
        self.socket, monitor = sockets.watched_client(address)
        self._monitor: Any = monitor

    def look(self) -> None:
        """Raises why nobody will answer: ``NotAllowedError`` for a key that is not let in, ``SecurityError`` for keys
        that do not fit, ``ServiceError`` where nobody is."""
        is_final = False
        while self._monitor is not None and sockets.readable(self._monitor):
            event, value, _ = sockets.receive_news(self._monitor)
            if event == sockets.REACHED:
                self.end()
            elif event == sockets.KEY_REFUSED and value == _NOT_AUTHORIZED:
                raise errors.NotAllowedError(
                    f"the service at {self._address} does not let this key in: {self._address.public_key}; put it into "
                    "the folder of keys there ('recsvc keygen --authorize'), then connect again"
                )
            elif event == sockets.UNREACHED:
                self._unreached += 1
            else:
                self._refused += 1
                is_final = is_final or event == sockets.NO_PROTOCOL  # ZeroMQ tries no more
        if self._monitor is None:
            return
        past_ns = time.monotonic_ns() - self._begun_ns
        if is_final or (self._refused >= HANDSHAKES_MIN and past_ns >= HANDSHAKES_NS):
            raise errors.SecurityError(f"the service at {self._address} ends each connection at once: {self._expected}")
        if self._unreached and not self._refused and past_ns >= ATTEMPTS_NS:
            raise errors.ServiceError(
                f"nobody answers at {self._address}, tried for {past_ns // S} s: does a recsvc service run there?"
            )

    @property
    def _expected(self) -> str:
        if not self._address.server_key:
            return "it asks for a key, or is no recsvc service; name a connection file (recsvc keygen writes it)"
        return "its own key is not the server_key of this connection file, or it has too many connections now"

    def end(self) -> None:
        """Nobody needs to know any more; before the socket is closed. Idempotent."""
        if self._monitor is not None:
            self.socket.disable_monitor()
            self._monitor.close()
            self._monitor = None
