"""Matroska and WebM: interleaving, clusters and Cues. After RFC 9559 (Matroska) and RFC 8794 (EBML)."""

import bisect
import contextlib
import struct
from collections import deque
from typing import NamedTuple

from ..common.media import OPUS_RATE
from .spool import AudioTrack, SpoolFile, VideoTrack, Written, opus_head

CLUSTER_MAX_MS = 400
"""A packet this much later than the cluster's first opens a new one: short, for crashes and timeslices."""
INTERLEAVE_MAX_MS = 300
"""How long packets wait for those of a silent track. Packets later still are kept, in a new cluster."""
CLUSTER_BYTES_MAX = 4 * 1024 * 1024
"""A cluster this large is closed: bounds the memory at any bitrate."""
AUDIO_CUE_MS = 5_000
"""Without video, a Cue this often: a day has 350 KB of them; between them players go by cluster sizes."""
EXPLICIT_DURATION_MS = 1_000
"""A picture shown this long says so (BlockDuration), as does a recording's last one: readers take the distance of the
two before for it. A file that a crash cuts is wrong by less than this."""
_CLUSTERS_GIVEN = 4
"""So many of the newest clusters are given for the Cues, at most, where a full disk has no room for both."""

_VIDEO, _AUDIO = 1, 2  # track numbers; where times are equal, video comes first


class _Packet(NamedTuple):
    """A packet that waits to be put in order; ``ms`` and ``track`` tell any two apart."""

    ms: int
    track: int
    data: bytes
    is_key_frame: bool
    end_ns: int
    samples: int = 0  # that are decoded from it and not cut off its end
    duration_ms: int = 0  # 0: not said in the file
    discard_ns: int = 0


