"""The line between a controller and one of its own processes: a Unix socket of whole messages (SEQPACKET).

It wakes one thread at each message, where a ZeroMQ socket wakes three. Messages arrive in their order, and the end of
file means that the other process is gone: nobody else has its end of the line. So an end is never closed by hand.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from typing import Any

from ..common.complaints import Complaints
from ..common.limits import HEADER_BYTES_MAX, LINE_STUCK_NS, LINE_WAITING_MAX
from . import messages

_FULL = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM)
"""There is no room for a message now: in the socket, or in the whole machine."""


def pair() -> tuple[int, int]:
    """The descriptors of both ends. The process that keeps one must close the other once it is passed on."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return one.detach(), other.detach()


class Line:
    """One end. Not thread-safe. Nothing here waits, and nobody's end raises anything."""

    def __init__(self, descriptor: int, codec: messages.Codec, complaints: Complaints) -> None:
        """Takes over ``descriptor``. What ``codec`` cannot read goes to ``complaints``."""
        os.set_blocking(descriptor, False)
        os.set_inheritable(descriptor, False)  # programs that a library starts would hold this end open
        self.descriptor = descriptor
        self.is_over = False
        """Whether the other process is gone, and all that it sent was received."""
        self._codec = codec
        self._complaints = complaints
        self._waiting: deque[bytes] = deque()
        self._read_ns = 0  # when the other side has last made room for one of these, or the first of them came

    @property
    def waits(self) -> bool:
        """Whether messages wait for the other side to read: then ``flush`` is to be called every few milliseconds."""
        return bool(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether so many messages wait that what can be left should be."""
        return len(self._waiting) >= LINE_WAITING_MAX

    @property
    def is_stuck(self) -> bool:
        """Whether the other side must be taken for hung."""
        return self.is_full and time.monotonic_ns() - self._read_ns >= LINE_STUCK_NS

    def postpone(self, lost_ns: int) -> None:
        """The other side has so much more time to read: this one has not tried to send meanwhile."""
        self._read_ns += lost_ns

    def send(self, message: messages.Message) -> None:
        """Sends, or keeps the message until the other side reads. ``MessageError`` where it is too large to be read."""
        encoded = messages.encode(message)
        if len(encoded) > HEADER_BYTES_MAX:
            raise messages.MessageError(f"a message of {len(encoded)} bytes: at most {HEADER_BYTES_MAX} are taken")
        if self._waiting:
            self._waiting.append(encoded)
        elif not self._write(encoded):
            self._waiting.append(encoded)
            self._read_ns = time.monotonic_ns()

    def flush(self) -> None:
        """Sends what waits, as far as there is room."""
        while self._waiting and self._write(self._waiting[0]):
            self._read_ns = time.monotonic_ns()
            if self._waiting:
                self._waiting.popleft()

    def _write(self, encoded: bytes) -> bool:
        try:
            os.write(self.descriptor, encoded)
        except OSError as error:
            if error.errno in _FULL:
                return False
            self._waiting.clear()  # nobody reads it any more, which the end of file will show
        return True

    def receive(self) -> Any:
        """The next message that is there, else ``None``."""
        while not self.is_over:
            try:
                encoded = os.read(self.descriptor, HEADER_BYTES_MAX + 1)
            except BlockingIOError:
                break
            except ConnectionResetError:  # it ended without reading everything; what it sent is still to come
                continue
            if not encoded:
                self.is_over = True
                break
            try:
                return self._codec.decode(encoded)
            except messages.MessageError as error:
                self._complaints.about("", f"a message was refused: {error}")
        return None
