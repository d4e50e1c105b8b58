"""Sound at the sending end: blocks that follow each other go in one message.

A message ends where a line of the clock is reached, which other recordings of its worker have too: so what is sent for
several comes there at once, and one wake-up serves them. Other workers have their lines between these.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..common.limits import AUDIO_MESSAGE_NS, S
from ..common.media import AudioFormat
from ..common.service_limits import AUDIO_MESSAGE_MANY_NS
from . import messages
from .flow import Interval
from .frames import Block
from .route import Answer, Beginning, Route
from .sender import FrameSender

_LOOK_MESSAGES = 16  # after so many it is looked how long they are to be, whatever credit there is
_JOINT_NS = 2_000_000  # blocks whose stamps are this near to where the last one ended follow it; see AUDIO_GAP_NS


class _Joined:
    """Sound that has been taken and waits for more, to go in one message. ``payloads`` is what counts: the totals are
    for decisions only, and may lag where a write was interrupted."""

    __slots__ = ("captured_ns", "end_ns", "interval", "muted", "payloads", "sample_count", "size", "until_ns")

    def __init__(self, block: Block, interval: Interval, muted: bool, size: int, message_ns: int, line_ns: int) -> None:
        """Lines are ``message_ns`` apart, and one stands at ``line_ns``."""
        self.captured_ns = self.end_ns = block.captured_ns
        self.interval = interval
        self.muted = muted
        self.payloads: list[Any] = [block.payload]
        self.sample_count = block.sample_count
        self.size = size
        self.until_ns = block.captured_ns + message_ns - (block.captured_ns - line_ns) % message_ns  # the next line

    def reaches(self, sample_rate: int) -> bool:
        """Whether it reaches the next line, now that something was added."""
        self.end_ns = self.captured_ns + self.sample_count * S // sample_rate
        return self.end_ns >= self.until_ns


class SoundRoute(Route[Block]):
    """One recording of a track of sound."""

    def __init__(self, form: AudioFormat, beginning: Beginning) -> None:
        super().__init__(beginning)
        self._form = form
        self._frame_bytes, self._sample_rate = form.frame_bytes, form.sample_rate
        self._message_ns, self._line_ns = AUDIO_MESSAGE_NS, 0
        self._header = messages.AudioFrame(**self._common, **asdict(form), sample_count=0)
        self._joined: _Joined | None = None

    def _take(self, block: Block, interval: Interval, muted: bool, size: int) -> Answer:
        joined = self._joined
        if joined is not None:
            off_ns = block.captured_ns - joined.end_ns
            follows = -_JOINT_NS <= off_ns <= _JOINT_NS and interval is joined.interval and muted == joined.muted
            if follows and self.balance.allows(joined.size + size):
                if self.over:  # looked at last, here and below: no handler runs between this and what follows
                    return Answer.UNWANTED
                joined.payloads.append(block.payload)  # added once it is as good as sent
                joined.sample_count += block.sample_count
                joined.size += size
                if joined.reaches(self._sample_rate):
                    self._flush()
                return Answer.TAKEN
            self._flush()
        if not self.sequence % _LOOK_MESSAGES:
            self.take_credits()
        if not self.balance.allows(size):
            self.take_credits()
            if not self.balance.allows(size):
                return self._full()
        joined = _Joined(block, interval, muted, size, self._message_ns, self._line_ns)
        if self.over:
            return Answer.UNWANTED
        self._joined = joined
        if joined.reaches(self._sample_rate):
            self._flush()
        return Answer.TAKEN

    def _granted(self, message: messages.Credit | messages.RingReady) -> None:
        super()._granted(message)
        if isinstance(message, messages.Credit):
            self._message_ns = min(message.message_ns or AUDIO_MESSAGE_NS, AUDIO_MESSAGE_MANY_NS)
            self._line_ns = message.line_ns

    def _flush(self, until_ns: int = 0) -> None:
        joined = self._joined
        if joined is None:
            return
        payload = joined.payloads[0] if len(joined.payloads) == 1 else b"".join(joined.payloads)
        header, muted = self._header, joined.muted
        header.sample_count = len(payload) // self._frame_bytes
        header.sent_samples = self.sent_samples
        header.last = self.last
        size = 0 if muted else len(payload)
        self._send_frame(header, joined.captured_ns, joined.interval, muted, payload if size else b"", size)

    def _sent(self, sending: tuple[bytes, Any, int, int, int]) -> None:
        self._joined = None
        self.sent_samples = self._header.sent_samples + self._header.sample_count
        super()._sent(sending)


class SoundSender(FrameSender[Block]):
    """Sends the sound of one track to all its recordings."""

    _route_class: type[SoundRoute] = SoundRoute

    def __init__(self, form: AudioFormat, when_full: str = "drop") -> None:
        super().__init__(when_full)
        self._form = form

    def _make_route(self, beginning: Beginning) -> SoundRoute:
        return self._route_class(self._form, beginning)
