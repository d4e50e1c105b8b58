"""What keeps up with a service that this process cannot watch: in another container, or on another machine.

Signs of life go there, and show the service this process's clock; commands arrive there once and in order, though the
network is cut meanwhile: each waits for the answer to the one before, and is sent again when none comes.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from .. import errors
from ..common.complaints import Complaints
from ..common.descriptions import Pong, Welcome
from ..common.limits import MS
from ..common.service import ServiceAddress
from ..common.service_limits import PING_NS, RESEND_NS, SERVICE_SILENCE_NS, STOOD_STILL_NS
from ..wire import messages, sockets
from ..wire.replies import read, turn, understood

log = logging.getLogger("recsvc")
complaints = Complaints(log)

_PINGS_KEPT = 64
_FIRST_PINGS = 4
_FIRST_PING_MS = 1000
"""The clocks are compared before the first recording begins: the shortest of these exchanges counts."""


class Link:
    """``command`` and ``settled`` are for any thread; all else is called by the thread that reads."""

    def __init__(
        self,
        name: str,
        address: ServiceAddress,
        on_ask: Callable[[], None],
        on_welcome: Callable[[Welcome], None],
    ) -> None:
        """``on_ask()``: the service is asked who it is, and what it still has of this client; ``on_welcome(welcome)``:
        it has answered."""
        self._name = name
        self.socket = sockets.control_client(address)
        try:
            self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except BaseException:
            self.socket.close()
            raise
        self._hello: messages.Hello | None = None
        self._is_same_clock = True
        self._on_ask = on_ask
        self._on_welcome = on_welcome
        self._numbers = 0
        self._commands: deque[messages.Request] = deque()
        self._lock = threading.Lock()
        self._closed = False
        self._empty = threading.Event()
        self._empty.set()
        self._on_way: tuple[int, bytes, int] | None = None  # number, message, and when it was sent last
        self._hello_number = 0
        self._pings: dict[int, int] = {}  # number -> when it was sent
        self._ping_ns = 0  # when the next is due
        self._echo = 0, 0
        self._trips: deque[tuple[int, int]] = deque(maxlen=_PINGS_KEPT)  # how long each took, and the service's lead
        now = time.monotonic_ns()
        self._came_ns = self._looked_ns = now

    def begin(self, hello: messages.Hello, clock: str) -> None:
        """Compares the clocks for the first time. ``hello``: what is sent anew after an interruption; ``clock``: the
        service's, as in ``Welcome``."""
        self._hello = hello
        self._is_same_clock = clock != "" and clock == hello.clock
        for _ in range(_FIRST_PINGS):
            self._ping(time.monotonic_ns())
            if not self.socket.poll(_FIRST_PING_MS):
                break
            self.take()
        self._ping(time.monotonic_ns(), is_answered=False)  # so that the service has the times of the last one, too

    # --- for any thread ---------------------------------------------------------------------------

    def command(self, message: messages.Request) -> None:
        """Arrives once, after those before, or this service is lost. ``ServiceError`` where it is already."""
        with self._lock:
            if self._closed:
                raise errors.ServiceError("the service takes no more commands: its connection was closed")
            self._empty.clear()
            self._commands.append(message)
            os.eventfd_write(self.wake, 1)

    def settled(self, limit_s: float) -> bool:
        """Waits until every command has arrived; whether that is so."""
        return self._empty.wait(limit_s)

    def ours_ns(self, service_ns: int) -> int:
        """An instant of the service's clock by this process's own, as far as that is known."""
        return service_ns if self._is_same_clock else service_ns - min(self._trips, default=(0, 0))[1]

    # --- the reading thread -----------------------------------------------------------------------

    def look(self, woken: bool) -> int:
        """Sends what is due; for how many milliseconds nothing more will be. ``woken``: ``wake`` is readable."""
        if woken:
            os.eventfd_read(self.wake)
        now = time.monotonic_ns()
        if now - self._looked_ns > STOOD_STILL_NS:
            self._came_ns += now - self._looked_ns  # it was this process that was silent
        self._looked_ns = now
        if now >= self._ping_ns:
            self._ping(now)
        if self._on_way is not None and now >= self._on_way[2] + RESEND_NS:
            self._send(self._on_way[1])
            self._on_way = (*self._on_way[:2], now)
        self._next_command(now)
        due = self._ping_ns if self._on_way is None else min(self._ping_ns, self._on_way[2] + RESEND_NS)
        return max(0, due - now) // MS + 1

    @property
    def is_lost(self) -> bool:
        """Whether nothing came for too long."""
        return time.monotonic_ns() - self._came_ns >= SERVICE_SILENCE_NS

    def ask_who(self) -> None:
        """The connection was interrupted: says hello again."""
        if self._hello is not None:
            self._on_ask()
            self._numbers += 1
            self._hello_number = self._numbers
            self._send(messages.encode(msgspec.structs.replace(self._hello, id=self._hello_number)))

    def take(self) -> None:
        """Reads what is there, as much as a turn takes."""
        for _ in turn(self.socket):
            try:
                self._take(read(self.socket.recv_multipart(sockets.NOBLOCK)[0]), time.monotonic_ns())
            except errors.ServiceError as error:
                complaints.about("link", str(error))

    def _take(self, reply: messages.Reply, now: int) -> None:
        self._came_ns = now
        if self._on_way is not None and reply.id == self._on_way[0]:
            if reply.error:
                log.debug("a command was refused: %s", reply.text)  # its recording has ended meanwhile
            self._on_way = None
            self._next_command(now)
        elif reply.id == self._hello_number and not reply.error:
            self._on_welcome(understood(reply.result, Welcome))
        elif reply.id in self._pings:
            self._ponged(self._pings.pop(reply.id), reply, now)

    def _ponged(self, sent_ns: int, reply: messages.Reply, now: int) -> None:
        if reply.error:
            log.debug("a sign of life was refused: %s", reply.text)
            return
        pong = understood(reply.result, Pong)
        self._echo = pong.at_ns, now
        self._trips.append((now - sent_ns, pong.at_ns - (sent_ns + now) // 2))
        if not pong.known:
            self.ask_who()

    def _next_command(self, now: int) -> None:
        if self._on_way is None and self._commands:
            self._numbers += 1
            encoded = messages.encode(msgspec.structs.replace(self._commands[0], id=self._numbers))
            self._on_way = self._numbers, encoded, now
            self._commands.popleft()
            self._send(encoded)
        with self._lock:
            if self._on_way is None and not self._commands:
                self._empty.set()

    def _ping(self, now: int, *, is_answered: bool = True) -> None:
        self._ping_ns = now + PING_NS
        number = 0
        if is_answered:
            self._numbers += 1
            number = self._numbers
            self._pings[number] = now
            while len(self._pings) > _PINGS_KEPT:
                del self._pings[next(iter(self._pings))]
        echo_ns, echo_at_ns = self._echo
        ping = messages.Ping(id=number, client=self._name, at_ns=now, echo_ns=echo_ns, echo_at_ns=echo_at_ns)
        self._send(messages.encode(ping))

    def _send(self, encoded: bytes) -> None:
        try:
            sockets.send_command(self.socket, encoded)
        except errors.ServiceError as error:
            log.debug("%s", error)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            os.close(self.wake)
        self._empty.set()
        self.socket.close()
