"""Files and network streams: ``file:PATH``, ``rtsp://…``, ``http://…`` and so on, through PyAV.

One open input serves both tracks. One thread reads and decodes; ``delivery`` decides when and with which
capture time frames go on. That thread also closes the input, so nothing is freed under a read.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

import av
import av.error
from av.stream import Disposition

from ..common.constraints import AudioWish, VideoWish
from ..common.redact import redacted
from ..common.sources import NETWORK_SCHEMES, ParsedSource
from ..errors import NotFoundError, NotReadableError
from .av_frames import SECOND_NS, SampleConverter, open_error, read_error, stream_rate
from .delivery import Delivery, Playout, Unpaced
from .live import Live
from .packer import PicturePacker
from .source import Sink, TrackInfo
from .upright import Turn, turn_of_file

log = logging.getLogger("recsvc")

# Name look-up, connecting, and the probe below fit well; a caller of get_user_media() is waiting.
OPEN_LIMIT_S = 10.0
# A live stream that is silent this long is over: cameras pause for key frames 1–4 s, not longer.
READ_LIMIT_S = 5.0
# How much media may be read to learn the codecs' parameters; audio and video both show up within.
PROBE_LIMIT_US = 3_000_000
# A reader in a blocking read is left behind after this long; it ends by itself within READ_LIMIT_S.
CLOSE_LIMIT_S = 1.0
# Sound whose time stamp is off by more is a gap (or jump), by less is a container's coarse clock.
GAP_NS = 20_000_000

# Protocols that deliver at the pace of time, whatever the container says about its duration.
LIVE_SCHEMES = ("rtmp", "rtmps", "rtmpt", "rtp", "rtsp", "rtsps", "srt", "udp")
# Demuxers of segments: fetched at once, to be played in real time.
SEGMENT_FORMATS = ("hls", "dash")
# FFmpeg draws any text file as a terminal would; nobody who names one means that.
TEXT_ART_FORMATS = ("tty", "bin", "xbin", "adf", "idf")

# What a network source may open by itself (a playlist names further addresses): never a local file.
NETWORK_PROTOCOLS = ",".join((*NETWORK_SCHEMES, "httpproxy", "srtp", "crypto", "data"))


def open_input(parsed: ParsedSource, audio: AudioWish | None, video: VideoWish | None) -> InputSource:
    """Opens a file or network address. Blocks at most ``OPEN_LIMIT_S``. Raises as ``open_source`` does."""
    if parsed.scheme == "file":
        what = _checked_file(parsed.target)
        url, options = "file:" + what, {}
    else:
        url, what = parsed.target, redacted(parsed.target)
        options = {
            "protocol_whitelist": NETWORK_PROTOCOLS,
            "analyzeduration": str(PROBE_LIMIT_US),
            "rtsp_flags": "prefer_tcp",
        }
    try:
        container: Any = av.open(url, options=options, timeout=(OPEN_LIMIT_S, READ_LIMIT_S))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise open_error(error, what, OPEN_LIMIT_S) from None  # FFmpeg's own text has the whole address
    try:
        if container.format.name in TEXT_ART_FORMATS:
            raise NotReadableError(f"{what} is text, not media")
        return InputSource(container, parsed, what, audio, video)
    except BaseException as error:
        container.close()
        if isinstance(error, av.error.FFmpegError):
            raise open_error(error, what, OPEN_LIMIT_S) from None
        raise


class InputSource:
    """An opened file or stream. See ``recsvc.capture.source.Source``; the waits are those of ``delivery``."""

    def __init__(
        self,
        container: Any,
        parsed: ParsedSource,
        what: str,
        audio: AudioWish | None,
        video: VideoWish | None,
    ) -> None:
        self.tracks: list[TrackInfo] = []
        self.pace_max = parsed.parameters.get("pace") == "max"
        self._what = what
        self._container = container
        self._streams: list[Any] = []
        self._readers: dict[int, _Reader] = {}
        label = os.path.basename(what) if parsed.scheme == "file" else what.partition("?")[0]
        if audio is not None:
            self._add(_AudioReader(self._stream("audio"), audio), label)
        if video is not None:
            stream = self._stream("video")
            turn = turn_of_file(what, stream.index) if parsed.scheme == "file" and os.path.isfile(what) else None
            self._add(_VideoReader(stream, video, turn), label)
        self._start_ns = _first_time_ns(self._streams, container)
        live = parsed.scheme in LIVE_SCHEMES or (
            parsed.scheme != "file" and container.duration is None and container.format.name not in SEGMENT_FORMATS
        )
        self._delivery: Delivery = (Unpaced if self.pace_max else Live if live else Playout)(self.tracks)
        for stream in self._streams:
            self._prepare_codec(stream)
        self._closing = threading.Event()
        self._started = False
        self._thread = threading.Thread(target=self._run, name=f"capture {parsed.scheme}:", daemon=True)
        self._live = live
        if live:  # read from the beginning: what is buffered while connecting must not count as new
            self._thread.start()

    def start(self, sinks: Mapping[str, Sink]) -> None:
        """Begins at the input's beginning (a live stream: now). May be called once."""
        if self._started:
            raise RuntimeError(f"{self._what} was started before")
        self._started = True
        self._delivery.begin(sinks)
        if not self._live:
            self._thread.start()

    def flush(self, until_ns: int) -> None:
        """Real-time file: delivers at once. ``pace=max``: nothing to do. Live stream: waits for what is
        under way, at most ``live.LIVE_FLUSH_NS``.
        """
        if self._started:
            self._delivery.flush(until_ns)

    def close(self) -> None:
        """Blocks at most ``CLOSE_LIMIT_S``; a blocked reader frees the input when its read returns."""
        self._closing.set()
        self._delivery.close()
        if not self._thread.is_alive():
            self._container.close()
        elif self._thread is not threading.current_thread():
            self._thread.join(CLOSE_LIMIT_S)

    def _stream(self, kind: str) -> Any:
        streams = [
            stream
            for stream in self._container.streams
            if stream.type == kind
            and stream.codec_context is not None
            and not stream.disposition & Disposition.attached_pic
        ]
        if not streams:
            raise NotFoundError(f"{self._what} has no {kind} track")
        best = self._container.streams.best(kind)
        return best if best in streams else streams[0]

    def _add(self, reader: _Reader, label: str) -> None:
        self._streams.append(reader.stream)
        self._readers[reader.stream.index] = reader
        self.tracks.append(TrackInfo(reader.stream.type, label, reader.format))

    def _prepare_codec(self, stream: Any) -> None:
        """One thread per decoder: many sources share the machine, and frame threads hold frames back."""
        if self.pace_max and stream.type == "video":
            stream.thread_type = "AUTO"
        else:
            stream.codec_context.thread_count = 1

    def _run(self) -> None:
        error: Exception | None = None
        try:
            self._read()
        except av.error.EOFError:
            pass
        except Exception as failure:
            if isinstance(failure, av.error.FFmpegError):
                error = read_error(failure, self._what, READ_LIMIT_S)
            else:
                log.exception("capture of %s stopped", self._what)
                error = failure
        finally:
            self._container.close()
        if not self._closing.is_set():
            self._delivery.end(error)

    def _read(self) -> None:
        for packet in self._container.demux(self._streams):
            if self._closing.is_set():
                return
            reader = self._readers[packet.stream.index]
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue  # damaged packets are common on networks; the decoder goes on with the next
            for frame in frames:
                reader.take(frame, self._start_ns, self._delivery)
                if self._closing.is_set():
                    return
            if packet.size == 0:
                reader.finish(self._delivery)


