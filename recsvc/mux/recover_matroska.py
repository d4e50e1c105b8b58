"""Completes WebM and Matroska files of our own muxer (``matroska.py``). After RFC 9559 and RFC 8794."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from ..common.codecs import CODECS
from ..common.limits import MS
from ..errors import NotReadableError
from . import ebml, matroska
from .entries import CODEC_OF_ID
from .packets import VIDEO
from .repair import File

_HEADER_MAX = 64 * 1024  # ours are below 500 bytes, or 40 KiB with the longest descriptions of codecs
_HEADER_USUAL = 4096
_LOOK = 48  # bytes read of a cluster: its head, Timestamp, and the head of its first block
TORN_MAX = 4 * matroska.CLUSTER_BYTES_MAX
"""A kill tears one cluster. More unreadable bytes than this at a file's end are damage: nothing is cut off then."""
_LAST_CLUSTERS = 8  # in which the end of the last block of any track is looked for
_PACKET_MS = 20  # of Opus, always
_PICTURE_MS, _PICTURE_MAX_MS = 33, matroska.EXPLICIT_DURATION_MS  # a last picture lasts as long as the one before

_EBML, _CLUSTER, _CUES = b"\x1a\x45\xdf\xa3", b"\x1f\x43\xb6\x75", 0x1C53BB6B
_NO_DURATION, _NO_SEEK = ebml.void(11), ebml.void(matroska.SEEK_SIZE)
_WAVE_TAGS = {b"\x06\0": "alaw", b"\x07\0": "ulaw"}


class _Cluster(NamedTuple):
    """``key_at``: where in its content its first block stands, if that is a key frame of the video track."""

    at: int
    begin: int
    end: int
    ms: int
    key_at: int | None
    key_ms: int


class _Block(NamedTuple):
    at: int
    track: int
    ms: int
    duration_ms: int | None


