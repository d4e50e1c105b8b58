"""Where a capture process's frames go: one sink per track, which hands them to the track's sender.

A source that could be read at any speed (``pace=max``) stands still while nobody wants its frames: what it would
bring meanwhile is not lost, it is not read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..wire import messages
from ..wire.sender import Block, FrameSender, Picture
from .source import AudioFormat, TrackInfo


class Demand:
    """Whether recordings want frames of a source now, for its threads to wait for. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._wanted = self._closed = False

    @property
    def number(self) -> int:
        """0 while nobody wants frames, else which time it is that somebody does."""
        return self._count if self._wanted else 0

    def set(self, wanted: bool) -> None:
        with self._changed:
            self._count += wanted and not self._wanted
            self._wanted = wanted
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody will want any more."""
        with self._changed:
            self._wanted, self._closed = False, True
            self._changed.notify_all()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until somebody wants frames; whether somebody does. ``False``: closed, or it took too long."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or self._closed, timeout_s)
            return self._wanted


class HoldingSender(FrameSender):
    """Sends the frames of a source that can stand still: ``send`` blocks while the track's recordings are all paused,
    and none of the media's time passes meanwhile. Frames are stamped with their positions in the media, so that what
    goes by for one recording while another is paused is cut out of that one.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind, when_full="wait")
        self._changed = threading.Condition(self._lock)

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def wants(self) -> bool:
        """Whether a recording of the track is not paused."""
        with self._lock:
            return any(route.window.current.until_ns is None for route in self._routes.values())

    def send(self, frame: Picture | Block) -> bool:
        """``False``: no recording of the track took it, and there is none now."""
        while True:
            with self._lock:
                if not self._routes:
                    return False
                currents = [(route, route.window.current) for route in self._routes.values()]
                wanting = [(route, interval) for route, interval in currents if interval.until_ns is None]
                if not wanting:
                    self._changed.wait()
                    continue
            taken = [self._offer_part(route, frame, interval, wait=True) for route, interval in wanting]
            self._write(self._forget_stored)
            if any(taken):
                return True

    def begin(self, description: messages.RouteDescription, from_ns: int, enabled: bool = True) -> None:
        with self._lock:
            super().begin(description, from_ns, enabled)
            self._changed.notify_all()

    def pause(self, route: str, at_ns: int) -> None:
        with self._lock:
            super().pause(route, at_ns)
            if route in self._routes:
                self._send_joined(self._routes[route])  # nothing will follow it for long

    def resume(self, route: str, at_ns: int) -> None:
        with self._lock:
            super().resume(route, at_ns)
            self._changed.notify_all()

    def end(self, route: str, at_ns: int) -> None:
        with self._lock:
            super().end(route, at_ns)
            self._changed.notify_all()

    def drop(self, route: str) -> None:
        with self._lock:
            super().drop(route)
            self._changed.notify_all()


class TrackSink:
    """Takes a source's frames for one track. See ``capture.source.Sink``."""

    def __init__(
        self,
        name: str,
        info: TrackInfo,
        sender: FrameSender,
        demand: Demand,
        on_ended: Callable[[str, Exception | None], None],
    ) -> None:
        self.name = name
        self.info = info
        self.sender = sender
        self._demand = demand
        self._on_ended = on_ended
        self._frame_bytes = 1
        if isinstance(info.format, AudioFormat):
            form = info.format
            sender.audio_format = (form.sample_format, form.sample_rate, form.channel_count)
            self._frame_bytes = form.frame_bytes

    def audio(self, captured_ns: int, samples: bytes | bytearray | memoryview) -> None:
        self._give(Block(captured_ns, samples, len(samples) // self._frame_bytes))

    def video(
        self,
        captured_ns: int,
        picture: bytes | bytearray | memoryview,
        pixel_format: str,
        width: int,
        height: int,
    ) -> None:
        self._give(Picture(captured_ns, picture, pixel_format, width, height))

    def count(self, cause: str, amount: int = 1) -> None:
        self.sender.count(cause, amount)

    def ended(self, error: Exception | None = None) -> None:
        self.sender.end_all(time.monotonic_ns())
        self._on_ended(self.name, error)

    def wait_wanted(self, timeout_s: float) -> bool:
        return self._demand.wait(timeout_s)

    def _give(self, frame: Picture | Block) -> None:
        self.sender.send(frame)


class HoldingSink(TrackSink):
    """That of a source that stands still while nobody wants its frames."""

    sender: HoldingSender

    def _give(self, frame: Picture | Block) -> None:
        while True:
            number = self._demand.number
            if self.sender.send(frame) or self.sender.closed:
                return
            # No recording of this track took it. While others go on without this track, it goes by; a recording
            # that began or ended meanwhile makes it a frame for the next one.
            if number and number == self._demand.number:
                return
            if not self._demand.wait():
                return
