"""Where a capture process's frames go: one sink per track, which hands them to the track's sender.

A source that could be read at any speed (``pace=max``) stands still while nobody wants its frames: what it would
bring meanwhile is not lost, it is not read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ..wire.captured import CapturedPictureSender, CapturedSoundSender
from ..wire.captured_packets import CapturedPacketSender, HeldPacketSender, Recent
from ..wire.frames import Block, Packet, Picture
from ..wire.pictures import PictureSender
from ..wire.sender import FrameSender
from ..wire.sound import SoundSender
from .source import AudioFormat, PacketFormat, TrackInfo, VideoFormat

Format = AudioFormat | VideoFormat | PacketFormat


class Demand:
    """Whether recordings want frames of a source now, for its threads to wait for. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.changes = 0
        self.wanted = self._closed = False

    def set(self, wanted: bool) -> None:
        """To be called after each change of a recording, too."""
        with self._changed:
            self.changes += 1
            self.wanted = wanted
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody will want any more."""
        with self._changed:
            self.wanted, self._closed = False, True
            self._changed.notify_all()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until somebody wants frames; whether somebody does. ``False``: closed, or it took too long."""
        with self._changed:
            self._changed.wait_for(lambda: self.wanted or self._closed, timeout_s)
            return self.wanted

    def wait_change(self, changes: int) -> bool:
        """Until there have been more changes than these; ``False``: closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.changes != changes or self._closed)
            return not self._closed


class TrackSink:
    """Takes a source's frames for one track. See ``capture.source.Sink``."""

    def __init__(
        self,
        name: str,
        info: TrackInfo,
        demand: Demand,
        on_ended: Callable[[str, Exception | None], None],
        beside: TrackSink | None = None,
    ) -> None:
        """``beside``: that of the pictures with which this track's packets come."""
        self.name = name
        self.info = info
        self.sender = self._make_sender(info.format, beside)
        self._demand = demand
        self._on_ended = on_ended
        self._frame_bytes = info.format.frame_bytes if isinstance(info.format, AudioFormat) else 0

    def _make_sender(self, form: Format, beside: TrackSink | None) -> FrameSender[Any]:
        if isinstance(form, PacketFormat):
            of_pictures = self.info.kind == "video"
            recent = Recent(form.preroll, of_pictures=of_pictures)
            if beside is not None and isinstance(beside.sender, CapturedPacketSender):
                recent = Recent(beside.preroll, beside.sender.recent, of_pictures=of_pictures)
            return CapturedPacketSender(recent, of_pictures=of_pictures)
        return CapturedSoundSender(form) if isinstance(form, AudioFormat) else CapturedPictureSender()

    @property
    def preroll(self) -> float:
        """How many seconds before its start a recording may begin."""
        return self.info.format.preroll if isinstance(self.info.format, PacketFormat) else 0.0

    def begin_ns(self, from_ns: int) -> int:
        """Where a recording from ``from_ns`` on begins: at a key frame before."""
        return self.sender.begin_ns(from_ns) if isinstance(self.sender, CapturedPacketSender) else from_ns

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

    def packet(self, packet: Packet) -> None:
        self._give(packet)

    def moved(self, by_ns: int) -> None:
        if isinstance(self.sender, CapturedPacketSender):
            self.sender.moved(by_ns)

    def count(self, cause: str, amount: int = 1) -> None:
        self.sender.count(cause, amount)

    def ended(self, error: Exception | None = None) -> None:
        self.sender.end_all(time.monotonic_ns())
        self._on_ended(self.name, error)

    @property
    def is_recorded(self) -> bool:
        return self.sender.recorded

    def wait_wanted(self, timeout_s: float) -> bool:
        return self._demand.wait(timeout_s)

    def _give(self, frame: Picture | Block | Packet) -> None:
        self.sender.send(frame)


class HoldingSink(TrackSink):
    """That of a source that stands still while nobody wants its frames: a call waits while the track's recordings are
    all paused, and none of the media's time passes meanwhile. Frames are stamped with their positions in the media, so
    that what goes by for one recording while another is paused is cut out of that one.
    """

    def _make_sender(self, form: Format, beside: TrackSink | None) -> FrameSender[Any]:
        if isinstance(form, PacketFormat):
            return HeldPacketSender("wait")
        return SoundSender(form, "wait") if isinstance(form, AudioFormat) else PictureSender("wait")

    def _give(self, frame: Picture | Block | Packet) -> None:
        while True:
            changes = self._demand.changes
            if self.sender.send(frame) or self.sender.closed:
                return
            # No recording of this track took it. While others go on without this track, it goes by; where one is
            # paused, or nobody records, it is a frame for what comes next.
            if self._demand.wanted and not self.sender.recorded:
                return
            if not self._demand.wait_change(changes):
                return