class Matroska:
    """A file as it is found. ``NotReadableError`` where it is none of ours, or ends within its header."""

    def __init__(self, file: File) -> None:
        self._file = file
        data = file.read(0, _HEADER_MAX)
        if data[: len(_EBML)] != _EBML[: len(data)]:
            raise NotReadableError(f"{file.path} is no recording of recsvc")
        try:
            self._read_header(data)
        except (IndexError, ValueError, KeyError) as error:
            if isinstance(error, IndexError) and file.size < _HEADER_USUAL:
                reason = f"{file.path} has {file.size} bytes and ends within its header: nothing was recorded in it yet"
            else:
                reason = f"{file.path} is no recording of recsvc"
            raise NotReadableError(reason) from None
        size = self._size_field
        self._size_is_wrong = size not in (ebml.UNKNOWN_SIZE, ebml.long_size(file.size - self._base))
        self.finished = size == ebml.long_size(file.size - self._base) and self._duration_ms is not None
        self.duration = (self._duration_ms or 0.0) / 1000

    def _read_header(self, data: bytes) -> None:
        """IndexError: the file ends too early. Everything stands where the muxer puts it."""
        head = ebml.read(data, 0)
        doc_type = ebml.content(data, ebml.children(data, head.begin, head.end), 0x4282)
        self._base = head.end + 12
        if data[head.end : head.end + 4] != b"\x18\x53\x80\x67"[: max(len(data) - head.end, 0)]:
            raise ValueError("no Segment")
        seek_head = ebml.read(data, self._base)
        info = ebml.read(data, seek_head.end)
        tracks = ebml.read(data, info.end)
        if [seek_head.identifier, info.identifier, tracks.identifier] != [0x114D9B74, 0x1549A966, 0x1654AE6B]:
            raise ValueError("not our order of elements")
        self._size_field = data[self._base - 8 : self._base]
        self._cues_seek_at = seek_head.end - matroska.SEEK_SIZE
        self._duration_at = info.end - len(_NO_DURATION)
        self._seek_field = data[self._cues_seek_at : seek_head.end]
        self._duration_field = data[self._duration_at : info.end]
        self._first_at = tracks.end
        if data[tracks.end : tracks.end + 1] == b"\xec":  # room that was not needed
            room, begin = ebml.read_size(data, tracks.end + 1)
            self._first_at = begin + room
        if ebml.content(data, ebml.children(data, info.begin, self._duration_at), 0x4D80) != b"recsvc":
            raise ValueError("written by another program")
        self._kinds: dict[int, int] = {}  # track number -> 1 video, 2 audio
        self._codec_delay_ms = 0.0
        self._packet_ms: int | None = None  # ``None``: as long as the one before
        codecs = []
        for entry in ebml.children(data, tracks.begin, tracks.end):
            inside = ebml.children(data, entry.begin, entry.end)
            kind = ebml.content(data, inside, 0x83)[0]
            self._kinds[ebml.content(data, inside, 0xD7)[0]] = kind
            name = ebml.content(data, inside, 0x86).decode("ascii", "replace")
            codec = CODEC_OF_ID.get(name) or _WAVE_TAGS[ebml.content(data, inside, 0x63A2)[:2]]
            codecs.append(CODECS[codec].mime)
            if kind == 2 and codec == "opus":
                self._codec_delay_ms = int.from_bytes(ebml.content(data, inside, 0x56AA), "big") / MS
                self._packet_ms = _PACKET_MS
        self._has_video = 1 in self._kinds.values()
        essence = "video/x-matroska" if doc_type == b"matroska" else "video/webm" if self._has_video else "audio/webm"
        self.mime_type = f"{essence};codecs={','.join(codecs)}"
        self._duration_ms: float | None = None
        if self._duration_field[:3] == b"\x44\x89\x88":
            (duration_ms,) = struct.unpack(">d", self._duration_field[3:])
            self._duration_ms = duration_ms if math.isfinite(duration_ms) and duration_ms >= 0 else None

    # --- completing -------------------------------------------------------------------------------

    def complete(self) -> None:
        """Writes what is missing. Sets ``duration`` (s)."""
        file, base = self._file, self._base
        clusters, blocks = self._walk()
        end = clusters[-1].end if clusters else self._first_at
        cues = self._cues(clusters)
        tail = ebml.element(_CUES, cues) if cues else b""
        if not clusters:  # readers take a file without any cluster for broken
            tail = ebml.element(0x1F43B675, ebml.uint(0xE7, 0))
        all_there = not self._size_is_wrong and file.size - end == len(tail) and file.read(end, len(tail)) == tail
        if not all_there:
            file.check_torn(end, TORN_MAX, _CLUSTER, self._is_whole)
            self._reopen()
            file.cut(end)
            file.write(end, tail)
        last_ms = max((block.ms for block in blocks), default=0)
        if not all_there or self._duration_ms is None or self._duration_ms < last_ms:
            self._duration_ms = self._end_ms(blocks)
        # Else it was killed while it was finished, and its length is there.
        if cues:
            file.write(self._cues_seek_at, matroska.seek(_CUES, end - base))
        file.write(self._duration_at, ebml.element(0x4489, struct.pack(">d", self._duration_ms)))
        file.sync()  # what is written in the header is written in one sector, so it is there or it is not
        file.write(base - 8, ebml.long_size(file.size - base))
        file.sync()
        self.duration = self._duration_ms / 1000

    def _reopen(self) -> None:
        """A finished file that was cut later: first its header becomes that of an unfinished one. By its size
        the file shows that something is missing, so the size goes last."""
        if self._duration_field != _NO_DURATION or self._seek_field != _NO_SEEK:
            self._file.write(self._duration_at, _NO_DURATION)
            self._file.write(self._cues_seek_at, _NO_SEEK)
            self._file.sync()
        if self._size_field != ebml.UNKNOWN_SIZE:
            self._file.write(self._base - 8, ebml.UNKNOWN_SIZE)
            self._file.sync()

    def _is_whole(self, at: int) -> bool:
        cluster = self._cluster(at)
        return cluster is not None and bool(self._blocks(cluster))

    # --- walking ----------------------------------------------------------------------------------

    def _walk(self) -> tuple[list[_Cluster], list[_Block]]:
        """The complete clusters, and the blocks in the last of them."""
        clusters = []
        at = self._first_at
        while (cluster := self._cluster(at)) is not None:
            clusters.append(cluster)
            at = cluster.end
        blocks: list[_Block] = []
        while clusters:  # a power failure may leave a last cluster of the right size with other content
            last = self._blocks(clusters[-1])
            if last is not None:
                for cluster in clusters[-_LAST_CLUSTERS:-1]:
                    blocks += self._blocks(cluster) or []
                return clusters, blocks + last
            clusters.pop()
        return clusters, blocks

    def _cluster(self, at: int) -> _Cluster | None:
        """The cluster there, unless it is not complete."""
        head = self._file.read(at, _LOOK)
        if head[:4] != _CLUSTER:
            return None
        try:
            size, begin = ebml.read_size(head, 4)
            if at + begin + size > self._file.size or head[begin] != 0xE7:
                return None
            ms, first = self._timestamp(head, begin)
            key_ms = self._key_frame_ms(head, first, at) if self._has_video and first < begin + size else None
        except (IndexError, ValueError):
            return None
        key_at = None if key_ms is None else first - begin
        return _Cluster(at, at + begin, at + begin + size, ms, key_at, ms + (key_ms or 0))

    @staticmethod
    def _timestamp(head: bytes, at: int) -> tuple[int, int]:
        length, at = ebml.read_size(head, at + 1)
        return int.from_bytes(head[at : at + length], "big"), at + length

    def _key_frame_ms(self, head: bytes, at: int, cluster_at: int) -> int | None:
        """The time in the cluster of the block there if it is a picture's key frame: such begin a cluster."""
        is_group = head[at] == 0xA0
        group_size, content_at = ebml.read_size(head, at + 1)
        group_end = content_at + group_size
        if is_group:
            block_size, content_at = ebml.read_size(head, content_at + 1)
            block_end = content_at + block_size
        track, ms, flags = struct.unpack(">BhB", head[content_at : content_at + 4].ljust(4, b"\0"))
        if self._kinds.get(track & 0x7F) != 1:
            return None
        if not is_group:
            return ms if flags & 0x80 else None
        rest = self._file.read(cluster_at + block_end, min(group_end - block_end, _LOOK))
        refers = any(one.identifier == 0xFB for one in ebml.children(rest, 0, len(rest)))
        return None if refers else ms

    def _blocks(self, cluster: _Cluster) -> list[_Block] | None:
        """All blocks of a cluster; ``None`` where its content is no cluster's."""
        data = self._file.read(cluster.begin, cluster.end - cluster.begin)
        found = []
        try:
            for one in ebml.children(data, 0, len(data))[1:]:
                block, duration_ms = one, None
                if one.identifier == 0xA0:
                    parts = {part.identifier: part for part in ebml.children(data, one.begin, one.end)}
                    block = parts[0xA1]
                    if 0x9B in parts:
                        duration_ms = int.from_bytes(data[parts[0x9B].begin : parts[0x9B].end], "big")
                elif one.identifier != 0xA3:
                    return None
                track, ms, _ = struct.unpack(">BhB", data[block.begin : block.begin + 4])
                if track & 0x7F not in self._kinds:
                    return None
                found.append(_Block(one.at, track & 0x7F, cluster.ms + ms, duration_ms))
        except (IndexError, ValueError, KeyError, struct.error):
            return None
        return found

    def _cues(self, clusters: list[_Cluster]) -> bytes:
        """As ``MatroskaWriter`` writes them."""
        cues = bytearray()
        next_ms = 0
        for cluster in clusters:
            position = cluster.at - self._base
            if cluster.key_at is not None:
                cues += matroska.cue(cluster.key_ms, VIDEO, position, cluster.key_at)
            elif not self._has_video and cluster.ms + matroska.CLUSTER_MAX_MS > next_ms:
                for block in self._blocks(cluster) or []:
                    if block.ms >= next_ms:
                        cues += matroska.cue(block.ms, block.track, position, block.at)
                        next_ms = block.ms + matroska.AUDIO_CUE_MS
        return bytes(cues)

    def _end_ms(self, blocks: list[_Block]) -> float:
        """Where the media end: the last picture's length is that of the one before, unless it stands in the file."""
        end_ms = 0.0
        before: dict[int, int] = {}
        for block in sorted(blocks, key=lambda block: block.ms):  # pictures may come out of order
            if self._kinds[block.track] == 2 and self._packet_ms is not None:
                # A block's time is by the codec's delay later than what is heard of it.
                length_ms = (block.duration_ms or self._packet_ms) - self._codec_delay_ms
            elif block.duration_ms is not None:
                length_ms = block.duration_ms
            else:
                distance_ms = block.ms - before.get(block.track, block.ms - _PICTURE_MS)
                length_ms = min(max(distance_ms, 1), _PICTURE_MAX_MS)
            before[block.track] = block.ms
            end_ms = max(end_ms, block.ms + length_ms)
        return end_ms
