"""The sending end of packets that a source has encoded: each recording gets those that were captured in its window, and
may begin with the newest group of pictures.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from ..common.limits import AUDIO_HOLD_NS, PREROLL_BYTES_MAX, PREROLL_NS, S
from ..common.packet_limits import PREROLL_PACKETS_MAX
from .captured import CapturedRoute, CapturedSender
from .flow import Interval
from .frames import Packet
from .packets import PacketRoute, PacketSender
from .route import Answer, Beginning


class Recent:
    """The newest packets of a track: of pictures, from a key frame on with which decoding can begin; of sound, as far
    back as the pictures ``beside`` it; at least those of the last ``PREROLL_NS``. Bounded in time, number and bytes.
    Pure."""

    def __init__(self, most_s: float, beside: Recent | None = None, *, of_pictures: bool = True) -> None:
        """``most_s``: how much older than the newest packet the key frame may be."""
        self.packets: deque[Packet] = deque()
        self._most_ns = int(most_s * S)
        self._beside = beside
        self._of_pictures = of_pictures
        self._keys: deque[int] = deque()  # when the key frames among them were captured
        self._bytes = 0

    def add(self, packet: Packet) -> None:
        """A packet has come. They come in their order."""
        self.packets.append(packet)
        self._bytes += len(packet.payload)
        if self._of_pictures and packet.key_frame:
            self._keys.append(packet.captured_ns)
        oldest_ns = self._oldest_ns(packet.captured_ns)
        while self.packets[0].captured_ns < oldest_ns:
            self._let_go()
        if self._bytes > PREROLL_BYTES_MAX or len(self.packets) > PREROLL_PACKETS_MAX:
            self._let_go()
            oldest_ns = self._oldest_ns(packet.captured_ns)  # without its key frame a group is of no use
            while self.packets and self.packets[0].captured_ns < oldest_ns:
                self._let_go()

    def moved(self, by_ns: int) -> None:
        """All of them were captured so much later than was said."""
        self.packets = deque(one._replace(captured_ns=one.captured_ns + by_ns) for one in self.packets)
        self._keys = deque(key_ns + by_ns for key_ns in self._keys)

    def begin_ns(self, from_ns: int) -> int:
        """Where a recording from ``from_ns`` on begins: at the newest key frame before; ``from_ns`` where there is none
        that is young enough."""
        earlier = [key_ns for key_ns in self._keys if key_ns <= from_ns]
        return earlier[-1] if earlier and earlier[-1] >= from_ns - self._most_ns else from_ns

    def _oldest_ns(self, newest_ns: int) -> int:
        """Which packets are still needed, that a recording may begin with."""
        needed_ns = newest_ns - PREROLL_NS
        if self._beside is not None and self._beside.packets:
            return max(min(needed_ns, self._beside.packets[0].captured_ns), newest_ns - self._most_ns)
        keys = self._keys
        while len(keys) > 1 and keys[1] <= needed_ns:
            keys.popleft()
        while keys and keys[0] < newest_ns - self._most_ns:
            keys.popleft()
        return min(keys[0], needed_ns) if keys else needed_ns

    def _let_go(self) -> None:
        packet = self.packets.popleft()
        self._bytes -= len(packet.payload)
        if self._keys and packet.key_frame and self._keys[0] == packet.captured_ns:
            self._keys.popleft()


class _CapturedPictureRoute(CapturedRoute[Packet], PacketRoute):
    """Pictures that came after a pause or stop, but before its command, are left out by the worker."""


class _CapturedSoundRoute(CapturedRoute[Packet], PacketRoute):
    """Packets wait until no pause or stop that is still on its way can leave them out. (Those of pictures do that in
    the worker.)"""

    def __init__(self, beginning: Beginning) -> None:
        super().__init__(beginning)
        self._held: deque[Packet] = deque()

    def wanted(self, packet: Packet) -> Sequence[tuple[Packet, Interval]]:
        self._held.append(packet)
        old_ns = packet.captured_ns - AUDIO_HOLD_NS
        ready: list[tuple[Packet, Interval]] = []
        while self._held[0].captured_ns <= old_ns:
            ready += super().wanted(self._held.popleft())
        return ready

    def _flush(self, until_ns: int) -> None:
        while self._held and self._held[0].captured_ns <= until_ns:
            for packet, interval in super().wanted(self._held.popleft()):
                if self.take(packet, interval) is Answer.FULL:
                    self.drop("queue_full", packet.units)
        super()._flush(until_ns)


class CapturedPacketSender(CapturedSender[Packet], PacketSender):
    """Sends the packets of a source in real time."""

    def __init__(self, recent: Recent, *, of_pictures: bool) -> None:
        super().__init__()
        self._route_class = _CapturedPictureRoute if of_pictures else _CapturedSoundRoute
        self.recent = recent

    def _lately(self) -> Iterable[Packet]:
        return self.recent.packets

    def begin_ns(self, from_ns: int) -> int:
        """As ``Recent.begin_ns``."""
        with self._writes.lock:
            return self.recent.begin_ns(from_ns)

    def moved(self, by_ns: int) -> None:
        """As ``Recent.moved``; not where a recording has begun with them meanwhile."""
        with self._writes.lock:
            if not self.recorded:
                self.recent.moved(by_ns)

    def send(self, packet: Packet) -> bool:
        with self._writes.lock:
            self.recent.add(packet)
            return super().send(packet)


class _HeldRoute(PacketRoute):
    """A packet that is not wanted comes again, unless others want it meanwhile: then it is missing here."""

    def __init__(self, beginning: Beginning) -> None:
        super().__init__(beginning)
        self._unwanted: Packet | None = None
        self._is_torn = False

    def wanted(self, packet: Packet) -> Sequence[tuple[Packet, Interval]]:
        parts = super().wanted(packet)
        if self._unwanted is not None and self._unwanted is not packet:
            self._is_torn = True
        self._unwanted = None if parts else packet
        return parts

    def _follows(self, packet: Packet) -> bool:
        follows, self._is_torn = not self._is_torn, False
        return follows


class HeldPacketSender(PacketSender):
    """Sends the packets of a source that stands still while nobody wants them."""

    _route_class = _HeldRoute
