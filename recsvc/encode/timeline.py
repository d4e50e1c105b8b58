"""Recording time: where each frame stands, which is a key frame, where sound is missing. Pure logic.

*Recorded time* of a frame is its capture time less the time paused before it; the file's time is that less
the recorded time of the first frame of any track.
"""

from __future__ import annotations

from collections import Counter

from ..common.limits import (
    AUDIO_CATCH_UP_NS,
    AUDIO_DRIFT_NS,
    AUDIO_GAP_NS,
    AUDIO_STRETCH_PPM_MAX,
    BACKLOG_FRAMES_FAST,
    BACKLOG_FRAMES_SLOW,
    GAP_MAX_NS,
    HURRY_STEP_NS,
    KEY_FRAME_INTERVAL_COUNT,
    KEY_FRAME_INTERVAL_NS,
    MS,
    SPEED_RESTORE_NS,
    VIDEO_DURATION_DEFAULT_NS,
    S,
)
from .drift import DriftEstimator

TICK_NS = 1_000_000
"""Matroska's unit here: two pictures of one track must differ by at least this."""
_THREADS_JUDGED_NS = 2 * S  # of encoding: one hiccup decides nothing
_CORES_FOUND = 0.5  # of a core for each thread, at least: on free ones two take 0.8 each


class KeyFrames:
    """Which frame is forced to be a key frame (MediaStream Recording, "start()", steps on key frames)."""

    def __init__(self, interval_ms: float | None, interval_count: int | None) -> None:
        """At most one of the two may be set; with neither a default for both holds."""
        default = interval_ms is None and interval_count is None
        self._interval_ns = KEY_FRAME_INTERVAL_NS if default else None
        self._count_max = KEY_FRAME_INTERVAL_COUNT - 1 if default else interval_count
        if interval_ms is not None:
            self._interval_ns = round(interval_ms * 1_000_000)
        self._last_ns: int | None = None
        self._others = 0
        self._paused_ns = 0

    def wanted(self, recorded_ns: int, paused_ns: int) -> bool:
        """Whether this frame must be one; call it once per frame, in order."""
        key = self._last_ns is None or paused_ns != self._paused_ns
        if self._last_ns is not None and self._interval_ns is not None:
            key = key or recorded_ns - self._last_ns >= self._interval_ns
        if self._count_max is not None:
            key = key or self._others >= self._count_max
        self._paused_ns = paused_ns
        if not key:
            self._others += 1
        return key

    def made(self, recorded_ns: int) -> None:
        """A key frame was made, asked for or not."""
        self._last_ns = recorded_ns
        self._others = 0


class VideoTimeline:
    """Strictly rising time stamps of a video track, corrections counted by kind."""

    def __init__(self, frame_rate: float | None) -> None:
        self._rated_ns = round(S / frame_rate) if frame_rate else 0
        self._interval_ns = self._rated_ns or VIDEO_DURATION_DEFAULT_NS
        self._step_ns = self._interval_ns  # between the last two frames, however far apart
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.corrected: Counter[str] = Counter()

    def place(self, captured_ns: int, paused_ns: int) -> tuple[int, int]:
        """``(recorded_ns, expected duration in ns)`` of the next frame."""
        recorded_ns = captured_ns - paused_ns
        if self.last_ns is not None:
            if recorded_ns < self.last_ns + TICK_NS:
                is_back = recorded_ns < self.last_ns
                self.corrected["backward" if is_back else "close" if recorded_ns > self.last_ns else "repeated"] += 1
                recorded_ns = self.last_ns + TICK_NS
            self._step_ns = recorded_ns - self.last_ns
            self._interval_ns = min(max(self._step_ns, TICK_NS), S)
        elif self.first_ns is None:
            self.first_ns = recorded_ns
        self.last_ns = recorded_ns
        return recorded_ns, self._interval_ns

    @property
    def end_ns(self) -> int | None:
        """Recorded time at which the last frame ends: by its source's frame rate, else after as long as the one before
        it lasted."""
        return None if self.last_ns is None else self.last_ns + (self._rated_ns or self._step_ns)


