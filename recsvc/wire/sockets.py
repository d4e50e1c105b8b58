"""How each socket of recsvc is made and read.

Every one that carries messages has a high-water mark and a linger of its own (``common/limits.py``). A socket belongs
to one thread, or to one lock.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
import uuid
from collections.abc import Callable
from typing import Any

import zmq

from ..common.limits import (
    CONTROL_BYTES_MAX,
    CONTROL_HIGH_WATER_MARK,
    CONTROL_LINGER_MS,
    DATA_HIGH_WATER_MARK,
    DATA_LINGER_MS,
    DELIVER_LIMIT_MS,
    EVENT_HIGH_WATER_MARK,
    FRAME_BYTES_MAX,
    RECONNECT_MS,
)
from ..common.service import ServiceAddress
from ..common.service_limits import (
    ANSWER_BYTES_MAX,
    CATALOG_REQUESTS_MAX,
    CONNECT_TIMEOUT_MS,
    FETCH_QUEUE,
    HANDSHAKE_TIMEOUT_MS,
    HEARTBEAT_MS,
    HEARTBEAT_TIMEOUT_MS,
    RECONNECT_REMOTE_MS,
    REMOTE_HIGH_WATER_MARK,
    SUBSCRIPTION_BYTES_MAX,
)
from ..errors import QuotaExceededError, ServiceError

ZMQError = zmq.ZMQError
Again = zmq.Again
"""There is no room for a message now."""
Frame = zmq.Frame
Socket = zmq.Socket
NOBLOCK, SNDMORE, POLLIN = int(zmq.NOBLOCK), int(zmq.SNDMORE), int(zmq.POLLIN)
"""As enumerations they cost more than the calls they are for."""
Poller = zmq.Poller
ACCEPTED = int(zmq.EVENT_ACCEPTED)
DISCONNECTED = int(zmq.EVENT_DISCONNECTED)
REACHED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
KEY_REFUSED = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
NO_PROTOCOL = int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
UNREACHED = int(zmq.EVENT_CONNECT_RETRIED)
"""An attempt to connect has failed, or the connection that it made: the next one is due."""
_FAILED = NO_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_SOCKETS_MAX = 8192  # a process with thousands of routes; the default of 1023 ends at some hundreds of recordings

_lock = threading.Lock()
_context: tuple[int, zmq.Context[zmq.Socket[bytes]]] | None = None


def context() -> zmq.Context[zmq.Socket[bytes]]:
    """The process's one context; a forked child gets its own."""
    global _context
    with _lock:
        if _context is None or _context[0] != os.getpid():
            made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            made.set(zmq.MAX_SOCKETS, _SOCKETS_MAX)
            _context = (os.getpid(), made)
        return _context[1]


def _forked() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_forked)


def deliver(limit_ms: int = DELIVER_LIMIT_MS) -> None:
    """Waits until the closed sockets have delivered what they hold: a process that ends takes it along otherwise.
    Every socket must be closed before. At most ``limit_ms``."""
    global _context
    with _lock:
        ending, _context = _context, None
    if ending is not None and ending[0] == os.getpid():
        waiter = threading.Thread(target=ending[1].term, name="recsvc-deliver", daemon=True)
        waiter.start()
        waiter.join(limit_ms / 1000)


def _make(kind: int, high_water_mark: int, linger_ms: int, message_bytes_max: int = -1) -> zmq.Socket[bytes]:
    try:
        socket = context().socket(kind)
    except zmq.ZMQError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise QuotaExceededError(
                "this process has too many files open for one more socket: raise its limit (ulimit -n)"
            ) from error
        raise
    socket.setsockopt(zmq.MAXMSGSIZE, message_bytes_max)
    socket.setsockopt(zmq.LINGER, linger_ms)
    socket.setsockopt(zmq.SNDHWM, high_water_mark)
    socket.setsockopt(zmq.RCVHWM, high_water_mark)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
    return socket


def _connect(socket: zmq.Socket[bytes], address: ServiceAddress) -> zmq.Socket[bytes]:
    """Over a network a connection that broke is seen soon, and made again; a socket that is answered is the same to its
    peer then."""
    try:
        socket.setsockopt(zmq.MAXMSGSIZE, ANSWER_BYTES_MAX)
        if address.is_remote:
            _survive(socket)
            socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
            socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_REMOTE_MS)
            if socket.type == zmq.DEALER:
                socket.setsockopt(zmq.ROUTING_ID, b"r" + os.urandom(16))
            if address.server_key:
                socket.setsockopt(zmq.CURVE_SERVERKEY, address.server_key.encode())
                socket.setsockopt(zmq.CURVE_PUBLICKEY, address.public_key.encode())
                socket.setsockopt(zmq.CURVE_SECRETKEY, address.secret_key.encode())
        socket.connect(address.endpoint)
    except (zmq.ZMQError, ValueError) as error:
        socket.close(0)
        raise ServiceError(f"{address.endpoint[:200]!r} with its keys is no place to connect to: {error}") from None
    return socket


