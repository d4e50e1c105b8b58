"""Matroska and WebM: the header, clusters and Cues. After RFC 9559."""

import contextlib
import struct
from collections import deque

from ..common.limits import MS, S
from ..common.media import OPUS_RATE
from . import entries
from .ebml import UNKNOWN_SIZE, element, long_size, size_of, uint, void
from .packets import AUDIO, VIDEO, Packet, SoundPacket, VideoPacket, to_ms
from .spool import AudioEntry, CopiedEntry, SpoolFile, VideoEntry, Written

CLUSTER_MAX_MS = 400
"""A packet this much later than the cluster's first opens a new one: short, for crashes and timeslices."""
CLUSTER_BYTES_MAX = 4 * 1024 * 1024
"""A cluster this large is closed: bounds the memory at any bitrate."""
AUDIO_CUE_MS = 5_000
"""Without video, a Cue this often: a day has 350 KB of them; between them players go by cluster sizes."""
EXPLICIT_DURATION_MS = 1_000
"""Pictures shown at least this long, and the last one, carry a BlockDuration; readers would assume the previous
interval. After a crash the last picture's length may be wrong by less than this."""
_RELATIVE_MAX_MS = 30_000
"""Blocks stand at most 32.7 s from their cluster's time."""
_BLOCK_HEAD = struct.Struct(">BhB").pack
_SIMPLE_BLOCK = struct.Struct(">BHBhB").pack
"""All before the data, whose size takes two bytes."""
_CLUSTERS_GIVEN = 4
"""At most this many of the newest clusters are given up for the Cues, where a full disk has no room for both."""


