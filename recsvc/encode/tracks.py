"""One track of one recording inside a worker: frames in, packets out, everything counted."""

from __future__ import annotations

import math
import time
from typing import Any

from ..common.limits import AUDIO_MESSAGE_NS, AUDIO_TURN_NS, S
from ..common.media import OPUS_PACKET_SAMPLES, OPUS_RATE, check_settings, colours_of
from ..common.mime import VideoCodec
from ..mux.packets import AudioPacket, Packet, VideoPacket
from ..mux.spool import AudioEntry, Written, video_entry
from ..wire.messages import AudioFrame, RecordedTrack, RecordingOptions, TrackStatistics, VideoFrame
from . import native
from .account import Account
from .clock import FrameClock
from .media_clock import MediaClock
from .timeline import AudioTimeline, Hurry, KeyFrames, SpeedControl, Threads, VideoTimeline

_KEY_FRAME_DISTANCE_MAX = 30_000
"""``timeline.KeyFrames`` decides, long before this; some decoders fail after more frames without one."""
_SPEEDS: dict[VideoCodec, tuple[int, ...]] = {"vp8": (-6, -9, -12, -16), "vp9": (8, 9)}  # normal, then hurried
_HURRY = Hurry()  # of this process, which is a worker
_SILENCE_DBFS = -120.0
_LEVEL_VALUES = 960  # of the newest block that the level meter looks at, when somebody asks


class Track:
    """What all kinds have in common. Its encoder is freed by ``close()``."""

    is_video: bool
    is_described: bool = True
    """Whether the file's header says all of it."""
    unfinished = False
    """Whether the last frame must be passed again, for the rest of it."""

    def __init__(self, track: RecordedTrack, started_ns: int) -> None:
        check_settings(track.kind, track.settings)
        frame_rate = track.settings.get("frame_rate")
        self.account = Account(track.kind)
        self.clock: FrameClock[Any]
        if track.settings.get("clock") == "media":
            self.clock = MediaClock(track.kind, started_ns, frame_rate=frame_rate)
        else:
            self.clock = FrameClock(track.kind, started_ns, is_captured=track.captured, frame_rate=frame_rate)
        self.ended = False


