"""Delivery of live network streams: at once, with capture times on a clock fitted to arrival."""

from collections.abc import Mapping

from .clock import ArrivalClock
from .delivery import SECOND_NS, Base, Clock
from .source import Sink, TrackInfo

# A flush waits for media that was captured but has not arrived: MPEG-TS collects sound for up to 0.35 s.
LIVE_FLUSH_NS = SECOND_NS // 2
# A stream this far ahead of its clock has jumped; below, it is held back (a server sending faster than time).
JUMP_NS = SECOND_NS
# Media that stays this late for a whole window has a new clock (the sender paused).
LATE_NS, LATE_WINDOW_NS = SECOND_NS // 2, 10 * SECOND_NS


class Live(Base):
    """Delivers on arrival. The clock is fitted to the earliest arrivals before ``begin`` (so neither network
    jitter nor what was buffered while connecting moves it) and follows the sender's clock slowly from
    then on. ``flush`` waits for media of that time that is still under way, at most ``LIVE_FLUSH_NS``;
    usually the wait is the stream's own jitter.
    """

    def __init__(self, tracks: list[TrackInfo], clock: Clock | None = None) -> None:
        super().__init__(tracks, clock)
        self._begun = False
        self._ended = False
        self._arrivals = ArrivalClock(gap_ns=LATE_NS, gap_window_ns=LATE_WINDOW_NS)
        self._last_media_ns: dict[str, int] = {}
        self._begin_ns = 0
        self._given_until_ns = dict.fromkeys(self.kinds, 0)

    def begin(self, sinks: Mapping[str, Sink]) -> None:
        with self.changed:
            self.sinks, self._begun, self._begin_ns = sinks, True, self.clock.now_ns()
            self.changed.notify_all()

    def audio(self, media_ns: int, samples: bytes) -> None:
        length_ns = self.audio_ns(samples)
        captured_ns = self._captured_ns("audio", media_ns, length_ns)
        with self.changed:
            if self._begun and not self.closing.is_set() and captured_ns + length_ns > self._begin_ns:
                self.give_audio(captured_ns, samples)
                self._given("audio", captured_ns + length_ns)

    def video(self, media_ns: int, picture: bytes | memoryview) -> None:
        captured_ns = self._captured_ns("video", media_ns, 0)
        with self.changed:
            if self._begun and not self.closing.is_set() and captured_ns >= self._begin_ns:
                self.give_video(captured_ns, picture)
                self._given("video", captured_ns + self.interval_ns * 9 // 10)

    def end(self, error: Exception | None = None) -> None:
        with self.changed:
            while not (self._begun or self.closing.is_set()):
                self.clock.wait(self.changed, None)
            self._ended = True
            self.changed.notify_all()
            if not self.closing.is_set():
                for kind in self.kinds:
                    self.give_end(kind, error)

    def flush(self, until_ns: int) -> None:
        now_ns = self.clock.now_ns()
        deadline_ns, until_ns = now_ns + LIVE_FLUSH_NS, min(until_ns, now_ns)
        with self.changed:
            while self._begun and not (self._ended or self.closing.is_set()):
                if min(self._given_until_ns.values()) > until_ns:
                    return
                if not self.clock.wait(self.changed, deadline_ns):
                    return

    def _given(self, kind: str, until_ns: int) -> None:
        self._given_until_ns[kind] = until_ns
        self.changed.notify_all()

    def _captured_ns(self, kind: str, media_ns: int, length_ns: int) -> int:
        """The capture time of media that arrived now (sound: when its last sample had); holds back what is
        early.
        """
        now_ns = self.clock.now_ns()
        arrived_ns = now_ns - length_ns
        back = media_ns < self._last_media_ns.get(kind, media_ns) - JUMP_NS
        self._last_media_ns[kind] = media_ns
        if back or not self._arrivals.is_set:
            self._arrivals.set(media_ns, arrived_ns, now_ns)
        early_ns = -self._arrivals.lateness_ns(media_ns, arrived_ns)
        if not self._begun:
            self._arrivals.settle(media_ns, arrived_ns, now_ns)
        elif early_ns > JUMP_NS:
            self._arrivals.set(media_ns, arrived_ns, now_ns)
        elif early_ns > 0:
            self._hold_back(now_ns + early_ns)
            self._arrivals.follow(media_ns, arrived_ns, now_ns)
        else:
            self._arrivals.follow(media_ns, arrived_ns, now_ns)
        return self._arrivals.captured_ns(media_ns)

    def _hold_back(self, until_ns: int) -> None:
        with self.changed:
            while self.clock.now_ns() < until_ns and not self.closing.is_set():
                self.clock.wait(self.changed, until_ns)
