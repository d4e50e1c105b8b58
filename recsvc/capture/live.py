"""Delivery of live network streams: at once, with capture times on a clock fitted to arrival."""

import threading
import time
from collections.abc import Mapping

from recsvc.capture.clock import ArrivalClock
from recsvc.capture.delivery import SECOND_NS, Base
from recsvc.capture.source import Sink, TrackInfo

# A flush waits for media that was captured but has not arrived: MPEG-TS collects sound for up to 0.35 s.
LIVE_FLUSH_S = 0.5
# A stream this far ahead of its clock has jumped; below, it is held back (a server sending faster than time).
JUMP_NS = SECOND_NS
# Media that stays this late for a whole window has a new clock (the sender paused).
LATE_NS, LATE_WINDOW_NS = SECOND_NS // 2, 10 * SECOND_NS
# How often an ended stream that was never started looks whether it was closed.
BEGUN_POLL_S = 0.1


class Live(Base):
    """Delivers on arrival. The clock is fitted to the earliest arrivals before ``begin`` (so neither network
    jitter nor what was buffered while connecting moves it) and follows the sender's clock slowly from
    then on. ``flush`` waits for media of that time that is still under way, at most ``LIVE_FLUSH_S``;
    usually the wait is the stream's own jitter.
    """

    def __init__(self, tracks: list[TrackInfo]) -> None:
        super().__init__(tracks)
        self._changed = threading.Condition()
        self._begun = False
        self._ended = False
        self._clock = ArrivalClock(gap_ns=LATE_NS, gap_window_ns=LATE_WINDOW_NS)
        self._last_media_ns: dict[str, int] = {}
        self._begin_ns = 0
        self._given_until_ns = dict.fromkeys(self.kinds, 0)

    def begin(self, sinks: Mapping[str, Sink]) -> None:
        with self._changed:
            self.sinks, self._begun, self._begin_ns = sinks, True, time.monotonic_ns()

    def audio(self, media_ns: int, samples: bytes) -> None:
        length_ns = self.audio_ns(samples)
        captured_ns = self._captured_ns("audio", media_ns, length_ns)
        with self._changed:
            if self._begun and not self.closing.is_set() and captured_ns + length_ns > self._begin_ns:
                self.give_audio(captured_ns, samples)
                self._given("audio", captured_ns + length_ns)

    def video(self, media_ns: int, picture: bytes | memoryview) -> None:
        captured_ns = self._captured_ns("video", media_ns, 0)
        with self._changed:
            if self._begun and not self.closing.is_set() and captured_ns >= self._begin_ns:
                self.give_video(captured_ns, picture)
                self._given("video", captured_ns + self.interval_ns * 9 // 10)

    def end(self, error: Exception | None = None) -> None:
        while not self._begun and not self.closing.wait(BEGUN_POLL_S):
            pass
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            if not self.closing.is_set():
                for kind in self.kinds:
                    self.give_end(kind, error)

    def flush(self, until_ns: int) -> None:
        deadline_s = time.monotonic() + LIVE_FLUSH_S
        until_ns = min(until_ns, time.monotonic_ns())
        with self._changed:
            while self._begun and not (self._ended or self.closing.is_set()):
                if min(self._given_until_ns.values()) > until_ns:
                    return
                if not self._changed.wait(deadline_s - time.monotonic()):
                    return

    def close(self) -> None:
        self.closing.set()
        with self._changed:
            self._changed.notify_all()

    def _given(self, kind: str, until_ns: int) -> None:
        self._given_until_ns[kind] = until_ns
        self._changed.notify_all()

    def _captured_ns(self, kind: str, media_ns: int, length_ns: int) -> int:
        """The capture time of media that arrived now (sound: when its last sample had); holds back what is
        early.
        """
        now_ns = time.monotonic_ns()
        arrived_ns = now_ns - length_ns
        back = media_ns < self._last_media_ns.get(kind, media_ns) - JUMP_NS
        self._last_media_ns[kind] = media_ns
        if back or not self._clock.is_set:
            self._clock.set(media_ns, arrived_ns, now_ns)
        early_ns = -self._clock.lateness_ns(media_ns, arrived_ns)
        if not self._begun:
            self._clock.settle(media_ns, arrived_ns, now_ns)
        elif early_ns > JUMP_NS:
            self._clock.set(media_ns, arrived_ns, now_ns)
        elif early_ns > 0:
            self.closing.wait(early_ns / SECOND_NS)
            self._clock.follow(media_ns, arrived_ns, now_ns)
        else:
            self._clock.follow(media_ns, arrived_ns, now_ns)
        return self._clock.captured_ns(media_ns)
