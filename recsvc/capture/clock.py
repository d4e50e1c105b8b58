"""Capture times for media that carries media times alone: a clock fitted to its arrival.

A device or a sender counts media time (samples, time stamps) with its own crystal; what arrives, arrives
late, by a delay that varies. The earliest arrivals show the true relation of the two clocks: delays only
ever add. So the least lateness within a window is followed, slowly; a single late arrival changes nothing.

No threads, no reading of clocks: all times are arguments, so that tests can choose them.
"""

from collections import deque

from ..common.limits import AUDIO_GAP_NS, S
from .limits import GAP_WINDOW_NS, MICROPHONE_DELAYS, STEP_NS, WINDOW_NS


class ArrivalClock:
    """Maps media time (ns) to capture time (``time.monotonic_ns()``). Not thread-safe.

    Each ``WINDOW_NS`` the map moves towards the least lateness seen, by at most ``STEP_NS``, and not at all
    when that is less than ``STEP_NS``: steady clocks stay exact. When the least lateness of a whole
    ``gap_window_ns`` is above ``gap_ns`` (or below ``-gap_ns``), media is missing (or the first arrivals
    were late): the map jumps by it.
    """

    def __init__(self, *, gap_ns: int, gap_window_ns: int) -> None:
        self._gap_ns, self._gap_window_ns = gap_ns, gap_window_ns
        self._offset_ns: int | None = None
        self._least_ns: list[int | None] = [None, None]
        """The least lateness so far within the gap window and within the other."""
        self._ends_ns = [0, 0]

    def set(self, media_ns: int, captured_ns: int, now_ns: int) -> None:
        """Sets the map: media time ``media_ns`` was captured at ``captured_ns``. Begins new windows."""
        self._offset_ns = captured_ns - media_ns
        self._ends_ns = [now_ns + self._gap_window_ns, now_ns + WINDOW_NS]
        self._least_ns = [None, None]

    def settle(self, media_ns: int, arrived_ns: int, now_ns: int) -> None:
        """As ``follow`` for media that is not recorded: takes the earliest arrival at once."""
        if self._offset_ns is None or self.lateness_ns(media_ns, arrived_ns) < 0:
            self.set(media_ns, arrived_ns, now_ns)

    def lateness_ns(self, media_ns: int, arrived_ns: int) -> int:
        """How much later than its capture time this media arrived (negative: earlier)."""
        return arrived_ns - self.captured_ns(media_ns)

    def captured_ns(self, media_ns: int) -> int:
        """The capture time of ``media_ns``. The clock must have been set."""
        assert self._offset_ns is not None
        return media_ns + self._offset_ns

    @property
    def is_set(self) -> bool:
        return self._offset_ns is not None

    def follow(self, media_ns: int, arrived_ns: int, now_ns: int) -> int:
        """Notes an arrival; returns by how much the map jumped (0 nearly always)."""
        if self._offset_ns is None:
            self.set(media_ns, arrived_ns, now_ns)
            return 0
        late_ns = self.lateness_ns(media_ns, arrived_ns)
        for n, least_ns in enumerate(self._least_ns):
            self._least_ns[n] = late_ns if least_ns is None else min(least_ns, late_ns)
        jump_ns = 0
        if now_ns >= self._ends_ns[0]:
            least_ns = self._least_ns[0] or 0
            self._ends_ns[0], self._least_ns[0] = now_ns + self._gap_window_ns, None
            if abs(least_ns) > self._gap_ns:
                jump_ns = least_ns
                self.set(media_ns, self.captured_ns(media_ns) + jump_ns, now_ns)
        if now_ns >= self._ends_ns[1]:
            least_ns = self._least_ns[1] or 0
            self._ends_ns[1], self._least_ns[1] = now_ns + WINDOW_NS, None
            if abs(least_ns) >= STEP_NS:
                self._offset_ns += max(-STEP_NS, min(STEP_NS, least_ns))
        return jump_ns


class Stamper:
    """Capture times of a device's blocks; on an ``ArrivalClock``. Not thread-safe."""

    def __init__(self, sample_rate: int, latency_ns: int) -> None:
        self._rate = sample_rate
        self._latency_ns = latency_ns
        self._count = 0
        self._clock = ArrivalClock(gap_ns=AUDIO_GAP_NS, gap_window_ns=GAP_WINDOW_NS)
        """When a block's last sample would arrive without delay, its length before."""
        self._delay_ns = 0
        """The fixed part of the delay, by the first blocks: the clock measures what comes on top."""
        self._delays_ns: deque[int] = deque(maxlen=MICROPHONE_DELAYS)

    @property
    def is_new(self) -> bool:
        """Whether too few blocks have come to know their delay."""
        return len(self._delays_ns) < MICROPHONE_DELAYS

    def skip(self, count: int) -> None:
        """``count`` samples are missing before the next block."""
        self._count += count

    def stamp(self, count: int, called_ns: int, delay_ns: int, overflow: bool, *, settling: bool = False) -> int:
        """The capture time of a block of ``count`` samples.

        ``called_ns``: when it came; ``delay_ns``: how long before that its first sample was captured, by the
        device's report (0: not known); ``overflow``: samples before it were lost; ``settling``: it is not recorded.
        """
        media_ns = self._count * S // self._rate
        length_ns = count * S // self._rate
        self._count += count
        if settling or not self._clock.is_set:
            self._delays_ns.append(self._plausible_ns(delay_ns, length_ns) - length_ns)
            self._delay_ns = sorted(self._delays_ns)[len(self._delays_ns) // 2]
        arrived_ns = called_ns - length_ns
        if overflow and self._clock.is_set:
            undelayed_ns = called_ns - self._plausible_ns(delay_ns, length_ns) + self._delay_ns
            if undelayed_ns - self._clock.captured_ns(media_ns) > AUDIO_GAP_NS:
                self._clock.set(media_ns, undelayed_ns, called_ns)
        elif settling:
            self._clock.settle(media_ns, arrived_ns, called_ns)
        else:
            self._clock.follow(media_ns, arrived_ns, called_ns)
        return self._clock.captured_ns(media_ns) - self._delay_ns

    def _plausible_ns(self, delay_ns: int, length_ns: int) -> int:
        """The reported delay within what is possible: the block's length, and at most the latency on top."""
        return max(length_ns, min(delay_ns, length_ns + self._latency_ns))