class _Reader:
    """One stream's way from decoded frames to the delivery."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.format: Any = None

    def take(self, frame: Any, start_ns: int, delivery: Delivery) -> None:
        raise NotImplementedError

    def finish(self, delivery: Delivery) -> None:
        """The stream is over: gives what a converter still holds."""


class _VideoReader(_Reader):
    def __init__(self, stream: Any, wish: VideoWish, turn: Turn | None) -> None:
        super().__init__(stream)
        codec = stream.codec_context
        if codec.format is None or not codec.width:
            raise NotReadableError(f"the size of the pictures did not show within {PROBE_LIMIT_US / 1e6:g} s")
        rate = stream_rate(stream)
        self._packer = PicturePacker(stream, rate, wish, turn)
        self.format = self._packer.format
        self._next_ns = 0  # where a picture without a time stamp belongs
        self._interval_ns = int(SECOND_NS / (rate or 30.0))

    def take(self, frame: Any, start_ns: int, delivery: Delivery) -> None:
        media_ns = self._next_ns
        if frame.pts is not None:
            media_ns = int(frame.pts * frame.time_base * SECOND_NS) - start_ns
        self._next_ns = media_ns + self._interval_ns
        if self._packer.wanted(media_ns):
            delivery.video(media_ns, self._packer.pack(frame))


class _AudioReader(_Reader):
    """Counts samples from an anchor; a time stamp that differs by more than ``GAP_NS`` sets a new one."""

    def __init__(self, stream: Any, wish: AudioWish) -> None:
        super().__init__(stream)
        codec = stream.codec_context
        if not codec.sample_rate or not codec.channels:
            raise NotReadableError(f"the format of the sound did not show within {PROBE_LIMIT_US / 1e6:g} s")
        self._in_rate = codec.sample_rate
        self._converter = SampleConverter(codec.sample_rate, codec.channels, codec.layout.name, wish)
        self.format = self._converter.format
        self._anchor_ns = 0
        self._in_count: int | None = None  # since the anchor; None: no anchor yet
        self._out_count = 0

    def take(self, frame: Any, start_ns: int, delivery: Delivery) -> None:
        if frame.pts is not None:
            media_ns = int(frame.pts * frame.time_base * SECOND_NS) - start_ns
            if self._in_count is None:
                self._anchor_ns, self._in_count = media_ns, 0
            off_ns = media_ns - self._anchor_ns - self._in_count * SECOND_NS // self._in_rate
            if abs(off_ns) > GAP_NS:
                self._anchor_ns += off_ns
        self._in_count = (self._in_count or 0) + frame.samples
        self._give(self._converter.convert(frame), delivery)

    def finish(self, delivery: Delivery) -> None:
        self._give(self._converter.convert(None), delivery)

    def _give(self, samples: bytes, delivery: Delivery) -> None:
        if samples:
            media_ns = self._anchor_ns + self._out_count * SECOND_NS // self.format.sample_rate
            self._out_count += len(samples) // self.format.frame_bytes
            delivery.audio(media_ns, samples)


def _first_time_ns(streams: list[Any], container: Any) -> int:
    """The time stamp at which the earliest of the tracks begins."""
    begins = [int(s.start_time * s.time_base * SECOND_NS) for s in streams if s.start_time is not None]
    if begins:
        return min(begins)
    return (container.start_time or 0) * 1000


def _checked_file(path: str) -> str:
    if not os.path.exists(path):
        raise NotFoundError(f"{path} does not exist")
    if os.path.isdir(path):
        raise NotReadableError(f"{path} is a directory, not a media file")
    if not os.access(path, os.R_OK):
        raise NotReadableError(f"{path}: permission denied; check the owner and mode")
    return os.path.abspath(path)
