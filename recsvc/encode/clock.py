"""Where a frame stands by its time stamp, and whether the stamp is to be believed. Pure logic.

Stamps come from callers' clocks, which may count from anywhere, start again, or be wrong now and then. A stamp that
goes on from the one before is believed as it is. One that jumps is believed when as much time went by until the frame
came (a source that stalled), else only when the next frames confirm it: until then the frame waits here, before the
scheduler. One wrong stamp moves its own frame alone; a clock that starts again is a new one, placed where the old one
ended.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..common.limits import (
    GAP_MAX_NS,
    IDLE_FLUSH_NS,
    JUMP_ALONE_NS,
    JUMP_CONFIRM_FRAMES,
    MS,
    STAMP_EARLY_NS,
    STAMP_JITTER_NS,
    VIDEO_DURATION_DEFAULT_NS,
    S,
)

Item = TypeVar("Item")

_SHARED_CLOCK_NS = 10 * S
"""Tracks are taken to share a clock if by that clock the later one's first frame lies at most this long before
``start()``."""


@dataclass(slots=True)
class Claim(Generic[Item]):
    """A frame with its stamp, by the stamps' clock, and when it came, by ours: both less the time paused before it."""

    item: Item
    stamp_ns: int
    paused_ns: int
    length_ns: int
    come_ns: int