class MatroskaWriter:
    """Interleaving, clusters and Cues of a Segment in ``spool``."""

    def __init__(self, spool: SpoolFile, doc_type: str, video: VideoTrack | None, audio: AudioTrack | None) -> None:
        self.written_until_ns = 0
        self._spool = spool
        self._has_video = video is not None
        self._last_ms = {_VIDEO: -1} if video is not None else {}
        self._last_ms |= {_AUDIO: -1} if audio is not None else {}
        self._pending: list[_Packet] = []  # by time
        self._blocks: list[bytes] = []  # of the open cluster
        self._blocks_size = 0
        self._cluster_ms = self._newest_ms = 0
        self._last_video_block_ms = 0
        self._cues = bytearray()
        self._next_cue_ms = 0
        self._pictures = self._samples = self._end_ns = 0  # up to the open cluster
        self._pre_skip = audio.pre_skip_samples if audio is not None else 0

        head = _uint(0x4286, 1) + _uint(0x42F7, 1) + _uint(0x42F2, 4) + _uint(0x42F3, 8)
        head += _element(0x4282, doc_type.encode()) + _uint(0x4287, 4) + _uint(0x4285, 2)
        tracks = _element(0x1654AE6B, _video_entry(video) + _audio_entry(audio))
        info = _uint(0x2AD7B1, 1_000_000) + _element(0x4D80, b"recsvc") + _element(0x5741, b"recsvc")
        info_size = len(_element(0x1549A966, info + _void(11)))
        seek_head_size = 4 + 1 + 3 * _SEEK_SIZE
        seek_head = _seek(0x1549A966, seek_head_size) + _seek(0x1654AE6B, seek_head_size + info_size)
        start = _element(0x1A45DFA3, head) + bytes.fromhex("18538067 01ffffffffffffff")
        self._segment_at = len(start)  # where the Segment's content begins; positions in it count from here
        start += _element(0x114D9B74, seek_head + _void(_SEEK_SIZE))
        self._cues_seek_at = len(start) - _SEEK_SIZE
        start += _element(0x1549A966, info + _void(11))
        self._duration_at = len(start) - 11
        self._audio_at = len(start) + len(tracks) - len(_audio_entry(audio))
        self.header = start + tracks
        spool.write(self.header)
        self._history = deque([Written(spool.size)], _CLUSTERS_GIVEN + 1)  # after each of the newest clusters

    @property
    def written(self) -> Written:
        """What is in the file."""
        return self._history[-1]

    def replace_audio(self, audio: AudioTrack) -> None:
        """Describes the audio track anew, in as many bytes: with another pre-skip, say."""
        entry, at = _audio_entry(audio), self._audio_at
        self._spool.patch(at, entry)
        self.header = self.header[:at] + entry + self.header[at + len(entry) :]
        self._pre_skip = audio.pre_skip_samples

    def add_video(self, data: bytes, pts_ns: int, duration_ns: int, is_key_frame: bool, is_last: bool) -> None:
        ms = max((pts_ns + 500_000) // 1_000_000, self._last_ms[_VIDEO] + 1)
        duration_ms = (pts_ns + duration_ns + 500_000) // 1_000_000 - ms
        explicit_ms = duration_ms if duration_ms >= EXPLICIT_DURATION_MS else 0
        if is_last:
            explicit_ms = max((pts_ns + duration_ns) // 1_000_000 - ms, 1)  # not beyond the end of the recording
        self._add(_Packet(ms, _VIDEO, data, is_key_frame, pts_ns + duration_ns, 0, explicit_ms))

    def add_audio(self, data: bytes, start: int, duration: int, padding: int) -> None:
        # Block time - CodecDelay is when the first decoded sample is heard (RFC 9559, CodecDelay): with the
        # pre-skip added, the first packet's block bears the time of the first sample that is not skipped.
        ms = max(_to_ms(start), self._last_ms[_AUDIO] + 1)
        samples = duration - padding
        end_ns = (start + samples - self._pre_skip) * 10**9 // OPUS_RATE
        if padding:
            discard_ns = (padding * 10**9 + OPUS_RATE // 2) // OPUS_RATE
            self._add(_Packet(ms, _AUDIO, data, True, end_ns, samples, _to_ms(samples) or 1, discard_ns))
        else:
            self._add(_Packet(ms, _AUDIO, data, True, end_ns, samples))

    def _add(self, packet: _Packet) -> None:
        """Puts it in order; passes on those before which none can come any more, or which waited long enough."""
        self._last_ms[packet.track] = packet.ms
        if len(self._last_ms) == 1:
            self._put(packet)
            return
        bisect.insort(self._pending, packet)
        times = self._last_ms.values()
        self._release(max(min(times), max(times) - INTERLEAVE_MAX_MS))

    def _release(self, until_ms: int) -> None:
        while self._pending and self._pending[0].ms <= until_ms:
            self._put(self._pending.pop(0))

    def _put(self, packet: _Packet) -> None:
        """Adds a block to the open cluster or a new one: times never fall in a cluster, key frames begin one."""
        ms, track, data, is_key_frame, end_ns, samples, duration_ms, discard_ns = packet
        is_video = track == _VIDEO
        if self._blocks and (
            ms - self._cluster_ms >= CLUSTER_MAX_MS
            or ms < self._newest_ms
            or (is_video and is_key_frame)
            or self._blocks_size >= CLUSTER_BYTES_MAX
        ):
            self._close_cluster()
        if not self._blocks:
            self._blocks.append(_uint(0xE7, ms))
            self._blocks_size = len(self._blocks[0])
            self._cluster_ms = ms
        if is_key_frame and (is_video or not self._has_video and ms >= self._next_cue_ms):
            self._cues += _cue(ms, track, self._spool.size - self._segment_at, self._blocks_size)
            self._next_cue_ms = ms + AUDIO_CUE_MS
        # RFC 9559 section 10: track, time in the cluster, flags. A SimpleBlock says by a flag that it is a
        # key frame, a Block by referring to none.
        if not duration_ms:
            flags = 0x80 if is_key_frame else 0
            head = b"\xa3" + _size(len(data) + 4) + struct.pack(">BhB", 0x80 | track, ms - self._cluster_ms, flags)
            self._blocks += (head, data)
            self._blocks_size += len(head) + len(data)
        else:
            more = _uint(0x9B, duration_ms)
            if discard_ns:
                more += _element(0x75A2, discard_ns.to_bytes(8, "big"))
            if not is_key_frame:
                more += _element(0xFB, (self._last_video_block_ms - ms).to_bytes(8, "big", signed=True))
            head = struct.pack(">BhB", 0x80 | track, ms - self._cluster_ms, 0)
            block = _element(0xA1, b"".join((head, data)))
            self._blocks.append(_element(0xA0, block + more))
            self._blocks_size += len(self._blocks[-1])
        self._newest_ms = ms
        self._pictures += is_video
        self._samples += samples
        self._end_ns = max(self._end_ns, end_ns)
        if is_video:
            self._last_video_block_ms = ms

    def _close_cluster(self) -> None:
        blocks, self._blocks = self._blocks, []
        self._spool.write(b"\x1f\x43\xb6\x75" + _size(self._blocks_size) + b"".join(blocks))
        self.written_until_ns = max(self.written_until_ns, self._newest_ms * 1_000_000)
        written = Written(self._spool.size, self._pictures, self._samples, self._end_ns, len(self._cues))
        self._history.append(written)

    def flush(self) -> None:
        self._release(max(self._last_ms.values()))
        if self._blocks:
            self._close_cluster()

    def finish(self, duration_ns: int | None) -> None:
        self.flush()
        self._complete(duration_ns)

    def _complete(self, duration_ns: int | None) -> None:
        """Writes what makes a file of these clusters a finished one."""
        spool, base, written = self._spool, self._segment_at, self.written
        if written.size == len(self.header):  # readers take a file without any cluster for broken
            spool.write(_element(0x1F43B675, _uint(0xE7, 0)))
        if self._cues:
            cues_at = spool.size - base
            spool.write(b"\x1c\x53\xbb\x6b" + _size(len(self._cues)))
            spool.write(self._cues)
            spool.patch(self._cues_seek_at, _seek(0x1C53BB6B, cues_at))
        self._patch_duration(written.end_ns if duration_ns is None else duration_ns)
        spool.patch(base - 8, (spool.size - base | 1 << 56).to_bytes(8, "big"))

    def _patch_duration(self, duration_ns: int) -> None:
        self._spool.patch(self._duration_at, _element(0x4489, struct.pack(">d", duration_ns / 1e6)))

    def salvage(self, least: int) -> None:
        """After a write that failed: cuts off what is torn and finishes the file as it is. Where the Cues find no room,
        the newest clusters make some, but not of the first ``least`` bytes. Else it stays unfinished, as a crash would
        have left it, and raises ``OSError``."""
        self._blocks, self._pending = [], []
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
        self._spool.patch(self._segment_at - 8, _UNKNOWN_SIZE)
        self._spool.patch(self._duration_at, _void(11))
        self._spool.patch(self._cues_seek_at, _void(_SEEK_SIZE))


def _to_ms(samples: int) -> int:
    return (samples * 1000 + OPUS_RATE // 2) // OPUS_RATE


def _video_entry(track: VideoTrack | None) -> bytes:
    if track is None:
        return b""
    matrix, primaries, transfer = track.colours.matrix, track.colours.primaries, track.colours.transfer
    limited_range = 1
    colour = _uint(0x55B1, matrix) + _uint(0x55B9, limited_range) + _uint(0x55BA, transfer) + _uint(0x55BB, primaries)
    picture = _uint(0xB0, track.width) + _uint(0xBA, track.height)
    if track.display is not None:
        picture += _uint(0x54B0, track.display[0]) + _uint(0x54BA, track.display[1])
    picture = _element(0xE0, picture + _element(0x55B0, colour))
    return _entry(_VIDEO, b"V_" + track.codec.upper().encode(), picture)


def _audio_entry(track: AudioTrack | None) -> bytes:
    if track is None:
        return b""
    delay_ns = (track.pre_skip_samples * 10**9 + OPUS_RATE // 2) // OPUS_RATE
    sound = _element(0xB5, struct.pack(">d", OPUS_RATE)) + _uint(0x9F, track.channel_count)
    # CodecDelay is the pre-skip; SeekPreRoll is 80 ms for every Opus stream (RFC 7845 section 4.6).
    # Always as many bytes, for ``replace_audio``.
    delays = _element(0x56AA, delay_ns.to_bytes(4, "big")) + _uint(0x56BB, 80_000_000)
    return _entry(_AUDIO, b"A_OPUS", _element(0x63A2, opus_head(track)) + delays + _element(0xE1, sound))


def _entry(track: int, codec: bytes, more: bytes) -> bytes:
    """A TrackEntry: number, UID and type are one; no lacing; language undetermined."""
    numbers = _uint(0xD7, track) + _uint(0x73C5, track) + _uint(0x83, track) + _uint(0x9C, 0)
    return _element(0xAE, numbers + _element(0x22B59C, b"und") + _element(0x86, codec) + more)


def _cue(ms: int, track: int, cluster_at: int, block_at: int) -> bytes:
    positions = _uint(0xF7, track) + _uint(0xF1, cluster_at) + _uint(0xF0, block_at)
    return _element(0xBB, _uint(0xB3, ms) + _element(0xB7, positions))


_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
_SEEK_SIZE = 21


def _seek(identifier: int, at: int) -> bytes:
    """A SeekHead's entry, always of ``_SEEK_SIZE`` bytes."""
    return _element(0x4DBB, _element(0x53AB, identifier.to_bytes(4, "big")) + _element(0x53AC, at.to_bytes(8, "big")))


def _void(size: int) -> bytes:
    """Room for an element of ``size`` bytes."""
    return _element(0xEC, bytes(size - 2))


def _size(value: int) -> bytes:
    """An element's size, on as few bytes as it needs (RFC 8794 section 4)."""
    length = 1
    while value >= (1 << 7 * length) - 1:
        length += 1
    return (value | 1 << 7 * length).to_bytes(length, "big")


def _element(identifier: int, content: bytes) -> bytes:
    return identifier.to_bytes((identifier.bit_length() + 7) // 8, "big") + _size(len(content)) + content


def _uint(identifier: int, value: int) -> bytes:
    return _element(identifier, value.to_bytes((value.bit_length() + 7) // 8 or 1, "big"))
