"""The source ``test:``: a moving pattern that carries its frame number, and a tone.

Both are computed, so that what must be in a recording is known to the frame and to the sample: frame ``n``
is captured at ``start + n / frame_rate``, sample ``n`` at ``start + n / sample_rate``, with one ``start``
for both tracks, and their content depends on the parameters and ``n`` alone. A thread that wakes late
delivers what was due in between, with the times at which it was due.

``flush`` generates what is still missing, in the calling thread: it waits for nothing.
"""

import logging
import math
import threading
import time
from array import array
from collections.abc import Callable, Mapping
from fractions import Fraction

from ..common.constraints import AudioWish, VideoWish
from ..common.media import BT601, CHANNEL_COUNT_MAX, FRAME_SIDE_MAX, SAMPLE_RATE_MAX, SAMPLE_RATE_MIN
from .parameters import asked_duration, asked_frame_rate, asked_number, asked_whole
from .pattern import PATTERNS, Pattern
from .source import AudioFormat, Sink, TrackInfo, VideoFormat

log = logging.getLogger("recsvc")

# One Opus packet: finer wakes everybody more often, coarser makes an encoder wait for sound that is long there.
BLOCKS_PER_SECOND = 50
# The thread only computes and calls sinks; longer than this, a sink has hung and is left behind.
CLOSE_LIMIT_S = 2.0
# A machine that cannot draw as fast as the frames are due falls behind no further than this: older frames are
# left out and counted, as a camera's would be. It also bounds what a flush has to draw.
LATE_LIMIT_NS = 2_000_000_000

PARAMETERS = (
    "pattern", "seed", "frequency", "amplitude", "width", "height", "frame_rate", "sample_rate",
    "channel_count", "frames", "duration",
)  # fmt: skip

SECOND_NS = 1_000_000_000


class SyntheticSource:
    """``test:`` opened. See ``recsvc.capture.source.Source`` for the contract of the methods.

    Parameters (all optional): ``pattern`` (counter, solid, noise), ``seed`` (whole number), ``frequency``
    (whole Hz, 440), ``amplitude`` (0 to 1, 0.5), ``width`` 640, ``height`` 480, ``frame_rate`` 30,
    ``sample_rate`` 48000, ``channel_count`` 2, and one of ``duration`` (seconds) and ``frames`` (the same,
    in video frames), after which every track ends. Constraints win over parameters. Raises ``ValueError``
    for an unknown or impossible parameter.
    """

    pace_max = False

    def __init__(self, parameters: Mapping[str, str], audio: AudioWish | None, video: VideoWish | None) -> None:
        unknown = sorted(set(parameters) - set(PARAMETERS))
        if unknown:
            raise ValueError(f"test: unknown parameter {', '.join(unknown)}; known are {', '.join(PARAMETERS)}")
        self.tracks: list[TrackInfo] = []
        self._lock = threading.Lock()
        self._flush_lock = threading.Lock()
        self._closing = threading.Event()
        self._flushes = 0  # how many callers are in flush(): the thread makes way for them
        self._no_flush = threading.Event()
        self._no_flush.set()
        self._thread: threading.Thread | None = None
        self._audio: _Tone | None = None
        self._video: _Film | None = None
        frame_rate = asked_frame_rate(parameters, video)
        duration = asked_duration(parameters, frame_rate)
        if audio is not None:
            self._audio = _Tone(parameters, audio, duration)
            self.tracks.append(TrackInfo("audio", "Test tone", self._audio.format))
        if video is not None:
            self._video = _Film(parameters, video, frame_rate, duration)
            self.tracks.append(TrackInfo("video", "Test pattern", self._video.format))

    def start(self, sinks: Mapping[str, Sink]) -> None:
        """Frame 0 and sample 0 are captured now. May be called once."""
        if self._thread is not None:
            raise RuntimeError("test: was started before")
        start_ns = time.monotonic_ns()
        for track in (self._audio, self._video):
            if track is not None:
                track.start_ns, track.sink = start_ns, sinks.get(track.kind)
        self._thread = threading.Thread(target=self._run, name="capture test:", daemon=True)
        self._thread.start()

    def flush(self, until_ns: int) -> None:
        """Delivers all frames and samples up to ``until_ns``, a partial block too. Blocks for computing
        alone: under 2 ms a frame, plus the one frame that the source's thread is delivering at this moment.
        """
        if self._thread is None:
            return
        with self._flush_lock:
            self._flushes += 1
            self._no_flush.clear()
        try:
            with self._lock:
                if not self._closing.is_set():
                    until_ns = min(until_ns, time.monotonic_ns())
                    self._deliver(until_ns, partial=True, give_way=self._closing.is_set)
        finally:
            with self._flush_lock:
                self._flushes -= 1
                if not self._flushes:
                    self._no_flush.set()

    def close(self) -> None:
        """Blocks for the frame being delivered, at most ``CLOSE_LIMIT_S``."""
        self._closing.set()
        if self._thread not in (None, threading.current_thread()):
            self._thread.join(CLOSE_LIMIT_S)

    def _run(self) -> None:
        def give_way() -> bool:
            return not self._no_flush.is_set() or self._closing.is_set()

        try:
            while not self._closing.is_set():
                self._no_flush.wait()
                with self._lock:
                    due_ns = self._deliver(time.monotonic_ns(), partial=False, give_way=give_way)
                if due_ns is None:
                    return
                self._closing.wait(max(0, due_ns - time.monotonic_ns()) / SECOND_NS)
        except Exception as error:
            log.exception("test: stopped, a sink failed")
            for track in (self._audio, self._video):
                if track is not None:
                    track.end(error)

    def _deliver(self, until_ns: int, *, partial: bool, give_way: Callable[[], bool]) -> int | None:
        """Delivers what is due, frame by frame until ``give_way()``. Under the lock.

        Returns when the next frame is due, ``None`` when every track has ended.
        """
        due: list[int] = []
        for track in (self._video, self._audio):
            if track is None or track.ended:
                continue
            track.deliver(until_ns, partial, give_way)
            if not track.ended:
                due.append(track.due_ns())
        return min(due, default=None)


