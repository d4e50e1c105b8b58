"""The server: connections, and what bounds them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import resource
import socket
import struct
import termios
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..common.complaints import Complaints
from ..common.limits import S
from ..common.service_limits import (
    HTTP_BACKLOG,
    HTTP_CONNECTIONS_MAX,
    HTTP_END_NS,
    HTTP_IDLE_NS,
    HTTP_REQUEST_NS,
    HTTP_STALL_BYTES,
    HTTP_STALL_NS,
)

complaints = Complaints(logging.getLogger("recsvc.http"))
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class _Connection(H11Protocol):
    """Ends where its client does not: one that asks for nothing, or takes nothing of what it asked for, is cut."""

    _timer: asyncio.TimerHandle | None = None
    began_s = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.began_s = self.loop.time()
        if len(self.connections) > _connections_max():
            others = (one for one in self.connections if isinstance(one, _Connection) and one is not self)
            silent = [one for one in others if one.is_silent]
            min(silent, key=lambda one: one.began_s, default=self).cut()
        self._time()

    @property
    def is_silent(self) -> bool:
        """Whether it waits for a request of its client, the rest of one perhaps."""
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.is_silent:
            self._time()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._time()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._untime()
        super().connection_lost(exc)

    def cut(self) -> None:
        """Whatever it holds is dropped."""
        self.transport.abort()

    def _time(self) -> None:
        """What it waits for has begun, and a limit for that: its client takes something, or sends a whole request."""
        self._untime()
        if self.flow.write_paused:
            self._timer = self.loop.call_later(HTTP_STALL_NS / S, self._look_at_stalled, self._held_bytes())
        elif self.is_silent and not self.transport.is_closing():
            self._timer = self.loop.call_later(HTTP_REQUEST_NS / S, self.cut)

    def _untime(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at_stalled(self, held_bytes: int) -> None:
        if self._held_bytes() > held_bytes - HTTP_STALL_BYTES:
            self.cut()
        else:
            self._time()

    def _held_bytes(self) -> int:
        """What its client has not taken yet, here and in the system."""
        in_system = 0
        with contextlib.suppress(OSError, AttributeError):
            descriptor = self.transport.get_extra_info("socket").fileno()
            (in_system,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
        return in_system + self.transport.get_write_buffer_size()


class Server(uvicorn.Server):
    """Serves an ASGI application on sockets that listen already, until ``end``."""

    def __init__(self, application: Any) -> None:
        # No ``uvloop``, ``httptools`` or ``websockets``, whatever else is installed; no line for each request.
        super().__init__(
            uvicorn.Config(
                application,
                http=_Connection,
                backlog=HTTP_BACKLOG,
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=HTTP_IDLE_NS // S,
                timeout_graceful_shutdown=HTTP_END_NS // S,
            )
        )
        logging.getLogger("uvicorn.error").addFilter(_is_ours)
        asyncio.get_running_loop().set_exception_handler(_failed)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process has a handler of its own."""
        yield

    def end(self) -> None:
        """Answers that are under way have a moment; downloads are cut."""
        self.should_exit = True
        asyncio.get_running_loop().call_later(HTTP_END_NS / 2 / S, self._cut_all)

    def _cut_all(self) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, _Connection):
                connection.cut()


def _connections_max() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return HTTP_CONNECTIONS_MAX if files < 0 else min(HTTP_CONNECTIONS_MAX, files * 3 // 4)


def _failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Of the event loop. One that can accept no connection says so for each that waits, again and again."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        complaints.about("accept", f"further HTTP clients wait: {error.strerror} (ulimit -n, memory)")
    else:
        loop.default_exception_handler(context)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a line of the server tells of a fault of ours, and not of its clients', or of its end."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is not None and not issubclass(kind, asyncio.CancelledError)


def listening(host: str, port: int) -> list[socket.socket]:
    """Sockets at every address of ``host``; port 0: any free one. ``OSError`` where that is impossible."""
    found: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            if found and not port:
                address = (address[0], found[0].getsockname()[1], *address[2:])
            one = socket.socket(family, kind, protocol)  # said to be TCP, or asyncio leaves Nagle's delay on
            found.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
            one.listen(HTTP_BACKLOG)
            one.setblocking(False)
    except BaseException:
        for one in found:
            one.close()
        raise
    return found


def urls(listening: list[socket.socket]) -> list[str]:
    """Where these are reached."""
    addresses = [one.getsockname()[:2] for one in listening]
    return [f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}" for host, port in addresses]