class VideoTrack(Track):
    """Pictures to packets, one for each."""

    is_video = True

    def __init__(
        self,
        codec: VideoCodec,
        track: RecordedTrack,
        options: RecordingOptions,
        started_ns: int = 0,
        threads: int = 1,
    ) -> None:
        super().__init__(track, started_ns)
        self._codec = codec
        self._threads = Threads(threads)
        self._bits_per_second = options.video_bits_per_second
        self._color_space = colours_of(track.settings).space  # The header's, whatever the frames' sizes become.
        self._timeline = VideoTimeline(track.settings.get("frame_rate"))
        self._keys = KeyFrames(options.key_frame_interval_ms, options.key_frame_interval_count)
        self._speed = SpeedControl(len(_SPEEDS[codec]) - 1, _HURRY)
        self._encoder: native.VideoEncoder | None = None
        self._pts_us = -1
        self.pixels = 0  # of all pictures that were encoded
        self.entry = video_entry(codec, track.settings)

    def encode(self, header: VideoFrame, picture: Any) -> list[Packet]:
        recorded_ns, expected_ns = self._timeline.place(header.captured_ns, header.paused_ns)
        # The encoder insists that times rise, also where a picture was left out.
        self._pts_us = max((recorded_ns - (self.first_ns or 0)) // 1000, self._pts_us + 1)
        if self._encoder is None:
            self._encoder = native.VideoEncoder(
                self._codec,
                header.width,
                header.height,
                bits_per_second=self._bits_per_second,
                color_space=self._color_space,
                key_frame_interval_max=_KEY_FRAME_DISTANCE_MAX,
                threads=self._threads.count,
            )
            if self._speed.step:
                self._encoder.set_speed(_SPEEDS[self._codec][self._speed.step])
        key = self._keys.wanted(recorded_ns, header.paused_ns)
        is_judged = self._threads.count > 1  # after a picture a look at the clock costs a hundredth of it
        before_ns, cpu_before_ns = (time.monotonic_ns(), time.process_time_ns()) if is_judged else (0, 0)
        [packet] = self._encoder.encode(
            None if header.muted else picture,
            header.pixel_format,
            header.width,
            header.height,
            self._pts_us,
            max(expected_ns // 1000, 1),
            force_key_frame=key,
        )
        if is_judged and self._threads.took(time.monotonic_ns() - before_ns, time.process_time_ns() - cpu_before_ns):
            self.close()  # the next picture opens another, and is a key frame
            self._encoder = None
        self.account.encoded += 1
        self.pixels += header.width * header.height
        if packet.is_key_frame:
            self._keys.made(recorded_ns)
        return [VideoPacket(packet.data, recorded_ns, expected_ns, packet.is_key_frame)]

    def keep_up(self, waiting: int) -> None:
        """Works faster while ``waiting`` pictures pile up, and takes its time again when they don't."""
        if self._speed.update(waiting, time.monotonic_ns()) and self._encoder is not None:
            self._encoder.set_speed(_SPEEDS[self._codec][self._speed.step])

    def drain(self) -> list[Packet]:
        """Nothing: each picture gave its packet at once."""
        return []

    def left_out(self, count: int, last_ns: int) -> None:
        """``count`` of the newest pictures shall not be in the file; the last of the others stands at ``last_ns``, or
        earlier (recorded time)."""
        if count:
            self.account.received -= count
            self.account.encoded -= count
            self._timeline.last_ns = last_ns

    def settle(self, written: Written, cause: str) -> None:
        """After a failure: what is not in the file does not count as encoded."""
        self.account.take_back(self.account.encoded - written.pictures, cause)

    @property
    def first_ns(self) -> int | None:
        """Recorded time of the first picture."""
        return self._timeline.first_ns

    @property
    def end_ns(self) -> int | None:
        """Recorded time at which the last picture began."""
        return self._timeline.last_ns

    @property
    def media_end_ns(self) -> int | None:
        """Recorded time at which the last picture ends by its clock of positions in the media."""
        return self._timeline.end_ns

    @property
    def encoder_threads(self) -> int:
        return self._threads.count

    def statistics(self) -> TrackStatistics:
        corrected = self.clock.corrected + self._timeline.corrected
        return self.account.statistics(corrected, speed_raised=self._speed.raised, encoder_threads=self.encoder_threads)

    def close(self) -> None:
        if self._encoder is not None:
            self._encoder.close()


class AudioTrack(Track):
    """Sound blocks to Opus packets, exact to the sample; where the sound's clock drifts against ours it is stretched
    a little (``timeline.AudioTimeline``). The account stays in captured samples."""

    is_video = False

    def __init__(self, track: RecordedTrack, options: RecordingOptions, started_ns: int = 0) -> None:
        super().__init__(track, started_ns)
        sample_rate, sample_format = int(track.settings["sample_rate"]), str(track.settings.get("sample_format", "s16"))
        self._form = (sample_rate, int(track.settings["channel_count"]), sample_format)  # may change at any frame
        self._timeline = AudioTimeline(sample_rate, is_media=self.clock.is_media)
        self._stretch_ppm: float | None = None
        self._encoder = native.AudioEncoder(
            *self._form,
            bits_per_second=options.audio_bits_per_second,
            bitrate_mode=options.audio_bitrate_mode,
        )
        self.entry = AudioEntry(self._encoder.output_channel_count, self.pre_skip_samples, sample_rate)
        self._newest: tuple[AudioFrame, Any] | None = None
        # Of the last block: samples that are encoded, silence before it that is still to be, and what is left of both.
        self._done = self._silence = self._left = 0

    @property
    def first_ns(self) -> int | None:
        return self._timeline.first_ns

    @property
    def end_ns(self) -> int | None:
        """Recorded time at which the last sample that is encoded ends."""
        end_ns = self._timeline.end_ns
        return end_ns if end_ns is None or not self.unfinished else end_ns - self._left * S // self._form[0]

    @property
    def media_end_ns(self) -> int | None:
        return self.end_ns

    @property
    def sound_ns(self) -> int:
        """How much sound was encoded."""
        return self.account.encoded * S // self._form[0]

    @property
    def channel_count(self) -> int:
        return self._form[1]

    @property
    def pre_skip_samples(self) -> int:
        return self._encoder.pre_skip_samples

    def skip_whole_packet(self) -> bool:
        """To be called at the end: where all there is fits into one packet, which libavformat cannot cut at both ends,
        the pre-skip becomes a packet of its own. Not always so: Firefox loses the padding then. Whether it did."""
        if not 0 < self._encoder.output_samples <= OPUS_PACKET_SAMPLES - self.pre_skip_samples:
            return False
        self._encoder.set_pre_skip(OPUS_PACKET_SAMPLES)
        return True

    def encode(self, header: AudioFrame, samples: Any) -> list[Packet]:
        """A block, with the silence of the gap before it; or, where that is long, ``AUDIO_TURN_NS`` of it."""
        packets = [] if self.unfinished else self._begin(header)
        room = self._left
        if room * S > 3 * AUDIO_MESSAGE_NS * header.sample_rate:
            room = AUDIO_TURN_NS * header.sample_rate // S
        silence = min(self._silence, room)
        if silence:
            packets += self._encoder.encode_silence(silence)
            self._silence -= silence
        count = min(header.sample_count - self._done, room - silence)
        if header.muted:
            packets += self._encoder.encode_silence(count)
        elif count == header.sample_count:
            packets += self._encoder.encode(samples)
        elif count:
            view = memoryview(samples).cast("B")
            width = len(view) // header.sample_count
            packets += self._encoder.encode(view[self._done * width : (self._done + count) * width])
        self._done += count
        self._left -= silence + count
        self.account.encoded += count
        self.unfinished = self._left > 0
        if not self.unfinished:
            self._newest = header, samples
            self._check_length()
        return [self._placed(packet) for packet in packets]

    def _begin(self, header: AudioFrame) -> list[native.Packet]:
        """A block has come: how much silence it needs, and what its format and place change in the encoder."""
        packets: list[native.Packet] = []
        if header.last:
            # Somebody waits for the end: the last packets, less than 90 ms of sound, are made as fast as can be.
            self._encoder.set_complexity(0)
        form = (header.sample_rate, header.channel_count, header.sample_format)
        if form != self._form:
            packets, self._form = self._encoder.set_input(*form), form
        timeline = self._timeline
        recorded = (header.captured_ns, header.paused_ns, header.sample_count)
        self._silence, self._done = timeline.place(*recorded, header.sample_rate), 0
        self._left = self._silence + header.sample_count
        if timeline.stretch_ppm != self._stretch_ppm:
            self._stretch_ppm = timeline.stretch_ppm
            self._encoder.set_stretch(self._stretch_ppm or 0.0)
        return packets

    def drain(self) -> list[Packet]:
        """What is still inside the encoder, the last packet with its padding. Sound ends with its last sample."""
        self._encoder.set_complexity(0)
        packets = [self._placed(packet) for packet in self._encoder.drain()]
        self._check_length()
        return packets

    def settle(self, written: Written, cause: str) -> None:
        """After a failure: what is not in the file does not count as encoded. What is missing at its end is counted to
        the nearest captured sample."""
        lost = self._encoder.output_samples - max(written.samples - self.pre_skip_samples, 0)
        units = (lost * self._form[0] + OPUS_RATE // 2) // OPUS_RATE
        self.account.take_back(units if written.samples else self.account.encoded, cause)

    def _check_length(self) -> None:
        """While sound is stretched the encoder knows best how much of it there is."""
        if self._stretch_ppm is not None:
            self._timeline.wrote(self._encoder.output_samples * S // OPUS_RATE)

    def _placed(self, packet: native.Packet) -> Packet:
        assert self.first_ns is not None
        return AudioPacket(packet.data, packet.pts, packet.duration, packet.padding_samples, self.first_ns)

    def _level_dbfs(self) -> float | None:
        if self._newest is None or not self._newest[0].sample_count:
            return None
        header, samples = self._newest
        if header.muted:
            return _SILENCE_DBFS
        is_s16 = header.sample_format == "s16"
        values = memoryview(samples).cast("B").cast("h" if is_s16 else "f")[:_LEVEL_VALUES]
        peak = max(max(values), -min(values)) / (32768 if is_s16 else 1)
        return 20 * math.log10(peak) if 0 < peak < math.inf else _SILENCE_DBFS

    def statistics(self) -> TrackStatistics:
        """The level is that of the newest block, whose samples must not have changed since."""
        return self.account.statistics(
            self.clock.corrected + self._timeline.corrected,
            level_dbfs=None if self.ended else self._level_dbfs(),
            clock_drift_ppm=self._timeline.clock_drift_ppm,
        )

    def close(self) -> None:
        self._encoder.close()
