"""Starts, watches, asks, and last kills the role processes; carries requests to them and their answers back.

A child is *ready* when it has said so on the roles' socket; until then requests for it wait. One that is not
ready in time, or does not end when asked, is killed. Its end is seen at once, through its pidfd.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ..common.complaints import Complaints
from ..common.limits import READY_DEADLINE_NS, SHUTDOWN_DEADLINE_NS
from ..process import role as roles
from ..wire import messages, sockets

log = logging.getLogger("recsvc.controller")
complaints = Complaints(log)

OnReply = Callable[[messages.Reply], None]


class Child:
    """A role process. Once it is ready, ``endpoint`` and ``reports`` are what its first word said."""

    def __init__(self, role: str, process: roles.Process) -> None:
        self.role = role
        self.process = process
        self.pidfd = os.pidfd_open(process.pid)
        self.ready_ns: int | None = None
        self.reason = ""  # why it could not start, in its own last words
        self.endpoint = self.reports = ""
        self.identity: bytes | None = None
        self.deadline_ns: int | None = time.monotonic_ns() + READY_DEADLINE_NS
        self.ending = False
        self.waiting: list[bytes] = []
        self.asked: dict[int, OnReply] = {}

    @property
    def ready(self) -> bool:
        return self.ready_ns is not None

    def remove_sockets(self) -> None:
        """What one that was killed leaves behind."""
        for endpoint in filter(None, (self.endpoint, self.reports)):
            Path(endpoint.removeprefix("ipc://")).unlink(missing_ok=True)

    def __str__(self) -> str:
        return f"{self.role} process {self.process.pid}"


class Supervisor:
    """Owns the roles' socket. Not thread-safe: the controller's loop calls it.

    ``on_report(child, message)`` gets what a role says unasked, ``on_end(child)`` its unexpected end,
    ``on_trouble(message, error)`` an exception of these, or of who asked.
    """

    def __init__(
        self,
        endpoint: str,
        poller: Any,
        on_report: Callable[[Child, Any], None],
        on_end: Callable[[Child], None],
        on_trouble: Callable[[Any, Exception], None],
    ) -> None:
        self.endpoint = endpoint
        self.socket = sockets.control_server(endpoint)
        self._poller = poller
        self._on_report = on_report
        self._on_end = on_end
        self._on_trouble = on_trouble
        self._by_pid: dict[int, Child] = {}
        self._by_descriptor: dict[int, Child] = {}
        self._next_id = 0
        poller.register(self.socket, sockets.POLLIN)

    @property
    def children(self) -> list[Child]:
        return list(self._by_pid.values())

    def knows(self, child: Child) -> bool:
        """Whether it has not ended yet."""
        return child.process.pid in self._by_pid

    def start(self, role: str, *arguments: str) -> Child:
        """Starts a role; returns at once. Requests may be given to it right away. ``OSError`` where it cannot be."""
        child = Child(role, roles.start(role, "--control", self.endpoint, *arguments))
        self._by_pid[child.process.pid] = child
        self._by_descriptor[child.pidfd] = child
        self._poller.register(child.pidfd, sockets.POLLIN)
        return child

    def ask(self, child: Child, request: messages.Request, on_reply: OnReply | None = None) -> None:
        """Sends a request; ``on_reply`` is called with the answer, or with an error when the child ends first."""
        if on_reply is not None:
            self._next_id += 1
            request = msgspec.structs.replace(request, id=self._next_id)
            if not self.knows(child):
                on_reply(_gone(child, self._next_id))
                return
            child.asked[self._next_id] = on_reply
        encoded = messages.encode(request)
        if child.identity is None:
            child.waiting.append(encoded)
        else:
            self.socket.send_multipart([child.identity, encoded])

    def end(self, child: Child) -> None:
        """Asks a child to finish and end; it is killed when it does not."""
        if not child.ending:
            child.ending = True
            child.deadline_ns = time.monotonic_ns() + SHUTDOWN_DEADLINE_NS
            self.ask(child, messages.Shutdown())

    def kill(self, child: Child) -> None:
        child.process.kill()

    def take(self) -> None:
        """Everything that the roles have said."""
        while sockets.readable(self.socket):
            try:
                identity, header = self.socket.recv_multipart(sockets.NOBLOCK)[:2]
                message = messages.ROLE_REPORTS.decode(header)
            except (ValueError, messages.MessageError) as error:
                complaints.about("", f"a report was refused: {error}")
                continue
            try:
                self._handle(identity, message)
            except Exception as error:
                self._on_trouble(message, error)

    def _handle(self, identity: bytes, message: Any) -> None:
        if isinstance(message, messages.Ready):
            child = self._by_pid.get(message.pid)
            if child is None:
                log.warning("a %s process %d that was not started here is ignored", message.role, message.pid)
                return
            child.identity, child.endpoint, child.reports = identity, message.endpoint, message.reports
            child.ready_ns = time.monotonic_ns()
            child.process.heard()
            if not child.ending:
                child.deadline_ns = None
            for encoded in child.waiting:
                self.socket.send_multipart([identity, encoded])
            child.waiting = []
            self._on_report(child, message)
            return
        child = next((c for c in self._by_pid.values() if c.identity == identity), None)
        if child is None:
            log.warning("a report of an unknown process is ignored")
        elif isinstance(message, messages.Reply):
            on_reply = child.asked.pop(message.id, None)
            if on_reply is not None:
                on_reply(message)
        else:
            self._on_report(child, message)

    def ended(self, descriptor: int) -> bool:
        """Whether a readable descriptor is a child's end; then it is buried and reported."""
        child = self._by_descriptor.pop(descriptor, None)
        if child is None:
            return False
        self.take()  # what it said before it ended counts
        self._poller.unregister(descriptor)
        os.close(descriptor)
        child.process.wait()
        child.reason = child.process.heard()
        del self._by_pid[child.process.pid]
        asked, child.asked = child.asked, {}
        for number, on_reply in asked.items():
            on_reply(_gone(child, number))
        if not child.ending or child.process.returncode:
            log.warning("%s ended with code %d", child, child.process.returncode)
        self._on_end(child)
        return True

    def next_deadline_ns(self) -> int | None:
        deadlines = [c.deadline_ns for c in self._by_pid.values() if c.deadline_ns is not None]
        return min(deadlines) if deadlines else None

    def kill_late(self) -> None:
        """Kills every child that missed its deadline."""
        now = time.monotonic_ns()
        for child in self._by_pid.values():
            if child.deadline_ns is not None and now >= child.deadline_ns:
                log.warning("%s was not %s in time and is killed", child, "gone" if child.ending else "ready")
                child.deadline_ns = None
                child.process.kill()


def _gone(child: Child, number: int) -> messages.Reply:
    text = f"the {child} could not start: {child.reason}" if child.reason else f"the {child} ended before it answered"
    return messages.Reply(id=number, error="ServiceError", text=text)
