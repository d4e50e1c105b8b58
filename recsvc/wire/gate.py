"""Who comes in over the network: the keys that they show, how many they are, and who sent a message.

One for each process that others reach. ZeroMQ asks it about each key (ZAP) before a connection may say anything, and
names the key with each message that comes by it. A program of this machine comes by a Unix socket and has no key: its
folder is closed to others.
"""

from __future__ import annotations

import logging
import os
import resource
import socket as network
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..common.complaints import Complaints
from ..common.permissions import ANONYMOUS, LOCAL, Peer
from ..common.service_limits import CONNECTIONS_MAX
from . import sockets
from .curve import Authorized, as_text, service_keys

log = logging.getLogger("recsvc")

_NOBODY = Peer("(removed)", frozenset())
"""Whose key is let in no more, and whose connection is still there."""
_TURNS_MAX = 256  # of one look, so that a flood of connections lets the loop go on


def connection_of(frame: Any) -> tuple[int, int] | None:
    """By which connection a frame came: its descriptor, and what tells it from others that had that number before.
    ``None``: it has ended."""
    descriptor = sockets.property_of(frame, "__fd")
    try:
        return int(descriptor), os.fstat(int(descriptor)).st_ino
    except (ValueError, OSError):
        return None


def open_gate(tcp: str, keys: str, key_file: str) -> Gate:
    """That of a process: ``tcp`` is where others reach it, ``""``: nowhere; ``keys`` and ``key_file`` as in
    ``ServiceOptions``, both ``""`` where everybody is let in."""
    return Gate(Path(keys), Path(key_file)) if tcp and keys else Gate(only_here=not tcp)


