"""Files and network streams: ``file:PATH``, ``rtsp://…``, ``http://…`` and so on, through PyAV.

One open input serves both tracks. One thread reads and decodes, but what is recorded as it comes (``demuxed.py``).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import av.error
from av.audio.resampler import AudioResampler
from av.format import Flags
from av.stream import Disposition

from ..common.constraints import AudioWish, VideoWish
from ..common.limits import AUDIO_GAP_NS, S
from ..common.media import CHANNEL_COUNT_MAX, SAMPLE_RATE_MAX, SAMPLE_RATE_MIN
from ..common.packet_limits import FIRST_PACKETS_MAX
from ..common.redact import redacted
from ..common.sources import NETWORK_SCHEMES, ParsedSource
from ..errors import NotFoundError, NotReadableError
from .delivery import Delivery, Playout, Unpaced
from .demuxed import PacketReader
from .ffmpeg import OPEN_ERRORS, closed_on_error, open_error, opened, reading, stalled, stream_rate, watched
from .limits import ENCODED_PROBE_BYTES, ENCODED_PROBE_NS, PROBE_NS
from .live import Live
from .packer import PicturePacker
from .running import Source
from .slices import parts_of, whole
from .source import AudioFormat, Sink, TrackInfo
from .stamps import Stamps
from .upright import Turn, turn_of_file

LAYOUT_OF_COUNT = {
    1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1",
}  # fmt: skip

LIVE_SCHEMES = ("rtmp", "rtmps", "rtmpt", "rtp", "rtsp", "rtsps", "srt", "udp")
"""Protocols that deliver at the pace of time, whatever the container says about its duration."""

SEGMENT_FORMATS = ("hls", "dash")
"""Demuxers of segments: fetched at once, to be played in real time."""

TEXT_ART_FORMATS = ("tty", "bin", "xbin", "adf", "idf")
"""FFmpeg draws any text file as a terminal would; nobody who names one means that."""

NETWORK_PROTOCOLS = ",".join((*NETWORK_SCHEMES, "httpproxy", "srtp", "crypto", "data"))
"""What a network source may open by itself (a playlist names further addresses): never a local file."""


def open_input(parsed: ParsedSource, audio: AudioWish | None, video: VideoWish | None) -> InputSource:
    """Opens a file or network address. Blocks at most ``SOURCE_OPEN_NS``. Raises as ``open_source`` does."""
    options: dict[str, str] = {}
    if parsed.scheme == "file":
        what = _checked_file(parsed.target)
        url = "file:" + what
    else:
        url, what = parsed.target, redacted(parsed.target)
        options |= {
            "protocol_whitelist": NETWORK_PROTOCOLS,
            "analyzeduration": str(PROBE_NS // 1000),
            "rtsp_flags": "prefer_tcp",
        }
    if video is not None and video.encoded:
        options |= {"analyzeduration": str(ENCODED_PROBE_NS // 1000), "probesize": str(ENCODED_PROBE_BYTES)}
    try:
        container = opened(url, options=options)
        with closed_on_error(container):
            if container.format.name in TEXT_ART_FORMATS:
                raise NotReadableError(f"{what} is text, not media")
            return InputSource(container, parsed, what, audio, video)
    except OPEN_ERRORS as error:
        raise open_error(error, what) from None  # FFmpeg's own text has the whole address.


class InputSource(Source):
    """An opened file or stream.

    Its ``start`` begins at the input's beginning (a live stream: now). Its ``flush`` of a real-time file delivers at
    once; of a live stream it waits for what is under way, at most ``LIVE_FLUSH_NS``.
    """

    def __init__(
        self, container: Any, parsed: ParsedSource, what: str, audio: AudioWish | None, video: VideoWish | None
    ) -> None:
        is_file = parsed.scheme == "file"
        self.pace_max = parsed.parameters.get("pace") == "max"
        self._container = container
        self._is_live = parsed.scheme in LIVE_SCHEMES or (
            not is_file and container.duration is None and container.format.name not in SEGMENT_FORMATS
        )
        stamps = Stamps(may_skip=self._is_live or bool(container.format.flags & Flags.ts_discont.value))
        readers: list[_PictureReader | _SoundReader | PacketReader] = []
        if audio is not None and audio.encoded:
            readers.append(PacketReader(_best(container, "audio", what), audio, what, stamps))
        elif audio is not None:
            readers.append(_SoundReader(_best(container, "audio", what), audio))
        if video is not None and video.encoded:
            readers.append(PacketReader(_best(container, "video", what), video, what, stamps))
        elif video is not None:
            stream = _best(container, "video", what)
            turn = turn_of_file(what, stream.index) if is_file and os.path.isfile(what) else None
            readers.append(_PictureReader(stream, video, turn))
        self._readers = {reader.stream.index: reader for reader in readers}
        self._streams = [reader.stream for reader in readers]
        is_raw = video is not None and not video.encoded
        parts = {one.index: parts_of(one, is_decoded=is_raw) for one in self._streams if one.type == "video"}
        self._parts = {index: own for index, own in parts.items() if own is not None}
        self._start_ns = _first_time_ns(self._streams, container)
        label = os.path.basename(what) if is_file else what.partition("?")[0]
        tracks = [TrackInfo(reader.stream.type, label, reader.format) for reader in readers]
        delivery = Unpaced if self.pace_max else Live if self._is_live else Playout
        super().__init__(what, tracks, delivery(tracks))
        for stream in self._streams:
            # One thread per decoder: many sources share the machine, and frame threads hold frames back.
            if self.pace_max and stream.type == "video":
                stream.thread_type = "AUTO"
            else:
                stream.codec_context.thread_count = 1
        if self._is_live:  # It is read from now on: what is buffered while connecting must not count as new.
            self._thread.start()

    def start(self, sinks: Mapping[str, Sink]) -> None:
        super().start(sinks)
        if not self._is_live:
            self._thread.start()

    def _free(self) -> None:
        self._container.close()

    def _read(self) -> None:
        with reading(self._what):
            packets = watched(self._container.demux(self._streams), len(self._streams), self._stalled)
            packets = whole(packets, self._parts)
            if not self._is_live and any(isinstance(reader, PacketReader) for reader in self._readers.values()):
                packets = self._from_the_first(packets)
            for packet in packets:
                if self._delivery.closing.is_set():
                    return
                reader = self._readers[packet.stream.index]
                if isinstance(reader, PacketReader):
                    if packet.size:
                        reader.take(packet, self._start_ns, self._delivery)
                    continue
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    continue  # Damaged packets are common on networks; the decoder goes on with the next.
                for frame in frames:
                    reader.take(frame, self._start_ns, self._delivery)
                    if self._delivery.closing.is_set():
                        return
                if packet.size == 0:
                    reader.take(None, self._start_ns, self._delivery)

    def _stalled(self) -> None:
        self._delivery.end(stalled(self._what))

    def _from_the_first(self, packets: Iterator[Any]) -> Iterator[Any]:
        """The same, once it is known with which packet the input's time begins: sound has some before time 0, which
        decoding needs, and not every container says when its tracks begin."""
        first: list[Any] = []
        begins: dict[int, int] = {}
        for packet in packets:
            first.append(packet)
            reader = self._readers[packet.stream.index]
            if packet.size and packet.stream.index not in begins:
                begin_ns = reader.first_ns(packet) if isinstance(reader, PacketReader) else None
                begins[packet.stream.index] = self._start_ns if begin_ns is None else begin_ns
            if len(begins) == len(self._readers) or len(first) >= FIRST_PACKETS_MAX:
                break
        self._start_ns = min(begins.values(), default=self._start_ns)
        return itertools.chain(first, packets)


class _PictureReader:
    """One stream's way from decoded pictures to the delivery."""

    def __init__(self, stream: Any, wish: VideoWish, turn: Turn | None) -> None:
        codec = stream.codec_context
        if codec.format is None or not codec.width:
            raise NotReadableError(f"the size of the pictures did not show within {PROBE_NS / S:g} s")
        rate = stream_rate(stream)
        self.stream = stream
        self._packer = PicturePacker(stream, rate, wish, turn)
        self.format = self._packer.format
        self._next_ns = 0
        """The time of a picture without a time stamp."""
        self._interval_ns = int(S / (rate or 30))

    def take(self, frame: Any | None, start_ns: int, delivery: Delivery) -> None:
        """``None``: the stream is over."""
        if frame is None:
            return
        media_ns = self._next_ns if frame.pts is None else _ns(frame.pts, frame) - start_ns
        self._next_ns = media_ns + self._interval_ns
        if self._packer.wanted(media_ns):
            delivery.video(media_ns, self._packer.pack(frame))


