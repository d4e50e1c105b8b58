"""The source ``test:``: a moving pattern that carries its frame number, and a tone.

Both are computed, so that what must be in a recording is known to the frame and to the sample: frame ``n``
is captured at ``start + n / frame_rate``, sample ``n`` at ``start + n / sample_rate``, with one ``start``
for both tracks, and their content depends on the parameters and ``n`` alone. A thread that wakes late
delivers what was due in between, with the times at which it was due.

``flush`` generates what is still missing, in the calling thread: it waits for nothing.
"""

import math
import threading
import time
from array import array
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TypeVar

from ..common.constraints import AudioWish, VideoWish
from ..common.limits import S
from ..common.media import (
    BT601,
    CHANNEL_COUNT_MAX,
    FRAME_RATE_MAX,
    FRAME_SIDE_MAX,
    OPUS_PACKET_SAMPLES,
    OPUS_RATE,
    SAMPLE_RATE_MAX,
    SAMPLE_RATE_MIN,
)
from .delivery import Delivery
from .limits import TEST_DURATION_MAX_NS, TEST_LATE_NS
from .pattern import PATTERNS, Pattern
from .running import Source
from .source import AudioFormat, Sink, TrackInfo, VideoFormat

N = TypeVar("N", int, float)

PARAMETERS = (
    "pattern", "seed", "frequency", "amplitude", "width", "height", "frame_rate", "sample_rate",
    "channel_count", "frames", "duration",
)  # fmt: skip


class SyntheticSource(Source):
    """``test:`` opened. Its first frame and sample are captured when it is started.

    Parameters (all optional): ``pattern`` (counter, solid, noise), ``seed`` (whole number), ``frequency``
    (whole Hz, 440), ``amplitude`` (0 to 1, 0.5), ``width`` 640, ``height`` 480, ``frame_rate`` 30,
    ``sample_rate`` 48000, ``channel_count`` 2, and one of ``duration`` (seconds) and ``frames`` (the same,
    in video frames), after which every track ends. Constraints win over parameters. Raises ``ValueError``
    for an unknown or impossible parameter.
    """

    def __init__(self, parameters: Mapping[str, str], audio: AudioWish | None, video: VideoWish | None) -> None:
        unknown = sorted(set(parameters) - set(PARAMETERS))
        if unknown:
            raise ValueError(f"test: unknown parameter {', '.join(unknown)}; known are {', '.join(PARAMETERS)}")
        rate = (video and video.frame_rate) or _parameter(parameters, "frame_rate", 30.0, 1e-6, FRAME_RATE_MAX)
        duration = _duration(parameters, rate)
        tone = None if audio is None else _Tone(parameters, audio, duration)
        film = None if video is None else _Film(parameters, video, rate, duration)
        self._made: list[_Track] = [track for track in (film, tone) if track is not None]
        tracks = [track.info for track in (tone, film) if track is not None]
        super().__init__("test:", tracks, Delivery(tracks))
        self._lock = threading.Lock()
        """Whoever delivers holds it."""
        self._flushing = threading.Lock()
        """A flush holds it, and the thread waits for it between two frames: so the flush comes next."""

    def start(self, sinks: Mapping[str, Sink]) -> None:
        super().start(sinks)
        start_ns = time.monotonic_ns()
        for track in self._made:
            track.start_ns = start_ns
        self._thread.start()

    def flush(self, until_ns: int) -> None:
        """Delivers all frames and samples up to ``until_ns``, a partial block too. Blocks for computing
        alone: under 2 ms a frame, plus the one frame that the source's thread is delivering at this moment.
        """
        if self._is_started:
            with self._flushing, self._lock:
                self._deliver(min(until_ns, time.monotonic_ns()), True, self._delivery.closing.is_set)

    def _read(self) -> None:
        closing = self._delivery.closing
        while not closing.is_set():
            with self._flushing:
                pass
            with self._lock:
                now_ns = time.monotonic_ns()
                due_ns = self._deliver(now_ns, False, lambda: self._flushing.locked() or closing.is_set())
            if due_ns is None:
                return
            closing.wait(max(0, due_ns - time.monotonic_ns()) / S)

    def _deliver(self, until_ns: int, partial: bool, give_way: Callable[[], bool]) -> int | None:
        """Delivers what is due, frame by frame until ``give_way()``. Under the lock.

        Returns when the next frame is due, ``None`` when every track has ended.
        """
        due: list[int] = []
        for track in self._made:
            due_ns = track.deliver(self._delivery, until_ns, partial, give_way)
            if due_ns is not None:
                due.append(due_ns)
            elif not self._delivery.closing.is_set():
                self._delivery.give_end(track.info.kind, None)
        return min(due, default=None)