class Hurry:
    """Which of a worker's recordings works faster when their pictures pile up: one after the other, so that each step
    can show its effect on all; but each of which ``BACKLOG_FRAMES_FAST`` pictures wait."""

    def __init__(self) -> None:
        self._raised_ns: int | None = None  # when one of them was hurried last

    def raises(self, waiting: int, step: int, now_ns: int) -> bool:
        """Whether one of which so many pictures wait, and which was hurried by so many steps already, is to be hurried
        more, which it then has to be. One that was not hurried yet goes first."""
        if waiting < BACKLOG_FRAMES_SLOW:
            return False
        first = self._raised_ns is None or now_ns - self._raised_ns >= HURRY_STEP_NS * (step + 1)
        if first or waiting >= BACKLOG_FRAMES_FAST:
            self._raised_ns = now_ns
            return True
        return False


class SpeedControl:
    """How hurried the encoder is: 0 is its normal speed, each step above costs quality and saves time.

    One step up whenever pictures pile up, at most one per ``BACKLOG_FRAMES_SLOW`` pictures so that a step can
    show its effect; one step down after ``SPEED_RESTORE_NS`` without a picture waiting.
    """

    def __init__(self, steps: int, hurry: Hurry) -> None:
        """``steps``: how many there are above normal. ``hurry``: what it shares with others of its worker."""
        self._steps = steps
        self._hurry = hurry
        self._since_change = 0
        self._calm_since_ns: int | None = None
        self.step = 0
        self.raised = 0

    def update(self, waiting: int, now_ns: int) -> bool:
        """To be called before each picture; whether ``step`` has changed."""
        self._since_change += 1
        if waiting:
            self._calm_since_ns = None
        elif self._calm_since_ns is None:
            self._calm_since_ns = now_ns
        can = self.step < self._steps and self._since_change > BACKLOG_FRAMES_SLOW
        if can and self._hurry.raises(waiting, self.step, now_ns):
            self.step += 1
            self.raised += 1
            self._since_change = 0
            return True
        if self.step and self._calm_since_ns is not None and now_ns - self._calm_since_ns >= SPEED_RESTORE_NS:
            self.step -= 1
            self._calm_since_ns = now_ns
            self._since_change = 0
            return True
        return False


