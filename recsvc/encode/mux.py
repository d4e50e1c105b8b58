"""mux: ready packets in, a seekable spool file out. The encoder worker's only module that imports ``av``.

The spool file of WebM and Matroska (RFC 9559) consists of
- a header (EBML head, room for the SeekHead, Info, Tracks, Tags): the first ``header_size`` bytes, of which
  ``finish()`` patches some (Segment size, SeekHead, Duration, durations in Tags); nothing else ever changes;
- clusters of known size, each appended as a whole once it is complete. Until ``finish()`` the Segment has
  unknown size, so that the file plays at any time, up to its last cluster;
- the Cues, at the end.

An Ogg file (RFC 3533, RFC 7845) is pages in a row; nothing in it is ever patched.

What a kill loses is what libavformat still holds: the interleaving queue (``INTERLEAVE_MAX_MS``) and the open
cluster (``CLUSTER_MAX_MS``), or two Ogg pages (``OGG_PAGE_MS`` each), plus a packet or two: less than one
second. Only packets make time pass here: a cluster is closed by the first packet that belongs in the next.
"""

import contextlib
import errno
import functools
import io
import os
import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet, PacketSideData, packet_sidedata_type_from_literal
from av.stream import Disposition, Stream

from recsvc import errors

CLUSTER_MAX_MS = 400
"""A packet this much later than the cluster's first opens a new one: short, for crashes and timeslices."""
INTERLEAVE_MAX_MS = 300
"""How long packets wait for those of a silent track. A packet that is later still is written out of order."""
OGG_PAGE_MS = 400
"""Length of an Ogg page; libavformat holds one complete page besides the open one."""

_SPOOL_BUFFER_BYTES = 128 * 1024  # one write call for most clusters; held once per recording
_OPUS_RATE = 48_000  # Opus counts in 48 kHz samples whatever the input's rate (RFC 7845 section 4)
_QUOTA_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SKIP_SAMPLES = struct.Struct("<IIBB")  # samples skipped at the start, discarded at the end, two reasons
_SEGMENT, _INFO, _DURATION = 0x18538067, 0x1549A966, 0x4489
_CLUSTER, _TIMESTAMP, _BLOCK_GROUP, _BLOCK = 0x1F43B675, 0xE7, 0xA0, 0xA1


class VideoTrack(NamedTuple):
    """The video track as its header tells it: the size is that of the first frame, in pixels."""

    codec: Literal["vp8", "vp9"]
    width: int
    height: int


class AudioTrack(NamedTuple):
    """The Opus track: the encoder's look-ahead in 48 kHz samples; the input's rate (Hz) is told for
    information only (RFC 7845 section 5.1)."""

    channel_count: int
    pre_skip_samples: int
    input_sample_rate: int


