"""Requests to a controller, each of which waits for its answer. Thread-safe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from .. import errors
from ..common.limits import HEADER_BYTES_MAX, IDLE_SOCKETS_MAX, LAST_EVENTS_MS
from ..common.service import ServiceAddress
from ..common.service_limits import RESEND_NS
from ..process.role import Process
from ..wire import messages, sockets
from ..wire.replies import read, result_of
from . import calls
from .attempts import Attempts, send
from .ending import why_ended

_LOOK_MS = 20  # a caller that was interrupted waits so long at most until its request is given up


class Requests:
    """A pool of sockets: each that waits has one of its own, so that none waits for another."""

    def __init__(self, address: ServiceAddress, process: Process | None, look: Callable[[], None]) -> None:
        """``process``: the private controller at the address; ``look()``: raises where nobody will answer any more."""
        self._address = address
        self._process = process
        self._look = look
        self._lock = threading.Lock()
        self._idle: list[sockets.Socket[bytes]] = []
        self._next_id = 0
        self._attempts: Attempts | None = None
        self.pidfd: int | None = None
        """Readable when the controller is gone; ``None``: there is none."""

    def begin(self) -> None:
        """Before the first request, which finds out whether there is a service. (A private one is about to begin.)"""
        if self._process is None:
            self._attempts = Attempts(self._address)
            self._idle.append(self._attempts.socket)

    def ask(self, message: messages.Request, deadline_ns: int) -> Any:
        """Sends, waits, returns the result; raises what the other side raised, or ``ServiceError``."""
        self._look()
        with self._lock:
            socket = self._idle.pop() if self._idle else sockets.control_client(self._address)
            self._next_id += 1
            message = msgspec.structs.replace(message, id=self._next_id)
        healthy = False
        try:
            encoded = messages.encode(message)
            if len(encoded) > HEADER_BYTES_MAX:
                raise ValueError(f"this makes a request of {len(encoded)} bytes: at most {HEADER_BYTES_MAX} are taken")
            send(socket, self._address, encoded)
            reply = self._await(socket, message.id, encoded, time.monotonic_ns() + deadline_ns)
            healthy = True
        finally:
            if self._attempts is not None:
                self._attempts.end()
            if healthy and len(self._idle) < IDLE_SOCKETS_MAX:
                with self._lock:
                    self._idle.append(socket)
            else:
                socket.close(linger=0)
        return result_of(reply)

    def _await(self, socket: sockets.Socket[bytes], number: int, encoded: bytes, deadline_ns: int) -> messages.Reply:
        poller = sockets.Poller()
        poller.register(socket, sockets.POLLIN)
        if self.pidfd is not None:
            poller.register(self.pidfd, sockets.POLLIN)
        again_ns = time.monotonic_ns() + RESEND_NS if self._address.is_remote else deadline_ns
        while True:
            calls.look()
            if self._attempts is not None:
                self._attempts.look()
            if time.monotonic_ns() >= again_ns < deadline_ns:  # the network may have been cut
                send(socket, self._address, encoded)
                again_ns += RESEND_NS
            left_ms = (deadline_ns - time.monotonic_ns()) // 1_000_000
            readable = dict(poller.poll(min(max(left_ms, 0), _LOOK_MS)))
            if socket not in readable:
                try:
                    self._look()
                    if self.pidfd in readable:
                        raise why_ended(self._address, self._process)
                except errors.ServiceError:  # what it sent last may only come
                    if not socket.poll(LAST_EVENTS_MS):
                        raise
                    readable = {socket: sockets.POLLIN}
            if socket in readable:
                reply = read(socket.recv_multipart()[0])
                if reply.id == number:
                    return reply
            if left_ms <= 0:
                raise errors.ServiceError(f"no answer from {self._address}: does a recsvc service run there?")

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
