"""Delivery of what comes when it comes: at once."""

from collections import deque
from collections.abc import Mapping

from ..common.limits import PREROLL_BYTES_MAX
from ..common.packet_limits import CATCH_UP_NS, CATCH_UP_NS_MAX, PREROLL_PACKETS_MAX
from ..wire.frames import Packet
from .clock import ArrivalClock
from .delivery import Clock, Delivery
from .limits import ENCODED_PROBE_NS, JUMP_NS, LATE_NS, LATE_WINDOW_NS, LIVE_FLUSH_NS, PROBE_NS
from .source import PacketFormat, Sink, TrackInfo


class Direct(Delivery):
    """Delivers media with the capture time that it comes with, from ``begin`` on. ``flush`` waits, at most
    ``flush_limit_ns``, for what of that time may still be under way: of each track, the block or picture after it. (A
    picture is not begun sooner than nine tenths of an interval after the one before.)
    """

    is_live = True

    def __init__(
        self, tracks: list[TrackInfo], clock: Clock | None = None, flush_limit_ns: int = LIVE_FLUSH_NS
    ) -> None:
        super().__init__(tracks, clock)
        self.flush_limit_ns = flush_limit_ns
        self.begin_ns: int | None = None
        """``None`` until ``begin``."""
        self.is_over = False
        self.error: Exception | None = None
        """With which it ended."""
        self._given_until_ns = dict.fromkeys(self.formats, 0)

    def begin(self, sinks: Mapping[str, Sink]) -> None:
        with self.changed:
            super().begin(sinks)
            self.begin_ns = self.clock.now_ns()
            if self.is_over:
                super().end(self.error)

    def audio(self, captured_ns: int, samples: bytes) -> None:
        until_ns = captured_ns + self.audio_ns(samples)
        with self.changed:
            if self._is_wanted(until_ns - 1):
                self.give_audio(captured_ns, samples)
                self._given("audio", until_ns)

    def video(self, captured_ns: int, picture: bytes | memoryview) -> None:
        with self.changed:
            if self._is_wanted(captured_ns):
                self.give_video(captured_ns, picture)
                self._given("video", captured_ns + self.interval_ns * 9 // 10)

    def end(self, error: Exception | None = None) -> None:
        """The first error counts; an end before ``begin`` goes on then."""
        with self.changed:
            if not self.is_over:
                self.is_over, self.error = True, error
                super().end(error)
            self.changed.notify_all()

    def flush(self, until_ns: int) -> None:
        now_ns = self.clock.now_ns()
        until_ns = min(until_ns, now_ns)
        with self.changed:
            self.wait(
                lambda: self.is_over or min(self._given_until_ns.values()) > until_ns, now_ns + self.flush_limit_ns
            )

    def _is_wanted(self, captured_ns: int) -> bool:
        is_open = not (self.is_over or self.closing.is_set())
        return is_open and self.begin_ns is not None and captured_ns >= self.begin_ns

    def _given(self, kind: str, until_ns: int) -> None:
        self._given_until_ns[kind] = max(self._given_until_ns[kind], until_ns)
        self.changed.notify_all()


class Live(Direct):
    """Network streams, with capture times on a clock fitted to arrival. It is fitted to the earliest arrivals as long
    as nobody records (so neither network jitter nor what was buffered while connecting moves it) and follows the
    sender's clock slowly. A ``flush`` usually takes as long as the stream's own jitter.

    What had piled up while connecting is timed by its end; of a track that comes encoded it goes on then, for a
    recording may begin with it, and else not.
    """

    def __init__(self, tracks: list[TrackInfo], clock: Clock | None = None) -> None:
        super().__init__(tracks, clock)
        self._arrivals = ArrivalClock(gap_ns=LATE_NS, gap_window_ns=LATE_WINDOW_NS)
        self._last_media_ns: dict[str, int] = {}
        self._has_jumped = False
        self._early: deque[tuple[str, Packet]] = deque()
        self._early_bytes = 0
        self._catches_up = True
        encoded = any(isinstance(form, PacketFormat) for form in self.formats.values())
        self._piled_up_ns, self._piled_up_ns_max = 0, ENCODED_PROBE_NS if encoded else PROBE_NS
        self._read_ns: int | None = None  # when the newest of what had piled up was read

    def audio(self, media_ns: int, samples: bytes) -> None:
        captured_ns = self._captured_ns("audio", media_ns, self.audio_ns(samples))
        if not self._catches_up:
            super().audio(captured_ns, samples)

    def video(self, media_ns: int, picture: bytes | memoryview) -> None:
        captured_ns = self._captured_ns("video", media_ns, 0)
        if not self._catches_up:
            super().video(captured_ns, picture)

    def packet(self, kind: str, packet: Packet) -> None:
        captured_ns = self._captured_ns(kind, packet.captured_ns, packet.duration_ns if kind == "audio" else 0)
        with self.changed:
            if self._catches_up:
                self._early.append((kind, packet))
                self._early_bytes += len(packet.payload)
                while len(self._early) > PREROLL_PACKETS_MAX or self._early_bytes > PREROLL_BYTES_MAX:
                    self._early_bytes -= len(self._early.popleft()[1].payload)
                return
            self._give_early()
            self._go_on(kind, captured_ns, packet)

    def catch_up(self) -> None:
        with self.changed:
            while self._catches_up and self.begin_ns is not None and not (self.is_over or self.closing.is_set()):
                now_ns, until_ns = self.clock.now_ns(), self.begin_ns + CATCH_UP_NS_MAX
                if self._read_ns is not None:
                    until_ns = min(self._read_ns + CATCH_UP_NS, until_ns)
                if now_ns < until_ns:
                    self.clock.wait(self.changed, until_ns)
                else:
                    self._catches_up = False
            self._give_early()

    def _give_early(self) -> None:
        while self._early and self.begin_ns is not None:
            kind, packet = self._early.popleft()
            self._go_on(kind, self._arrivals.captured_ns(packet.captured_ns), packet)

    def jumped(self, kind: str) -> None:
        super().jumped(kind)
        self._has_jumped = True

    def _go_on(self, kind: str, captured_ns: int, packet: Packet) -> None:
        if not (self.is_over or self.closing.is_set()):
            self.give_packet(kind, captured_ns, packet)
            lasts_ns = packet.duration_ns if kind == "audio" else self.interval_ns * 9 // 10
            self._given(kind, captured_ns + lasts_ns)

    def end(self, error: Exception | None = None) -> None:
        with self.changed:
            self._give_early()
            super().end(error)

    def _has_piled_up(self, early_ns: int) -> bool:
        """Whether media that is so early came late before, and so the clock is to be set by it. While it is recorded it
        is held back instead, for times do not go back, and so is what a server sends without regard to time.
        """
        is_old = self._catches_up or (early_ns > 0 and not any(sink.is_recorded for sink in self.sinks.values()))
        if is_old and self._piled_up_ns + early_ns <= self._piled_up_ns_max:
            self._piled_up_ns += max(early_ns, 0)
            return True
        self._catches_up = False
        return False

    def _moved(self, by_ns: int) -> None:
        """Packets that are kept for a recording to begin with move with the clock: their distances stay."""
        for kind, sink in self.sinks.items():
            if isinstance(self.formats[kind], PacketFormat):
                sink.moved(by_ns)

    def _captured_ns(self, kind: str, media_ns: int, length_ns: int) -> int:
        """The capture time of media that arrived now (sound: when its last sample had); holds back what is
        early.
        """
        now_ns = self.clock.now_ns()
        arrived_ns = now_ns - length_ns
        back = media_ns < self._last_media_ns.get(kind, media_ns) - JUMP_NS
        self._last_media_ns[kind] = media_ns
        if back or self._has_jumped or not self._arrivals.is_set:
            self._has_jumped = False
            self._arrivals.set(media_ns, arrived_ns, now_ns)
        if self._catches_up and self.begin_ns is not None:
            is_apart = self._read_ns is not None and now_ns - self._read_ns > CATCH_UP_NS
            self._catches_up = not is_apart and now_ns - self.begin_ns < CATCH_UP_NS_MAX
        self._read_ns = now_ns
        early_ns = -self._arrivals.lateness_ns(media_ns, arrived_ns)
        if self.begin_ns is None or self._has_piled_up(early_ns):
            before_ns = self._arrivals.captured_ns(media_ns)
            self._arrivals.settle(media_ns, arrived_ns, now_ns)
            if moved_ns := self._arrivals.captured_ns(media_ns) - before_ns:
                self._moved(moved_ns)
        elif early_ns > JUMP_NS:
            self._arrivals.set(media_ns, arrived_ns, now_ns)
        else:
            on_time_ns = now_ns + early_ns
            with self.changed:
                self.wait(lambda: self.clock.now_ns() >= on_time_ns, on_time_ns)
            self._arrivals.follow(media_ns, arrived_ns, now_ns)
        return self._arrivals.captured_ns(media_ns)
