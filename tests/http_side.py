"""The HTTP process beside a scripted service: its files are what the test says, and it can fall silent."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from media import DEADLINE_S

from recsvc import errors
from recsvc.common.complaints import Complaints
from recsvc.common.descriptions import RecordingInfo, ServiceStatus, Welcome
from recsvc.process.role import Process
from recsvc.wire import messages, sockets
from recsvc.wire.line import Line, pair

TYPE = "video/webm;codecs=vp8,opus"


def info(recording: str, size: int = 0, **fields: Any) -> RecordingInfo:
    """What a catalog knows of a finished recording."""
    given = {"name": "", "owner": "", "state": "finished", "mime_type": TYPE, "began": 1_000.25, "ended": 1_002.5}
    return RecordingInfo(recording=recording, **{**given, "size_bytes": size, **fields})


class FakeService:
    """Answers as a controller with a catalog does. ``infos`` and ``contents``, by id, are what it keeps."""

    def __init__(self, directory: Path) -> None:
        self.endpoint = f"ipc://{directory}/control"
        self._events_endpoint, self._catalog_endpoint = f"ipc://{directory}/events", f"ipc://{directory}/catalog"
        self._control, _ = sockets.control_server(self.endpoint)
        self._catalog, _ = sockets.control_server(self._catalog_endpoint)
        self._events, _ = sockets.event_server(self._events_endpoint)
        self.infos: dict[str, RecordingInfo] = {}
        self.contents: dict[str, bytes] = {}
        self.status = ServiceStatus(service="service-test", version="0", began=1.0, spool=str(directory))
        self.silent = False
        self.room = 100  # recordings in an answer
        self.asked: list[Any] = []
        self.subscriptions = 0
        self._lock = threading.Lock()
        self._to_publish: list[messages.RecorderEvent] = []
        self._over = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def add(self, recording: str, content: bytes, **fields: Any) -> None:
        self.contents[recording] = content
        self.infos[recording] = info(recording, len(content), **fields)

    def publish(self, event: messages.RecorderEvent) -> None:
        with self._lock:
            self._to_publish.append(event)

    def count(self, kind: type) -> int:
        """How many requests of a kind have come."""
        return sum(isinstance(one, kind) for one in self.asked)

    def _run(self) -> None:
        poller = sockets.Poller()
        for socket in (self._control, self._catalog, self._events):
            poller.register(socket, sockets.POLLIN)
        while not self._over:
            readable = dict(poller.poll(5))
            if self._events in readable:
                news = self._events.recv()
                sockets.subscription(self._events, news[1:], begins=news[:1] == b"\x01")
                self.subscriptions += 1
            with self._lock:
                events, self._to_publish = self._to_publish, []
            for event in events:
                self._events.send_multipart([b"client-x/recorder-x", messages.encode(event)])
            for socket, codec in (
                (self._control, messages.CALLER_REQUESTS),
                (self._catalog, messages.CATALOG_REQUESTS),
            ):
                if socket in readable:
                    identity, header = socket.recv_multipart()[:2]
                    request = codec.decode(header)
                    self.asked.append(request)
                    if not self.silent:
                        socket.send_multipart([identity, *self._answer(request)])
        for socket in (self._control, self._catalog, self._events):
            socket.close(linger=0)

    def _answer(self, request: Any) -> list[bytes]:
        rest: list[bytes] = []
        reply = messages.Reply(id=request.id)
        try:
            if isinstance(request, messages.Fetch):
                reply.result, content = None, self.contents[request.recording]
                rest = [content[request.start : request.start + request.size]]
            else:
                reply.result = self._result(request)
        except KeyError:
            reply.error, reply.text = "NotFoundError", f"there is no recording {request.recording!r}"
        except errors.RecorderError as error:
            reply.error, reply.text = errors.name_of(error), str(error)
        return [messages.encode(reply), *rest]

    def _result(self, request: Any) -> Any:
        if isinstance(request, messages.Hello):
            return Welcome(
                service="service-test", version="0", events=(self._events_endpoint,), catalog=(self._catalog_endpoint,)
            )
        if isinstance(request, messages.AskStatus):
            return self.status
        if isinstance(request, messages.ListRecordings):
            newest = sorted(self.infos.values(), key=lambda one: one.began, reverse=True)
            room = min(request.limit, self.room)
            return [one for one in newest if not request.before or one.began < request.before][:room]
        found = self.infos[request.recording]
        if isinstance(request, messages.DeleteRecording):
            if found.state == "recording":
                raise errors.InvalidStateError(f"recording {found.recording!r} goes on")
            del self.infos[request.recording], self.contents[request.recording]
            return None
        return found

    def close(self) -> None:
        self._over = True
        self._thread.join()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class HttpSide:
    """The process, once it serves; ``host`` and ``port``: where."""

    def __init__(self, service: FakeService, directory: Path, host: str = "127.0.0.1", token: str = "") -> None:
        ours, theirs = pair()
        self.process = Process("http", "--directory", str(directory), line=theirs)
        os.close(theirs)
        self.line = Line(ours, messages.ROLE_REPORTS, Complaints(logging.getLogger("recsvc.test")))
        self.line.send(messages.ServeHttp(id=1, endpoint=service.endpoint, host=host, port=0, token=token))
        self.error = ""
        reply = self._reply()
        if reply.error:
            self.error = reply.text
            return
        self.url = reply.result[0]
        self.host, self.port = "127.0.0.1", int(self.url.rpartition(":")[2])

    def _reply(self) -> messages.Reply:
        deadline_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline_s:
            message = self.line.receive()
            if isinstance(message, messages.Reply):
                return message
            assert not self.line.is_over, f"it ended: {self.process.wait(5)}, {self.process.started()}"
            time.sleep(0.005)
        raise AssertionError("the HTTP process does not answer")

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request on a connection of its own; ``_`` in a header's name is ``-``."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            body = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    def close(self) -> None:
        self.line.send(messages.Shutdown())
        try:
            assert self.process.wait(DEADLINE_S) == 0
        finally:
            self.process.kill()
            self.process.wait()
            self.process.started()
            os.close(self.line.descriptor)


@contextlib.contextmanager
def service(directory: Path) -> Iterator[FakeService]:
    made = FakeService(directory)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def served(directory: Path, **options: Any) -> Iterator[tuple[FakeService, HttpSide]]:
    """A scripted service, and the HTTP process beside it."""
    with service(directory) as fake:
        side = HttpSide(fake, directory, **options)
        try:
            yield fake, side
        finally:
            side.close()


def statistics(**fields: Any) -> Any:
    return msgspec.convert(fields, messages.RecordingStatistics)
