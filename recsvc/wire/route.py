"""One recording of a track at the sending end: its socket, its credits, and the message that is on its way.

A message is sent in steps, and the main thread's ``write()`` can be left by an exception between any two of them, or be
halted by a signal handler that ends this very recording. So what is to be sent is noted first, by one assignment, and
who comes next completes it (``settle``). What went already may then go once more: the receiver takes the last two parts
of such a message, and leaves out a number that it has had.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from ..common.complaints import Complaints
from . import messages, sockets
from .flow import CaptureWindow, CreditBalance, Interval
from .ring import FrameRing

complaints = Complaints(logging.getLogger("recsvc"))

_COPY_BYTES_MAX = 65536  # up to here a copy costs less than telling ZeroMQ whose memory it is


class Joined:
    """Sound that has been taken and waits for more, to go in one message. ``payloads`` is what counts: the totals are
    for decisions only, and may be behind it where a write was interrupted."""

    __slots__ = ("captured_ns", "interval", "muted", "payloads", "sample_count", "size")

    def __init__(
        self, captured_ns: int, interval: Interval, muted: bool, payload: Any, sample_count: int, size: int
    ) -> None:
        self.captured_ns = captured_ns
        self.interval = interval
        self.muted = muted
        self.payloads: list[Any] = [payload]
        self.sample_count = sample_count
        self.size = size

    def payload(self) -> Any:
        return self.payloads[0] if len(self.payloads) == 1 else b"".join(self.payloads)


class Route:
    """Guarded by the sender's lock."""

    def __init__(self, name: str, from_ns: int, frames: int, size: int) -> None:
        self.name = name
        self.window = CaptureWindow(from_ns)
        self.balance = CreditBalance(frames, size)
        self.socket: Any = None
        self._send: Callable[..., Any] | None = None
        self.sequence = 0
        self.commands = self.cuts = 0
        self.last = False  # what is sent now is followed by the end of stream
        self.over = False  # the end of stream has been sent, or waits for the route to be opened
        self.dead = False  # its encoder is gone
        self.enabled = True
        self.dropped: defaultdict[str, int] = defaultdict(int)
        self.joined: Joined | None = None
        self.given: list[tuple[Any, int]] = []  # blocks that the sender holds, and how many of their samples went
        self.ring_told = self.ring_ready = 0  # the ring it was told of, the ring it has mapped
        self.in_ring: deque[tuple[int, FrameRing, int]] = deque()  # sequence and place of pictures not yet released
        self._sending: tuple[bytes, Any, int, int, int] | None = None  # a message, and the totals once it has gone
        self._backlog: list[tuple[Any, ...]] = []  # until the route is open; bounded by the first credit

    def open(self, endpoint: str, *, waits: bool) -> None:
        """Connects, and sends what was kept until now."""
        socket = sockets.data_client(endpoint)
        send = sockets.sending(socket)
        send(messages.encode(messages.Attach(route=self.name, waits=waits)))
        for kept in self._backlog:
            if len(kept) == 1:
                send(kept[0])
            else:
                self._put(send, kept[0], kept[1])
        self.socket, self._send = socket, send
        self._backlog = []

    def take_credits(self) -> None:
        while self.socket is not None and sockets.readable(self.socket):
            try:
                message = messages.SENDER.decode(self.socket.recv(sockets.NOBLOCK))
            except messages.MessageError as error:
                complaints.about(self.name, f"route {self.name}: {error}")
                continue
            if isinstance(message, messages.Credit):
                self.balance.grant(message.frames, message.bytes)
                while self.in_ring and self.in_ring[0][0] < message.released:
                    self._release_first()
            elif isinstance(message, messages.RingReady):
                self.ring_ready = message.ring
            else:
                complaints.about(self.name, f"route {self.name}: the encoder refused a message: {message.reason}")

    def _release_first(self) -> None:
        _, ring, offset = self.in_ring.popleft()
        ring.release(offset)

    # --- messages ---------------------------------------------------------------------------------

    def send(self, header: bytes, payload: Any, size: int) -> bool:
        """Whether the end of stream did not come before. ``size``: the bytes that wait at the worker, wherever they
        lie. The payload is copied unless it is bytes."""
        payload = payload if isinstance(payload, bytes) else bytes(payload)
        balance = self.balance
        sending = (header, payload, self.sequence + 1, balance.frames_used + 1, balance.bytes_used + size)
        copied = len(payload) < _COPY_BYTES_MAX
        self._sending = sending
        in_time = not self.over  # from here on the end would have it sent
        # Handlers run in calls and behind them: between a look at ``over`` and the call that follows there is none.
        send = self._send
        if send is None:
            if not self.over:
                self._backlog.append(sending)
        else:
            if not self.over:
                send(header, sockets.SNDMORE)
            if not self.over:
                send(payload, 0, copied)
        self._sent(sending)
        return in_time

    def _sent(self, sending: tuple[bytes, Any, int, int, int]) -> None:
        _, _, self.sequence, self.balance.frames_used, self.balance.bytes_used = sending
        self.joined = None
        self._sending = None

    def settle(self) -> None:
        """Completes what an interrupted ``send`` began."""
        sending = self._sending
        if sending is None:
            return
        if not self.over:
            if self._send is not None:
                self._put(self._send, sending[0], sending[1])
            elif not any(kept is sending for kept in self._backlog):
                self._backlog.append(sending)
        self._sent(sending)

    @staticmethod
    def _put(send: Callable[..., Any], header: bytes, payload: Any) -> None:
        send(header, sockets.SNDMORE)
        send(payload, 0, len(payload) < _COPY_BYTES_MAX)

    def tell(self, word: bytes) -> None:
        """A message without a frame, behind those that were sent."""
        send = self._send
        if send is None:
            if not self.over:
                self._backlog.append((word,))
        elif not self.over:
            send(word)

    def finish(self, message: messages.End) -> None:
        """The end of stream: nothing follows it."""
        self.over = True
        if self._send is None:
            self._backlog.append((messages.encode(message),))
        else:
            self._send(messages.encode(message))

    def count_drop(self, cause: str, amount: int) -> None:
        self.dropped[cause] += amount

    def close(self, linger_ms: int | None = None) -> None:
        self.over = True
        while self.in_ring:
            self._release_first()
        if self.socket is not None:
            self.socket.close(linger_ms)
            self.socket = self._send = None
