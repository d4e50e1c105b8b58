"""Starts, watches, asks, and last kills the role processes; carries requests to them and their answers back.

A child has a line (``wire.line``) from its birth on: requests may be sent before it is ready, and what it sends comes
in one order, up to the end of file that is its end. One that is not ready in time, or does not end when asked, is
killed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ..common.complaints import Complaints
from ..common.limits import LINE_FLUSH_NS, READY_DEADLINE_NS, SHUTDOWN_DEADLINE_NS
from ..common.service_limits import QUESTIONS_MAX
from ..process.role import Process
from ..wire import line, messages, sockets

log = logging.getLogger("recsvc.controller")
complaints = Complaints(log)

OnReply = Callable[[messages.Reply], None]


class Child:
    """A role process. Once it is ready, ``endpoints`` are where a worker takes frames."""

    def __init__(self, role: str, *arguments: str) -> None:
        self.role = role
        self.number = 0  # of a worker: its place in the pool
        ours, theirs = line.pair()
        try:
            self.process = Process(role, *arguments, line=theirs)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self.line = line.Line(ours, messages.ROLE_REPORTS, complaints)
        self.ready_ns: int | None = None
        self.reason = ""  # why it could not start, by the last line that it wrote
        self.endpoints: tuple[str, ...] = ()
        self.deadline_ns: int | None = time.monotonic_ns() + READY_DEADLINE_NS
        self.ending = False
        self.asked: dict[int, OnReply] = {}

    @property
    def ready(self) -> bool:
        return self.ready_ns is not None

    @property
    def is_asked_much(self) -> bool:
        """Whether what clients only want to know should not be asked of it now."""
        return len(self.asked) >= QUESTIONS_MAX

    def free(self) -> None:
        """It has ended: waits for its last moment, and removes what one that was killed leaves."""
        self.process.wait()
        os.close(self.line.descriptor)
        self.reason = self.process.started()
        for endpoint in self.endpoints:
            if endpoint.startswith("ipc://"):
                with suppress(OSError):
                    Path(endpoint.removeprefix("ipc://")).unlink()

    def __str__(self) -> str:
        return f"{self.role} process {self.process.pid}"


class Supervisor:
    """Owns the lines. Not thread-safe: the controller's loop calls it.

    ``on_report(child, message)`` gets what a role sends unasked, ``on_end(child)`` its end, ``on_trouble(message,
    error)`` an exception of these, or of who asked.
    """

    def __init__(
        self,
        poller: Any,
        directory: Path,
        on_report: Callable[[Child, Any], None],
        on_end: Callable[[Child], None],
        on_trouble: Callable[[Any, Exception], None],
    ) -> None:
        """``directory``: the runtime directory, which every role joins."""
        self._poller = poller
        self._directory = directory
        self._on_report = on_report
        self._on_end = on_end
        self._on_trouble = on_trouble
        self._by_descriptor: dict[int, Child] = {}
        self._next_id = 0

    @property
    def children(self) -> list[Child]:
        return list(self._by_descriptor.values())

    def knows(self, child: Child) -> bool:
        """Whether it has not ended yet."""
        return self._by_descriptor.get(child.line.descriptor) is child

    def start(self, role: str, *arguments: str) -> Child:
        """Starts a role; returns at once. Requests may be sent to it right away. ``OSError`` where it cannot be."""
        child = Child(role, "--directory", str(self._directory), *arguments)
        self._by_descriptor[child.line.descriptor] = child
        self._poller.register(child.line.descriptor, sockets.POLLIN)
        return child

    def ask(self, child: Child, request: messages.Request, on_reply: OnReply | None = None) -> None:
        """Sends a request; ``on_reply`` is called with the answer, or with an error when the child ends first,
        or where the request is too large."""
        if on_reply is not None:
            self._next_id += 1
            request = msgspec.structs.replace(request, id=self._next_id)
        if not self.knows(child):
            if on_reply is not None:
                on_reply(_gone(child, request.id))
            return
        try:
            child.line.send(request)
        except messages.MessageError as error:
            if on_reply is None:
                raise
            on_reply(messages.Reply(id=request.id, error="TypeError", text=str(error)))
        else:
            if on_reply is not None:
                child.asked[request.id] = on_reply

    def end(self, child: Child) -> None:
        """Asks a child to finish and end; it is killed when it does not."""
        if not child.ending:
            child.ending = True
            child.deadline_ns = time.monotonic_ns() + SHUTDOWN_DEADLINE_NS
            self.ask(child, messages.Shutdown())

    def kill(self, child: Child) -> None:
        child.process.kill()

    def take(self, descriptor: int) -> bool:
        """Whether a readable descriptor is a child's line; then everything that it has sent is handled, its end too."""
        child = self._by_descriptor.get(descriptor)
        if child is None:
            return False
        while (message := child.line.receive()) is not None:
            self._guarded(message, partial(self._handle, child), message)
        if child.line.is_over:
            self._ended(child)
        return True

    def _handle(self, child: Child, message: Any) -> None:
        if isinstance(message, messages.Reply):
            on_reply = child.asked.pop(message.id, None)
            if on_reply is not None:
                on_reply(message)
            return
        if isinstance(message, messages.Ready):
            child.endpoints, child.ready_ns = message.endpoints, time.monotonic_ns()
            child.process.started()
            if not child.ending:
                child.deadline_ns = None
        self._on_report(child, message)

    def _ended(self, child: Child) -> None:
        self._poller.unregister(child.line.descriptor)
        del self._by_descriptor[child.line.descriptor]
        child.free()
        asked, child.asked = child.asked, {}
        for number, on_reply in asked.items():
            self._guarded(None, on_reply, _gone(child, number))
        if not child.ending or child.process.returncode:
            log.warning("%s ended with code %d", child, child.process.returncode)
        self._guarded(None, self._on_end, child)

    def _guarded(self, message: Any, act: Callable[[Any], None], given: Any) -> None:
        """What goes wrong with one is no reason for the others to wait for ever, or for all to end."""
        try:
            act(given)
        except Exception as error:
            self._on_trouble(message, error)

    def next_deadline_ns(self) -> int | None:
        """When ``look`` has something to do."""
        deadlines = [child.deadline_ns for child in self.children if child.deadline_ns is not None]
        if any(child.line.waits for child in self.children):
            deadlines.append(time.monotonic_ns() + LINE_FLUSH_NS)
        return min(deadlines, default=None)

    def postpone(self, lost_ns: int) -> None:
        """As ``Patient`` says."""
        for child in self._by_descriptor.values():
            child.line.postpone(lost_ns)
            if child.deadline_ns is not None:
                child.deadline_ns += lost_ns

    def look(self) -> None:
        """Sends what waits for a child to read, and kills every child that missed its deadline."""
        now = time.monotonic_ns()
        for child in self._by_descriptor.values():
            if child.line.waits:
                child.line.flush()
            late = child.deadline_ns is not None and now >= child.deadline_ns
            if late or child.line.is_stuck:
                what = ("gone" if child.ending else "ready") + " in time" if late else "reading its messages"
                log.warning("%s was not %s and is killed", child, what)
                child.deadline_ns = None
                child.process.kill()


def _gone(child: Child, number: int) -> messages.Reply:
    text = f"the {child} could not start: {child.reason}" if child.reason else f"the {child} ended before it answered"
    return messages.Reply(id=number, error="ServiceError", text=text)
