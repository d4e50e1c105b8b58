"""Where a frame stands by its position in the media, which a pause cuts. Pure logic."""

from __future__ import annotations

from ..common.limits import FIRST_FRAME_WAIT_NS, GAP_MAX_NS, S
from .clock import Claim, FrameClock, Item

_CUT_FRAMES = 10
"""At most this many frames after a pause, or ``FIRST_FRAME_WAIT_NS`` of media, wait for one of the other track."""


class MediaCuts:
    """What pauses cut out of the media of one recording: from the last frame before a pause to the first after it. Its
    tracks are cut alike, so that they stay together: by the least that one of them would need."""

    def __init__(self) -> None:
        self.done: dict[int, int] = {}
        """By how long was paused until then: what was cut, all together."""
        self.proposed: dict[int, dict[int, int]] = {}
        """The same, for the pauses that are not decided yet: what each track would need."""

    def decide(self, paused_ns: int) -> None:
        self.done[paused_ns] = min(self.proposed.pop(paused_ns).values())

    def before(self, paused_ns: int) -> int:
        """What was cut, all together, before a frame with so much paused before it."""
        return self.done.get(max((paused for paused in self.done if paused <= paused_ns), default=0), 0)


class MediaClock(FrameClock[Item]):
    """Positions in the media begin at ``start()``, for all tracks that have such from the same origin. The time that
    goes by plays no role."""

    is_media = True

    def __init__(self, kind: str, started_ns: int, *, frame_rate: float | None = None) -> None:
        super().__init__(kind, started_ns, frame_rate=frame_rate)
        self._media: list[MediaClock[Item]] = []  # the recording's other clocks of this kind
        self._cuts = MediaCuts()
        self._paused_ns = self._cut_ns = 0  # What was paused before the last frame, and what was cut for that.

    def share(self, clocks: list[FrameClock[Item]]) -> None:
        super().share(clocks)
        media = [clock for clock in clocks if isinstance(clock, MediaClock)]
        self._media = [clock for clock in media if clock is not self]
        self._cuts = media[0]._cuts

    def take(self, item: Item, stamp_ns: int, paused_ns: int, length_ns: int, now_ns: int) -> list[tuple[Item, int]]:
        if paused_ns == self._paused_ns:
            return self._take(item, stamp_ns, paused_ns, length_ns, 0)
        self._held.append(Claim(item, stamp_ns, paused_ns, length_ns, 0))
        return self._settle(final=False)

    def overdue(self, now_ns: int) -> list[tuple[Item, int]]:
        return []

    def _begin(self, claim: Claim[Item], begun: list[FrameClock[Item]]) -> int:
        self._paused_ns, self._last_ns = claim.paused_ns, self._started_ns
        for other in self._media:
            if other._offset_ns is not None:
                # The other may be further already, after pauses that this frame came before.
                self._paused_ns = min(claim.paused_ns, other._paused_ns)
                self._cut_ns = self._cuts.before(self._paused_ns)
                shared_ns = claim.stamp_ns + other._offset_ns + other._cut_ns - self._cut_ns
                is_near = abs(shared_ns - other._last_ns) <= GAP_MAX_NS
                self._last_ns = shared_ns if is_near else other._last_ns  # else it counts from elsewhere
        return self._last_ns - claim.stamp_ns

    def _place(self, claim: Claim[Item], final: bool) -> int | None:
        self._locate(claim)
        if claim.paused_ns != self._paused_ns and not self._cut(claim, final):
            return None
        return super()._place(claim, final)

    def _is_ours(self, claim: Claim[Item]) -> bool:
        return False

    def _cut(self, claim: Claim[Item], final: bool) -> bool:
        """Before the first frame after a pause: whether it is known by now what the pause cuts out."""
        assert self._offset_ns is not None
        if claim.paused_ns not in self._cuts.done:
            proposed = self._cuts.proposed.setdefault(claim.paused_ns, {})
            waited_ns = self._held[-1].stamp_ns - claim.stamp_ns
            is_late = final or len(self._held) > _CUT_FRAMES or waited_ns >= FIRST_FRAME_WAIT_NS
            if is_late or not self._is_first:  # else it had no frame before the pause
                left_out_ns = self._left_out_ns(claim.stamp_ns + self._offset_ns, final)
                if left_out_ns is None:
                    return False
                proposed[id(self)] = self._cut_ns + left_out_ns
            awaited = [other for other in self._media if not other._is_first]
            if not proposed or (not is_late and not all(id(other) in proposed for other in awaited)):
                return False
            self._cuts.decide(claim.paused_ns)
        cut_ns = self._cuts.done[claim.paused_ns]
        self._offset_ns -= cut_ns - self._cut_ns
        self._cut_ns, self._paused_ns = cut_ns, claim.paused_ns
        return True

    def _left_out_ns(self, at_ns: int, final: bool) -> int | None:
        """How much lies between the last frame before a pause and this one, the first after it; ``None``: it
        is not known yet. Pictures may be far apart: the last one lasted as long as the one before it; where there was
        none, or it was longer than usual, as long as the first after the pause, if that is less."""
        if self._is_sound or self._is_first:
            return at_ns - self._expected_ns
        lasted_ns = self._interval_ns
        if len(self._held) > 1 and (next_ns := self._held[1].stamp_ns - self._held[0].stamp_ns) > 0:
            lasted_ns = min(self._distance_ns, next_ns) or next_ns
        elif (self._is_assumed or self._distance_ns > self._interval_ns) and not final:
            return None
        elif self._is_assumed and 0 < at_ns - self._last_ns <= S:
            return 0
        left_out_ns = at_ns - self._last_ns - lasted_ns
        return left_out_ns if at_ns <= self._last_ns else max(left_out_ns, 0)