class _Track:
    """What the tone and the film share: numbered units at a steady rate, given in blocks, up to an end."""

    def __init__(self, info: TrackInfo, rate: Fraction, duration: Fraction | None, block: int) -> None:
        self.info = info
        self.start_ns = 0
        self._next = 0
        """The first unit that was not delivered yet."""
        self._rate = rate
        self._block = block
        self._end = None if duration is None else math.ceil(duration * rate)
        self._end_after_ns = 0 if duration is None else int(duration * S)

    def deliver(self, to: Delivery, until_ns: int, partial: bool, give_way: Callable[[], bool]) -> int | None:
        """Delivers the blocks that are due, ``partial``: the beginning of one too, until ``give_way()``.

        Returns when the next block is complete or the end is due; ``None``: that is over.
        """
        count = self._count_until(until_ns)
        while self._next < count and not give_way():
            end = self._block_end()
            if end > count:
                if not partial:
                    break
                end = count
            begin, self._next = self._next, end
            if self.info.kind in to.sinks:
                self._give(to, begin, end)
        if self._end is None or self._next < self._end:
            return self._captured_ns(self._block_end() - 1)
        end_ns = self.start_ns + self._end_after_ns
        return end_ns if until_ns < end_ns else None

    def _give(self, to: Delivery, begin: int, end: int) -> None:
        raise NotImplementedError

    def _captured_ns(self, number: int) -> int:
        """When unit ``number`` is captured."""
        return self.start_ns + number * S * self._rate.denominator // self._rate.numerator

    def _count_until(self, until_ns: int) -> int:
        """How many units are captured at or before ``until_ns``, at most up to the end."""
        elapsed_ns = max(until_ns - self.start_ns, -1)
        count = -(-(elapsed_ns + 1) * self._rate.numerator // (S * self._rate.denominator))
        return count if self._end is None else min(count, self._end)

    def _block_end(self) -> int:
        """Blocks keep to the grid from unit 0, so that a flush does not move the later ones."""
        end = (self._next // self._block + 1) * self._block
        return end if self._end is None else min(end, self._end)


class _Film(_Track):
    def __init__(
        self, parameters: Mapping[str, str], wish: VideoWish, frame_rate: float, duration: Fraction | None
    ) -> None:
        width = wish.width or _parameter(parameters, "width", 640, 1, FRAME_SIDE_MAX)
        height = wish.height or _parameter(parameters, "height", 480, 1, FRAME_SIDE_MAX)
        name = parameters.get("pattern", "counter")
        if name not in PATTERNS:
            raise ValueError(f"test: pattern is one of {', '.join(PATTERNS)}, not {name!r}")
        form = VideoFormat.of((width, height), "i420", frame_rate, BT601, wish=wish)
        super().__init__(TrackInfo("video", "Test pattern", form), _exact(frame_rate), duration, 1)
        seed = _parameter(parameters, "seed", 0, 0, 2**64 - 1)
        self._pattern = Pattern(name, width, height, seed, frame_rate)

    def deliver(self, to: Delivery, until_ns: int, partial: bool, give_way: Callable[[], bool]) -> int | None:
        late = max(0, self._count_until(until_ns - TEST_LATE_NS) - self._next)
        self._next += late
        to.give_count("video", "capture_late", late)
        return super().deliver(to, until_ns, partial, give_way)

    def _give(self, to: Delivery, begin: int, end: int) -> None:
        to.give_video(self._captured_ns(begin), self._pattern.picture(begin))


class _Tone(_Track):
    def __init__(self, parameters: Mapping[str, str], wish: AudioWish, duration: Fraction | None) -> None:
        rate = wish.sample_rate or _parameter(parameters, "sample_rate", OPUS_RATE, SAMPLE_RATE_MIN, SAMPLE_RATE_MAX)
        channels = wish.channel_count or _parameter(parameters, "channel_count", 2, 1, CHANNEL_COUNT_MAX)
        form = AudioFormat(rate, channels, wish.sample_format or "s16")
        # Blocks of one packet: finer wakes everybody more often, coarser makes an encoder wait for sound that is there.
        block = rate * OPUS_PACKET_SAMPLES // OPUS_RATE
        super().__init__(TrackInfo("audio", "Test tone", form), Fraction(rate), duration, block)
        frequency = _parameter(parameters, "frequency", 440, 0, rate // 2)
        self._size = form.frame_bytes
        self._period = rate // math.gcd(frequency, rate)
        amplitude = _parameter(parameters, "amplitude", 0.5, 0.0, 1.0)
        self._wave = _wave(form, frequency, amplitude, self._period, self._period + block)

    def _give(self, to: Delivery, begin: int, end: int) -> None:
        offset = begin % self._period
        samples = self._wave[offset * self._size : (offset + end - begin) * self._size]
        to.give_audio(self._captured_ns(begin), samples)


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


def _parameter(parameters: Mapping[str, str], name: str, default: N, low: N, high: float) -> N:
    """A parameter, of its default's type; ``ValueError`` with the value when it is nonsense."""
    number = type(default)
    try:
        value = number(parameters.get(name, default))
    except ValueError:
        kind = "whole number" if number is int else "number"
        raise ValueError(f"test: {name} must be a {kind}, not {parameters[name]!r}") from None
    if not low <= value <= high:  # also refuses NaN
        raise ValueError(f"test: {name} must be within {low:g} to {high:g}, not {value}")
    return value


def _exact(frame_rate: float) -> Fraction:
    return Fraction(frame_rate).limit_denominator(1001 * 1000) or Fraction(1, 1001 * 1000)


def _duration(parameters: Mapping[str, str], frame_rate: float) -> Fraction | None:
    """In seconds; ``None``: endless."""
    if "frames" in parameters and "duration" in parameters:
        raise ValueError("test: frames and duration both set the length; give one of them")
    if "frames" in parameters:
        return _parameter(parameters, "frames", 0, 1, TEST_DURATION_MAX_NS / S * frame_rate) / _exact(frame_rate)
    if "duration" not in parameters:
        return None
    return Fraction(_parameter(parameters, "duration", 0.0, 1e-9, TEST_DURATION_MAX_NS / S)).limit_denominator(S)