def _bind(
    socket: zmq.Socket[bytes], endpoint: str, tcp: str, secret: str, most_waiting: int = REMOTE_HIGH_WATER_MARK
) -> tuple[str, ...]:
    """Binds a server's socket for programs of this machine and, where ``tcp`` is not empty, for others, which must show
    a key unless ``secret`` is empty. ZeroMQ copies a socket's options when it binds: what is set after the first
    endpoint holds for the second alone. Returns the endpoints really bound, for clients: see ``reachable``."""
    bound = []
    if endpoint:
        socket.bind(endpoint)
        bound.append(socket.getsockopt_string(zmq.LAST_ENDPOINT))
    if tcp:
        _survive(socket)
        for mark in (zmq.SNDHWM, zmq.RCVHWM) if socket.type == zmq.ROUTER else (zmq.RCVHWM,):
            socket.setsockopt(mark, min(socket.getsockopt(mark), most_waiting))
        if secret:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_SECRETKEY, secret.encode())
            socket.setsockopt(zmq.ZAP_DOMAIN, b"recsvc")
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # nobody is let in where nobody looks at keys
        socket.bind(tcp)
        port = socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2]
        bound.append(f"tcp://*:{port}")
    return tuple(bound)


def _survive(socket: zmq.Socket[bytes]) -> None:
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT_MS)


def key_server() -> zmq.Socket[bytes]:
    """Gets, from every socket of this process that others must show a key to, the keys that they show (ZAP)."""
    socket = _make(zmq.ROUTER, CONTROL_HIGH_WATER_MARK, 0)
    socket.bind("inproc://zeromq.zap.01")
    return socket


