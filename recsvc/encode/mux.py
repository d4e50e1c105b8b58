"""mux: ready packets in, a seekable spool file out. After RFC 9559 and 8794 (Matroska), 3533 and 7845 (Ogg).

The spool file of WebM and Matroska consists of
- a header (EBML head, SeekHead, Info, Tracks), the first ``header_size`` bytes. ``finish()`` patches three places
  in it (Segment size, the SeekHead's entry for the Cues, Duration); nothing else ever changes;
- clusters of known size, each appended as a whole once it is complete. Until ``finish()`` the Segment has
  unknown size, so that the file plays at any time, up to its last cluster;
- the Cues, at the end.
An Ogg file is pages in a row; nothing in it is ever patched.

A kill loses the packets that wait for another track's (``INTERLEAVE_MAX_MS``) and the open cluster
(``CLUSTER_MAX_MS``) or page (``OGG_PAGE_MS``): less than one second.

Why not libavformat: its interleaving waits for a silent VP8 or VP9 track without end
(``max_interleave_delta`` leaves these codecs out), so that under a still picture the sound would pile up in
memory, and be gone after a crash; it cannot close a cluster before the next packet; and it takes a
recording's length from its packets only.
"""

import bisect
import contextlib
import errno
import io
import os
import struct
import zlib
from typing import Literal, NamedTuple

from recsvc import errors

CLUSTER_MAX_MS = 400
"""A packet this much later than the cluster's first opens a new one: short, for crashes and timeslices."""
INTERLEAVE_MAX_MS = 300
"""How long packets wait for those of a silent track. Packets later still are kept, in a new cluster."""
OGG_PAGE_MS = 400
"""Length of an Ogg page; players seek to pages, and each costs some 50 bytes."""
CLUSTER_BYTES_MAX = 4 * 1024 * 1024
"""A cluster this large is closed: bounds the memory at any bitrate."""
AUDIO_CUE_MS = 5_000
"""Without video, a Cue this often: a day has 350 KB of them; between them players go by cluster sizes."""
EXPLICIT_DURATION_MS = 1_000
"""A picture shown this long says so (BlockDuration): readers cannot guess it for the last one of a file."""

_OPUS_RATE = 48_000  # Opus counts in 48 kHz samples whatever the input's rate (RFC 7845 section 4)
_OGG_SEGMENTS_MAX, _OGG_FIRST_PAGE, _OGG_LAST_PAGE = 255, 2, 4
_QUOTA_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_VIDEO, _AUDIO = 1, 2  # track numbers; where times are equal, video comes first


class VideoTrack(NamedTuple):
    """The video track as its header tells it: the size is that of the first frame, in pixels."""

    codec: Literal["vp8", "vp9"]
    width: int
    height: int


class AudioTrack(NamedTuple):
    """The Opus track: ``pre_skip_samples`` is the encoder's look-ahead in 48 kHz samples; the input's rate
    (Hz) is for information only (RFC 7845 section 5.1)."""

    channel_count: int
    pre_skip_samples: int
    input_sample_rate: int


