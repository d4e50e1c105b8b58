"""The connection to the service, on an event loop and without a thread: requests, ranges of files, all events."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable
from typing import TypeVar

from .. import errors
from ..common.descriptions import RecordingInfo, ServiceStatus, Welcome
from ..common.limits import S
from ..common.service import ServiceAddress, reachable
from ..common.service_limits import CATALOG_REQUESTS_MAX, FETCH_CREDIT, HTTP_ANSWER_NS, HTTP_STATUS_AGE_NS
from ..common.status import joined
from ..process import role
from ..wire import messages, sockets
from ..wire.published import published
from ..wire.replies import read, result_of, understood

Result = TypeVar("Result")
_OTHERS_CREDIT = CATALOG_REQUESTS_MAX - FETCH_CREDIT  # of requests that are no fetches


class _Door:
    """One socket for requests, and who waits for their answers."""

    def __init__(self, address: ServiceAddress) -> None:
        self._socket = sockets.control_client(address)
        self._descriptor = sockets.file_descriptor(self._socket)
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, asyncio.Future[list[bytes]]] = {}
        self._next_id = 0
        self._loop.add_reader(self._descriptor, self._take)

    async def ask(self, request: messages.Request) -> list[bytes]:
        """The parts of the answer. ``ServiceError``: there is none; else what the service raised."""
        self._next_id += 1
        request.id = self._next_id
        answer: asyncio.Future[list[bytes]] = self._loop.create_future()
        self._asked[request.id] = answer
        try:
            sockets.send_command(self._socket, messages.encode(request))
            self._loop.call_soon(self._take)  # sending may have taken away what would make the descriptor readable
            async with asyncio.timeout(HTTP_ANSWER_NS / S):
                return await answer
        except TimeoutError:
            raise errors.ServiceError("the service does not answer") from None
        finally:
            del self._asked[request.id]

    def _take(self) -> None:
        while sockets.readable(self._socket):
            parts = self._socket.recv_multipart(sockets.NOBLOCK)
            waiting = self._asked.get(messages.request_id(parts[0]))
            if waiting is not None and not waiting.done():
                waiting.set_result(parts)

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        self._socket.close(linger=0)


class Link:
    """What the HTTP side asks of the service. Used on one event loop."""

    def __init__(self, control: _Door, welcome: Welcome, address: ServiceAddress) -> None:
        self._control = control
        self._catalog = _Door(reachable(welcome.catalog, address)) if welcome.catalog else None
        self._events = sockets.event_client(reachable(welcome.events, address), b"")
        self._events_descriptor = sockets.file_descriptor(self._events)
        self._credits = {True: asyncio.Semaphore(FETCH_CREDIT), False: asyncio.Semaphore(_OTHERS_CREDIT)}
        self._status: asyncio.Task[ServiceStatus] | None = None
        self._status_ns = 0
        self.on_event: Callable[[messages.RecorderEvent], None] = lambda event: None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._events_descriptor, self._take_events)
        self._loop.call_soon(self._take_events)

    @classmethod
    async def connected(cls, endpoint: str) -> Link:
        """``ServiceError``: nobody answers there."""
        address = ServiceAddress(endpoint)
        control = _Door(address)
        try:
            hello = messages.Hello(client=f"http-{uuid.uuid4().hex[:12]}", pid=os.getpid(), clock=role.clock_name())
            hello.pid_namespace = role.pid_namespace()
            return cls(control, _result(await control.ask(hello), Welcome), address)
        except BaseException:
            control.close()
            raise

    async def status(self) -> ServiceStatus:
        """How the service is, or was a moment ago: however many ask, it is asked a few times a second at most."""
        now_ns = time.monotonic_ns()
        if self._status is None or (self._status.done() and now_ns - self._status_ns > HTTP_STATUS_AGE_NS):
            self._status_ns = now_ns
            self._status = self._loop.create_task(self._ask_status())
            self._status.add_done_callback(lambda task: task.cancelled() or task.exception())  # perhaps nobody waits
        return await asyncio.shield(self._status)

    async def _ask_status(self) -> ServiceStatus:
        found = _result(await self._control.ask(messages.AskStatus()), ServiceStatus)
        while found.more and found.recordings:
            asked = messages.AskStatus(after=found.recordings[-1].recording)
            found = joined(found, _result(await self._control.ask(asked), ServiceStatus))
        return found

    async def recordings(self, limit: int, before: float) -> list[RecordingInfo]:
        """Those that began before ``before`` (seconds since 1970; 0: now), the newest first; fewer than ``limit`` only
        where there are no more. One answer of the catalog has as many as it has room for."""
        found: list[RecordingInfo] = []
        while len(found) < limit:
            request = messages.ListRecordings(limit=limit - len(found), before=found[-1].began if found else before)
            page = _result(await self._ask_catalog(request), list[RecordingInfo])
            if not page:
                break
            found += page
        return found

    async def recording(self, name: str) -> RecordingInfo:
        """``NotFoundError``: there is none of this name."""
        return _result(await self._ask_catalog(messages.GetRecording(recording=name)), RecordingInfo)

    async def delete(self, name: str) -> None:
        """``InvalidStateError``: it goes on."""
        result_of(read((await self._ask_catalog(messages.DeleteRecording(recording=name)))[0]))

    async def fetch(self, name: str, start: int, size: int) -> bytes:
        """Bytes of a recording's file; fewer than ``size`` where it ends."""
        parts = await self._ask_catalog(messages.Fetch(recording=name, start=start, size=size))
        result_of(read(parts[0]))
        return parts[1] if len(parts) > 1 else b""

    async def _ask_catalog(self, request: messages.Request) -> list[bytes]:
        """All take turns, as the catalog refuses more than a client may have unanswered."""
        # One that is given up keeps its credit until it is answered: the catalog still has it.
        asking = self._loop.create_task(self._ask_in_turn(request))
        asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(asking)

    async def _ask_in_turn(self, request: messages.Request) -> list[bytes]:
        async with self._credits[isinstance(request, messages.Fetch)]:
            return await self._the_catalog().ask(request)

    def _the_catalog(self) -> _Door:
        if self._catalog is None:
            raise errors.NotSupportedError("this service keeps no recordings")
        return self._catalog

    def _take_events(self) -> None:
        if self._events.closed:
            return
        for event in published(self._events):
            if isinstance(event, messages.RecorderEvent):
                self.on_event(event)
        if sockets.readable(self._events):  # which the descriptor does not show again
            self._loop.call_soon(self._take_events)

    def close(self) -> None:
        self._loop.remove_reader(self._events_descriptor)
        self._events.close()
        for door in (self._control, self._catalog):
            if door is not None:
                door.close()


def _result(parts: list[bytes], kind: type[Result]) -> Result:
    return understood(result_of(read(parts[0])), kind)