class _SoundReader:
    """The same of sound, interleaved in one format. Counts samples from an anchor; a time stamp that differs by more
    than ``AUDIO_GAP_NS`` sets a new one: less is a container's coarse clock."""

    def __init__(self, stream: Any, wish: AudioWish) -> None:
        codec = stream.codec_context
        if not codec.sample_rate or not codec.channels:
            raise NotReadableError(f"the format of the sound did not show within {PROBE_NS / S:g} s")
        self.stream = stream
        self._in_rate = codec.sample_rate
        rate = wish.sample_rate or min(max(codec.sample_rate, SAMPLE_RATE_MIN), SAMPLE_RATE_MAX)
        count = wish.channel_count or min(codec.channels, CHANNEL_COUNT_MAX)
        self.format = AudioFormat(rate, count, wish.sample_format or "s16")
        self._resampler = AudioResampler(
            format={"s16": "s16", "f32": "flt"}[self.format.sample_format],
            layout=codec.layout.name if count == codec.channels else LAYOUT_OF_COUNT[count],
            rate=rate,
        )
        self._anchor_ns = 0
        self._in_count: int | None = None
        """Samples decoded since the anchor; ``None``: there is none yet."""
        self._out_count = 0

    def take(self, frame: Any | None, start_ns: int, delivery: Delivery) -> None:
        if frame is not None:
            if frame.pts is not None:
                media_ns = _ns(frame.pts, frame) - start_ns
                if self._in_count is None:
                    self._anchor_ns, self._in_count = media_ns, 0
                off_ns = media_ns - self._anchor_ns - self._in_count * S // self._in_rate
                if abs(off_ns) > AUDIO_GAP_NS:
                    self._anchor_ns += off_ns
            self._in_count = (self._in_count or 0) + frame.samples
        size = self.format.frame_bytes
        for block in self._resampler.resample(frame):
            media_ns = self._anchor_ns + self.format.duration_ns(self._out_count)
            self._out_count += block.samples
            delivery.audio(media_ns, bytes(memoryview(block.planes[0])[: block.samples * size]))


def _best(container: Any, kind: str, what: str) -> Any:
    """The stream of this kind that FFmpeg finds best, cover pictures excepted."""
    streams = [
        stream
        for stream in container.streams
        if stream.type == kind
        and stream.codec_context is not None
        and not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        raise NotFoundError(f"{what} has no {kind} track")
    best = container.streams.best(kind)
    return best if best in streams else streams[0]


def _ns(stamp: int, of: Any) -> int:
    return int(stamp * of.time_base * S)


def _first_time_ns(streams: list[Any], container: Any) -> int:
    """The time stamp at which the earliest of the tracks begins."""
    begins = [_ns(stream.start_time, stream) for stream in streams if stream.start_time is not None]
    return min(begins) if begins else (container.start_time or 0) * 1000


def _checked_file(path: str) -> str:
    if not os.path.exists(path):
        raise NotFoundError(f"{path} does not exist")
    if os.path.isdir(path):
        raise NotReadableError(f"{path} is a directory, not a media file")
    if not os.access(path, os.R_OK):
        raise NotReadableError(f"{path}: permission denied; check the owner and mode")
    return os.path.abspath(path)