def connections(socket: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    """Gets the connections that come to a server's socket, and their ends (``receive_news``): all of them, for an end
    that is missed would count for ever. Descriptors bound how many wait."""
    there = f"inproc://connections-{uuid.uuid4().hex}"
    socket.monitor(there, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | _FAILED)
    monitor = _make(zmq.PAIR, 0, 0)
    monitor.connect(there)
    return monitor


def control_server(endpoint: str, tcp: str = "", secret: str = "") -> tuple[zmq.Socket[bytes], tuple[str, ...]]:
    """ROUTER, bound: requests come in with their sender's identity, replies go out by it. Also returns the endpoints
    really bound (for ``tcp://…:*``)."""
    socket = _make(zmq.ROUTER, CONTROL_HIGH_WATER_MARK, CONTROL_LINGER_MS, CONTROL_BYTES_MAX)
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    return socket, _bind(socket, endpoint, tcp, secret)


def control_client(address: ServiceAddress) -> zmq.Socket[bytes]:
    """DEALER, connected to a ``control_server``."""
    return _connect(_make(zmq.DEALER, CONTROL_HIGH_WATER_MARK, CONTROL_LINGER_MS), address)


def watched_client(address: ServiceAddress) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """A ``control_client``, and a socket that gets what becomes of its attempts to connect: ``receive_news``."""
    socket = _make(zmq.DEALER, CONTROL_HIGH_WATER_MARK, CONTROL_LINGER_MS)
    monitor = socket.get_monitor_socket(REACHED | KEY_REFUSED | UNREACHED | _FAILED)
    return _connect(socket, address), monitor


def receive_news(monitor: zmq.Socket[bytes]) -> tuple[int, int, str]:
    """An event of a monitored socket that is there, its value, and the endpoint."""
    what, endpoint = monitor.recv_multipart(zmq.NOBLOCK)
    event, value = struct.unpack("=HI", what)
    return event, value, endpoint.decode(errors="replace")


def send_command(socket: zmq.Socket[bytes], encoded: bytes) -> None:
    """Waits for nothing. ``ServiceError`` where the socket was closed, or its high-water mark is reached."""
    try:
        socket.send(encoded, zmq.NOBLOCK)
    except zmq.ZMQError as error:
        raise ServiceError(f"the service takes no more commands: {error}") from error


def catalog_server(endpoint: str, tcp: str = "", secret: str = "") -> tuple[zmq.Socket[bytes], tuple[str, ...]]:
    """ROUTER, bound. Answers are large: few of them wait for one client, and sending raises ``Again`` where they do.
    Also returns the endpoints really bound."""
    socket = _make(zmq.ROUTER, FETCH_QUEUE, CONTROL_LINGER_MS, CONTROL_BYTES_MAX)
    socket.setsockopt(zmq.RCVHWM, 2 * CATALOG_REQUESTS_MAX)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    return socket, _bind(socket, endpoint, tcp, secret)


def event_server(endpoint: str, tcp: str = "", secret: str = "") -> tuple[zmq.Socket[bytes], tuple[str, ...]]:
    """XPUB, bound; it receives each subscription and each end of one, which ``subscription`` grants. Also returns the
    endpoints really bound."""
    socket = _make(zmq.XPUB, EVENT_HIGH_WATER_MARK, CONTROL_LINGER_MS, SUBSCRIPTION_BYTES_MAX)
    socket.setsockopt(zmq.XPUB_MANUAL, 1)
    # The name of its key, and one: XPUB keeps all that has come before it gives us any.
    socket.setsockopt(zmq.RCVHWM, 2)
    return socket, _bind(socket, endpoint, tcp, secret)


def subscription(socket: zmq.Socket[bytes], topic: bytes, *, begins: bool) -> None:
    """Grants what was received last from an ``event_server``, or ends it. Whose connection has ended gets nothing more
    in any case."""
    socket.setsockopt(zmq.SUBSCRIBE if begins else zmq.UNSUBSCRIBE, topic)


def event_client(address: ServiceAddress, topic: bytes) -> zmq.Socket[bytes]:
    """SUB, connected and subscribed to every topic that begins with ``topic``."""
    socket = _connect(_make(zmq.SUB, EVENT_HIGH_WATER_MARK, 0), address)
    socket.setsockopt(zmq.SUBSCRIBE, topic)
    return socket


def disconnection(socket: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    """Becomes readable when the connection of a socket with one peer breaks: when that ends, or its machine."""
    return socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)


def receive_event(socket: zmq.Socket[bytes]) -> bytes:
    """The body of an event that is there; ``ValueError`` where it has not two parts, topic and body."""
    _, body = socket.recv_multipart(zmq.NOBLOCK)
    return body


def data_server(endpoint: str, tcp: str = "", secret: str = "") -> tuple[zmq.Socket[bytes], tuple[str, ...]]:
    """ROUTER, bound, for frames; also returns the endpoints really bound."""
    socket = _make(zmq.ROUTER, DATA_HIGH_WATER_MARK, 0, FRAME_BYTES_MAX)
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    return socket, _bind(socket, endpoint, tcp, secret, DATA_HIGH_WATER_MARK)


def data_client(address: ServiceAddress) -> zmq.Socket[bytes]:
    """DEALER, connected to a ``data_server``: one per route, so that routes never wait for each other."""
    return _connect(_make(zmq.DEALER, DATA_HIGH_WATER_MARK, DATA_LINGER_MS), address)


def readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message is there: a fraction of the cost of asking for ``EVENTS``, or of an attempt that raises
    ``Again``."""
    return bool(zmq.zmq_poll([(socket, POLLIN)], 0))


def receive_frame(socket: zmq.Socket[bytes]) -> list[Any]:
    """A message that is there: its identity as bytes, then frames, which are not copied. (``recv_multipart`` takes
    several times as long, by asking the socket for each part whether more follow.)"""
    parts: list[Any] = [socket.recv(zmq.NOBLOCK)]
    more = True
    while more:
        parts.append(socket.recv(zmq.NOBLOCK, copy=False))
        more = parts[-1].more
    return parts


def property_of(frame: zmq.Frame, name: str) -> str:
    """What ZeroMQ knows of the connection that a frame came by, such as ``User-Id`` and ``Peer-Address``; ``""``:
    nothing."""
    try:
        found = frame.get(name)
    except zmq.ZMQError:
        return ""
    return found if isinstance(found, str) else ""


def sending(socket: zmq.Socket[bytes]) -> Callable[..., Any]:
    """What sends one part, ``(data, flags, copy)``, without the layers above it, which cost as much as the sending. No
    byte code runs inside, but signal handlers may, and raise: then nobody knows whether the part has gone."""
    send: Callable[..., Any] = super(zmq.Socket, socket).send
    return send


def file_descriptor(socket: zmq.Socket[bytes]) -> int:
    """Becomes readable when the socket's state may have changed (edge-triggered: then read until empty)."""
    return int(socket.getsockopt(zmq.FD))
