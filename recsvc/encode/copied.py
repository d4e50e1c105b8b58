"""One track of one recording whose media comes encoded: packets in, the same packets out, everything counted.

Nothing can be cut or made black here: what decoding needs is one packet after the other from a key frame on. So a track
waits for a key frame at its beginning, after a pause, and after whatever was lost.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from typing import Any, NamedTuple

from ..common.codecs import codec_of
from ..common.limits import AUDIO_GAP_NS, MS, VIDEO_DURATION_DEFAULT_NS, S
from ..common.media import FRAME_SIDE_MAX, OPUS_RATE
from ..common.mime import VideoCodec
from ..common.packet_limits import PREROLL_S_MAX, REORDERED_MAX
from ..errors import NotSupportedError
from ..mux.codec_private import Form, form_of
from ..mux.packets import Packet, SoundPacket, VideoPacket
from ..mux.spool import CopiedEntry, Written
from ..wire.messages import OpenRecording, PacketFrame, RecordedTrack, TrackStatistics
from .tracks import AudioTrack, Track, VideoTrack

_SMOOTH = 32
"""The times of sound that follows without a gap move to what their stamps say by this part of the difference: jitter of
stamps is evened out, a drift followed."""


_FASTER = 8
"""So many times faster the first pictures after a gap follow each other at most, where they would be shown before the
last ones before it."""

_LEFT_OUT_NS_MAX = S
"""Pictures wait no longer for others of the file, so that no older one is left out."""


def _to_ms(at_ns: int) -> int:
    return (at_ns + MS // 2) // MS


class Copied(Track):
    """What both kinds have in common."""

    def __init__(self, track: RecordedTrack, started_ns: int) -> None:
        is_ours = track.captured and track.settings.get("clock") != "media"  # the clock by which packets are stamped
        super().__init__(track, started_ns - is_ours * PREROLL_S_MAX * S)
        self._started_ns = started_ns if is_ours else None
        self._prerolled = 0  # older than the start: those with which the recording begins
        settings = track.settings
        self._sample_rate, self._channels = int(settings.get("sample_rate", 0)), int(settings.get("channel_count", 0))
        description = settings.get("description", b"")
        try:
            self._form: Form = form_of(str(settings["codec"]), self._sample_rate, self._channels, bytes(description))
        except (ValueError, TypeError) as error:
            raise NotSupportedError(f"the {track.kind} track {track.track}: {error}") from None
        self._settings = settings
        self.is_described = self._form.private is not None
        self._corrected: Counter[str] = Counter()
        self._lost = self._next = 0  # what the sender had dropped with the newest packet, and the number of the next
        self.first_ns: int | None = None
        self.end_ns: int | None = None

    @property
    def entry(self) -> CopiedEntry:
        """How the file's header describes it; see ``newly_described``."""
        settings, form = self._settings, self._form
        common = (form.codec_id, form.private)
        if self.is_video:
            size = int(settings["width"]), int(settings["height"])
            display = int(settings.get("display_width", size[0])), int(settings.get("display_height", size[1]))
            is_sane = display != size and min(display) > 0 and max(display) <= FRAME_SIDE_MAX
            return CopiedEntry(*common, *size, display if is_sane else None)
        bits = 16 if form.codec == "pcm" else 8 if form.codec in ("alaw", "ulaw") else 0
        delay_ns = form.delay_samples * S // OPUS_RATE
        rate = OPUS_RATE if form.codec == "opus" else self._sample_rate
        return CopiedEntry(*common, 0, 0, None, rate, self._channels, delay_ns, bits)

    def newly_described(self) -> bool:
        """Whether the last packet has shown what was missing in ``entry``."""
        if self.is_described or self._form.private is None:
            return False
        self.is_described = True
        return True

    def encode(self, header: PacketFrame, payload: Any) -> list[Packet]:
        """The packet as it stands in the file, unless it has to be left out."""
        lost = sum(header.dropped.values())
        is_torn = lost != self._lost or header.sequence != self._next
        self._lost, self._next = lost, header.sequence + 1
        if header.muted:
            return self._left_out("muted")
        packet = bytes(payload)
        try:
            made = self._place(header, packet, is_torn)
        except (ValueError, IndexError):
            return self._left_out("damaged")
        if made is None:
            return []
        self.account.encoded += 1
        self._prerolled += self._started_ns is not None and header.captured_ns < self._started_ns
        return [made]

    def _place(self, header: PacketFrame, packet: bytes, is_torn: bool) -> Packet | None:
        """``None``: it has been counted as left out. ``ValueError``, ``IndexError``: it is damaged."""
        raise NotImplementedError

    def _left_out(self, cause: str) -> list[Packet]:
        """A packet that is not in the file; what follows it cannot be decoded before the next key frame."""
        self.account.drop(cause, 1)
        return []

    def drain(self) -> list[Packet]:
        """Nothing: each packet goes on at once."""
        return []

    def statistics(self) -> TrackStatistics:
        return self.account.statistics(self.clock.corrected + self._corrected, frames_prerolled=self._prerolled)

    def close(self) -> None:
        """Nothing is to be freed."""


