"""Requests to a service by connections of their own: to its catalog, about recordings of anybody, or only once."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

from .. import errors
from ..common.limits import RPC_DEADLINE_NS
from ..common.service import ServiceAddress
from ..common.service_limits import FETCH_SILENCE_NS
from ..wire import messages, sockets
from ..wire.replies import read, result_of
from . import calls
from .client import Client

_LOOK_MS = 20  # who was interrupted, or whose service is gone, waits so long at most

KEEPS_NONE = (
    "a private controller keeps no recordings, they belong to its program: name a service that was started with recsvc "
    "serve, by service= or RECSVC_SERVICE"
)


def catalog_of(client: Client) -> ServiceAddress:
    """Where the catalog of a client's service is. ``NotSupportedError``: it keeps no recordings."""
    if not client.welcome.catalog:
        raise errors.NotSupportedError(KEEPS_NONE)
    return client.reachable(client.welcome.catalog)


def ask(client: Client, request: messages.Request) -> Any:
    """The result of a request to the catalog; raises what that answered, or ``ServiceError``."""
    return _ask(client, catalog_of(client), request, RPC_DEADLINE_NS)


def ask_controller(client: Client, request: messages.Control, deadline_ns: int) -> Any:
    """The same of the controller, by a connection that began nothing: recordings that this program makes itself are
    commanded like those of others."""
    return _ask(client, client.address, request, deadline_ns)


def _ask(client: Client, address: ServiceAddress, request: messages.Request, deadline_ns: int) -> Any:
    asking = Asking(client, address)
    try:
        return asking.answer(asking.send(request), deadline_ns)
    finally:
        asking.close()


def once(address: ServiceAddress, request: messages.Request, deadline_ns: int) -> Any:
    """The result of one request to a service that may not be there, by the clock's ``deadline_ns``: a ``Client`` would
    try for much longer. Raises what was answered, or ``ServiceError``."""
    socket = sockets.control_client(address)
    try:
        sockets.send_command(socket, messages.encode(msgspec.structs.replace(request, id=1)))
        while not socket.poll(_LOOK_MS):
            calls.look()
            if time.monotonic_ns() >= deadline_ns:
                raise errors.ServiceError(f"no answer from the service at {address}")
        return result_of(read(socket.recv_multipart()[0]))
    finally:
        socket.close(linger=0)


class Asking:
    """A connection to a client's service. What was asked is asked again where no answer comes, by a new connection: the
    old one broke, or another catalog has taken the place of one that ended. Used by one thread."""

    def __init__(self, client: Client, address: ServiceAddress) -> None:
        self.process = os.getpid()
        self._client = client
        self._address = address
        self._socket = sockets.control_client(self._address)
        self._number = 0
        self._unanswered: dict[int, messages.Request] = {}
        self._repeated: set[int] = set()
        self._came: dict[int, tuple[messages.Reply, Any]] = {}

    def __del__(self) -> None:
        if hasattr(self, "_socket"):  # else it was interrupted while it was made
            self.close()

    def close(self) -> None:
        self._socket.close(linger=0)

    @property
    def under_way(self) -> int:
        """Requests that are not answered yet."""
        return len(self._unanswered)

    def send(self, request: messages.Request) -> int:
        """Returns the number by which its answer is asked for."""
        self._number += 1
        self._unanswered[self._number] = request = msgspec.structs.replace(request, id=self._number)
        sockets.send_command(self._socket, messages.encode(request))
        return self._number

    def answer(self, number: int, deadline_ns: int = RPC_DEADLINE_NS) -> Any:
        """The result of a request, or the bytes that came with it. Raises what was answered, or ``ServiceError``."""
        deadline_ns += time.monotonic_ns()
        silent_ns = time.monotonic_ns() + FETCH_SILENCE_NS
        while number not in self._came:
            came = self._receive()
            if time.monotonic_ns() >= deadline_ns:
                raise errors.ServiceError(f"no answer from the service at {self._address}")
            if came:
                silent_ns = time.monotonic_ns() + FETCH_SILENCE_NS
            elif time.monotonic_ns() >= silent_ns:
                silent_ns = time.monotonic_ns() + FETCH_SILENCE_NS
                self._repeat()
        reply, data = self._came.pop(number)
        result = result_of(reply)
        return result if data is None else data

    def _receive(self) -> bool:
        """Waits a moment; whether an answer came. ``ServiceError``: the service is gone, or answers nonsense."""
        calls.look()
        if not self._socket.poll(_LOOK_MS):
            if self._client.lost is not None:
                raise errors.ServiceError(f"the service at {self._address} ended before it answered")
            return False
        header, *data = self._socket.recv_multipart(sockets.NOBLOCK, copy=False)
        reply = read(header.buffer)
        request = self._unanswered.pop(reply.id, None)
        if request is None:
            return False
        if reply.id in self._repeated:
            self._repeated.discard(reply.id)
            if isinstance(request, messages.DeleteRecording) and reply.error == "NotFoundError":
                reply = messages.Reply(id=reply.id)  # the first one was obeyed
        self._came[reply.id] = reply, data[0].buffer if data else None
        return True

    def _repeat(self) -> None:
        self._socket.close(linger=0)
        self._socket = sockets.control_client(self._address)
        for number, request in self._unanswered.items():
            self._repeated.add(number)
            sockets.send_command(self._socket, messages.encode(request))
