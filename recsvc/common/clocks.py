"""The clock of another machine against ours: how far it is ahead, how fast it runs away, and its times in ours. Pure.

A round trip bounds by how much one clock is ahead of another: by half of it to each side, whatever the delays of its
two ways. So the shortest ones of the last minute say most; a line through them is the offset and the drift. Times are
translated by another line, which follows that one and never jumps: it is made of segments that begin where the one
before ends, each at most some hundred millionths steeper or flatter than the clocks really run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from .descriptions import ClockSegment, ClockStatistics
from .limits import MS, S

WINDOW_NS = 60 * S
"""Round trips that count: long enough for the drift to be seen through the network's jitter, short enough to follow the
temperature of a crystal."""
WINDOW_TRIPS = 120
DRIFT_PPM_MAX = 1000.0
"""Crystals differ by less than 300 ppm; NTP may have each clock run up to 500 ppm faster or slower meanwhile."""
SLEW_PPM_MAX = 300.0
"""How much faster or slower than the clocks themselves the translation runs while it follows a better estimate."""
SLEW_NS = 10 * S
"""An error is made good within about this time, if that is not too steep."""
LEAD_NS = 200 * MS
"""A segment begins so much later than it is made: by then whoever translates by it has it."""
STEP_NS = 50 * MS
"""A clock that was ahead of its last round trips by more than these allow, and this, has stood still, or was set: a
machine that slept. Only then the translation jumps."""
SEGMENTS_KEPT = 64
_DRIFT_EXPECTED_PPM = 50.0  # before anything is known of it
_STEEPER_PPM = 3.0  # a smaller change of the rate is not worth a segment
_FLOOR_NS = 5_000.0  # no round trip is more exact than the waking of a thread
_BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Trip:
    """At ``at_ns`` of the other clock ours was ahead by ``offset_ns``, give or take ``half_ns``."""

    at_ns: int
    offset_ns: float
    half_ns: float


class Estimate:
    """Offset and drift by the last round trips."""

    def __init__(self) -> None:
        self._trips: deque[Trip] = deque(maxlen=WINDOW_TRIPS)
        self._at_ns = 0
        self._offset_ns = 0.0
        self.drift_ppm = 0.0

    @property
    def known(self) -> bool:
        return bool(self._trips)

    def take(self, sent_ns: int, received_ns: int, answered_ns: int, came_ns: int) -> bool:
        """A round trip: sent and come back by the other clock, received and answered by ours. Whether a clock was set,
        or stood still: what was known before counts no more. Times that cannot be are left out."""
        trip_ns = (came_ns - sent_ns) - (answered_ns - received_ns)
        if trip_ns < 0 or came_ns < sent_ns or answered_ns < received_ns:
            return False
        lead_ns = ((received_ns - sent_ns) + (answered_ns - came_ns)) / 2
        trip = Trip((sent_ns + came_ns) // 2, lead_ns, trip_ns / 2 + _FLOOR_NS)
        stepped = bool(self._trips) and self._contradicts(self._trips[-1], trip)
        if stepped:
            self._trips.clear()
        self._trips.append(trip)
        while trip.at_ns - self._trips[0].at_ns > WINDOW_NS:
            self._trips.popleft()
        self._fit(trip.at_ns)
        return stepped

    def _contradicts(self, before: Trip, trip: Trip) -> bool:
        """Whether no steady clock can have made both."""
        apart_ns = abs(trip.offset_ns - before.offset_ns)
        drifted_ns = abs(trip.at_ns - before.at_ns) * DRIFT_PPM_MAX / 1e6
        return trip.at_ns < before.at_ns or apart_ns > before.half_ns + trip.half_ns + drifted_ns + STEP_NS

    def _fit(self, now_ns: int) -> None:
        """The line through the trips, each weighed by how short it was, and drift by what is usual."""
        origin_ns = self._trips[0].offset_ns
        weight = position = offset = 0.0
        points = []
        for trip in self._trips:
            w, x, y = (1e3 / trip.half_ns) ** 2, (trip.at_ns - now_ns) / S, trip.offset_ns - origin_ns
            points.append((w, x, y))
            weight, position, offset = weight + w, position + w * x, offset + w * y
        position, offset = position / weight, offset / weight
        spread = sum(w * (x - position) ** 2 for w, x, _ in points)
        slope = sum(w * (x - position) * (y - offset) for w, x, y in points)
        usual = (1e3 / (_DRIFT_EXPECTED_PPM * 1e3)) ** 2
        drift_ns_s = slope / (spread + usual)  # nanoseconds a second
        limit = DRIFT_PPM_MAX * 1e3
        drift_ns_s = min(max(drift_ns_s, -limit), limit)
        self.drift_ppm = drift_ns_s / 1e3
        self._at_ns, self._offset_ns = now_ns, origin_ns + offset - position * drift_ns_s

    def offset_ns(self, at_ns: int) -> float:
        """How far our clock is ahead at this time of the other one."""
        return self._offset_ns + (at_ns - self._at_ns) * self.drift_ppm / 1e6

    def error_ns(self, at_ns: int, offset_ns: float | None = None) -> int:
        """By how much an offset (else the estimated one) may be wrong at most, unless a clock was set since."""
        offset_ns = self.offset_ns(at_ns) if offset_ns is None else offset_ns
        bounds = [
            abs(offset_ns - trip.offset_ns) + trip.half_ns + abs(at_ns - trip.at_ns) * DRIFT_PPM_MAX / 1e6
            for trip in self._trips
        ]
        return round(min(bounds, default=0.0))


class Translation:
    """From times of another clock to ours. Rising, and without jumps but those that ``jump`` makes."""

    def __init__(self, segments: Iterable[ClockSegment] = ()) -> None:
        self.segments: deque[ClockSegment] = deque(segments, maxlen=SEGMENTS_KEPT)

    def add(self, segment: ClockSegment) -> None:
        self.segments.append(segment)

    def ours(self, theirs_ns: int) -> int:
        """There must be a segment. What is before the first one counts by that."""
        for segment in reversed(self.segments):
            if theirs_ns >= segment.from_ns:
                break
        passed_ns = theirs_ns - segment.from_ns
        return segment.to_ns + passed_ns + passed_ns * segment.rate_ppb // _BILLION


class ClientClock:
    """What a service knows of a client's clock: by its pings, or by the instant of its first ``start``."""

    def __init__(self) -> None:
        self.translation = Translation()
        self._estimate = Estimate()
        self._pongs: dict[int, tuple[int, int]] = {}  # when a ping was answered -> sent by theirs, received by ours
        self._newest_ns = 0  # of their clock

    def ping(self, at_ns: int, echo_ns: int, echo_at_ns: int, now_ns: int, answered_ns: int) -> ClockSegment | None:
        """A ping came at ``now_ns``, and is answered at ``answered_ns``; else as in ``Ping``. A new segment of the
        translation, if there is one."""
        self._pongs[answered_ns] = at_ns, now_ns
        while len(self._pongs) > 8:
            del self._pongs[next(iter(self._pongs))]
        self._newest_ns = max(self._newest_ns, at_ns)
        asked = self._pongs.pop(echo_ns, None) if echo_ns and echo_ns != answered_ns else None
        if asked is None:
            return None
        stepped = self._estimate.take(*asked, echo_ns, echo_at_ns)
        return self._follow(at_ns, stepped) if self._estimate.known else None

    def _follow(self, at_ns: int, stepped: bool) -> ClockSegment | None:
        estimate, segments = self._estimate, self.translation.segments
        if stepped:
            self._newest_ns = at_ns
        if not segments or stepped:
            to_ns = at_ns + round(estimate.offset_ns(at_ns))
            return self._add(ClockSegment(from_ns=at_ns, to_ns=to_ns, rate_ppb=round(estimate.drift_ppm * 1e3)))
        from_ns = max(at_ns + LEAD_NS, segments[-1].from_ns)
        to_ns = self.translation.ours(from_ns)
        behind_ns = estimate.offset_ns(from_ns) - (to_ns - from_ns)
        slew_ppm = min(max(behind_ns / SLEW_NS * 1e6, -SLEW_PPM_MAX), SLEW_PPM_MAX)
        rate_ppm = estimate.drift_ppm + slew_ppm
        if abs(rate_ppm - segments[-1].rate_ppb / 1e3) < _STEEPER_PPM:
            return None
        return self._add(ClockSegment(from_ns=from_ns, to_ns=to_ns, rate_ppb=round(rate_ppm * 1e3)))

    def _add(self, segment: ClockSegment) -> ClockSegment:
        self.translation.add(segment)
        return segment

    def began(self, at_ns: int, now_ns: int) -> None:
        """A client that does not ping says what time it is as it starts a recording. One whose clock shows our time is
        on ours."""
        if not self.translation.segments:
            same = 0 <= now_ns - at_ns < S
            self._add(ClockSegment(from_ns=at_ns, to_ns=at_ns if same else now_ns, rate_ppb=0))

    @property
    def segments(self) -> tuple[ClockSegment, ...]:
        return tuple(self.translation.segments)

    def ours(self, theirs_ns: int) -> int:
        """In our time; as it is where nothing is known."""
        return self.translation.ours(theirs_ns) if self.translation.segments else theirs_ns

    def statistics(self) -> ClockStatistics | None:
        """``None``: nothing is known of it."""
        if not self.translation.segments:
            return None
        at_ns = self._newest_ns or self.translation.segments[-1].from_ns
        offset_ns = self.translation.ours(at_ns) - at_ns
        if not self._estimate.known:
            return ClockStatistics(offset_ns=offset_ns, drift_ppm=0.0, error_ns=None)
        error_ns = self._estimate.error_ns(at_ns, offset_ns)
        return ClockStatistics(offset_ns=offset_ns, drift_ppm=round(self._estimate.drift_ppm, 3), error_ns=error_ns)
