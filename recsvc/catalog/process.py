"""The catalog's process: it knows all recordings of a service, finished ones too, hands their files out in ranges, and
deletes what is too old or too much. One loop with plain sockets and a poller.

No recording needs it: the controller reports to it and waits for nothing; when it ends, another one takes its place.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from .. import errors
from ..common.complaints import Complaints
from ..common.limits import MS
from ..common.permissions import Peer, check
from ..common.service_limits import (
    CATALOG_LOOK_NS,
    CATALOG_REQUESTS_MAX,
    FETCH_CREDIT,
    FETCH_LOOK_NS,
    SURVEY_AGAIN_NS,
    SURVEY_NS,
)
from ..process.role import Lifeline, arguments, started
from ..process.runtime import joined
from ..wire import messages, sockets
from ..wire.answers import answer, take_requests
from ..wire.gate import Gate, open_gate
from ..wire.line import Line
from .asked import Asked
from .database import Database
from .files import Files
from .keeper import Keeper
from .lent import Lent
from .retention import Bounds
from .survey import Surveyor

log = logging.getLogger("recsvc.catalog")

DATABASE = "catalog.sqlite"
"""The database's name in the spool."""
_TURN_NS = 5 * MS  # so long at most clients are answered before the line is looked at
_FOREVER_NS = 2**62


