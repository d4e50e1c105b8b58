"""The HTTP process: serves the recordings of a service, and how it is, of which it is a client like any other."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from .. import errors
from ..common.complaints import Complaints
from ..common.limits import LINE_FLUSH_NS, S
from ..common.service import check_http
from ..process.role import Lifeline, arguments, started
from ..process.runtime import joined
from ..wire import messages
from ..wire.answers import error_reply
from ..wire.line import Line
from .app import Application
from .guard import Guard
from .link import Link
from .serving import Server, listening, urls

log = logging.getLogger("recsvc.http")


class HttpProcess:
    """Owns the line to the controller, the connection to the service and the server."""

    def __init__(self, line: Line, lifeline: Lifeline) -> None:
        self._line = line
        self._lifeline = lifeline
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._serving: asyncio.Task[None] | None = None
        self._server: Server | None = None
        for descriptor in lifeline.descriptors:
            self._loop.add_reader(descriptor, self._look, descriptor)
        self._loop.add_reader(line.descriptor, self._take)
        line.send(messages.Ready())

    async def run(self) -> None:
        """Until a shutdown, a SIGTERM or the controller's end."""
        self._take()
        while not self._over.is_set():
            try:
                async with asyncio.timeout(LINE_FLUSH_NS / S if self._line.waits else None):
                    await self._over.wait()
            except TimeoutError:
                self._line.flush()
        for descriptor in (self._line.descriptor, *self._lifeline.descriptors):
            self._loop.remove_reader(descriptor)
        if self._server is not None:
            self._server.end()
        if self._serving is not None:
            await asyncio.wait([self._serving])

    def _look(self, descriptor: int) -> None:
        if self._lifeline.ended_by(descriptor):
            self._over.set()

    def _take(self) -> None:
        while (request := self._line.receive()) is not None:
            if isinstance(request, messages.ServeHttp):
                if self._serving is None:
                    self._serving = self._loop.create_task(self._serve(request))
            else:
                self._over.set()
        if self._line.is_over:
            self._over.set()

    async def _serve(self, request: messages.ServeHttp) -> None:
        try:
            check_http(request.host, request.token)
            sockets = listening(request.host, request.port)
            link = await Link.connected(request.endpoint)
        except (errors.RecorderError, ValueError, OSError) as error:
            if isinstance(error, OSError):
                error = errors.ServiceError(f"HTTP cannot be served at {request.host}:{request.port}: {error}")
            self._line.send(error_reply(error, request.id))
            self._over.set()
            return
        self._line.send(messages.Reply(id=request.id, result=urls(sockets)))
        try:
            application = Application(link, Guard(request.host, request.token))
            self._server = Server(application)
            if self._over.is_set():
                self._server.end()
            await self._server.serve(sockets)
        finally:
            link.close()
            self._over.set()


async def _run(line: Line, lifeline: Lifeline) -> None:
    await HttpProcess(line, lifeline).run()


def main() -> None:
    """``recsvc http``: the process's entry."""
    given = arguments("http", "directory", needs_line=True)
    lifeline = Lifeline(given)
    line = Line(given.line, messages.HTTP_REQUESTS, Complaints(log))
    with joined(Path(given.directory), line):
        started(given)
        asyncio.run(_run(line, lifeline))
