"""Encoded packets at the sending end, of sound or pictures: each goes in a message of its own, as it is.

Messages go together where a line of the clock is reached, the same for all senders: waking up costs a worker several
times as much as what it does for a packet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Any, NamedTuple

from ..common.packet_limits import PACKET_MESSAGES_MAX, PACKET_MESSAGES_NS, REORDERED_MAX, REORDERED_NS_MAX
from . import messages
from .flow import Interval
from .frames import Packet
from .route import Answer, Beginning, Route
from .sender import FrameSender


class DecodeTimes:
    """When pictures that come out of order are to be decoded, made of when they are to be shown: times that never go
    back, and end up the decoder's delay before. Pure.

    As many of the newest pictures as were ever overtaken by one wait in the decoder; the earliest of them is what
    is shown next. A time that is too far off is another clock, or wrong, or follows a rest: what waited would be shown
    that much later than it is decoded.
    """

    def __init__(self) -> None:
        self._newest: list[int] = []  # rising
        self._depth = 0
        self._last_ns: int | None = None

    def time_of(self, shown_ns: int) -> int:
        """That of the next packet, whose picture is to be shown at ``shown_ns``."""
        newest = self._newest
        if newest and abs(shown_ns - newest[-1]) > REORDERED_NS_MAX:
            newest.clear()
            self._last_ns = None
        at = bisect_right(newest, shown_ns)
        overtaken = len(newest) - at
        newest.insert(at, shown_ns)
        self._depth = min(max(self._depth, overtaken), REORDERED_MAX)
        del newest[: -self._depth - 1]
        self._last_ns = newest[0] if self._last_ns is None else max(newest[0], self._last_ns)
        return self._last_ns


class _Ready(NamedTuple):
    """A message that has been taken, and waits to go with others."""

    header: bytes
    payload: bytes
    size: int
    sequence: int


class PacketRoute(Route[Packet]):
    """One recording of a track of packets."""

    def __init__(self, beginning: Beginning) -> None:
        super().__init__(beginning)
        self._header = messages.PacketFrame(**self._common)
        self._ready: deque[_Ready] = deque()
        self._line = 0  # the next one that its packets have not reached

    def _take(self, packet: Packet, interval: Interval, muted: bool, size: int) -> Answer:
        if packet.damaged:
            self.drop("damaged", packet.units)
            return Answer.TAKEN
        ready = self._ready
        if not self._has_room(size):
            self.take_credits()
            if not self._has_room(size):
                self._send_ready()
                return self._full()
        header = self._header
        header.key_frame, header.duration_ns = packet.key_frame, packet.duration_ns
        header.offset_ns, header.padding_ns = packet.offset_ns, packet.padding_ns
        header.follows = self._follows(packet)
        self._fill(header, packet.captured_ns, interval, muted)
        header.sequence = self.sequence + len(ready)
        message = _Ready(messages.encode(header), b"" if muted else packet.payload, size, header.sequence)
        if self.over:  # looked at last: no handler runs between this and what follows
            return Answer.UNWANTED
        ready.append(message)
        line = packet.captured_ns // PACKET_MESSAGES_NS
        if line != self._line or len(ready) >= PACKET_MESSAGES_MAX:
            self._line = line
            self._send_ready()
        return Answer.TAKEN

    def _has_room(self, size: int) -> bool:
        ready = tuple(self._ready)  # which a handler may empty meanwhile
        return self.balance.allows(size, len(ready), sum(one.size for one in ready))

    def _send_ready(self) -> None:
        while self._ready:
            header, payload, size, _ = self._ready[0]
            self.send(header, payload, size)

    def _sent(self, sending: tuple[bytes, Any, int, int, int]) -> None:
        while self._ready and self._ready[0].sequence < sending[2]:
            self._ready.popleft()
        super()._sent(sending)

    def _flush(self, until_ns: int) -> None:
        self._send_ready()

    def _follows(self, packet: Packet) -> bool:
        """Whether it is known to be the next of its stream after the one that was sent before."""
        return False


class PacketSender(FrameSender[Packet]):
    """Sends the packets of one track to all its recordings."""

    _route_class: type[PacketRoute] = PacketRoute

    def _make_route(self, beginning: Beginning) -> PacketRoute:
        return self._route_class(beginning)
