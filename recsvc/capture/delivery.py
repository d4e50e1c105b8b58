"""When media goes to the sinks, and with which capture time.

The reader of an input calls ``audio``, ``video`` and ``end`` of one of these with media times (ns since the
input's beginning); they know nothing of FFmpeg.

- ``Playout``: an input that could be read at any speed, in real time: ``start + media time``, delivered when
  due.
- ``Unpaced``: the same as fast as the sinks take it.
- ``live.Direct``, ``live.Live``: media that comes when it comes.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ..common.limits import S
from ..common.packet_limits import CATCH_UP_NS_MAX, PACKET_MESSAGES_NS
from ..wire.frames import Packet
from .limits import BLOCK_NS, PLAYOUT_AHEAD_NS, PLAYOUT_FLUSH_NS, WANTED_POLL_NS
from .source import AudioFormat, PacketFormat, Sink, TrackInfo

log = logging.getLogger("recsvc")


class Clock:
    """The time and the waiting of a delivery; tests have one that they move."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wait(self, changed: threading.Condition, until_ns: int | None) -> bool:
        """Waits, at most until then, for ``changed``, which the caller holds; ``False`` when the time was over."""
        return changed.wait(None if until_ns is None else (until_ns - time.monotonic_ns()) / S)


class Delivery:
    """The sinks by kind, their formats, and closing. Calls may block; they return early once ``close`` was called."""

    is_live = False
    """Whether media comes when it comes, with the times of a counter that began anywhere."""

    def __init__(self, tracks: list[TrackInfo], clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.changed = threading.Condition()
        self.closing = threading.Event()
        self.sinks: Mapping[str, Sink] = {}
        self.formats: dict[str, Any] = {track.kind: track.format for track in tracks}
        self.interval_ns = int(S / (getattr(self.formats.get("video"), "frame_rate", None) or 30))
        self._over: set[str] = set()

    def begin(self, sinks: Mapping[str, Sink]) -> None:
        """Media goes to these from now on."""
        self.sinks = sinks

    def audio(self, media_ns: int, samples: bytes) -> None:
        raise NotImplementedError

    def video(self, media_ns: int, picture: bytes | memoryview) -> None:
        raise NotImplementedError

    def packet(self, kind: str, packet: Packet) -> None:
        """One of a track that comes encoded; its ``captured_ns`` is the media time."""
        raise NotImplementedError

    def jumped(self, kind: str) -> None:
        """The stamps of this track have jumped before the packet that comes next, and go on from there."""
        self.give_count(kind, "jump", 1)

    def end(self, error: Exception | None = None) -> None:
        """Nothing follows. Each track ends once."""
        if not self.closing.is_set():
            for kind in self.formats:
                self.give_end(kind, error)

    def flush(self, until_ns: int) -> None:
        """As ``Source.flush``."""

    def catch_up(self) -> None:
        """As ``Source.catch_up``."""

    def close(self) -> None:
        """Wakes all threads that wait."""
        self.closing.set()
        with self.changed:
            self.changed.notify_all()

    def wait(self, is_done: Callable[[], bool], until_ns: int) -> None:
        """Waits, with ``changed`` held, until it is done, the delivery is closed or the time is over."""
        while not (self.closing.is_set() or is_done()) and self.clock.wait(self.changed, until_ns):
            pass

    def give_audio(self, captured_ns: int, samples: bytes | memoryview) -> None:
        if (sink := self.sinks.get("audio")) is not None:
            sink.audio(captured_ns, samples)

    def give_video(self, captured_ns: int, picture: bytes | memoryview) -> None:
        if (sink := self.sinks.get("video")) is not None:
            form = self.formats["video"]
            sink.video(captured_ns, picture, form.pixel_format, form.width, form.height)

    def give_packet(self, kind: str, captured_ns: int, packet: Packet) -> None:
        if (sink := self.sinks.get(kind)) is not None:
            sink.packet(packet._replace(captured_ns=captured_ns))

    def give_count(self, kind: str, cause: str, amount: int) -> None:
        if amount and (sink := self.sinks.get(kind)) is not None:
            sink.count(cause, amount)

    def give_end(self, kind: str, error: Exception | None) -> None:
        if kind not in self._over and (sink := self.sinks.get(kind)) is not None:
            self._over.add(kind)
            sink.ended(error)

    def audio_ns(self, samples: bytes | memoryview) -> int:
        """How long these samples last."""
        form: AudioFormat = self.formats["audio"]
        return form.duration_ns(len(samples) // form.frame_bytes)


class Playout(Delivery):
    """Real time. ``flush`` delivers at once what is due, sound cut at the sample; it waits at most
    ``PLAYOUT_FLUSH_NS``, and only when the reader is late.
    """

    def __init__(self, tracks: list[TrackInfo], clock: Clock | None = None) -> None:
        super().__init__(tracks, clock)
        self._waiting: dict[str, deque[tuple[int, Any]]] = {kind: deque() for kind in self.formats}
        """Capture times and media: memory, of a track that comes encoded a packet."""
        self._packets = [kind for kind, form in self.formats.items() if isinstance(form, PacketFormat)]
        self._offset = 0
        """Samples of the first block of sound that were delivered."""
        self._start_ns = 0
        self._read_until_ns = 0
        self._is_read = False  # whether anything was
        self._end_ns: dict[str, int] = {}
        """When each kind that has not ended yet is over."""
        self._error: Exception | None = None
        self._complete = False
        self._failure: Exception | None = None
        """A sink failed with this: nothing is delivered any more."""
        self._thread: threading.Thread | None = None

    def begin(self, sinks: Mapping[str, Sink]) -> None:
        super().begin(sinks)
        self._start_ns = self._read_until_ns = self.clock.now_ns()
        self._end_ns = dict.fromkeys(self.formats, self._start_ns)
        self._thread = threading.Thread(target=self._run, name="capture playout", daemon=True)
        self._thread.start()

    def audio(self, media_ns: int, samples: bytes) -> None:
        self._add("audio", media_ns, self.audio_ns(samples), memoryview(samples))

    def video(self, media_ns: int, picture: bytes | memoryview) -> None:
        self._add("video", media_ns, self.interval_ns, memoryview(picture))

    def packet(self, kind: str, packet: Packet) -> None:
        lasts_ns = packet.duration_ns or (self.interval_ns if kind == "video" else 0)
        self._add(kind, packet.captured_ns, max(packet.offset_ns, 0) + lasts_ns, packet)

    def end(self, error: Exception | None = None) -> None:
        with self.changed:
            self._complete, self._error = True, error
            self.changed.notify_all()

    def catch_up(self) -> None:
        if not self._packets:
            return
        now_ns = self.clock.now_ns()
        with self.changed:  # where the file was opened just now, its first packet may be on its way still
            self.wait(lambda: self._is_read or self._complete or self._failure is not None, now_ns + CATCH_UP_NS_MAX)
            if not (self._failure or self.closing.is_set()):
                self._deliver(now_ns, partial=False)

    def flush(self, until_ns: int) -> None:
        now_ns = self.clock.now_ns()
        until_ns = min(until_ns, now_ns)
        with self.changed:
            self.wait(
                lambda: self._complete or self._failure is not None or self._read_until_ns > until_ns,
                now_ns + PLAYOUT_FLUSH_NS,
            )
            if not (self._failure or self.closing.is_set()):
                self._deliver(until_ns, partial=True)

    def close(self) -> None:
        super().close()
        if self._thread not in (None, threading.current_thread()):
            self._thread.join()  # The thread waits for nothing but the condition and the call of a sink.

    def _add(self, kind: str, media_ns: int, length_ns: int, media: memoryview | Packet) -> None:
        """Waits until this media is near."""
        captured_ns = self._start_ns + media_ns
        room_ns = captured_ns - PLAYOUT_AHEAD_NS
        with self.changed:
            if kind in self._packets and self.clock.now_ns() < room_ns:
                room_ns += PACKET_MESSAGES_NS  # then there is room for the next ones, too
            self.wait(lambda: self._failure is not None or self.clock.now_ns() >= room_ns, room_ns)
            if self._failure is not None:
                raise self._failure  # The reader need not go on.
            self._waiting[kind].append((captured_ns, media))
            self._read_until_ns, self._is_read = max(self._read_until_ns, captured_ns), True
            self._end_ns[kind] = max(self._end_ns[kind], captured_ns + length_ns)
            self.changed.notify_all()

    def _run(self) -> None:
        try:
            with self.changed:
                while not self.closing.is_set():
                    self._deliver(self.clock.now_ns(), partial=False)
                    if not self._end_ns:
                        return
                    due_ns = self._due_ns()
                    if due_ns is None or due_ns > self.clock.now_ns():
                        self.clock.wait(self.changed, due_ns)
        except Exception as error:
            log.exception("the playout stopped, a sink failed")
            with self.changed:
                self._failure = error
                self.changed.notify_all()
                super().end(error)

    def _due_ns(self) -> int | None:
        due: list[int] = []
        for kind, waiting in self._waiting.items():
            if waiting:
                captured_ns, media = waiting[0]
                if kind == "audio" and kind not in self._packets:  # A block, or the rest, is due at its end.
                    block_ns = self.formats["audio"].duration_ns(self._offset) + BLOCK_NS
                    captured_ns += min(block_ns, self.audio_ns(media))
                elif kind in self._packets:  # they go together, see ``packet_limits``
                    captured_ns -= captured_ns % -PACKET_MESSAGES_NS
                due.append(captured_ns)
            elif self._complete and kind in self._end_ns:
                due.append(self._end_ns[kind])
        return min(due, default=None)

    def _deliver(self, until_ns: int, *, partial: bool) -> None:
        for kind in self._packets:
            packets = self._waiting[kind]
            while packets and packets[0][0] <= until_ns:
                self.give_packet(kind, *packets.popleft())
        pictures = self._waiting.get("video") if "video" not in self._packets else None
        while pictures and pictures[0][0] <= until_ns:
            self.give_video(*pictures.popleft())
        sound = self._waiting.get("audio") if "audio" not in self._packets else None
        while sound and self._deliver_sound(*sound[0], until_ns, partial):
            sound.popleft()
            self._offset = 0
        if self._complete:
            for kind, end_ns in list(self._end_ns.items()):
                if end_ns <= until_ns and not self._waiting[kind]:
                    del self._end_ns[kind]
                    self.give_end(kind, self._error)

    def _deliver_sound(self, base_ns: int, samples: memoryview, until_ns: int, partial: bool) -> bool:
        """Delivers what is due of the first block; whether that was all of it."""
        form: AudioFormat = self.formats["audio"]
        size, rate, offset = form.frame_bytes, form.sample_rate, self._offset
        total = len(samples) // size
        due = min(total, max(0, -(-(until_ns - base_ns + 1) * rate // S)))
        whole = due == total or (due - offset) * S >= BLOCK_NS * rate
        if due > offset and (whole or partial):
            self._offset = due
            self.give_audio(base_ns + form.duration_ns(offset), samples[offset * size : due * size])
        return self._offset >= total


class Unpaced(Delivery):
    """As fast as the sinks take it, from the moment a recording wants frames. ``flush`` returns at once:
    what has been captured is what has been delivered.
    """

    _start_ns: int | None = None

    def audio(self, media_ns: int, samples: bytes) -> None:
        if self._wanted():
            self.give_audio((self._start_ns or 0) + media_ns, samples)

    def video(self, media_ns: int, picture: bytes | memoryview) -> None:
        if self._wanted():
            self.give_video((self._start_ns or 0) + media_ns, picture)

    def packet(self, kind: str, packet: Packet) -> None:
        if self._wanted():
            self.give_packet(kind, (self._start_ns or 0) + packet.captured_ns, packet)

    def end(self, error: Exception | None = None) -> None:
        if self._wanted():
            super().end(error)

    def _wanted(self) -> bool:
        """Waits until a recording wants frames, which is media time 0; ``False`` when closed before."""
        while self._start_ns is None and not self.closing.is_set():
            sinks = list(self.sinks.values())
            if not sinks or any(sink.wait_wanted(WANTED_POLL_NS / S / len(sinks)) for sink in sinks):
                self._start_ns = self.clock.now_ns()
        return not self.closing.is_set()