class Catalog:
    """Owns the sockets and the turns of this process."""

    def __init__(
        self, line: Line, endpoints: tuple[str, str], gate: Gate, spool: Path, bounds: Bounds, lifeline: Lifeline
    ) -> None:
        """``endpoints``: for programs of this machine, and for others, through the ``gate``."""
        self._line = line
        self._gate = gate
        self._lifeline = lifeline
        self._complaints = Complaints(log)
        self._database = Database(spool / DATABASE)
        self._keeper = Keeper(self._database, Files(spool), bounds)
        self._asked = Asked()
        self._lent = Lent()
        self._clients, bound = sockets.catalog_server(*endpoints, gate.secret)
        gate.guard(self._clients)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._surveyor = Surveyor(spool, lambda: os.eventfd_write(self._wake, 1))
        self._survey_ns = _FOREVER_NS  # not before the controller has entered what goes on
        self._surveyed_s = 0.0
        self._found: Iterator[None] | None = None  # what a survey has found, as far as it is not entered yet
        self._look_ns = time.monotonic_ns() + CATALOG_LOOK_NS
        self._ending = False
        self._poller = sockets.Poller()
        self._handlers: dict[Any, Callable[[], None]] = {
            line.descriptor: self._take_line,
            self._clients: self._take_clients,
            self._wake: self._surveyed,
            **dict.fromkeys(gate.sources, gate.take),
            **{descriptor: partial(self._on_lifeline, descriptor) for descriptor in lifeline.descriptors},
        }
        for source in self._handlers:
            self._poller.register(source, sockets.POLLIN)
        line.send(messages.Ready(endpoints=bound))

    def run(self) -> None:
        """Until a shutdown, a SIGTERM or the controller's end."""
        while not self._ending or (self._line.waits and not self._line.is_over):
            for source in dict(self._poller.poll(self._timeout_ms())):
                self._handlers[source]()
            self._answer_clients()
            self._look()
            if self._line.waits:
                self._line.flush()
        self._database.close()
        self._clients.close()
        self._gate.close()

    def _timeout_ms(self) -> int:
        if self._asked.next() is not None or self._found is not None:
            return 0
        if self._line.waits or self._asked.blocked:
            return FETCH_LOOK_NS // MS
        due_ns = min(self._look_ns, _FOREVER_NS if self._surveyor.is_busy else self._survey_ns)
        return max(0, (due_ns - time.monotonic_ns()) // MS + 1)

    def _on_lifeline(self, descriptor: int) -> None:
        """SIGTERM came, perhaps."""
        if self._lifeline.ended_by(descriptor):
            self._poller.unregister(descriptor)
            self._ending = True

    # --- the controller ---------------------------------------------------------------------------

    def _take_line(self) -> None:
        take_requests(self._line, self._do)
        self._ending = self._ending or self._line.is_over

    def _do(self, request: Any) -> Any:
        if isinstance(request, messages.EnterRecording):
            self._keeper.enter(request.info, request.file)
            if request.info.ended:
                self._look_ns = min(self._look_ns, time.monotonic_ns())
        elif isinstance(request, messages.ForgetRecording):
            self._keeper.forget(request.recording)
        elif isinstance(request, messages.Survey):
            self._survey_ns = time.monotonic_ns()
        elif isinstance(request, messages.AskFigures):
            return messages.Figures(refused=self._gate.refused)
        else:
            self._ending = True
        return None

    # --- now and then -----------------------------------------------------------------------------

    def _look(self) -> None:
        now = time.monotonic_ns()
        if now >= self._look_ns:
            self._look_ns = now + CATALOG_LOOK_NS
            self._database.mend()
            self._keeper.look()
            self._keeper.retain()
        if self._database.is_lost:
            raise errors.NotReadableError("the catalog's file was damaged; it is made anew")
        while self._found is not None and time.monotonic_ns() < now + _TURN_NS:
            if next(self._found, self) is self:
                self._found, self._look_ns = None, now
        if now >= self._survey_ns and not self._surveyor.is_busy and self._found is None:
            at_s = time.time()
            self._take_line()  # what began before is known
            self._surveyed_s = at_s
            self._surveyor.begin(self._keeper.files_known(), at_s)

    def _surveyed(self) -> None:
        os.eventfd_read(self._wake)
        result = self._surveyor.result()
        self._survey_ns = time.monotonic_ns() + (SURVEY_AGAIN_NS if result.again else SURVEY_NS)
        self._take_line()
        self._found = self._keeper.surveyed(result, self._surveyed_s)

    # --- clients ----------------------------------------------------------------------------------

    def _take_clients(self) -> None:
        """Takes what has come; requests beyond a client's credit are refused."""
        self._take_line()  # whose recordings they are is known before
        for _ in range(8 * CATALOG_REQUESTS_MAX):
            if not sockets.readable(self._clients):
                return
            client, *parts = sockets.receive_frame(self._clients)
            if not parts:
                continue  # there is nobody to answer
            header, peer = parts[0].bytes, self._gate.peer(parts[0])
            try:
                request = messages.CATALOG_REQUESTS.decode(header)
            except messages.MessageError as error:
                self._refuse(client, peer, messages.request_id(header), "TypeError", str(error))
                continue
            try:
                self._check(peer, request)
            except errors.NotAllowedError as error:
                self._refuse(client, peer, request.id, error.name, str(error))
                continue
            if not self._asked.add(client, request, peer.name):
                text = f"too many requests are unanswered: at most {FETCH_CREDIT} ranges, {CATALOG_REQUESTS_MAX} in all"
                self._refuse(client, peer, request.id, "QuotaExceededError", text)

    def _check(self, peer: Peer, request: Any) -> None:
        """``NotAllowedError`` where ``peer`` may not have this done."""
        recording = getattr(request, "recording", "")
        owner = None if peer.is_local or not recording else self._keeper.owner_of(recording)
        check(peer, str(request.__struct_config__.tag), owner)

    def _refuse(self, client: bytes, peer: Peer, number: int, error: str, text: str) -> None:
        """After what it has asked before; who has too much unanswered is refused at once, if it has room for that."""
        self._gate.refused[error] += 1
        self._complaints.about(str(peer), f"a request of {peer} was refused: {text}")
        refusal = messages.Reply(id=number, error=error, text=text), None
        if not self._asked.add(client, refusal):
            with suppress(sockets.ZMQError):
                self._send(client, *refusal)

    def _answer_clients(self) -> None:
        """One request of each client in turn, until it is time to look for others."""
        self._asked.unblock()
        if self._asked.next() is not None:
            self._take_line()  # what a client knows from the controller is known here
        until_ns = time.monotonic_ns() + _TURN_NS
        while (turn := self._asked.next()) is not None:
            client, request = turn
            key = self._asked.key_of(client)
            if key and isinstance(request, messages.Fetch) and not self._lent.has_room(key, request.size):
                self._asked.block(client, request)
                continue
            parts = request if isinstance(request, tuple) else self._answer(request)
            try:
                tracker = self._send(client, *parts)
            except sockets.Again:
                self._asked.block(client, parts)
            except sockets.ZMQError:  # it is gone
                self._asked.forget(client)
            else:
                if key and parts[1]:
                    self._lent.add(key, len(parts[1]), tracker)
                self._asked.answered(client)
            if time.monotonic_ns() >= until_ns:
                return

    def _answer(self, request: Any) -> tuple[messages.Reply, bytes | None]:
        data: bytes | None = None

        def do(_: Any) -> Any:
            nonlocal data
            if isinstance(request, messages.Fetch):
                data = self._keeper.fetch(request)
                return None
            if isinstance(request, messages.ListRecordings):
                return self._keeper.list(request)
            if isinstance(request, messages.GetRecording):
                return self._keeper.get(request.recording)
            if isinstance(request, messages.RenameRecording):
                return self._keeper.rename(request.recording, request.name)
            return self._keeper.delete(request.recording)

        reply = answer(request, do)
        assert reply is not None
        if reply.error:
            self._gate.refused[reply.error] += 1
        return reply, data

    def _send(self, client: bytes, reply: messages.Reply, data: bytes | None) -> Any:
        """Returns what says when the last part was let go of."""
        parts = [client, messages.encode(reply)]
        parts = parts if data is None else [*parts, data]
        return self._clients.send_multipart(parts, sockets.NOBLOCK, copy=False, track=data is not None)


def main() -> None:
    """``recsvc catalog``: the process's entry."""
    optional = ("retention", "tcp", "keys", "key-file")
    given = arguments("catalog", "endpoint", "directory", "spool", optional=optional, needs_line=True)
    lifeline = Lifeline(given)
    line = Line(given.line, messages.CATALOG_LINE_REQUESTS, Complaints(log))
    bounds = msgspec.json.decode(given.retention or "[]", type=Bounds)
    with joined(Path(given.directory), line, (sockets.ZMQError, errors.RecorderError)):
        gate = open_gate(given.tcp, given.keys, given.key_file)
        catalog = Catalog(line, (given.endpoint, given.tcp), gate, Path(given.spool), bounds, lifeline)
        started(given)
        catalog.run()
