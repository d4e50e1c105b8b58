"""Encoded packets on their way to the file, and the order in which they go there. Pure logic.

Packets come with recorded time (see ``encode.timeline``), which begins anywhere, and leave with the file's, which
begins at the recording's first frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from ..common.limits import MS, S
from ..common.media import OPUS_PACKET_SAMPLES, OPUS_RATE

INTERLEAVE_MAX_MS = 300
"""How long a packet waits for those of another track, and a picture for the next one, which shows how long it lasts.
Packets that come later still are kept, in a new cluster."""

VIDEO, AUDIO = 1, 2
"""Track numbers; where times are equal, video comes first."""


class VideoPacket(NamedTuple):
    """A picture, shown from ``at_ns`` on until the next one; ``duration_ns`` is for the last. ``order_ns``: where it
    stands in the file, of one that is not decoded in the order in which it is shown; ``None``: by ``at_ns``."""

    data: bytes
    at_ns: int
    duration_ns: int
    is_key_frame: bool
    is_last: bool = False
    order_ns: int | None = None

    def in_file(self, origin_ns: int) -> VideoPacket:
        """With the file's time, whose 0 is ``origin_ns``. ``ValueError``: there can be no such packet."""
        at_ns = max(self.at_ns - origin_ns, 0)
        if not self.data or self.duration_ns < 0:
            raise ValueError(f"no video packet: {len(self.data)} bytes at {at_ns} ns for {self.duration_ns} ns")
        order_ns = None if self.order_ns is None else max(self.order_ns - origin_ns, 0)
        return VideoPacket(self.data, at_ns, self.duration_ns, self.is_key_frame, self.is_last, order_ns)

    @property
    def ms(self) -> int:
        return (self.at_ns + MS // 2) // MS

    @property
    def ordered_ns(self) -> int:
        """Where it stands in the file."""
        return self.at_ns if self.order_ns is None else self.order_ns

    @property
    def order_ms(self) -> int:
        return (self.ordered_ns + MS // 2) // MS


class AudioPacket(NamedTuple):
    """A packet of Opus, in samples at 48 kHz. ``start_samples`` counts from the track's first decoded sample; the first
    ones are skipped (the pre-skip), and what is heard begins at ``begin_ns``. So a block's time is later by the
    pre-skip than what is heard of it (RFC 9559, CodecDelay). The ``padding_samples`` at the end of the last packet are
    no part of the recording."""

    data: bytes
    start_samples: int
    duration_samples: int = OPUS_PACKET_SAMPLES
    padding_samples: int = 0
    begin_ns: int = 0

    def in_file(self, origin_ns: int) -> AudioPacket:
        """With the file's time, whose 0 is ``origin_ns``. ``ValueError``: there can be no such packet."""
        start = self.start_samples + (max(self.begin_ns - origin_ns, 0) * OPUS_RATE + S // 2) // S
        duration, padding = self.duration_samples, self.padding_samples
        if not self.data or start < 0 or not 0 <= padding < duration:
            raise ValueError(f"no audio packet: {len(self.data)} bytes at {start} for {duration} - {padding} samples")
        return self if self.begin_ns <= origin_ns else AudioPacket(self.data, start, duration, padding)

    @property
    def ms(self) -> int:
        return to_ms(self.start_samples)


class SoundPacket(NamedTuple):
    """A packet of any codec that was encoded elsewhere: what is decoded of it begins at ``at_ns``, which for those of
    which nothing is heard may be up to the codec's delay before the file's time 0; its block stands by that delay
    later. At its end ``padding_ns`` are no part of the recording."""

    data: bytes
    at_ns: int
    duration_ns: int
    delay_ns: int = 0
    padding_ns: int = 0

    def in_file(self, origin_ns: int) -> SoundPacket:
        """With the file's time, whose 0 is ``origin_ns``. ``ValueError``: there can be no such packet."""
        if not self.data or not 0 <= self.padding_ns <= self.duration_ns:
            raise ValueError(
                f"no audio packet: {len(self.data)} bytes at {self.at_ns} ns for {self.duration_ns} - "
                f"{self.padding_ns} ns"
            )
        return self._replace(at_ns=max(self.at_ns - origin_ns, -self.delay_ns))

    @property
    def ms(self) -> int:
        return (self.at_ns + self.delay_ns + MS // 2) // MS


Packet = VideoPacket | AudioPacket | SoundPacket


def to_ms(samples: int) -> int:
    return (samples * 1000 + OPUS_RATE // 2) // OPUS_RATE


class Interleaver:
    """The packets of all tracks that wait: for time 0, for each other, pictures for the next one or to be left out.

    A packet goes to the file once nothing earlier can come and it will not change any more, at the latest when another
    is ``INTERLEAVE_MAX_MS`` ahead of it.
    """

    def __init__(self, *, video: bool, audio: bool, hold_ns: int, origin_ns: int | None) -> None:
        """``hold_ns``: for how long pictures may still be left out. ``origin_ns``: see ``begin``."""
        self._pictures: deque[VideoPacket] = deque()
        self._sound: deque[tuple[int, AudioPacket | SoundPacket]] = deque()  # each with the time of its block (ms)
        self._hold_ms = max(hold_ns // MS, 1)  # at least the newest picture, whose length is not known
        # Up to where each track's packets are what they will be.
        self._settled_ms = {VIDEO: -1} if video else {}
        self._settled_ms |= {AUDIO: -1} if audio else {}
        self._written_ms = {VIDEO: -1, AUDIO: -1}
        self.origin_ns = origin_ns

    def begin(self, origin_ns: int) -> None:
        """Recorded time at which the file's begins, once it is known. Until then all packets wait."""
        self.origin_ns = origin_ns
        early: list[Packet] = [*self._pictures, *(packet for _, packet in self._sound)]
        self._pictures.clear()
        self._sound.clear()
        for packet in early:
            self.add(packet)

    def add(self, packet: Packet) -> None:
        """A packet has come; those of a track come in their order. ``ValueError``: there can be no such packet."""
        origin_ns = self.origin_ns
        if isinstance(packet, VideoPacket):
            if origin_ns is not None:
                packet = packet.in_file(origin_ns)
                self._settled_ms[VIDEO] = packet.order_ms - self._hold_ms
            self._pictures.append(packet)
        else:
            ms = 0
            if origin_ns is not None:
                packet = packet.in_file(origin_ns)
                ms = self._settled_ms[AUDIO] = packet.ms
            self._sound.append((ms, packet))

    def leave_out(self, after_ns: int) -> tuple[int, int]:
        """Pictures that begin after this recorded time shall not be in the file, unless they are there already: how
        many, and where (recorded time) the last of the others stands that wait; ``after_ns``: none waits."""
        count, origin_ns = 0, self.origin_ns or 0
        while self._pictures and self._pictures[-1].ordered_ns + origin_ns > after_ns:
            self._pictures.pop()
            count += 1
        return count, self._pictures[-1].ordered_ns + origin_ns if self._pictures else after_ns

    @property
    def last_picture(self) -> VideoPacket | None:
        """That of those that wait which is shown last, with the file's time."""
        if self.origin_ns is None:
            return None
        return max(self._pictures, key=lambda picture: picture.at_ns, default=None)

    def ready(self) -> Iterator[tuple[int, Packet]]:
        """What goes to the file now, in order, each packet with the time of its block (ms)."""
        settled = self._settled_ms.values()
        return self._take(max(min(settled), max(settled) - INTERLEAVE_MAX_MS))

    def rest(self, pictures_until_ns: int | None = None) -> Iterator[tuple[int, Packet]]:
        """All that waits, and has a time in the file; of pictures those that begin up to this recorded time."""
        if pictures_until_ns is not None and self.origin_ns is not None:
            return self._take(1 << 62, (pictures_until_ns - self.origin_ns + MS // 2) // MS)
        return self._take(1 << 62)

    def finish(self, duration_ns: int | None) -> Iterator[tuple[int, Packet]]:
        """All of it, at the end: the last picture lasts to the recording's."""
        if (last := self.last_picture) is not None:
            end_ns = max(duration_ns or 0, last.at_ns)
            ended = last._replace(duration_ns=(end_ns - last.at_ns) or last.duration_ns, is_last=True)
            self._pictures[self._pictures.index(last)] = ended
        return self.rest()

    def _take(self, until_ms: int, pictures_until_ms: int = 1 << 62) -> Iterator[tuple[int, Packet]]:
        if self.origin_ns is None:
            return
        pictures, sound, written_ms = self._pictures, self._sound, self._written_ms
        pictures_until_ms = min(until_ms, pictures_until_ms)
        while True:
            picture_ms = pictures[0].order_ms if pictures else until_ms + 1
            sound_ms = sound[0][0] if sound else until_ms + 1
            if picture_ms <= min(pictures_until_ms, sound_ms):
                picture = pictures.popleft()
                if picture.order_ns is not None:
                    written_ms[VIDEO] = max(picture.ms, written_ms[VIDEO])
                    yield picture.ms, picture
                    continue
                if pictures and pictures[0].order_ns is None:
                    picture = picture._replace(duration_ns=pictures[0].at_ns - picture.at_ns)
                ms = written_ms[VIDEO] = max(picture_ms, written_ms[VIDEO] + 1)
                yield ms, picture
            elif sound_ms <= until_ms:
                packet = sound.popleft()[1]
                step = isinstance(packet, AudioPacket)  # others may be shorter than a millisecond
                ms = written_ms[AUDIO] = max(sound_ms, written_ms[AUDIO] + step)
                yield ms, packet
            else:
                return