class _Placed(NamedTuple):
    """Where a picture stands, and the end of the track with it."""

    order_ns: int
    shown_ms: int
    end_ns: int
    last_ns: int


class CopiedPictures(Copied):
    is_video = True

    def __init__(self, track: RecordedTrack, started_ns: int = 0) -> None:
        super().__init__(track, started_ns)
        rate = track.settings.get("frame_rate")
        self._rated_ns = round(S / rate) if rate else 0
        self._interval_ns = self._step_ns = self._rated_ns or VIDEO_DURATION_DEFAULT_NS
        self._last_ns = 0  # how long the last of those that are shown lasts, by its own word; 0: not said
        self._waits = True  # for a key frame
        self._key_ns: int | None = None  # of the key frame by which decoding began; pictures before it follow it
        self._is_reordered = False
        self._paused_ns = 0
        self._order_ns: int | None = None  # where the last packet stands in the file
        self._newest: deque[_Placed] = deque()
        self._begins_ns = (0, 0)  # what the newest key frame after a gap says of when it is shown, and the earliest

    def _place(self, header: PacketFrame, packet: bytes, is_torn: bool) -> Packet | None:
        if is_torn or (header.paused_ns != self._paused_ns and not header.follows):
            self._waits = True
        self._paused_ns = header.paused_ns
        if self._waits and not header.key_frame:
            self.account.drop("awaiting_key_frame", 1)
            return None
        data = self._form.repack(packet)
        if self._form.private is None:  # its parameter sets come later
            self._waits = True
            self.account.drop("awaiting_key_frame", 1)
            return None
        order_ns = header.captured_ns - header.paused_ns
        shown_ns = order_ns + header.offset_ns
        self._is_reordered |= header.offset_ns != 0
        if self._waits:
            self._waits, self._key_ns = False, shown_ns
            self._begins_ns = shown_ns, shown_ns if self.end_ns is None else self.end_ns + MS
        elif self._key_ns is not None:
            if shown_ns < self._key_ns:  # it refers to pictures before the key frame
                self.account.drop("awaiting_key_frame", 1)
                return None
            self._key_ns = None
        if self._order_ns is not None and order_ns <= self._order_ns and not self._is_reordered:
            self._corrected["backward" if order_ns < self._order_ns else "repeated"] += 1
            order_ns = shown_ns = self._order_ns + MS
        if self._order_ns is not None and order_ns > self._order_ns:
            self._step_ns = order_ns - self._order_ns  # however far apart
            self._interval_ns = min(max(self._step_ns, MS), S)
        order_ns = order_ns if self._order_ns is None else max(order_ns, self._order_ns)
        if self._is_reordered:
            shown_ns = self._alone_ns(self._later_ns(shown_ns))
        if self.first_ns is None or self.end_ns is None:
            self.first_ns = self.end_ns = shown_ns
        if shown_ns >= self.end_ns:
            self.end_ns, self._last_ns = shown_ns, header.duration_ns
        self._order_ns = order_ns
        self._newest.append(_Placed(order_ns, _to_ms(shown_ns), self.end_ns, self._last_ns))
        while len(self._newest) > REORDERED_MAX and self._newest[0].order_ns < order_ns - _LEFT_OUT_NS_MAX:
            self._newest.popleft()
        lasts_ns = header.duration_ns or self._interval_ns
        return VideoPacket(data, shown_ns, lasts_ns, header.key_frame, False, order_ns if self._is_reordered else None)

    def _later_ns(self, shown_ns: int) -> int:
        """When a picture that comes after a gap is shown: after all from before it. The last of these may be shown long
        after they are decoded, for pictures that the gap has swallowed: then the first ones follow each other faster.
        """
        key_ns, least_ns = self._begins_ns
        return max(shown_ns, least_ns + (shown_ns - key_ns) // _FASTER) if least_ns > key_ns else shown_ns

    def _alone_ns(self, shown_ns: int) -> int:
        """When a picture is shown that may be shown before others that have come: not at the same time as one."""
        alone_ns = shown_ns
        taken = {one.shown_ms for one in itertools.islice(reversed(self._newest), REORDERED_MAX)}
        while _to_ms(alone_ns) in taken:
            alone_ns += MS
        self._corrected["repeated"] += alone_ns != shown_ns
        return alone_ns

    def _left_out(self, cause: str) -> list[Packet]:
        self._waits = True
        return super()._left_out(cause)

    def left_out(self, count: int, last_ns: int) -> None:
        """As ``VideoTrack.left_out``."""
        if count:
            self.account.received -= count
            self.account.encoded -= count
            for _ in range(min(count, len(self._newest))):
                self._newest.pop()
            before = self._newest[-1] if self._newest else _Placed(last_ns, 0, last_ns, 0)
            self._order_ns, _, self.end_ns, self._last_ns = before

    def settle(self, written: Written, cause: str) -> None:
        """As ``VideoTrack.settle``."""
        self.account.take_back(self.account.encoded - written.pictures, cause)

    @property
    def media_end_ns(self) -> int | None:
        """As ``VideoTimeline.end_ns``, unless the last packet says how long it lasts."""
        return None if self.end_ns is None else self.end_ns + (self._last_ns or self._rated_ns or self._step_ns)


class CopiedSound(Copied):
    is_video = False

    def _place(self, header: PacketFrame, packet: bytes, is_torn: bool) -> Packet | None:
        data = self._form.repack(packet)
        samples, rate = self._form.samples(packet)
        lasts_ns = samples * S // rate
        delay_ns = self._form.delay_samples * S // OPUS_RATE
        padding_ns = min(header.padding_ns, lasts_ns)
        at_ns = header.captured_ns - header.paused_ns
        if self.first_ns is None or self.end_ns is None:
            self.first_ns = at_ns + delay_ns  # what is decoded before is not heard
        else:
            late_ns = at_ns - self.end_ns
            if late_ns > AUDIO_GAP_NS:
                self._corrected["gap"] += 1
            else:
                at_ns = self.end_ns + max(late_ns // _SMOOTH, -lasts_ns // 4)
        self.end_ns = at_ns + lasts_ns - padding_ns
        return SoundPacket(data, at_ns, lasts_ns, delay_ns, padding_ns)

    def settle(self, written: Written, cause: str) -> None:
        """After a failure: what is not in the file does not count as encoded."""
        self.account.take_back(self.account.encoded - written.samples, cause)

    @property
    def media_end_ns(self) -> int | None:
        return self.end_ns


AnyTrack = VideoTrack | AudioTrack | CopiedPictures | CopiedSound
Pictures = VideoTrack | CopiedPictures


def open_tracks(request: OpenRecording, codec: VideoCodec | None) -> dict[str, AnyTrack]:
    """The tracks of a recording by their routes; ``codec``: what raw pictures are encoded with. ``NotSupportedError``
    for a description that is none."""
    tracks: dict[str, AnyTrack] = {}
    for track, route in zip(request.tracks, request.routes, strict=True):
        if codec_of(track) is not None:
            kind = CopiedPictures if track.kind == "video" else CopiedSound
            tracks[route] = kind(track, request.at_ns)
        elif codec is not None and track.kind == "video":
            tracks[route] = VideoTrack(codec, track, request.options, request.at_ns, request.encoder_threads)
        else:
            tracks[route] = AudioTrack(track, request.options, request.at_ns)
    return tracks