class _Track:
    """What the tone and the film share: numbered units at a steady rate, up to an end."""

    kind = ""

    def __init__(self, rate: Fraction, duration: Fraction | None) -> None:
        self.start_ns = 0
        self.sink: Sink | None = None
        self.ended = False
        self.next = 0  # the first unit that was not delivered yet
        self._rate = rate
        self._end = None if duration is None else math.ceil(duration * rate)
        self._end_after_ns = None if duration is None else int(duration * SECOND_NS)

    def captured_ns(self, number: int) -> int:
        """When unit ``number`` is captured."""
        return self.start_ns + number * SECOND_NS * self._rate.denominator // self._rate.numerator

    def count_until(self, until_ns: int) -> int:
        """How many units are captured at or before ``until_ns``, at most up to the end."""
        elapsed_ns = until_ns - self.start_ns
        if elapsed_ns < 0:
            return 0
        count = -(-(elapsed_ns + 1) * self._rate.numerator // (SECOND_NS * self._rate.denominator))
        return count if self._end is None else min(count, self._end)

    def at_end(self, until_ns: int) -> bool:
        """Whether the last unit was delivered and the whole duration is over."""
        return (
            self._end is not None
            and self._end_after_ns is not None
            and self.next >= self._end
            and until_ns >= self.start_ns + self._end_after_ns
        )

    def end(self, error: Exception | None = None) -> None:
        if not self.ended:
            self.ended = True
            if self.sink is not None:
                self.sink.ended(error)

    def deliver(self, until_ns: int, partial: bool, give_way: Callable[[], bool]) -> None:
        raise NotImplementedError

    def due_ns(self) -> int:
        raise NotImplementedError


class _Film(_Track):
    kind = "video"

    def __init__(
        self, parameters: Mapping[str, str], wish: VideoWish, frame_rate: float, duration: Fraction | None
    ) -> None:
        super().__init__(Fraction(frame_rate).limit_denominator(1001 * 1000), duration)
        width = wish.width or asked_whole(parameters, "width", 640, 1, FRAME_SIDE_MAX)
        height = wish.height or asked_whole(parameters, "height", 480, 1, FRAME_SIDE_MAX)
        name = parameters.get("pattern", "counter")
        if name not in PATTERNS:
            raise ValueError(f"test: pattern is one of {', '.join(PATTERNS)}, not {name!r}")
        self.format = VideoFormat.of((width, height), "i420", frame_rate, BT601, wish=wish)
        seed = asked_whole(parameters, "seed", 0, 0, 2**64 - 1)
        self._pattern = Pattern(name, width, height, seed, frame_rate)

    def deliver(self, until_ns: int, partial: bool, give_way: Callable[[], bool]) -> None:
        count = self.count_until(until_ns)
        late = self.count_until(until_ns - LATE_LIMIT_NS) - self.next
        if late > 0:
            self.next += late
            if self.sink is not None:
                self.sink.count("capture_late", late)
        while self.next < count and not give_way():
            number = self.next
            self.next += 1
            if self.sink is not None:
                picture = self._pattern.picture(number)
                self.sink.video(self.captured_ns(number), picture, "i420", self.format.width, self.format.height)
        if self.at_end(until_ns):
            self.end()

    def due_ns(self) -> int:
        if self._end is not None and self.next >= self._end:
            return self.start_ns + (self._end_after_ns or 0)
        return self.captured_ns(self.next)


class _Tone(_Track):
    kind = "audio"

    def __init__(self, parameters: Mapping[str, str], wish: AudioWish, duration: Fraction | None) -> None:
        rate = wish.sample_rate or asked_whole(parameters, "sample_rate", 48_000, SAMPLE_RATE_MIN, SAMPLE_RATE_MAX)
        channels = wish.channel_count or asked_whole(parameters, "channel_count", 2, 1, CHANNEL_COUNT_MAX)
        super().__init__(Fraction(rate), duration)
        self.format = AudioFormat(rate, channels, wish.sample_format or "s16")
        self._block = rate // BLOCKS_PER_SECOND
        frequency = asked_whole(parameters, "frequency", 440, 0, rate // 2)
        self._period = rate // math.gcd(frequency, rate)
        amplitude = asked_number(parameters, "amplitude", 0.5, 0.0, 1.0)
        self._wave = _wave(self.format, frequency, amplitude, self._period, self._period + self._block)

    def deliver(self, until_ns: int, partial: bool, give_way: Callable[[], bool]) -> None:
        count = self.count_until(until_ns)
        while self.next < count and not give_way():
            end = self._block_end()
            if end > count:
                if not partial:
                    break
                end = count
            start, self.next = self.next, end
            if self.sink is not None:
                self.sink.audio(self.captured_ns(start), self.samples(start, end))
        if self.at_end(until_ns):
            self.end()

    def due_ns(self) -> int:
        if self._end is not None and self.next >= self._end:
            return self.start_ns + (self._end_after_ns or 0)
        return self.captured_ns(self._block_end() - 1)

    def samples(self, start: int, end: int) -> bytes:
        """Samples ``start`` up to ``end``, at most one block, interleaved."""
        offset = start % self._period
        size = self.format.frame_bytes
        return self._wave[offset * size : (offset + end - start) * size]

    def _block_end(self) -> int:
        """Blocks keep to the grid from sample 0, so that a flush does not move the later ones."""
        end = (self.next // self._block + 1) * self._block
        return end if self._end is None else min(end, self._end)


def _wave(form: AudioFormat, frequency: int, amplitude: float, period: int, length: int) -> bytes:
    """One period of the tone, continued up to ``length`` samples so that any block is one slice of it."""
    step = 2 * math.pi * frequency / form.sample_rate
    samples: array[int] | array[float]
    if form.sample_format == "s16":
        scale = 32767 * amplitude
        samples = array("h", (round(scale * math.sin(step * n)) for n in range(period)))
    else:
        samples = array("f", (amplitude * math.sin(step * n) for n in range(period)))
    channels = form.channel_count
    size = samples.itemsize
    wave = samples.tobytes()
    once = b"".join(wave[n : n + size] * channels for n in range(0, len(wave), size))
    return (once * (length // period + 1))[: length * form.frame_bytes]
