"""How far a sound source's clock runs from ours. Pure logic."""

from __future__ import annotations

import math

from ..common.limits import MS, S


class DriftEstimator:
    """How far a source's clock has run from ours: the trend in the lateness of its blocks, which jitter.

    Jitter has bounds, and drift moves both of them alike, while a busier machine moves one, or both apart. So the
    least and the greatest lateness (each a mean over groups of blocks) are followed in windows of some seconds;
    what both moved by is drift. It is fitted by a line: least squares over the first windows, then with a memory
    of ``MEMORY_WINDOWS``. A jump that both bounds make (samples lost, a gap filled by a stamp that jittered) moves
    the line and leaves its slope. Constant memory; most calls are two comparisons.
    """

    GROUP_BLOCKS = 10
    GROUP_NS = S
    """A group ends with this many blocks, or with this much sound where blocks are long."""
    WINDOW_NS = 5 * S
    MEMORY_WINDOWS = 24
    SETTLED_WINDOWS = 4
    """From here on the slope can be reported, and a jump be distinguished from it."""
    JITTER_NS = 5 * MS
    """Bounds that moved apart or together by more than this: the jitter has changed, not the clock."""
    NOISE_NS = 1.5 * MS
    """A bound that moved by less than this counts as one that stayed."""
    JUMP_NS = 3 * MS
    """More than a clock can do within a window."""
    CLOCK_NS = 50 * MS
    """More than this is no clock: the source runs ahead of time, or has stopped."""

    def __init__(self) -> None:
        self.windows = 0
        """How many the line is fitted to."""
        self.slope = 0.0
        """Lateness gained per time: positive when the source's clock is slow."""
        self.after_seam = False
        """Whether sound was left out or put in since the last full window."""
        # The line goes through this offset at this media time; the usual bounds are those of the jitter less the line.
        self._offset_ns = self._at_ns = 0.0
        self._low_usual = self._high_usual = 0.0
        # The present group: its bounds, blocks, and where it begins; then the sums over the groups of this window.
        self._low, self._high, self.blocks = math.inf, -math.inf, 0
        self._group_ns = 0
        self._lows = self._highs = 0.0
        self._groups = 0
        self._begin_ns = self._end_ns = 0

    def add(self, media_ns: int, late_ns: int) -> bool:
        """A block that begins at ``media_ns`` (duration of all sound before) came ``late_ns`` later than
        nominal. Whether there is a new estimate."""
        if not self.blocks:
            self._group_ns = media_ns
        if late_ns < self._low:
            self._low = late_ns
        if late_ns > self._high:
            self._high = late_ns
        self.blocks += 1
        if self.blocks < self.GROUP_BLOCKS and media_ns - self._group_ns < self.GROUP_NS:
            return False
        if not self._groups:
            self._begin_ns = self._group_ns
        self._end_ns = media_ns
        self._groups += 1
        self._lows += self._low
        self._highs += self._high
        self._low, self._high, self.blocks = math.inf, -math.inf, 0
        if media_ns - self._begin_ns < self.WINDOW_NS:
            return False
        self._close()
        return True

    def seam(self, moved_ns: int = 0) -> None:
        """Before the next block sound was left out or put in, by stamps that jitter: it may come with a jump, of
        ``moved_ns`` for all that is known."""
        self._low, self._high, self.blocks = math.inf, -math.inf, 0
        if self._groups and self._end_ns - self._begin_ns > self.WINDOW_NS / 2:
            self._close()
        self._offset_ns += moved_ns
        self.after_seam = True

    def offset_ns(self, media_ns: float) -> float:
        """By how much the blocks there come later than nominal, since the beginning, by the clock alone."""
        return self._offset_ns + self.slope * (media_ns - self._at_ns)

    @property
    def jitter(self) -> tuple[float, float]:
        """Least and greatest lateness of blocks, less the drift."""
        if self.windows:
            return self._low_usual, self._high_usual
        if self._groups:
            return self._lows / self._groups, self._highs / self._groups
        return (self._low, self._high) if self.blocks else (0.0, 0.0)

    @property
    def is_new(self) -> bool:
        """Whether so few blocks have come that the bounds of their jitter are not known."""
        return not self.windows and not self._groups

    def _close(self) -> None:
        """One window is full: the line is fitted to it."""
        low, high = self._lows / self._groups, self._highs / self._groups
        at_ns = (self._begin_ns + self._end_ns) / 2
        self._lows = self._highs = 0.0
        self._groups = 0
        if not self.windows:
            self._low_usual, self._high_usual = low - self._offset_ns, high - self._offset_ns
            self._at_ns, self.windows, self.after_seam = at_ns, 1, False
            return
        expected_ns = self.offset_ns(at_ns)
        moved_ns = self._moved(low - expected_ns, high - expected_ns)
        settled = self.windows >= self.SETTLED_WINDOWS
        if self.after_seam or (settled and abs(moved_ns) > self.JUMP_NS):
            self._offset_ns = expected_ns + moved_ns
            if not self.after_seam:  # Jumps that follow each other are another slope, to be learned anew.
                self.windows = max(self.windows - 8, 1)
        else:
            n = self.windows = min(self.windows + 1, self.MEMORY_WINDOWS)
            self._offset_ns = expected_ns + moved_ns * 2 * (2 * n - 1) / (n * (n + 1))
            self.slope += moved_ns * 6 / (n * (n + 1)) / (at_ns - self._at_ns)
        self._at_ns, self.after_seam = at_ns, False

    def _moved(self, low: float, high: float) -> float:
        """By how much the clock moved, where the bounds are now at ``low`` and ``high``."""
        lows, highs = low - self._low_usual, high - self._high_usual
        if changed := abs(highs - lows) > self.JITTER_NS:
            least = lows if abs(lows) < abs(highs) else highs
            moved = least if lows * highs > 0 or abs(least) < self.NOISE_NS else 0.0
        else:
            moved = (lows + highs) / 2
        if abs(moved) > self.CLOCK_NS:
            changed, moved = True, 0.0
        if changed:
            self._low_usual, self._high_usual = low - moved, high - moved
        return moved
