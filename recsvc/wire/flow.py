"""What a sender may send: credits, and the window of capture time that a recording wants. No sockets, no clocks."""

from __future__ import annotations

from dataclasses import dataclass

from ..common.limits import INTERVALS_KEPT, S


class CreditBalance:
    """Totals granted against totals used, in frames and payload bytes (both since the route began)."""

    __slots__ = ("_window", "_window_bytes", "bytes_granted", "bytes_used", "frames_granted", "frames_used")

    def __init__(self, frames: int, size: int) -> None:
        self.frames_granted = frames
        self.bytes_granted = size
        self.frames_used = 0
        self.bytes_used = 0
        self._window = frames
        self._window_bytes = size

    def grant(self, frames: int, size: int) -> None:
        """Totals of a credit message; a total never shrinks, so that repeated and late messages are harmless. Nobody
        can have consumed more than was sent: what is granted far beyond that would fill the sender's memory."""
        self.frames_granted = max(self.frames_granted, min(frames, self.frames_used + 2 * self._window))
        self.bytes_granted = max(self.bytes_granted, min(size, self.bytes_used + 2 * self._window_bytes))

    def allows(self, size: int, frames: int = 0, held: int = 0) -> bool:
        """Whether a frame of ``size`` bytes may go, after so many ``frames`` with ``held`` bytes that are still to: one
        is always allowed when nothing is under way."""
        used = self.frames_used + frames
        if used >= self.frames_granted:
            return False
        nothing_under_way = self.frames_granted - used >= self._window
        return nothing_under_way or self.bytes_used + held + size <= self.bytes_granted


@dataclass(slots=True)
class Interval:
    """An unpaused interval of capture time; ``until_ns`` is ``None`` while it lasts; ``paused_ns`` before it."""

    from_ns: int
    until_ns: int | None
    paused_ns: int


class CaptureWindow:
    """The intervals of capture time that a recording wants, and how much was paused before each.

    Both tracks of a recording get the same instants, so both are cut at the same ones.
    """

    __slots__ = ("current", "intervals")

    def __init__(self, from_ns: int) -> None:
        self.current = Interval(from_ns, None, 0)
        self.intervals = [self.current]

    def pause(self, at_ns: int) -> None:
        """Frames captured after ``at_ns`` are not wanted. A second pause changes nothing."""
        last = self.current
        if last.until_ns is None:
            last.until_ns = max(at_ns, last.from_ns)

    def resume(self, at_ns: int) -> None:
        """Frames captured from ``at_ns`` on are wanted again. A second resume changes nothing."""
        last = self.current
        if last.until_ns is not None:
            at_ns = max(at_ns, last.until_ns)
            self.current = Interval(at_ns, None, last.paused_ns + at_ns - last.until_ns)
            self.intervals.append(self.current)
            del self.intervals[:-INTERVALS_KEPT]

    def end(self, at_ns: int) -> tuple[int, int]:
        """Closes the window; ``(until_ns, paused_ns)``: where the recording's time line ends."""
        self.pause(at_ns)
        last = self.current
        assert last.until_ns is not None
        return last.until_ns, last.paused_ns

    def interval_of(self, captured_ns: int) -> Interval | None:
        """The interval that an instant belongs to, or ``None`` when that instant is not wanted."""
        for interval in reversed(self.intervals):
            if captured_ns >= interval.from_ns:
                wanted = interval.until_ns is None or captured_ns <= interval.until_ns
                return interval if wanted else None
        return None

    def cut(
        self, captured_ns: int, sample_count: int, sample_rate: int, begin: int = 0
    ) -> list[tuple[int, int, int, Interval]]:
        """The wanted parts of a sound block: ``(first sample, end sample, captured_ns, interval)`` each; none of the
        first ``begin`` samples.

        Sample ``i`` is captured at ``captured_ns + i / sample_rate``; one captured exactly at the end of an
        interval belongs to it.
        """
        parts = []
        for interval in self.intervals:
            first = max(begin, -((captured_ns - interval.from_ns) * sample_rate // S))
            end = sample_count
            if interval.until_ns is not None:
                end = min(end, (interval.until_ns - captured_ns) * sample_rate // S + 1)
            if first < end:
                at_ns = captured_ns + first * S // sample_rate
                parts.append((first, end, at_ns, interval))
        return parts