class Gate:
    """Not thread-safe: the loop of its process calls it. It has to be there before a socket is bound."""

    def __init__(self, keys: Path | None = None, key_file: Path | None = None, *, only_here: bool = False) -> None:
        """``keys``: the folder of those that are let in; ``key_file``: of the service's own. Without them everybody is
        let in. ``only_here``: nobody comes over the network. Raises what is wrong with them."""
        self._only_here = only_here
        self.secret = ""
        self.refused: Counter[str] = Counter()
        """What was refused: connections by ``key`` (not authorized), ``handshake`` (no or a wrong key) and
        ``connections`` (too many at once); who uses the gate counts requests here, by error."""
        self.sources: list[Any] = []
        """What the loop has to watch; where one is readable, ``take`` is to be called."""
        self._complaints = Complaints(log)
        self._authorized: Authorized | None = None
        self._zap: Any = None
        self._monitors: list[Any] = []
        self._addresses: dict[int, str] = {}  # by the descriptor of the connection
        self._by_address: Counter[str] = Counter()
        self._failed = False  # the connection whose end comes next has shown no key that fits
        self._here: set[int] = set()  # connections of this machine's programs, by their descriptors
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._connections_max = CONNECTIONS_MAX if files < 0 else min(CONNECTIONS_MAX, files // 2)
        self._all_max = 2 * CONNECTIONS_MAX if files < 0 else files * 3 // 4
        if keys is not None and key_file is not None:
            self.secret = service_keys(key_file).secret
            self._authorized = Authorized(keys)
            self._zap = sockets.key_server()
            self.sources.append(self._zap)

    def guard(self, *bound: Any) -> None:
        """Bounds the connections of sockets that were bound: ZeroMQ ends a process that is to accept one by a Unix
        socket, and has no descriptor for it."""
        for socket in bound:
            monitor = sockets.connections(socket)
            self._monitors.append(monitor)
            self.sources.append(monitor)

    def peer(self, frame: Any) -> Peer:
        """Who sent a frame. One whose key was removed meanwhile has no permissions any more."""
        if self._only_here or not self.sources:
            return LOCAL
        public = sockets.property_of(frame, "User-Id")
        if public and self._authorized is not None:
            return self._authorized.peer(public) or _NOBODY
        is_local = sockets.property_of(frame, "Peer-Address").startswith("localhost:")
        return LOCAL if is_local else ANONYMOUS if self._authorized is None else _NOBODY

    def end(self, connection: tuple[int, int]) -> None:
        """Ends a connection, as ``connection_of`` returned it, also one of this machine; ZeroMQ then closes it."""
        with suppress(OSError), _duplicate(connection[0]) as own:
            if os.fstat(own.fileno()).st_ino == connection[1]:
                own.shutdown(network.SHUT_RDWR)

    def lets_in(self, public: str) -> bool:
        """Whether a key counts still. ``""``: that of who needs none."""
        return not public or self._authorized is None or self._authorized.peer(public) is not None

    def close(self) -> None:
        for source in self.sources:
            source.close()
        self.sources = []

    def take(self) -> None:
        """Handles what is there, of all sources; to be called when one of them is readable, or often."""
        for _ in range(_TURNS_MAX):
            if self._zap is None or not sockets.readable(self._zap):
                break
            self._judge(self._zap.recv_multipart(sockets.NOBLOCK))
        for monitor in self._monitors:
            for _ in range(_TURNS_MAX):
                if not sockets.readable(monitor):
                    break
                self._note(*sockets.receive_news(monitor))

    def _judge(self, request: list[bytes]) -> None:
        """A request of ZAP: identity, an empty part, version, id, domain, address, routing id, mechanism, key."""
        _, _, version, number, _, address, _, mechanism, *shown = request
        public = as_text(shown[0]) if mechanism == b"CURVE" and shown else ""
        name = address.decode(errors="replace")
        try:
            peer = self._authorized.peer(public) if self._authorized is not None and public else None
        except Exception as error:  # of ours: it must not end what those do who are in already
            self._complaints.about("judging", f"the key {public} of a client at {name} cannot be judged: {error!r}")
            answer = [b"300", b"keys cannot be judged now", b""]  # and its client tries again
        else:
            is_let_in = peer is not None
            answer = [b"200", b"OK", public.encode()] if is_let_in else [b"400", b"this key is not authorized", b""]
        if answer[0] != b"200":
            self.refused["key"] += 1
            text = f"a client at {name} was refused: its key {public} is not authorized here"
            self._complaints.about(f"{name} {public}", text)
        with suppress(sockets.ZMQError):
            self._zap.send_multipart([*request[:2], version, number, *answer, b""], sockets.NOBLOCK)

    def _note(self, event: int, value: int, endpoint: str) -> None:
        if not endpoint.startswith("tcp:"):
            if event == sockets.ACCEPTED:
                self._accepted_here(value)
            elif event == sockets.DISCONNECTED:
                self._here.discard(value)
        elif event == sockets.ACCEPTED:
            self._accepted(value)
        elif event == sockets.DISCONNECTED:
            address = self._addresses.pop(value, "somewhere")
            self._by_address[address] -= 1
            if self._by_address[address] <= 0:
                del self._by_address[address]
            if self._failed:
                self.refused["handshake"] += 1
                text = "it has no key, or not the one of this service, or said nothing in time"
                self._complaints.about(address, f"a connection from {address} was refused: {text}")
            self._failed = False
        else:
            self._failed = True

    def _accepted_here(self, descriptor: int) -> None:
        self._here.add(descriptor)
        if len(self._here) + len(self._addresses) > self._all_max:
            self.refused["connections"] += 1
            text = f"a connection of a program of this machine was refused: {len(self._here)} are open already"
            self._complaints.about("connections here", text)
            with suppress(OSError), _duplicate(descriptor) as connection:
                connection.shutdown(network.SHUT_RDWR)

    def _accepted(self, descriptor: int) -> None:
        """A connection beyond the bound is shut down; ZeroMQ then closes it."""
        with suppress(OSError), _duplicate(descriptor) as connection:
            address = str(connection.getpeername()[0])
            self._addresses[descriptor] = address
            self._by_address[address] += 1
            too_many = len(self._addresses) > self._connections_max
            if not too_many and self._by_address[address] <= self._connections_max // 2:
                return
            self.refused["connections"] += 1
            connection.shutdown(network.SHUT_RDWR)
            text = f"a connection from {address} was refused: {len(self._addresses)} are open already"
            self._complaints.about(f"connections {address}", text)


def _duplicate(descriptor: int) -> network.socket:
    """A socket of ZeroMQ's, which may have ended by now: then its number may be that of any file, and ``OSError`` is
    raised."""
    own = os.dup(descriptor)
    try:
        return network.socket(fileno=own)
    except BaseException:
        os.close(own)
        raise
