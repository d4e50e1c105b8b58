"""The sending end of a device's frames: a recording gets what was captured in its window, whenever that comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from ..common.limits import AUDIO_HOLD_NS, PREROLL_BYTES_MAX, PREROLL_NS, SOUND_PREROLL_NS, S
from ..common.media import AudioFormat
from . import messages
from .flow import Interval
from .frames import Block, F, Picture
from .pictures import PictureRoute, PictureSender
from .route import Answer, Beginning, Route
from .sender import FrameSender
from .sound import SoundRoute, SoundSender


class CapturedRoute(Route[F]):
    """Gets whole frames by when they were captured."""

    exact = True

    def wanted(self, frame: F) -> Sequence[tuple[F, Interval]]:
        interval = self.window.interval_of(frame.captured_ns)
        return () if interval is None else ((frame, interval),)


class _CapturedPictureRoute(CapturedRoute[Picture], PictureRoute):
    """Pictures that came after a pause or stop, but before its command, are left out by the worker."""


class _CapturedSoundRoute(SoundRoute):
    """Blocks wait until they are old enough to be cut no more."""

    exact = True

    def __init__(self, form: AudioFormat, beginning: Beginning) -> None:
        super().__init__(form, beginning)
        self._held: deque[tuple[Block, int]] = deque()  # each with how many of its samples have gone already

    def wanted(self, block: Block) -> Sequence[tuple[Block, Interval]]:
        held = self._held
        held.append((block, 0))
        old_ns = self._end_ns(block) - AUDIO_HOLD_NS
        parts: list[tuple[Block, Interval]] = []
        while held and self._end_ns(held[0][0]) <= old_ns:
            oldest, begin = held.popleft()
            parts += self._parts(oldest, begin, oldest.sample_count)
        return parts

    def _flush(self, until_ns: int = 0) -> None:
        while self._held:
            block, begin = self._held[0]
            until = (until_ns - block.captured_ns) * self._form.sample_rate // S + 1
            end = max(begin, min(until, block.sample_count))
            for part, interval in self._parts(block, begin, end):
                if self.take(part, interval) is Answer.FULL:
                    self.drop("queue_full", part.units)
            if end < block.sample_count:
                self._held[0] = block, end
                break  # by their order, not by their stamps: these may overlap
            self._held.popleft()
        super()._flush()

    def _end_ns(self, block: Block) -> int:
        return block.captured_ns + self._form.duration_ns(block.sample_count)

    def _parts(self, block: Block, begin: int, end: int) -> list[tuple[Block, Interval]]:
        """What the recording wants of these samples of a block, each part with its interval."""
        parts = []
        wanted = self.window.cut(block.captured_ns, end, self._form.sample_rate, begin)
        for first, last, at_ns, interval in wanted:
            payload = block.payload
            if (first, last) != (0, block.sample_count):
                payload = bytes(memoryview(payload)[first * self._frame_bytes : last * self._frame_bytes])
            parts.append((Block(at_ns, payload, last - first), interval))
        return parts


_LET_GO_MAX = 500
"""Frames of which it is known that a recording whose start took too long has missed them: ten seconds at 50 a second.
Older ones are not counted."""


class CapturedSender(FrameSender[F]):
    """Has kept what came lately, for recordings whose beginning is still on its way here."""

    def _lately(self) -> Iterable[F]:
        raise NotImplementedError

    def _missed(self, from_ns: int) -> int:
        """How much was captured from then on and is not kept any more."""
        return 0

    def begin(self, description: messages.RouteDescription, from_ns: int, enabled: bool = True) -> None:
        with self._writes.lock:
            super().begin(description, from_ns, enabled)
            begun = [route for route in self._routes.values() if route.name == description.route]
            if missed := self._missed(from_ns):
                for route in begun:
                    route.drop("start_late", missed)
            for frame in self._lately():
                self._give(begun, frame)


class _Captured(CapturedSender[F]):
    _preroll_ns = PREROLL_NS

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._preroll: deque[F] = deque()
        self._preroll_bytes = 0
        self._let_go: deque[tuple[int, int]] = deque(maxlen=_LET_GO_MAX)  # when captured, and units

    def _lately(self) -> Iterable[F]:
        return self._preroll

    def _missed(self, from_ns: int) -> int:
        return sum(units for captured_ns, units in self._let_go if captured_ns >= from_ns)

    def send(self, frame: F) -> bool:
        with self._writes.lock:
            self._preroll.append(frame)
            self._preroll_bytes += len(frame.payload)
            oldest_ns = frame.captured_ns - self._preroll_ns
            while self._preroll_bytes > PREROLL_BYTES_MAX or self._preroll[0].captured_ns < oldest_ns:
                oldest = self._preroll.popleft()
                self._preroll_bytes -= len(oldest.payload)
                self._let_go.append((oldest.captured_ns, oldest.units))
            return super().send(frame)


class CapturedSoundSender(_Captured[Block], SoundSender):
    """Sends the sound of a device."""

    _preroll_ns = SOUND_PREROLL_NS
    _route_class = _CapturedSoundRoute


class CapturedPictureSender(_Captured[Picture], PictureSender):
    """Sends the pictures of a device."""

    _route_class = _CapturedPictureRoute