class MatroskaWriter:
    """Header, clusters and Cues of a Segment in ``spool``."""

    def __init__(
        self,
        spool: SpoolFile,
        doc_type: str,
        video: VideoEntry | CopiedEntry | None,
        audio: AudioEntry | CopiedEntry | None,
    ) -> None:
        self.written_until_ns = 0
        self._video, self._audio = video, audio
        self._spool = spool
        self._has_video = video is not None
        self._blocks: list[bytes] = []  # of the open cluster
        self._blocks_size = 0
        self._cluster_ms = self._newest_ms = 0
        self._last_video_block_ms = 0
        self._cues = bytearray()
        self._next_cue_ms = 0
        self._pictures = self._samples = self._end_ns = 0  # up to the open cluster
        self._pre_skip = audio.pre_skip_samples if isinstance(audio, AudioEntry) else 0

        head = uint(0x4286, 1) + uint(0x42F7, 1) + uint(0x42F2, 4) + uint(0x42F3, 8)
        head += element(0x4282, doc_type.encode()) + uint(0x4287, 4) + uint(0x4285, 2)
        tracks = entries.tracks(video, audio)
        info = uint(0x2AD7B1, 1_000_000) + element(0x4D80, b"recsvc") + element(0x5741, b"recsvc")
        info_size = len(element(0x1549A966, info + void(11)))
        seek_head_size = 4 + 1 + 3 * SEEK_SIZE
        seek_head = seek(0x1549A966, seek_head_size) + seek(0x1654AE6B, seek_head_size + info_size)
        start = element(0x1A45DFA3, head) + bytes.fromhex("18538067 01ffffffffffffff")
        self._segment_at = len(start)  # where the Segment's content begins; positions in it count from here
        start += element(0x114D9B74, seek_head + void(SEEK_SIZE))
        self._cues_seek_at = len(start) - SEEK_SIZE
        start += element(0x1549A966, info + void(11))
        self._duration_at = len(start) - 11
        self._tracks_at = len(start)
        self.header = start + tracks
        spool.write(self.header)
        self._history = deque([Written(spool.size)], _CLUSTERS_GIVEN + 1)  # after each of the newest clusters

    @property
    def written(self) -> Written:
        """What is in the file."""
        return self._history[-1]

    def describe(
        self, video: VideoEntry | CopiedEntry | None = None, audio: AudioEntry | CopiedEntry | None = None
    ) -> None:
        """Describes tracks anew, in as many bytes: for another pre-skip, or private data that are known by now.
        ``ValueError``: they find no room."""
        self._video, self._audio = video or self._video, audio or self._audio
        tracks = entries.tracks(self._video, self._audio, len(self.header) - self._tracks_at)
        self._spool.patch(self._tracks_at, tracks)
        self.header = self.header[: self._tracks_at] + tracks
        if isinstance(self._audio, AudioEntry):
            self._pre_skip = self._audio.pre_skip_samples

    def put(self, ms: int, packet: Packet) -> None:
        """Takes the next packet of the file; its block's time is ``ms``."""
        if isinstance(packet, VideoPacket):
            end_ns = packet.at_ns + packet.duration_ns
            duration_ms = (end_ns + MS // 2) // MS - ms
            if packet.is_last:
                duration_ms = max(end_ns // MS - ms, 1)  # not beyond the end of the recording
            elif duration_ms < EXPLICIT_DURATION_MS:
                duration_ms = 0
            order_ms = None if packet.order_ns is None else packet.order_ms
            self._put(ms, VIDEO, packet.data, packet.is_key_frame, duration_ms, order_ms=order_ms)
            self._last_video_block_ms = ms
            self._pictures += 1
        elif isinstance(packet, SoundPacket):
            end_ns = packet.at_ns + packet.duration_ns - packet.padding_ns
            duration_ms = max((packet.duration_ns - packet.padding_ns + MS // 2) // MS, 1) if packet.padding_ns else 0
            self._put(ms, AUDIO, packet.data, True, duration_ms, packet.padding_ns)
            self._samples += 1
        else:
            padding = packet.padding_samples
            samples = packet.duration_samples - padding
            end_ns = (packet.start_samples + samples - self._pre_skip) * S // OPUS_RATE
            discard_ns = (padding * S + OPUS_RATE // 2) // OPUS_RATE
            duration_ms = (to_ms(samples) or 1) if padding else 0
            self._put(ms, AUDIO, packet.data, True, duration_ms, discard_ns)
            self._samples += samples
        self._end_ns = max(self._end_ns, end_ns)

    def _put(
        self,
        ms: int,
        track: int,
        data: bytes,
        is_key_frame: bool,
        duration_ms: int,
        discard_ns: int = 0,
        order_ms: int | None = None,
    ) -> None:
        """Adds a block to the open cluster or a new one: times never fall in a cluster, but for pictures that are not
        decoded in the order in which they are shown, which have an ``order_ms``; key frames begin one. ``duration_ms``
        0: it does not stand in the file."""
        is_video = track == VIDEO
        order_ms = ms if order_ms is None else order_ms
        if self._blocks and (
            order_ms - self._cluster_ms >= CLUSTER_MAX_MS
            or order_ms < self._newest_ms
            or abs(ms - self._cluster_ms) > _RELATIVE_MAX_MS
            or (is_video and is_key_frame)
            or self._blocks_size >= CLUSTER_BYTES_MAX
        ):
            self._close_cluster()
        if not self._blocks:
            self._cluster_ms = min(ms, order_ms) if abs(ms - order_ms) <= _RELATIVE_MAX_MS else ms
            self._blocks.append(uint(0xE7, self._cluster_ms))
            self._blocks_size = len(self._blocks[0])
        if is_key_frame and (is_video or (not self._has_video and ms >= self._next_cue_ms)):
            self._cues += cue(ms, track, self._spool.size - self._segment_at, self._blocks_size)
            self._next_cue_ms = ms + AUDIO_CUE_MS
        # RFC 9559 section 10: track, time in the cluster, flags. A SimpleBlock has a flag for a key
        # frame; a Block is one if it refers to none.
        if not duration_ms:
            size, time_ms, flags = len(data) + 4, ms - self._cluster_ms, 0x80 if is_key_frame else 0
            if 0x7F <= size < 0x3FFF:  # nearly all
                head = _SIMPLE_BLOCK(0xA3, 0x4000 | size, 0x80 | track, time_ms, flags)
            else:
                head = b"".join((b"\xa3", size_of(size), _BLOCK_HEAD(0x80 | track, time_ms, flags)))
            self._blocks += (head, data)
            self._blocks_size += len(head) + len(data)
        else:
            more = uint(0x9B, duration_ms)
            if discard_ns:
                more += element(0x75A2, discard_ns.to_bytes(8, "big"))
            if not is_key_frame:
                more += element(0xFB, (self._last_video_block_ms - ms).to_bytes(8, "big", signed=True))
            head = _BLOCK_HEAD(0x80 | track, ms - self._cluster_ms, 0)
            block = element(0xA1, b"".join((head, data)))
            self._blocks.append(element(0xA0, block + more))
            self._blocks_size += len(self._blocks[-1])
        self._newest_ms = order_ms

    def _close_cluster(self) -> None:
        blocks, self._blocks = self._blocks, []
        self._spool.write(b"\x1f\x43\xb6\x75" + size_of(self._blocks_size) + b"".join(blocks))
        self.written_until_ns = max(self.written_until_ns, self._newest_ms * MS)
        written = Written(self._spool.size, self._pictures, self._samples, self._end_ns, len(self._cues))
        self._history.append(written)

    def flush(self) -> None:
        if self._blocks:
            self._close_cluster()

    def finish(self, duration_ns: int | None) -> None:
        self.flush()
        self._complete(duration_ns)

    def _complete(self, duration_ns: int | None) -> None:
        """Writes what makes a file of these clusters a finished one."""
        spool, base, written = self._spool, self._segment_at, self.written
        if written.size == len(self.header):  # readers take a file without any cluster for broken
            spool.write(element(0x1F43B675, uint(0xE7, 0)))
        if self._cues:
            cues_at = spool.size - base
            spool.write(b"\x1c\x53\xbb\x6b" + size_of(len(self._cues)))
            spool.write(self._cues)
            spool.patch(self._cues_seek_at, seek(0x1C53BB6B, cues_at))
        self._patch_duration(written.end_ns if duration_ns is None else duration_ns)
        spool.patch(base - 8, long_size(spool.size - base))

    def _patch_duration(self, duration_ns: int) -> None:
        self._spool.patch(self._duration_at, element(0x4489, struct.pack(">d", duration_ns / 1e6)))

    def salvage(self, least: int) -> None:
        """After a write that failed: cuts off what is torn and finishes the file as it is. Where the Cues find no room,
        the newest clusters make some, but not of the first ``least`` bytes. Else it stays unfinished, as a crash would
        have left it, and raises ``OSError``."""
        self._blocks = []
        whole = self.written
        try:
            self._cut(whole)
            self._complete(None)
            return
        except OSError as error:
            problem = error
        needed = len(self._cues) + 16
        clusters = list(self._history)
        for index in range(len(clusters) - 2, -1, -1):
            kept = clusters[index]
            if kept.size < max(least, len(self.header) + 1):
                break
            if whole.size - kept.size >= needed:
                try:
                    self._cut(kept)
                    self._complete(None)
                    return
                except OSError as error:
                    problem = error
                break
        with contextlib.suppress(OSError):
            self._cut(self.written)
            self._patch_duration(self.written.end_ns)  # for which there is room in any case
        raise problem

    def _cut(self, kept: Written) -> None:
        """The file, unfinished, as it was when it held just this."""
        while self.written.size > kept.size:
            self._history.pop()
        self._spool.size = kept.size  # whatever becomes of the rest, it is none of the recording's
        del self._cues[kept.cues :]
        self._spool.cut(kept.size)
        self._spool.patch(self._segment_at - 8, UNKNOWN_SIZE)
        self._spool.patch(self._duration_at, void(11))
        self._spool.patch(self._cues_seek_at, void(SEEK_SIZE))


def cue(ms: int, track: int, cluster_at: int, block_at: int) -> bytes:
    positions = uint(0xF7, track) + uint(0xF1, cluster_at) + uint(0xF0, block_at)
    return element(0xBB, uint(0xB3, ms) + element(0xB7, positions))


SEEK_SIZE = 21


def seek(identifier: int, at: int) -> bytes:
    """A SeekHead's entry, always of ``SEEK_SIZE`` bytes."""
    return element(0x4DBB, element(0x53AB, identifier.to_bytes(4, "big")) + element(0x53AC, at.to_bytes(8, "big")))
