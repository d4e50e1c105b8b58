"""The sockets of a service that is played."""

from __future__ import annotations

from typing import Any

from ..wire import messages, sockets


class Desk:
    """Sockets at an endpoint and beside it: of events, the catalog, data, and of another service."""

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

    def _open(self) -> None:
        self._control, _ = sockets.control_server(self.places[0])
        self._events, _ = sockets.event_server(self.places[1])
        self._catalog, _ = sockets.control_server(self.places[2])
        self._data, _ = sockets.data_server(self.places[3])
        self._other, _ = sockets.control_server(self.places[4])
        self._all = (self._control, self._events, self._catalog, self._data, self._other)
        self._poller = sockets.Poller()
        for socket in self._all:
            self._poller.register(socket, sockets.POLLIN)

    def close(self) -> None:
        for socket in self._all:
            socket.close(200)

    def _reply(self, socket: Any, identity: bytes, reply: messages.Reply, *payload: bytes) -> None:
        socket.send_multipart([identity, messages.encode(reply), *payload])