class Muxer:
    """Writes the packets of one recording. Not thread-safe; every call may block on the disk.

    Times are recording time: 0 is the first recorded frame of any track. Packets of one track come in their
    order; those of different tracks should come within ``INTERLEAVE_MAX_MS`` of each other: later ones stand
    in the file after younger ones, which seeking and some players stumble over. ``data`` is kept without a
    copy until it is written: do not change it.

    A full disk or a file-size limit raises ``QuotaExceededError``, any other failure ``UnknownError``, with
    path and reason; the file is then what a crash would have left, further calls raise the same, and
    ``abort()`` remains to be called. After ``finish()`` or ``abort()``, writing raises ``InvalidStateError``.
    """

    header_size: int
    """Of what is written, only the file's first ``header_size`` bytes may change (none in an Ogg file)."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        container: Literal["webm", "matroska", "ogg"],
        *,
        video: VideoTrack | None,
        audio: AudioTrack | None,
    ) -> None:
        """Creates (or empties) the file and writes its header.

        Raises ``NotSupportedError`` for tracks that the container cannot hold, ``ValueError`` for none.
        """
        if container not in ("webm", "matroska", "ogg"):
            raise ValueError(f"container must be webm, matroska or ogg, not {container!r}")
        if video is None and audio is None:
            raise ValueError("a recording needs a video or an audio track")
        if container == "ogg" and video is not None:
            raise errors.NotSupportedError(f"an Ogg recording holds one Opus track, not {video}")
        self._path = os.fspath(path)
        self._failure: errors.RecorderError | None = None
        self._closed = False
        self._has_video, self._has_audio = video is not None, audio is not None
        self._pre_skip = audio.pre_skip_samples if audio is not None else 0
        try:
            self._spool = _SpoolFile(self._path)
            self._writer: _MatroskaWriter | _OggWriter
            if container == "ogg":
                assert audio is not None
                self._writer = _OggWriter(self._spool, audio)
            else:
                self._writer = _MatroskaWriter(self._spool, container, video, audio)
        except OSError as error:
            self.abort()
            raise self._failed(error) from error
        self.header_size = 0 if container == "ogg" else self._spool.size

    def write_video(self, data: bytes, pts_ns: int, duration_ns: int, is_key_frame: bool) -> None:
        """Takes one VP8 or VP9 frame, shown from ``pts_ns`` on; the first must be a key frame.

        ``duration_ns`` may be an estimate: a picture lasts until the next or the recording's end, so do not
        hold a frame back for it. A frame in the same millisecond as the one before is moved to the next.
        """
        if not self._has_video:
            raise errors.InvalidStateError(f"{self._path}: this recording has no video track")
        if not data or pts_ns < 0 or duration_ns < 0:
            raise ValueError(f"no video packet: {len(data)} bytes at {pts_ns} ns for {duration_ns} ns")
        self._check()
        try:
            self._writer.add_video(data, pts_ns, duration_ns, is_key_frame)
        except OSError as error:
            raise self._failed(error) from error

    def write_audio(self, data: bytes, pts_samples: int, duration_samples: int = 960, padding_samples: int = 0) -> None:
        """Takes one Opus packet. All numbers are 48 kHz samples.

        ``pts_samples``: when the packet's first decoded sample would be heard if nothing were skipped. The
        first packet of a track whose first captured sample is at recording time T has T - pre-skip (so -312,
        say, for T = 0), each further one ``duration_samples`` more. ``padding_samples``: how many of its last
        samples are not part of the recording (less than ``duration_samples``; only the last packet has any).
        """
        if not self._has_audio:
            raise errors.InvalidStateError(f"{self._path}: this recording has no audio track")
        start = pts_samples + self._pre_skip
        if not data or start < 0 or not 0 <= padding_samples < duration_samples:
            lengths = f"{duration_samples} - {padding_samples} samples"
            raise ValueError(f"no audio packet: {len(data)} bytes at {pts_samples} for {lengths}")
        self._check()
        try:
            self._writer.add_audio(data, start, duration_samples, padding_samples)
        except OSError as error:
            raise self._failed(error) from error

    def flush(self) -> None:
        """Puts what was written so far into the file (not for Ogg): for when no packet is to be expected soon, so
        that a crash loses nothing. Packets of another track may still come with an earlier time."""
        self._check()
        try:
            self._writer.flush()
        except OSError as error:
            raise self._failed(error) from error

    def finish(self, duration_ns: int) -> None:
        """Completes and closes the file; all of it is with the operating system when this returns.

        ``duration_ns``, the length up to the stop, becomes the Duration element, whatever the packets' own
        ends (an Ogg file's length is the end of its last packet). It takes the time for less than a second of
        media and the Cues, which are ready: whatever the length of the recording.
        """
        self._check()
        if duration_ns < 0:
            raise ValueError(f"duration_ns must not be negative: {duration_ns}")
        try:
            self._writer.finish(duration_ns)
            self._spool.close()
        except OSError as error:
            self.abort()
            raise self._failed(error) from error
        self._closed = True

    def abort(self) -> None:
        """Closes the file as it is, playable up to its last cluster. Never raises; any number of times."""
        self._closed = True
        with contextlib.suppress(OSError, AttributeError):  # the latter: it could not even be opened
            self._spool.close()

    @property
    def bytes_written(self) -> int:
        """Size of the file so far, always a whole number of clusters or pages; others may read all of it."""
        return self._spool.size

    @property
    def written_until_ns(self) -> int:
        """Recording time up to which these bytes hold the media: the latest block's time, the last page's end."""
        return self._writer.written_until_ns

    def _check(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(*self._failure.args)
        if self._closed:
            raise errors.InvalidStateError(f"{self._path}: the recording's file is already closed")

    def _failed(self, error: OSError) -> errors.RecorderError:
        kind = errors.QuotaExceededError if error.errno in _QUOTA_ERRNOS else errors.UnknownError
        self._failure = kind(f"cannot write {self._path}: {error.strerror or error}")
        return self._failure


class _Packet(NamedTuple):
    """A packet that waits to be put in order; ``ms`` and ``track`` tell any two apart."""

    ms: int
    track: int
    data: bytes
    is_key_frame: bool
    duration_ms: int = 0  # 0: not said in the file
    discard_ns: int = 0


class _MatroskaWriter:
    """Interleaving, clusters and Cues of a Segment in ``spool``."""

    def __init__(self, spool: "_SpoolFile", doc_type: str, video: VideoTrack | None, audio: AudioTrack | None) -> None:
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
        spool.write(start + tracks)

    def add_video(self, data: bytes, pts_ns: int, duration_ns: int, is_key_frame: bool) -> None:
        ms = max((pts_ns + 500_000) // 1_000_000, self._last_ms[_VIDEO] + 1)
        duration_ms = (pts_ns + duration_ns + 500_000) // 1_000_000 - ms
        explicit_ms = duration_ms if duration_ms >= EXPLICIT_DURATION_MS else 0
        self._add(_Packet(ms, _VIDEO, data, is_key_frame, explicit_ms))

    def add_audio(self, data: bytes, start: int, duration: int, padding: int) -> None:
        # Block time - CodecDelay is when the first decoded sample is heard (RFC 9559, CodecDelay): with the
        # pre-skip added, the first packet's block bears the time of the first sample that is not skipped.
        ms = max(_to_ms(start), self._last_ms[_AUDIO] + 1)
        if padding:
            discard_ns = (padding * 10**9 + _OPUS_RATE // 2) // _OPUS_RATE
            self._add(_Packet(ms, _AUDIO, data, True, _to_ms(duration - padding) or 1, discard_ns))
        else:
            self._add(_Packet(ms, _AUDIO, data, True))

    def _add(self, packet: _Packet) -> None:
        """Puts it in order; passes on those before which none can come any more, or which waited long enough."""
        self._last_ms[packet.track] = packet.ms
        bisect.insort(self._pending, packet)
        times = self._last_ms.values()
        self._release(max(min(times), max(times) - INTERLEAVE_MAX_MS))

    def _release(self, until_ms: int) -> None:
        while self._pending and self._pending[0].ms <= until_ms:
            self._put(self._pending.pop(0))

    def _put(self, packet: _Packet) -> None:
        """Adds a block to the open cluster or a new one: times never fall in a cluster, key frames begin one."""
        ms, track, data, is_key_frame, duration_ms, discard_ns = packet
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
        if is_video:
            self._last_video_block_ms = ms

    def _close_cluster(self) -> None:
        blocks, self._blocks = self._blocks, []
        self._spool.write(b"\x1f\x43\xb6\x75" + _size(self._blocks_size) + b"".join(blocks))
        self.written_until_ns = max(self.written_until_ns, self._newest_ms * 1_000_000)

    def flush(self) -> None:
        self._release(max(self._last_ms.values()))
        if self._blocks:
            self._close_cluster()

    def finish(self, duration_ns: int) -> None:
        spool, base = self._spool, self._segment_at
        self.flush()
        if max(self._last_ms.values()) < 0:  # readers take a file without any cluster for broken
            spool.write(_element(0x1F43B675, _uint(0xE7, 0)))
        if self._cues:
            cues_at = spool.size - base
            spool.write(_element(0x1C53BB6B, bytes(self._cues)))
            spool.patch(self._cues_seek_at, _seek(0x1C53BB6B, cues_at))
        spool.patch(self._duration_at, _element(0x4489, struct.pack(">d", duration_ns / 1e6)))
        spool.patch(base - 8, (spool.size - base | 1 << 56).to_bytes(8, "big"))


class _OggWriter:
    """Pages of one Opus stream in ``spool``."""

    def __init__(self, spool: "_SpoolFile", track: AudioTrack) -> None:
        self.written_until_ns = 0
        self._spool = spool
        self._pre_skip = track.pre_skip_samples
        # Random, since chained recordings must not share a serial number (RFC 3533 section 4).
        self._serial = int.from_bytes(os.urandom(4), "little")
        self._page_number = 0
        self._lacing = bytearray()  # of the open page: the packets' lengths (RFC 3533 section 6)
        self._packets: list[bytes] = []
        self._page_samples = 0
        self._granule = 0
        for header, flags in (
            (_opus_head(track), _OGG_FIRST_PAGE),
            (b"OpusTags" + struct.pack("<I6sI", 6, b"recsvc", 0), 0),
        ):
            self._lacing.append(len(header))
            self._packets.append(header)
            self._close_page(flags)

    def add_video(self, data: bytes, pts_ns: int, duration_ns: int, is_key_frame: bool) -> None:
        raise NotImplementedError("an Ogg recording has no video")

    def add_audio(self, data: bytes, start: int, duration: int, padding: int) -> None:
        lacing = b"\xff" * (len(data) // 255) + bytes([len(data) % 255])
        if len(lacing) > _OGG_SEGMENTS_MAX:
            raise ValueError(f"no Opus packet has {len(data)} bytes")
        # Only a further packet closes a page, so that finish() always has one to mark as the last.
        is_full = self._page_samples >= OGG_PAGE_MS * _OPUS_RATE // 1000
        if is_full or len(self._lacing) + len(lacing) > _OGG_SEGMENTS_MAX:
            self._close_page(0)
        self._lacing += lacing
        self._packets.append(data)
        self._page_samples += duration
        # Counts the skipped samples too; without the padding it is the recording's end, by which players trim
        # (RFC 7845 sections 4.2 and 4.4).
        self._granule = start + duration - padding

    def flush(self) -> None:
        """Nothing: sound has no pauses, and a page is short."""

    def finish(self, duration_ns: int) -> None:
        if not self._packets:  # a recording without sound ends with an empty packet
            self._lacing += b"\0"
        self._close_page(_OGG_LAST_PAGE)

    def _close_page(self, flags: int) -> None:
        """Writes the open page (RFC 3533 section 6)."""
        page = bytearray(
            struct.pack("<4sBBqIIIB", b"OggS", 0, flags, self._granule, self._serial, self._page_number, 0,
                        len(self._lacing))
        )  # fmt: skip
        page += self._lacing + b"".join(self._packets)
        page[22:26] = _ogg_crc(page).to_bytes(4, "little")
        self._spool.write(bytes(page))
        self._page_number += 1
        self._lacing.clear()
        self._packets.clear()
        self._page_samples = 0
        self.written_until_ns = max(self._granule - self._pre_skip, 0) * 10**9 // _OPUS_RATE


class _SpoolFile(io.FileIO):
    """An unbuffered file that is only appended to, but for patches in its header."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "w+")
        self.size = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Appends all of ``data``, of which a nearly full disk takes only a part at once."""
        count = 0
        while count < len(data):
            count += super().write(memoryview(data)[count:])
        self.size += count
        return count

    def patch(self, at: int, data: bytes) -> None:
        if os.pwrite(self.fileno(), data, at) != len(data):
            raise OSError(errno.EIO, "a few bytes were written only in part")


def _to_ms(samples: int) -> int:
    return (samples * 1000 + _OPUS_RATE // 2) // _OPUS_RATE


def _opus_head(track: AudioTrack) -> bytes:
    """The identification header (RFC 7845 section 5.1): version 1, no gain, mono or stereo."""
    return struct.pack("<8sBBHIhB", b"OpusHead", 1, *track, 0, 0)


def _video_entry(track: VideoTrack | None) -> bytes:
    if track is None:
        return b""
    # BT.601 limited range is what our I420 frames are: matrix 6 (SMPTE 170M), range 1 (broadcast).
    colour = _element(0x55B0, _uint(0x55B1, 6) + _uint(0x55B9, 1))
    picture = _element(0xE0, _uint(0xB0, track.width) + _uint(0xBA, track.height) + colour)
    return _entry(_VIDEO, b"V_" + track.codec.upper().encode(), picture)


def _audio_entry(track: AudioTrack | None) -> bytes:
    if track is None:
        return b""
    delay_ns = (track.pre_skip_samples * 10**9 + _OPUS_RATE // 2) // _OPUS_RATE
    sound = _element(0xB5, struct.pack(">d", _OPUS_RATE)) + _uint(0x9F, track.channel_count)
    # CodecDelay is the pre-skip; SeekPreRoll is 80 ms for every Opus stream (RFC 7845 section 4.6).
    delays = _uint(0x56AA, delay_ns) + _uint(0x56BB, 80_000_000)
    return _entry(_AUDIO, b"A_OPUS", _element(0x63A2, _opus_head(track)) + delays + _element(0xE1, sound))


def _entry(track: int, codec: bytes, more: bytes) -> bytes:
    """A TrackEntry: number, UID and type are one; no lacing; language undetermined."""
    numbers = _uint(0xD7, track) + _uint(0x73C5, track) + _uint(0x83, track) + _uint(0x9C, 0)
    return _element(0xAE, numbers + _element(0x22B59C, b"und") + _element(0x86, codec) + more)


def _cue(ms: int, track: int, cluster_at: int, block_at: int) -> bytes:
    positions = _uint(0xF7, track) + _uint(0xF1, cluster_at) + _uint(0xF0, block_at)
    return _element(0xBB, _uint(0xB3, ms) + _element(0xB7, positions))


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


_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _ogg_crc(page: bytes | bytearray) -> int:
    """Ogg's CRC-32 is zlib's with every bit order reversed, and without its inversions."""
    crc = zlib.crc32(page.translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)
