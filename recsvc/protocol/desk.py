"""The sockets of a service that is played."""

from __future__ import annotations

import time
from typing import Any

from .. import __version__
from ..common.descriptions import Welcome
from ..common.limits import LOOK_NS, MS, S
from ..common.service_limits import LEASE_NS
from ..errors import ServiceError
from ..wire import messages
from ..wire.sockets import POLLIN, Poller, Socket, ZMQError, control_server, data_server, deliver, event_server

_LINGER_MS = 2_000


class Desk:
    """Sockets at an endpoint and beside it: of events, the catalog, data, and of another service."""

    _all: tuple[Any, ...]

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        names = enumerate(("", "events", "catalog", "data", "other"))
        self.places = [self._place(*one) for one in names]
        self._open()

    def _place(self, offset: int, name: str) -> str:
        if self.endpoint.startswith("ipc:"):
            return f"{self.endpoint}.{name}" if offset else self.endpoint
        host, _, port = self.endpoint.rpartition(":")
        return f"{host}:{int(port) + offset}"

    @property
    def is_over_network(self) -> bool:
        return self.endpoint.startswith("tcp:")

    def _open(self, limit_ns: int = 0) -> None:
        """``ServiceError`` where an endpoint is in use. ``limit_ns``: for so long it may be."""
        until_ns = time.monotonic_ns() + limit_ns
        servers = (control_server, event_server, control_server, data_server, control_server)
        self._all = ()
        for serve, place in zip(servers, self.places, strict=True):
            self._all += (_bound(serve, place, until_ns),)
        self._control, self._events, self._catalog, self._data, self._other = self._all
        self._poller = Poller()
        for socket in self._all:
            self._poller.register(socket, POLLIN)

    def _welcome(self, name: str) -> Welcome:
        return Welcome(
            service=name,
            version=__version__,
            events=(self.places[1],),
            catalog=(self.places[2],),
            permissions=("admin", "read", "record"),
            lease_ms=LEASE_NS // MS,
            clock="the peer's own",
        )

    def close(self) -> None:
        for socket in self._all:
            socket.close(_LINGER_MS)

    def end(self) -> None:
        """Before the process ends, which takes along what is not on its way yet, as the answer to a goodbye."""
        self.close()
        deliver(_LINGER_MS)

    def _reply(self, socket: Socket[bytes], identity: bytes, reply: messages.Reply, *payload: bytes) -> None:
        socket.send_multipart([identity, messages.encode(reply), *payload])


def _bound(serve: Any, place: str, until_ns: int) -> Any:
    while True:
        try:
            return serve(place)[0]
        except ZMQError as error:
            if time.monotonic_ns() >= until_ns:
                raise ServiceError(f"nothing can be served at {place}: {error}") from error
        time.sleep(LOOK_NS / S)
