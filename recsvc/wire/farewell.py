"""Ends of stream that go over a network: each is sent again until the worker has it.

A socket that was closed delivers what it holds, but no more than once: what a connection has taken along when it broke
is lost, and of a route nothing comes after its end that would show that. So the socket of an ended route is kept until
it is answered, here, in a thread that lives as long as there is one.
"""

from __future__ import annotations

import os
import threading
import time

from ..common.limits import DATA_LINGER_MS, MS
from ..common.service_limits import RESEND_NS
from . import messages, sockets
from .replies import turn


class _Parting:
    def __init__(self, socket: sockets.Socket[bytes], end: bytes) -> None:
        self.socket = socket
        self.end = end
        now = time.monotonic_ns()
        self.until_ns = now + DATA_LINGER_MS * MS
        self.again_ns = now + RESEND_NS


_LOOK_MS = 50  # one that comes meanwhile is looked at so late
_lock = threading.Lock()
_partings: list[_Parting] = []
_thread: threading.Thread | None = None


def part(socket: sockets.Socket[bytes], end: bytes) -> None:
    """``socket``: of a route whose ``end`` was sent by it; it is closed once that has arrived, or after some seconds.
    From any thread; the socket is not used there any more."""
    global _thread
    with _lock:
        _partings.append(_Parting(socket, end))
        if _thread is None:
            _thread = threading.Thread(target=_run, name="recsvc-farewell", daemon=True)
            _thread.start()


def _run() -> None:
    global _thread
    while True:
        with _lock:
            parting = list(_partings)
            if not parting:
                _thread = None
                return
        poller = sockets.Poller()
        for one in parting:
            poller.register(one.socket, sockets.POLLIN)
        poller.poll(_LOOK_MS)
        now = time.monotonic_ns()
        over = [one for one in parting if _is_over(one, now)]
        with _lock:
            for one in over:
                _partings.remove(one)
        for one in over:
            one.socket.close(0)


def _is_over(parting: _Parting, now_ns: int) -> bool:
    for _ in turn(parting.socket):
        try:
            message = messages.SENDER.decode(parting.socket.recv(sockets.NOBLOCK))
        except messages.MessageError:
            continue
        if isinstance(message, messages.Ended | messages.Refused):
            return True
    if now_ns >= parting.until_ns:
        return True
    if now_ns >= parting.again_ns:
        parting.again_ns = now_ns + RESEND_NS
        try:
            parting.socket.send(parting.end, sockets.NOBLOCK)
        except sockets.ZMQError:
            return True
    return False


def _forked() -> None:
    """A child has none of its parent's sockets."""
    global _lock, _thread
    _lock, _thread = threading.Lock(), None
    _partings.clear()


os.register_at_fork(after_in_child=_forked)