class FrameClock(Generic[Item]):
    """Turns the stamps of one track into recorded time. Frames leave in the order in which they came, each once.

    A first stamp long before ``start()`` or long after now belongs to a clock of its own, which is moved as a whole, to
    ``start()``, or to now where another track was there before; tracks that share such a clock move alike. Should
    the next frames be on our clock, that frame alone was wrong.
    """

    is_media = False
    """Whether stamps are positions in the media, which have nothing to do with the time that goes by."""

    def __init__(
        self, kind: str, started_ns: int, *, is_captured: bool = False, frame_rate: float | None = None
    ) -> None:
        """``is_captured``: its stamps are our own; where they go back a little, those before were wrong."""
        self._is_captured = is_captured
        self._is_sound = kind == "audio"
        self._started_ns = started_ns
        self._interval_ns = round(S / frame_rate) if frame_rate else VIDEO_DURATION_DEFAULT_NS
        self._is_assumed = not frame_rate  # The interval is assumed until there are two pictures.
        self._others: list[FrameClock[Item]] = []
        self._offset_ns: int | None = None  # Added to a stamp, it gives our clock's time.
        self._is_first = True
        # The last frame: where it stands, how long it lasts, when it came.
        self._last_ns = self._length_ns = self._come_ns = 0
        self._distance_ns = 0  # between the last two frames that were believed
        # A clock that seems to be the track's own: the kind of correction, and how many frames were not counted for it.
        self._moved: tuple[str, int] | None = None
        self._held: deque[Claim[Item]] = deque()
        self._doubted: deque[int] = deque(maxlen=JUMP_CONFIRM_FRAMES)  # The newest stamps, if they were not believed.
        self.corrected: Counter[str] = Counter()
        """How many stamps were not believed, by kind; a clock that starts again counts once, as does the first frame of
        one that lies before ``start()``."""

    def share(self, clocks: list[FrameClock[Item]]) -> None:
        """All the clocks of the recording's tracks, which may count alike."""
        self._others = [other for other in clocks if other is not self]

    @property
    def holds(self) -> int:
        """Frames that wait for others to confirm them."""
        return len(self._held)

    def take(self, item: Item, stamp_ns: int, paused_ns: int, length_ns: int, now_ns: int) -> list[tuple[Item, int]]:
        """A frame has come at ``now_ns``; sound lasts ``length_ns``, that of a picture does not matter. The frames
        that are not to wait any more, each with its capture time on our clock."""
        return self._take(item, stamp_ns - paused_ns, paused_ns, length_ns, now_ns - paused_ns)

    def _take(self, item: Item, stamp_ns: int, paused_ns: int, length_ns: int, come_ns: int) -> list[tuple[Item, int]]:
        if not self._held and self._offset_ns is not None and self._fits(stamp_ns + self._offset_ns):
            at_ns = self._believed(stamp_ns + self._offset_ns)  # the short way of nearly all frames
            self._passed(at_ns, length_ns, come_ns)
            return [(item, at_ns + paused_ns)]
        self._held.append(Claim(item, stamp_ns, paused_ns, length_ns, come_ns))
        return self._settle(final=False)

    def release(self) -> list[tuple[Item, int]]:
        """All that waits: nothing more comes, or it cannot be waited for."""
        return self._settle(final=True)

    def left_out(self, until_ns: int) -> None:
        """Frames after this recorded time were captured while the recording was paused already: they are left out, and
        the next one stands there or later."""
        self._last_ns = min(self._last_ns, until_ns)

    def again(self) -> list[tuple[Item, int]]:
        """What does not have to wait any more since another track has gone on."""
        return self._settle(final=False)

    def overdue(self, now_ns: int) -> list[tuple[Item, int]]:
        """All that waits, once nothing has come for a while."""
        if not self._held or now_ns - self._held[-1].paused_ns - self._held[-1].come_ns < IDLE_FLUSH_NS:
            return []
        return self._settle(final=True)

    # --- inside -----------------------------------------------------------------------------------

    def _settle(self, *, final: bool) -> list[tuple[Item, int]]:
        done: list[tuple[Item, int]] = []
        while self._held:
            at_ns = self._place(self._held[0], final)
            if at_ns is None:
                break
            claim = self._held.popleft()
            self._passed(at_ns, claim.length_ns, claim.come_ns)
            done.append((claim.item, at_ns + claim.paused_ns))
        return done

    def _passed(self, at_ns: int, length_ns: int, come_ns: int) -> None:
        self._is_first = False
        self._last_ns, self._come_ns = at_ns, come_ns
        self._length_ns = length_ns if self._is_sound else self._interval_ns
        if self._moved is not None:
            self._moved = self._moved[0], self._moved[1] + 1

    def _place(self, claim: Claim[Item], final: bool) -> int | None:
        """Recorded time of the frame; ``None``: it has to wait."""
        at_ns = claim.stamp_ns + self._locate(claim)
        if self._fits(at_ns) or self._time_went_by(claim, at_ns):
            return self._believed(at_ns)
        if self._offset_ns and self._is_ours(claim):
            self._offset_ns = 0
            if self._moved is not None:
                self.corrected[self._moved[0]] += self._moved[1]  # It was no clock: all these stamps were wrong.
                self._moved = None
            return self._believed(claim.stamp_ns)
        confirmed = self._confirmed(claim, at_ns, final)
        if confirmed is None:
            return None
        if not confirmed:
            return self._corrected_place(claim, at_ns)
        if self._last_ns < at_ns <= self._expected_ns + GAP_MAX_NS:
            return self._believed(at_ns)
        if self._is_captured and at_ns < self._last_ns and self._is_ours(claim):
            return self._believed(claim.stamp_ns)
        self.corrected["restart" if at_ns < self._last_ns else "absurd"] += 1
        at_ns = self._restart_ns(claim)
        self._offset_ns = at_ns - claim.stamp_ns
        return self._believed(at_ns)

    def _locate(self, claim: Claim[Item]) -> int:
        """From stamps to our clock, found with the first frame."""
        if self._offset_ns is None:
            self._come_ns = claim.come_ns
            self._offset_ns = self._begin(claim, [other for other in self._others if other._offset_ns is not None])
        return self._offset_ns

    def _begin(self, claim: Claim[Item], begun: list[FrameClock[Item]]) -> int:
        """The first frame: which clock its stamp may be of, and where it is expected on that. Its offset from ours."""
        stamp_ns, now_ns = claim.stamp_ns, claim.come_ns
        if self._started_ns - STAMP_EARLY_NS <= stamp_ns <= now_ns + GAP_MAX_NS:
            self._last_ns = stamp_ns if stamp_ns <= now_ns + S else now_ns
            return 0
        self._moved = ("absurd", 0)
        if stamp_ns < now_ns:
            self._moved = ("before_start", -1)
            self.corrected["before_start"] += 1
        for other in begun:
            shared_ns = stamp_ns + (other._offset_ns or 0)
            is_near = self._started_ns - _SHARED_CLOCK_NS <= shared_ns <= now_ns + GAP_MAX_NS
            if other._offset_ns and not other.is_media and is_near:
                self._last_ns = shared_ns
                return other._offset_ns
        self._last_ns = now_ns if begun else self._started_ns
        return self._last_ns - stamp_ns

    @property
    def _expected_ns(self) -> int:
        return self._last_ns + self._length_ns

    def _fits(self, at_ns: int) -> bool:
        """Whether it goes on from the frame before, up to the usual jitter."""
        if self._is_sound:
            return self._last_ns - STAMP_JITTER_NS <= at_ns <= self._expected_ns + STAMP_JITTER_NS
        return self._last_ns <= at_ns <= self._expected_ns + self._length_ns

    def _time_went_by(self, claim: Claim[Item], at_ns: int) -> bool:
        """Whether the frame came as long after the one before as their stamps are apart: the source had stalled."""
        jump_ns = at_ns - self._last_ns
        if jump_ns <= 0 or (self._is_sound and jump_ns > GAP_MAX_NS):
            return False
        return 4 * (claim.come_ns - self._come_ns) >= 3 * jump_ns

    def _is_ours(self, claim: Claim[Item]) -> bool:
        """Whether a track that was moved is on our clock by now: what came before it was old, or had wrong stamps."""
        earliest_ns = max(self._last_ns, self._started_ns) - S
        return earliest_ns <= claim.stamp_ns <= claim.come_ns + S

    def _confirmed(self, claim: Claim[Item], at_ns: int, final: bool) -> bool | None:
        """Whether the frames after it go on from its stamp, or from those before; ``None``: too few have come."""
        assert self._offset_ns is not None
        followers = sum(
            self._follows(at_ns, stamp_ns + self._offset_ns)
            for stamp_ns in self._doubted
            if (stamp_ns + self._offset_ns < self._last_ns) == (at_ns < self._last_ns)
        )
        since_ns = 0
        for index in range(1, len(self._held)):
            since_ns += self._held[index - 1].length_ns if self._is_sound else self._interval_ns
            other_ns = self._held[index].stamp_ns + self._offset_ns
            if self._returns(at_ns, other_ns, since_ns) or not self._follows(other_ns, at_ns):
                return False
            followers += 1
        if followers >= JUMP_CONFIRM_FRAMES:
            return True
        if final:
            return followers > 0 or 0 < at_ns - self._expected_ns <= max(JUMP_ALONE_NS, 2 * self._distance_ns)
        return None

    def _returns(self, at_ns: int, other_ns: int, since_ns: int) -> bool:
        """Whether another frame, ``since_ns`` after the one in doubt, stands rather where that was expected."""
        if not self._is_sound and at_ns > self._last_ns:  # pictures may be far apart, but their times rise
            return self._last_ns <= other_ns < at_ns
        return abs(other_ns - self._expected_ns - since_ns) < abs(other_ns - at_ns - since_ns)

    def _follows(self, later_ns: int, earlier_ns: int) -> bool:
        return later_ns >= earlier_ns - (STAMP_JITTER_NS if self._is_sound else 0)

    def _restart_ns(self, claim: Claim[Item]) -> int:
        """Where a clock that starts again begins: with another track's that started again before, else where the old
        one ended. Unless the source kept pace with time and then was silent: then so much later."""
        expected_ns = self._expected_ns
        for other in self._others:
            if other._offset_ns is not None and other.is_media == self.is_media:
                shared_ns = claim.stamp_ns + other._offset_ns
                if -min(self._length_ns // 2, 20 * MS) <= shared_ns - expected_ns <= S:
                    return shared_ns
        waited_ns = claim.come_ns - self._come_ns
        kept_pace = abs(self._come_ns - self._last_ns) <= 2 * S
        return self._last_ns + waited_ns if kept_pace and waited_ns > self._length_ns + S else expected_ns

    def _believed(self, at_ns: int) -> int:
        if self._doubted:
            self._doubted.clear()
        if not self._is_sound and not self._is_first:
            distance_ns = self._distance_ns = max(at_ns - self._last_ns, 0)
            # One far jump is no new rate.
            most_ns = S if self._is_assumed else min(2 * self._interval_ns, S)
            self._interval_ns = min(max(distance_ns, self._interval_ns // 2, MS), most_ns)
            self._is_assumed = False
        return at_ns

    def _corrected_place(self, claim: Claim[Item], at_ns: int) -> int:
        """Where a frame with a wrong stamp goes: after the one before, and not beyond the next that is right."""
        ahead_ns = at_ns - self._expected_ns
        self.corrected["backward" if at_ns < self._last_ns else "absurd" if ahead_ns > GAP_MAX_NS else "ahead"] += 1
        self._doubted.append(claim.stamp_ns)
        step_ns = self._length_ns
        for index in range(1, 0 if self._is_sound else len(self._held)):
            room_ns = self._held[index].stamp_ns + (self._offset_ns or 0) - self._last_ns
            if room_ns > 0:
                step_ns = min(step_ns, room_ns // (index + 1))
                break
        return self._last_ns + step_ns
