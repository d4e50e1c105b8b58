"""One recording of a track at the sending end: its socket, its credits, and the message that is on its way.

A message is sent in steps, and the main thread's ``write()`` can be left by an exception between any two of them, or be
halted by a signal handler that ends this very recording. So what is to be sent is noted first, by one assignment, and
who comes next completes it (``settle``). What went already may then go once more: the receiver takes the last two parts
of such a message, and leaves out a number that it has had.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Generic, NamedTuple

from ..common.complaints import Complaints
from ..common.service import ServiceAddress
from ..common.service_limits import REQUESTS_PER_TURN, RESEND_NS
from . import farewell, messages, sockets
from .flow import CaptureWindow, CreditBalance, Interval
from .frames import F

complaints = Complaints(logging.getLogger("recsvc"))

_COPY_BYTES_MAX = 65536  # up to here a copy costs less than telling ZeroMQ whose memory it is
_EVER_NS = 2**63


class Answer(Enum):
    """What became of a frame for one recording."""

    TAKEN = 1
    UNWANTED = 2  # the recording is over
    FULL = 3  # no credit


class Shared:
    """What the routes of one sender have in common."""

    def __init__(self) -> None:
        self.muted = False


class Beginning(NamedTuple):
    """A route that begins: its name, the first instant that it wants, and the first credit, in frames and bytes."""

    shared: Shared
    name: str
    from_ns: int
    frames: int
    size: int


class Route(Generic[F]):
    """Guarded by the sender's lock. A kind of frame says in ``_take`` how one is sent."""

    exact = False
    """It gets what was captured in its window, whenever it comes; else what is written while it is not paused."""

    def __init__(self, beginning: Beginning) -> None:
        shared, name, from_ns, frames, size = beginning
        self.name = name
        self.window = CaptureWindow(from_ns)
        self.balance = CreditBalance(frames, size)
        self.socket: sockets.Socket[bytes] | None = None
        self.sequence = self.sent_samples = 0
        self.last = False  # what is sent now is followed by the end of stream
        self.over = False  # the end of stream has been sent, or waits for the route to be opened
        self.dead = False  # its encoder is gone
        self.is_local = False  # whether that is on this machine
        self._waits = False
        self._end = b""  # of stream, as it was sent
        self._full_ns = 0  # since when there is no credit, or the worker was shown what was sent
        self.enabled = True
        self._shared = shared
        self._dropped: defaultdict[str, int] = defaultdict(int)
        self.counted: defaultdict[str, int] = defaultdict(int)  # running totals that every header carries
        # Each route fills in one header again and again: making one takes as long as sending it.
        self._common: dict[str, Any] = dict(
            route=name, sequence=0, captured_ns=0, dropped=self._dropped, counted=self.counted
        )
        self._send: Callable[..., Any] | None = None
        self._sending: tuple[bytes, Any, int, int, int] | None = None  # a message, and the totals once it has gone
        self._backlog: list[tuple[Any, ...]] = []  # until the route is open; bounded by the first credit

    def open(self, address: ServiceAddress, *, waits: bool) -> None:
        """Connects, and sends what was kept until now."""
        socket = sockets.data_client(address)
        send = sockets.sending(socket)
        self._waits = waits
        self.is_local = not address.is_remote
        send(messages.encode(messages.Attach(route=self.name, waits=waits)))
        for kept in self._backlog:
            socket.send_multipart(kept[:2], copy=False)
        self.socket, self._send = socket, send
        self._backlog = []

    def close(self) -> None:
        self.over = True
        if self.socket is not None:
            if self._end and not self.is_local and not self.dead:
                farewell.part(self.socket, self._end)
            else:
                self.socket.close(0 if self.dead else None)
            self.socket = self._send = None

    def take_credits(self) -> None:
        for _ in range(REQUESTS_PER_TURN):
            if self.socket is None or not sockets.readable(self.socket):  # a signal handler may have closed it
                return
            try:
                message = messages.SENDER.decode(self.socket.recv(sockets.NOBLOCK))
            except messages.MessageError as error:
                complaints.about(self.name, f"route {self.name}: {error}")
                continue
            if isinstance(message, messages.Ended):
                continue
            if isinstance(message, messages.Refused):
                complaints.about(self.name, f"route {self.name}: the encoder refused a message: {message.reason}")
            else:
                self._granted(message)

    def _granted(self, message: messages.Credit | messages.RingReady) -> None:
        if isinstance(message, messages.Credit):
            self._full_ns = 0
            self.balance.grant(message.frames, message.bytes)

    def _full(self) -> Answer:
        """There is no credit. Where none comes for long, frames or credits may have been lost with a connection: the
        worker is shown what was sent, and answers with what there is."""
        now_ns = time.monotonic_ns()
        self._full_ns = self._full_ns or now_ns
        if now_ns - self._full_ns >= RESEND_NS:
            self._full_ns = now_ns
            attach = messages.Attach(
                route=self.name,
                waits=self._waits,
                sent=self.balance.frames_used,
                sent_bytes=self.balance.bytes_used,
                sent_samples=self.sent_samples,
            )
            if self._send is not None and self._sending is None:
                self._send_alone(messages.encode(attach))
        return Answer.FULL

    # --- frames -----------------------------------------------------------------------------------

    def wanted(self, frame: F) -> Sequence[tuple[F, Interval]]:
        """What this recording is to get now that the frame has come, each with the interval that it belongs to."""
        interval = self.window.current
        return ((frame, interval),) if interval.until_ns is None else ()

    def take(self, frame: F, interval: Interval) -> Answer:
        """Sends a frame, or keeps it to be sent with others."""
        if self._sending is not None:
            self.settle()
        if self.over:
            return Answer.UNWANTED
        muted = self._shared.muted or not self.enabled
        return self._take(frame, interval, muted, 0 if muted else len(frame.payload))

    def _take(self, frame: F, interval: Interval, muted: bool, size: int) -> Answer:
        raise NotImplementedError

    def _send_frame(
        self, header: messages.FrameHeader, captured_ns: int, interval: Interval, muted: bool, payload: Any, size: int
    ) -> bool:
        """Fills in what every kind of header has, and sends it with the payload; see ``send``."""
        self._fill(header, captured_ns, interval, muted)
        return self.send(messages.encode(header), payload, size)

    def _fill(self, header: messages.FrameHeader, captured_ns: int, interval: Interval, muted: bool) -> None:
        header.sequence = self.sequence
        header.captured_ns = captured_ns
        header.paused_ns = interval.paused_ns
        header.since_ns = interval.from_ns if self.exact else 0
        header.muted = muted

    def drop(self, cause: str, units: int) -> None:
        """Counts a frame that is not sent."""
        self._dropped[cause] += units

    def flush(self, until_ns: int = _EVER_NS) -> None:
        """Sends what was taken and waits for more; of what may still be cut that which was captured up to then."""
        self.settle()
        self._flush(until_ns)

    def _flush(self, until_ns: int) -> None:
        pass

    def mark(self, at_ns: int, number: int) -> None:
        """Sends what was captured up to ``at_ns``, or written by now, and the ``Mark`` after it."""
        self.flush(at_ns)
        interval = self.window.current
        until_ns = at_ns if interval.until_ns is None else min(at_ns, interval.until_ns)
        recorded_ns = until_ns - interval.paused_ns
        mark = messages.Mark(route=self.name, number=number, recorded_ns=recorded_ns, exact=self.exact)
        self._send_alone(messages.encode(mark))

    def end(self, at_ns: int) -> None:
        """Sends what is left, and the end of stream: nothing follows it."""
        self.settle()
        until_ns, paused_ns = self.window.end(at_ns)
        self.last = True
        self._flush(_EVER_NS)
        end = messages.End(
            route=self.name,
            count=self.sequence,
            sent_samples=self.sent_samples,
            until_ns=until_ns,
            paused_ns=paused_ns,
            dropped=self._dropped,
            counted=self.counted,
            at_ns=at_ns,
            sent_ns=time.monotonic_ns(),
            exact=self.exact,
        )
        self._end = messages.encode(end)
        self._send_alone(self._end)
        self.over = True

    # --- messages ---------------------------------------------------------------------------------

    def send(self, header: bytes, payload: Any, size: int) -> bool:
        """Whether the end of stream did not come before. ``size``: the bytes that wait at the worker, wherever they
        lie. The payload is copied unless it is bytes."""
        payload = payload if isinstance(payload, bytes) else bytes(payload)
        balance = self.balance
        self._sending = header, payload, self.sequence + 1, balance.frames_used + 1, balance.bytes_used + size
        in_time = not self.over  # from here on the end would have it sent
        self.settle()
        return in_time

    def settle(self) -> None:
        """Completes what ``send`` began, there or after an interruption."""
        sending, send = self._sending, self._send
        if sending is None:
            return
        header, payload = sending[:2]
        copied = len(payload) < _COPY_BYTES_MAX
        # Handlers run in calls and after them: between a look at ``over`` and the call that follows there is none.
        if send is not None:
            if not self.over:
                send(header, sockets.SNDMORE)
            if not self.over:
                send(payload, 0, copied)
        elif not self.over and sending not in self._backlog[-1:]:
            self._backlog.append(sending)
        self._sent(sending)

    def _sent(self, sending: tuple[bytes, Any, int, int, int]) -> None:
        _, _, self.sequence, self.balance.frames_used, self.balance.bytes_used = sending
        self._sending = None

    def _send_alone(self, message: bytes) -> None:
        """A message without a frame, after those that were sent."""
        send = self._send
        if send is None:
            if not self.over:
                self._backlog.append((message,))
        elif not self.over:
            send(message)
