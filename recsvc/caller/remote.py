"""A recording's file that is at its service: read in ranges over ZeroMQ, several of them under way at a time."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from typing import Any

import msgspec

from .. import errors
from ..common.limits import RPC_DEADLINE_NS
from ..common.service import ServiceAddress
from ..common.service_limits import FETCH_BYTES_MAX, FETCH_CREDIT, FETCH_SILENCE_NS
from ..wire import messages, sockets
from ..wire.replies import read, result_of
from . import calls, connections
from .client import Client
from .storage import SpoolFile

_LOOK_MS = 20  # a reader that was interrupted, or whose service is gone, waits so long at most

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


def command(client: Client, request: messages.Control, deadline_ns: int) -> Any:
    """The same to the controller, as somebody who is not that client: recordings that this program makes itself are
    commanded like those of others."""
    return _ask(client, client.address, request, deadline_ns)


def _ask(client: Client, address: ServiceAddress, request: messages.Request, deadline_ns: int) -> Any:
    asking = Asking(client, address)
    try:
        return asking.answer(asking.send(request), deadline_ns)
    finally:
        asking.close()


class Asking:
    """A connection to a client's service. What was asked is asked again where no answer comes, by a new connection: the
    old one broke, or another catalog has taken the place of one that ended. Used by one thread."""

    _socket: Any = None  # of one that was interrupted while it was made

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
        self.close()

    def close(self) -> None:
        if self._socket is not None:
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


class RemoteFile:
    """The file of a recording that its service keeps, as far as it is written."""

    def __init__(self, client: Client, recording: str) -> None:
        self._client = client
        self.recording = recording

    def open(self) -> RemoteReader:
        """``ServiceError`` where its service is gone."""
        self._client = connections.renewed(self._client)
        return RemoteReader(self._client, self.recording)


def check_is_of(recording: str, path: str) -> None:
    """A service may name any file, and we will hand its content out, perhaps complete it, and remove it: so it must
    have the name of the recording, as no other file has. ``NotReadableError``."""
    if os.path.splitext(os.path.basename(path))[0] != recording or "\0" in path:
        raise errors.NotReadableError(
            f"the service has put recording {recording} into {path!r}, which has another name"
        )


def kept_file(client: Client, recording: str, path: str) -> SpoolFile | RemoteFile:
    """The file of a recording that its service keeps: read by its path where the service is reached by a socket of this
    machine and the path leads there (in a container it may not), else from the service."""
    if client.reachable(client.welcome.catalog).endpoint.startswith("ipc://"):
        with suppress(errors.NotReadableError):
            check_is_of(recording, path)
            file = SpoolFile(path, owned=False, kept=True)
            file.open()
            return file
    return RemoteFile(client, recording)


class RemoteReader:
    """An opened one. Used by one thread at a time. Who reads on finds the next bytes under way already."""

    def __init__(self, client: Client, recording: str) -> None:
        self._client = client
        self._recording = recording
        self._asking: Asking | None = None
        self._ranges: deque[tuple[int, int, int]] = deque()  # under way: start, size, number
        self._asked_end = 0  # of the last of these
        self._data: Any = b""
        self._data_start = 0
        self._size = 0  # of a range
        self._window = 1  # so many of them are asked for ahead

    def read(self, start: int, size: int, end: int = 0) -> bytes:
        """At least one of these bytes; those up to ``end`` are wanted soon. ``NotReadableError`` when the file has
        fewer, or was deleted; ``ServiceError``."""
        at = start - self._data_start
        if not 0 <= at < len(self._data):
            try:
                data = self._fetch(start, size, end)
            except BaseException:  # Ctrl-C, too: nobody knows what is under way
                self._ranges.clear()
                self._asking = None
                raise
            self._data, self._data_start, at = data, start, 0
        return bytes(self._data[at : at + size])

    def _fetch(self, start: int, size: int, end: int) -> Any:
        if self._asking is None or self._asking.process != os.getpid():
            self._ranges.clear()
            self._asking = Asking(self._client, catalog_of(self._client))
        follows = start == self._data_start + len(self._data) and start > 0
        self._data = b""
        if not self._ranges or self._ranges[0][0] != start:
            if self._asking.under_way:  # nobody wants these any more
                self._asking.close()
                self._asking = Asking(self._client, catalog_of(self._client))
            self._ranges.clear()
            self._asked_end = start
        self._window = min(2 * self._window, FETCH_CREDIT) if follows else 1
        self._size = min(max(size, 2 * self._size if follows else 0), FETCH_BYTES_MAX)
        wanted_end = max(start + size, min(end, start + self._window * self._size) if follows else 0)
        self._ask_for(wanted_end)
        _, size, number = self._ranges.popleft()
        try:
            data = self._asking.answer(number)
        except errors.NotFoundError as error:
            raise errors.NotReadableError(str(error)) from None
        if not isinstance(data, memoryview) or len(data) > size:
            raise errors.ServiceError(
                f"the service answered something else than the {size} bytes of recording {self._recording} from {start}"
            )
        if not len(data):
            raise errors.NotReadableError(f"the file of recording {self._recording} has no byte {start} at its service")
        return data

    def _ask_for(self, end: int) -> None:
        assert self._asking is not None
        while self._asked_end < end and self._asking.under_way < FETCH_CREDIT:
            size = min(self._size, end - self._asked_end)
            fetch = messages.Fetch(recording=self._recording, start=self._asked_end, size=size)
            self._ranges.append((self._asked_end, size, self._asking.send(fetch)))
            self._asked_end += size
