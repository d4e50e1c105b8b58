"""Recording time: where each frame stands, which is a key frame, where sound is missing. Pure logic.

*Recorded time* of a frame is its capture time less the time paused before it; the file's time is that less
the recorded time of the first frame of any track.
"""

from __future__ import annotations

from ..limits import (
    AUDIO_GAP_MAX_NS,
    AUDIO_GAP_NS,
    BACKLOG_FRAMES_SLOW,
    KEY_FRAME_INTERVAL_COUNT,
    KEY_FRAME_INTERVAL_NS,
    SPEED_RESTORE_NS,
    VIDEO_DURATION_DEFAULT_NS,
    S,
)

TICK_NS = 1_000_000
"""Matroska's unit here: two pictures of one track must differ by at least this."""


class KeyFrames:
    """Which frame is forced to be a key frame (MediaStream Recording, "start()", steps on key frames)."""

    def __init__(self, interval_ms: float | None, interval_count: int | None) -> None:
        """Of the two at most one is given; with none a default for both holds."""
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
        self._interval_ns = round(S / frame_rate) if frame_rate else VIDEO_DURATION_DEFAULT_NS
        self.last_ns: int | None = None
        self.corrected: dict[str, int] = {}

    def place(self, captured_ns: int, paused_ns: int) -> tuple[int, int]:
        """``(recorded_ns, expected duration in ns)`` of the next frame."""
        recorded_ns = captured_ns - paused_ns
        if self.last_ns is not None:
            if recorded_ns < self.last_ns + TICK_NS:
                kind = (
                    "repeated" if recorded_ns == self.last_ns else "backward" if recorded_ns < self.last_ns else "close"
                )
                self.corrected[kind] = self.corrected.get(kind, 0) + 1
                recorded_ns = self.last_ns + TICK_NS
            self._interval_ns = min(max(recorded_ns - self.last_ns, TICK_NS), S)
        self.last_ns = recorded_ns
        return recorded_ns, self._interval_ns


class SpeedControl:
    """How hurried the encoder is: 0 is its normal speed, each step above costs quality and saves time.

    One step up whenever pictures pile up, at most one per ``BACKLOG_FRAMES_SLOW`` pictures so that a step can
    show its effect; one step down after ``SPEED_RESTORE_NS`` without a picture waiting.
    """

    def __init__(self, steps: int) -> None:
        """``steps``: how many there are above normal."""
        self._steps = steps
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
        if waiting >= BACKLOG_FRAMES_SLOW and self.step < self._steps and self._since_change > BACKLOG_FRAMES_SLOW:
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


class AudioTimeline:
    """Sound as one unbroken run of samples from its first: says how much silence a block needs before it."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.first_ns: int | None = None
        self.samples = 0
        self.corrected: dict[str, int] = {}

    @property
    def end_ns(self) -> int | None:
        """Recorded time just behind the last sample; ``None`` before the first."""
        return None if self.first_ns is None else self.first_ns + self.samples * S // self.sample_rate

    def place(self, captured_ns: int, paused_ns: int, sample_count: int) -> int:
        """Samples of silence that belong before this block; then the block counts as recorded."""
        recorded_ns = captured_ns - paused_ns
        silence = 0
        end_ns = self.end_ns
        if end_ns is None:
            self.first_ns = recorded_ns
        else:
            gap_ns = recorded_ns - end_ns
            if gap_ns > AUDIO_GAP_MAX_NS:
                self._count("absurd")
            elif gap_ns > AUDIO_GAP_NS:
                self._count("gap")
                silence = gap_ns * self.sample_rate // S
            elif gap_ns < -AUDIO_GAP_NS:
                self._count("early")
        self.samples += silence + sample_count
        return silence

    def _count(self, kind: str) -> None:
        self.corrected[kind] = self.corrected.get(kind, 0) + 1
