"""One route at the receiving end: what has come, what was granted, and where the credits go."""

from __future__ import annotations

from ..common.limits import CREDIT_STEP_BYTES, credit
from ..wire import messages
from ..wire.ring import RingView
from .account import sent_samples, unit_count
from .foreign import ForeignTimes
from .recording import Recording

_EXPECTED: dict[str, type[messages.FrameHeader]] = {
    "video": messages.VideoFrame,
    "audio": messages.AudioFrame,
    "packet": messages.PacketFrame,
}


class Route:
    """The worker's side of a route: what was granted, where the credits go."""

    def __init__(self, recording: Recording, name: str, kind: str) -> None:
        """``kind``: of its frames."""
        self.recording = recording
        self.track = recording.tracks[name]
        self.expected = _EXPECTED[kind]
        self.identity: bytes | None = None
        self.is_local = False  # whether that is a program of this machine
        self.key = ""  # by which it came, if not
        self.received = self.bytes_received = 0
        self.seen = 0  # how much had come when the worker was idle last
        self.line_ns = 0  # where its messages of sound had best end, after the worker's first line
        self.newest = -1  # the number of the frame that came last
        self.window, self.window_bytes = credit(kind, recording.options.overload)
        self.frames_done = 0
        self.bytes_done = 0
        self.frames_granted = self.bytes_granted = 0
        self.released = 0
        self.waits = False
        self.ends = False  # its end of stream has come
        self.closed = False  # that was made up here, since its source did not know that it is over
        self.rings: dict[int, RingView] = {}
        self.times: ForeignTimes | None = None  # where its sender has another clock
        self.units = 0  # of the frame that came last

    def came(self, header: messages.FrameHeader, size: int) -> bool:
        """Counts a frame of ``size`` bytes, and those before it that are missing. Whether it is new: its sender may
        have been interrupted after it, and have sent it again. ``MessageError``: it may not come now."""
        if header.sequence <= self.newest:
            return False
        self.units = unit_count(header)
        if header.sequence > self.received:
            self.skip(header.sequence - self.received, size, sent_samples(header))
        if self.received >= self.frames_granted + self.window or (
            self.received > self.frames_done and self.bytes_received + size > self.bytes_granted + self.window_bytes
        ):
            raise messages.MessageError("a frame beyond the route's credit, which has to be waited for")
        if self.ends:
            raise messages.MessageError("a frame after the end of stream")
        self.newest = header.sequence
        self.received += 1
        self.bytes_received += size
        self.track.account.received += self.units
        self.track.account.note_sender_totals(header.dropped, header.counted)
        return True

    def sent(self, message: messages.Attach, *, is_idle: bool) -> None:
        """What its sender has sent so far, all of which has come or is lost. ``is_idle``: none of it is to be encoded
        any more."""
        self.skip(message.sent - self.received, 0, message.sent_samples)
        if is_idle:
            self.bytes_done = max(self.bytes_done, min(message.sent_bytes, self.bytes_granted + self.window_bytes))

    def credit_is_due(self, waiting: int) -> bool:
        """Whether the sender is to know what was done since its last credit; ``waiting``: frames that are not done."""
        size = self.bytes_done - self.bytes_granted
        if size >= (CREDIT_STEP_BYTES if not waiting else self.window_bytes // 4):
            return True
        return self.frames_done - self.frames_granted >= max(1, self.window // 4)

    def skip(self, gap: int, size: int, sent_samples: int = 0) -> None:
        """The numbers of the frames show that so many were lost under way, of ``size`` bytes each; more than there was
        credit for cannot have been sent."""
        gap = min(gap, self.window + self.frames_granted - self.received)
        if gap > 0:
            self.received += gap
            self.frames_done += gap
            self.bytes_done += gap * size
            self.bytes_received += gap * size
            self.lost(gap, sent_samples)

    def lost(self, gap: int, sent_samples: int) -> None:
        """Counts so many frames that did not come. Up to now ``sent_samples`` were sent; where that is not said, each
        had as many as the one that came last."""
        account = self.track.account
        units = sent_samples - account.received - account.dropped["lost"]
        account.drop("lost", units if sent_samples and units > 0 else gap * max(self.units, 1))