class Threads:
    """How many threads encode a picture: as many as there were free cores for at the beginning, or one once others have
    taken these. Threads that have to share a core wait for each other, VP8's by spinning: one alone is quicker then."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._wall_ns = self._cpu_ns = 0

    def took(self, wall_ns: int, cpu_ns: int) -> bool:
        """To be called after each picture, with how long it took and the CPU time of all threads meanwhile; whether
        ``count`` has changed."""
        if self.count == 1:
            return False
        self._wall_ns += wall_ns
        self._cpu_ns += cpu_ns
        if self._wall_ns < _THREADS_JUDGED_NS:
            return False
        is_crowded = self._cpu_ns < _CORES_FOUND * self.count * self._wall_ns
        self._wall_ns = self._cpu_ns = 0
        if is_crowded:
            self.count = 1
        return is_crowded


class AudioTimeline:
    """Sound as one unbroken run of samples from its first: how much silence a block needs before it, and by how much
    sound must be stretched so that it keeps to the recorded time. Counts in time, for the sample rate may change.
    """

    def __init__(self, sample_rate: int, *, is_media: bool = False) -> None:
        """``is_media``: its times are positions in the media, which do not jitter, and drift against nothing."""
        self.sample_rate = sample_rate
        self._is_media = is_media
        self.first_ns: int | None = None
        self.corrected: Counter[str] = Counter()
        self.stretch_ppm: float | None = None
        """By how much sound is to be longer from the present block on; ``None`` as long as it must stay as it is."""
        self._samples = 0  # at this sample rate
        self._before_ns = 0  # duration of the sound at other rates before
        self._stretched_ns = 0.0  # by how much the sound so far is longer than its samples
        self._paused_ns = 0
        self._drift = DriftEstimator()

    @property
    def end_ns(self) -> int | None:
        """Recorded time at which the last sample in the file ends; ``None`` before the first."""
        if self.first_ns is None:
            return None
        return self.first_ns + self._nominal_ns + round(self._stretched_ns)

    @property
    def clock_drift_ppm(self) -> float:
        """By how much the sound's clock is fast against ours (negative: slow); 0 before that is known."""
        settled = self._drift.windows >= DriftEstimator.SETTLED_WINDOWS
        return round(-self._drift.slope * 1e6, 2) if settled else 0.0

    def place(self, captured_ns: int, paused_ns: int, sample_count: int, sample_rate: int | None = None) -> int:
        """Samples of silence that belong before this block; then the block counts as recorded. ``stretch_ppm`` is
        for this silence and this block already."""
        if sample_rate is not None and sample_rate != self.sample_rate:
            self._before_ns, self._samples, self.sample_rate = self._nominal_ns, 0, sample_rate
        if self.first_ns is None:
            self.first_ns = captured_ns - paused_ns
            self._paused_ns = paused_ns
        if paused_ns != self._paused_ns:
            self._paused_ns = paused_ns
            self._drift.seam()
        begin_ns = sound_ns = self._nominal_ns
        late_ns = captured_ns - paused_ns - self.first_ns - begin_ns
        silence = 0
        gap_ns = self._gap_before(begin_ns, late_ns)
        if gap_ns:
            # What sound and clock are apart is made good with it, the rest of a sample of the last gap too. Sound that
            # is further ahead than the gap is long cannot be taken back: stretching does that.
            apart_ns = self._drift.offset_ns(begin_ns) - self._stretched_ns
            silence = max(round(gap_ns + apart_ns) * self.sample_rate // S, 0)
            if silence:
                self.corrected["gap"] += 1
            self._samples += silence
            sound_ns = self._nominal_ns
            late_ns += begin_ns - sound_ns
            self._drift.seam(gap_ns + begin_ns - sound_ns)
        if not self._is_media and self._drift.add(sound_ns, late_ns):
            self._steer(sound_ns)
        self._samples += sample_count
        if self.stretch_ppm:
            self._stretched_ns += (self._nominal_ns - begin_ns) * self.stretch_ppm * 1e-6
        return silence

    def wrote(self, output_ns: int) -> None:
        """The encoder's own count of how long all sound is by now; counts above all that is computed here."""
        self._stretched_ns = output_ns - self._nominal_ns

    @property
    def _nominal_ns(self) -> int:
        """Duration of all samples so far, silence included, before stretching."""
        return self._before_ns + self._samples * S // self.sample_rate

    def _gap_before(self, begin_ns: int, late_ns: int) -> int:
        """Its length, or 0. A block is expected where the drift has come to, in the middle of the jitter."""
        drift = self._drift
        excess_ns = late_ns - round(drift.offset_ns(begin_ns))
        if -AUDIO_GAP_NS <= excess_ns <= AUDIO_GAP_NS:
            return 0
        if self._is_media:
            if excess_ns < 0:
                self.corrected["early"] += 1
            return max(excess_ns, 0) if excess_ns <= GAP_MAX_NS else 0
        low, high = drift.jitter
        margin_ns = AUDIO_GAP_NS + min((high - low) / 4, AUDIO_GAP_NS / 4)  # the bounds are not known to the last
        if drift.after_seam:
            margin_ns += min((high - low) / 2, AUDIO_GAP_NS)  # the seam was made by one stamp of such jitter
        elif drift.is_new and (drift.blocks < 3 or high - low > MS):
            margin_ns += AUDIO_GAP_NS  # the first stamp may be early by as much as this one is late
        middle_ns = round(low + high) // 2
        if excess_ns - min(middle_ns, 0) < -margin_ns:
            self.corrected["early"] += 1
        excess_ns -= max(middle_ns, 0)
        if excess_ns > GAP_MAX_NS:
            self.corrected["absurd"] += 1
        elif excess_ns > margin_ns:
            return excess_ns
        return 0

    def _steer(self, media_ns: int) -> None:
        """There is a new estimate: stretching follows the clock, and makes good what they are apart."""
        drift = self._drift
        apart_ns = drift.offset_ns(media_ns) - self._stretched_ns
        if self.stretch_ppm is None and (abs(apart_ns) < AUDIO_DRIFT_NS or drift.windows < 3):
            return
        ppm = (drift.slope + apart_ns / AUDIO_CATCH_UP_NS) * 1e6
        self.stretch_ppm = min(max(ppm, -AUDIO_STRETCH_PPM_MAX), AUDIO_STRETCH_PPM_MAX)