class Muxer:
    """Writes the packets of one recording. Not thread-safe; every call may block on the disk.

    Times are recording time: 0 is the first recorded frame of any track. Packets of one track come in their
    order; those of different tracks should come within ``INTERLEAVE_MAX_MS`` of each other (else they stand
    in the file after later ones: readable, but some players stumble).

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
        self._is_ogg = container == "ogg"
        self._failure: errors.RecorderError | None = None
        self._closed = False
        self._video: Stream | None = None
        self._audio: Stream | None = None
        self._video_last_ms = self._audio_last_ms = -1
        self._written_until_ns = 0
        self._pre_skip = audio.pre_skip_samples if audio is not None else 0
        # For Opus, libavformat adds the codec delay in whole milliseconds to the times it is given: taking
        # off the same number here puts the block at exactly the time meant.
        self._delay_ms = _to_ms(self._pre_skip)
        # Random, since chained recordings must not share a serial number (RFC 3533 section 4).
        self._ogg_serial = int.from_bytes(os.urandom(4), "little") >> 1
        try:
            self._spool = _SpoolFile(self._path)
            self._open(container, video, audio)
        except (OSError, av.FFmpegError) as error:
            self.abort()
            raise self._failed(error) from error
        self._walked = self._spool.size
        self.header_size = 0 if self._is_ogg else self._spool.size

    def _open(self, container: str, video: VideoTrack | None, audio: AudioTrack | None) -> None:
        options = {
            "flush_packets": "1",
            "avoid_negative_ts": "disabled",  # the times are right: never shift them
            # bitexact: no random identifiers, no version, so that equal packets give equal files. autobsf
            # off: libvpx's packets are complete, a bitstream filter would only read them again.
            "fflags": "+bitexact-autobsf",
        }
        if self._is_ogg:
            options |= {"serial_offset": str(self._ogg_serial), "page_duration": str(OGG_PAGE_MS * 1000)}
        else:
            options["cluster_time_limit"] = str(CLUSTER_MAX_MS)
            options["max_interleave_delta"] = str(INTERLEAVE_MAX_MS * 1000)
            options["write_crc32"] = "0"  # the patched Duration would not match it
        self._container: OutputContainer = av.open(
            self._spool, "w", format=container, options=options, buffer_size=_SPOOL_BUFFER_BYTES
        )
        if video is not None:
            self._video = self._add_stream(video)
        if audio is not None:
            self._audio = self._add_stream(audio)
        self._container.start_encoding()

    def _add_stream(self, track: VideoTrack | AudioTrack) -> Stream:
        stream = self._container.add_stream_from_template(_template(track).streams[0], opaque=True)
        stream.disposition = Disposition.default
        return stream

    def write_video(self, data: bytes, pts_ns: int, duration_ns: int, is_key_frame: bool) -> None:
        """Takes one VP8 or VP9 frame, shown from ``pts_ns`` on; the first must be a key frame.

        ``duration_ns`` may be an estimate: it only serves the track's duration in Tags; a picture lasts until
        the next or the recording's end. So do not hold a frame back for it. ``data`` is kept without a copy
        until it is written: do not change it. A frame in the same millisecond as the one before is moved to
        the next.
        """
        if self._video is None:
            raise errors.InvalidStateError(f"{self._path}: this recording has no video track")
        if not data or pts_ns < 0 or duration_ns < 0:
            raise ValueError(f"no video packet: {len(data)} bytes at {pts_ns} ns for {duration_ns} ns")
        start_ms = max((pts_ns + 500_000) // 1_000_000, self._video_last_ms + 1)
        packet = Packet(data)
        packet.stream = self._video
        packet.pts = start_ms
        # Interleaving goes by dts, the block's time is the pts. Audio's dts is earlier than its block by the
        # codec delay (see write_audio): without the same shift here, blocks would be a few ms out of order.
        packet.dts = start_ms - self._delay_ms
        packet.duration = max((pts_ns + duration_ns + 500_000) // 1_000_000 - start_ms, 1)
        packet.is_keyframe = is_key_frame
        self._mux(packet)
        self._video_last_ms = start_ms

    def write_audio(
        self, data: bytes, pts_samples: int, duration_samples: int = 960, padding_samples: int = 0
    ) -> None:
        """Takes one Opus packet. All numbers are 48 kHz samples; ``data`` as in ``write_video``.

        ``pts_samples``: when the packet's first decoded sample would be heard if nothing were skipped. The
        first packet of a track whose first captured sample is at recording time T has T - pre-skip (so -312,
        say, for T = 0), each further one ``duration_samples`` more. ``padding_samples``: how many of its last
        samples are not part of the recording (less than ``duration_samples``; only the last packet has any).
        """
        if self._audio is None:
            raise errors.InvalidStateError(f"{self._path}: this recording has no audio track")
        start = pts_samples + self._pre_skip
        if not data or start < 0 or not 0 <= padding_samples < duration_samples:
            lengths = f"{duration_samples} - {padding_samples} samples"
            raise ValueError(f"no audio packet: {len(data)} bytes at {pts_samples} for {lengths}")
        packet = Packet(data)
        packet.stream = self._audio
        packet.is_keyframe = True
        if self._is_ogg:
            # Granule position = pts + duration + pre-skip. With the padding taken off, the last page's is the
            # end of the recording, by which players trim (RFC 7845 section 4.4).
            packet.pts = packet.dts = pts_samples
            packet.duration = duration_samples - padding_samples
            self._mux(packet)
            self._audio_last_ms = 0
            return
        # Block time - CodecDelay is when the first decoded sample is heard (RFC 9559, CodecDelay), so
        # that the first packet's block bears the time of the first sample that is not skipped.
        start_ms = max(_to_ms(start), self._audio_last_ms + 1)
        packet.pts = packet.dts = start_ms - self._delay_ms
        packet.duration = _to_ms(duration_samples - padding_samples)
        if padding_samples:  # becomes DiscardPadding, in ns: exact to the sample (RFC 9559, DiscardPadding)
            packet.set_sidedata(_discarded_at_end(padding_samples), move=True)
        self._mux(packet)
        self._audio_last_ms = start_ms

    def finish(self, duration_ns: int) -> None:
        """Completes and closes the file; all of it is with the operating system when this returns.

        ``duration_ns``, the length up to the stop, becomes the Duration element, whatever the packets' own
        ends (an Ogg file's length is the end of its last packet). The time it takes depends on what is still
        held, and on the number of Cues: one per video key frame, or per cluster where there is no video.
        """
        self._check()
        if duration_ns < 0:
            raise ValueError(f"duration_ns must not be negative: {duration_ns}")
        is_empty = self._video_last_ms < 0 and self._audio_last_ms < 0
        try:
            self._container.close()
            if self._is_ogg:
                if is_empty:
                    self._spool.write(_ogg_end_page(self._ogg_serial))
            else:
                self._complete_header(duration_ns, is_empty)
            self._spool.close()
        except (OSError, av.FFmpegError) as error:
            self.abort()
            raise self._failed(error) from error
        self._closed = True

    def abort(self) -> None:
        """Closes the file as it is, playable up to its last cluster. Never raises; any number of times."""
        self._closed = True
        # The spool file first: a container whose file is closed writes no trailer, now or when collected.
        for name in ("_spool", "_container"):
            with contextlib.suppress(OSError, av.FFmpegError, AttributeError):
                getattr(self, name).close()

    @property
    def bytes_written(self) -> int:
        """Size of the file so far, always a whole number of clusters or pages; others may read all of it."""
        return self._spool.size

    @property
    def written_until_ns(self) -> int:
        """Recording time up to which the first ``bytes_written`` bytes hold the media: the latest block's
        time (Ogg: the last page's end). Reads the last cluster back when there is a new one; a closed file
        keeps its last value.
        """
        start, file = self._walked, self._spool
        while not self._closed and self._walked < file.size:
            start = self._walked
            if self._is_ogg:
                page = os.pread(file.fileno(), 27 + 255, start)
                self._walked += 27 + page[26] + sum(page[27 : 27 + page[26]])
                samples = int.from_bytes(page[6:14], "little") - self._pre_skip
                self._written_until_ns = max(samples, 0) * 1_000_000_000 // _OPUS_RATE
            else:
                self._walked += next(_elements(os.pread(file.fileno(), 12, start)))[2]
        if self._walked > start and not self._is_ogg:
            newest_ms = _newest_block_ms(os.pread(file.fileno(), self._walked - start, start))
            self._written_until_ns = max(self._written_until_ns, newest_ms * 1_000_000)
        return self._written_until_ns

    def _check(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(*self._failure.args)
        if self._closed:
            raise errors.InvalidStateError(f"{self._path}: the recording's file is already closed")

    def _mux(self, packet: "Packet[Stream]") -> None:
        self._check()
        try:
            self._container.mux_one(packet)
        except (OSError, av.FFmpegError) as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError | av.FFmpegError) -> errors.RecorderError:
        kind = errors.QuotaExceededError if error.errno in _QUOTA_ERRNOS else errors.UnknownError
        self._failure = kind(f"cannot write {self._path}: {error.strerror or error}")
        return self._failure

    def _complete_header(self, duration_ns: int, is_empty: bool) -> None:
        """Sets the Duration, since libavformat knows only the packets' ends. An empty recording gets one
        empty cluster: without any, common readers take the file for broken."""
        spool = self._spool
        header = os.pread(spool.fileno(), self.header_size, 0)
        segment = _find(header, _SEGMENT)
        spool.seek(_find(header, _DURATION, _find(header, _INFO, segment)))
        spool.write(struct.pack(">d", duration_ns / 1e6))
        if is_empty:
            spool.seek(0, os.SEEK_END)
            spool.write(_element(_CLUSTER, _uint(_TIMESTAMP, 0)))
            spool.seek(segment - 8)
            spool.write(_size(spool.size - segment))


class _SpoolFile(io.FileIO):
    """The file under libavformat: Python's, not libavformat's own, so that the exact ``OSError`` comes out of
    it, its size is known without asking, and closing it prevents a trailer."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "w+")
        self.size = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Writes all of ``data``: a nearly full disk takes less at once, unnoticed by libavformat."""
        count = super().write(data)
        while count < len(data):
            count += super().write(memoryview(data)[count:])
        self.size = max(self.size, self.tell())
        return count


def _to_ms(samples: int) -> int:
    """Nearest millisecond, halves up, as libavformat rescales."""
    return (samples * 1000 + _OPUS_RATE // 2) // _OPUS_RATE


def _discarded_at_end(samples: int) -> PacketSideData:
    kind = packet_sidedata_type_from_literal("skip_samples")
    side_data = PacketSideData(kind, _SKIP_SAMPLES.size)  # type: ignore[call-arg]
    side_data.update(_SKIP_SAMPLES.pack(0, samples, 0, 0))
    return side_data


@functools.lru_cache(maxsize=32)
def _template(track: VideoTrack | AudioTrack) -> InputContainer:
    """A container in memory with just this track: a recording's stream is a copy of the one in here.

    PyAV has no other way to give a stream without encoder its codec private data, its initial padding
    (CodecDelay and the Ogg granule positions come of it) or its colour. So it reads them from the headers of
    a WebM file made here.
    """
    if isinstance(track, VideoTrack):
        # BT.601 limited range is what our I420 frames are: matrix 6 (SMPTE 170M), range 1 (broadcast).
        colour = _element(0x55B0, _uint(0x55B1, 6) + _uint(0x55B9, 1))
        size = _uint(0xB0, track.width) + _uint(0xBA, track.height)
        codec = b"V_" + track.codec.upper().encode()
        entry = _uint(0x83, 1) + _element(0x86, codec) + _element(0xE0, size + colour)
    else:
        channels, pre_skip, rate = track
        head = struct.pack("<8sBBHIhB", b"OpusHead", 1, channels, pre_skip, rate, 0, 0)
        delay = _uint(0x56AA, pre_skip * 10**9 // _OPUS_RATE) + _uint(0x56BB, 80_000_000)
        sound = _element(0xE1, _element(0xB5, struct.pack(">d", _OPUS_RATE)) + _uint(0x9F, channels))
        entry = _uint(0x83, 2) + _element(0x86, b"A_OPUS") + _element(0x63A2, head) + delay + sound
    tracks = _element(0x1654AE6B, _element(0xAE, _uint(0xD7, 1) + _uint(0x73C5, 1) + entry))
    segment = _element(_INFO, _uint(0x2AD7B1, 1_000_000)) + tracks + _element(_CLUSTER, _uint(_TIMESTAMP, 0))
    file = _element(0x1A45DFA3, _element(0x4282, b"webm")) + _element(_SEGMENT, segment)
    return av.open(io.BytesIO(file), "r", format="matroska")


def _ogg_end_page(serial: int) -> bytes:
    """The end of a stream without media: an empty packet, after the two header pages (RFC 3533 section 6)."""
    page = bytearray(struct.pack("<4sBBqIIIBB", b"OggS", 0, 4, 0, serial, 2, 0, 1, 0))
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    page[22:26] = crc.to_bytes(4, "little")
    return bytes(page)


def _size(value: int) -> bytes:
    """An EBML size on eight bytes (RFC 8794 section 4)."""
    return (value | 1 << 56).to_bytes(8, "big")


def _element(identifier: int, content: bytes) -> bytes:
    return identifier.to_bytes((identifier.bit_length() + 7) // 8, "big") + _size(len(content)) + content


def _uint(identifier: int, value: int) -> bytes:
    return _element(identifier, value.to_bytes(8, "big"))


def _elements(data: bytes, at: int = 0) -> Iterator[tuple[int, int, int]]:
    """The elements of one level from ``at`` on: identifier, where the content begins, where it ends."""
    while at < len(data):
        size_at = at + 9 - data[at].bit_length()
        begin = size_at + 9 - data[size_at].bit_length()
        size = int.from_bytes(data[size_at:begin], "big") & ((1 << 7 * (begin - size_at)) - 1)
        yield int.from_bytes(data[at:size_at], "big"), begin, begin + size
        at = begin + size


def _find(data: bytes, identifier: int, at: int = 0) -> int:
    """Where the content of the first such element begins, among those of one level from ``at`` on."""
    return next(begin for found, begin, _ in _elements(data, at) if found == identifier)


def _newest_block_ms(cluster: bytes) -> int:
    """The latest time of a block in a cluster (RFC 9559 section 10.1: track, 16 bit relative time, flags)."""
    cluster_ms = newest_ms = 0
    for identifier, begin, end in _elements(cluster, _find(cluster, _CLUSTER)):
        if identifier == _TIMESTAMP:
            cluster_ms = int.from_bytes(cluster[begin:end], "big")
            continue
        block = _find(cluster, _BLOCK, begin) if identifier == _BLOCK_GROUP else begin
        newest_ms = max(newest_ms, int.from_bytes(cluster[block + 1 : block + 3], "big", signed=True))
    return cluster_ms + newest_ms
