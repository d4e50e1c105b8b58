"""Frames, from senders to workers, and what goes back: raw pictures and samples follow these headers as a part of their
own."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ...common.descriptions import Channels, Count, Name, Ns, Rate, Side
from ...common.limits import BLOCK_NS_MAX, FRAME_BYTES_MAX, S
from ...common.media import BYTES_PER_SAMPLE, picture_bytes
from ...common.packet_limits import PACKET_BYTES_MAX
from ...common.service_limits import CAUSES_MAX, TOTAL_MAX
from .base import Codec, Message, MessageError

Totals = Annotated[
    dict[Name, Annotated[int, Meta(ge=0, le=TOTAL_MAX)]],
    Meta(max_length=CAUSES_MAX),
]

# --- sender -> worker -----------------------------------------------------------------------------


class Attach(Message, tag="attach", kw_only=True):
    """A route's sender, of which there is one at a time, is the peer that sent the newest of its frames, or this: it
    gets the route's credits, the first at once. A sender may leave it out; one whose connection broke sends it again,
    since credits may be lost. ``waits``: it waits where it has no credit, so that a full queue is no overload.
    ``sent``, ``sent_bytes``: how many frames and payload bytes it has sent before this, and ``sent_samples`` (per
    channel) of sound; what has not come of them was lost with a connection, and uses no credit any more."""

    route: Name
    waits: bool = False
    sent: Count = 0
    sent_bytes: Count = 0
    sent_samples: Count = 0


class Ring(Message, tag="ring", kw_only=True):
    """Shared memory of the sender, for pictures to come: number ``ring`` of the route is what the process ``pid`` has
    open as ``descriptor``, a memfd of ``size`` bytes, sealed against shrinking, which begins with ``token``. A worker
    that could map it answers ``RingReady``; until then, and without an answer, payloads are part of the messages."""

    route: Name
    ring: Annotated[int, Meta(ge=1, le=2**62)]
    pid: Annotated[int, Meta(ge=1, le=2**31)]
    descriptor: Annotated[int, Meta(ge=0, le=2**31)]
    size: Annotated[int, Meta(ge=1, le=2**40)]
    token: Annotated[bytes, Meta(max_length=64)]


class FrameHeader(Message, kw_only=True):
    """Common to both kinds of frame. ``sequence`` counts from 0; a sender that was interrupted sends the same frame
    again, the number that came last is left out then, and of a message of more than two parts the last two count.
    ``paused_ns`` is the time spent paused before this frame, and ``since_ns`` when the unpaused interval began that it
    belongs to (0: the source does not cut by capture time); ``dropped`` are the sender's running totals by cause
    (sound: samples per channel); ``counted`` are its other running totals (such as ``device_overflow``). A ``muted``
    frame is recorded black or silent and may come without payload."""

    route: Name
    sequence: Count
    captured_ns: Ns
    paused_ns: Count = 0
    since_ns: Ns = 0
    muted: bool = False
    dropped: Totals = {}
    counted: Totals = {}


class VideoFrame(FrameHeader, tag="video", kw_only=True):
    """A tightly packed picture follows as payload; or, where ``ring`` is not 0, an empty payload, and the picture lies
    in this ring from ``offset`` on. It stays unchanged there until the frame is ``released``."""

    pixel_format: Name
    width: Side
    height: Side
    ring: Count = 0
    offset: Count = 0

    def payload_bytes(self) -> int:
        try:
            return picture_bytes(self.pixel_format, self.width, self.height)
        except ValueError as error:
            raise MessageError(str(error)) from None


class AudioFrame(FrameHeader, tag="audio", kw_only=True):
    """Interleaved samples follow as payload; ``captured_ns`` is that of the first one. ``sent_samples``: per channel,
    those of all frames before, so that it shows how many were lost with frames that do not come; 0: not said, and each
    such frame counts as the next one. ``last``: the end of stream follows at once, and somebody may be waiting for
    it."""

    sample_format: Name
    sample_rate: Rate
    channel_count: Channels
    sample_count: Count
    sent_samples: Count = 0
    last: bool = False

    def payload_bytes(self) -> int:
        width = BYTES_PER_SAMPLE.get(self.sample_format)
        if width is None:
            raise MessageError(f"unknown sample format {self.sample_format!r}: expected s16 or f32")
        return self.sample_count * self.channel_count * width


class PacketFrame(FrameHeader, tag="packet", kw_only=True):
    """A packet of a track whose settings have a ``codec`` follows as payload, as that codec's encoder made it; packets
    come in the order in which they are decoded. ``captured_ns`` never goes back in that order, and ``offset_ns`` later
    (earlier: negative) is the picture to be shown, where pictures come out of order. ``key_frame``: decoding can begin
    here; sound is always such. ``duration_ns``: how long it lasts; 0: not said. ``padding_ns``: how much at the end of
    what is decoded of sound an encoder has added, and is not heard. One that is ``muted`` comes without payload, and is
    left out. ``follows``: no packet of the stream is missing between the one before on this route and
    this one, even where the recording was paused between; so no key frame is awaited. Each counts as one frame, sound
    too."""

    key_frame: bool = True
    duration_ns: Annotated[int, Meta(ge=0, le=BLOCK_NS_MAX)] = 0
    padding_ns: Annotated[int, Meta(ge=0, le=BLOCK_NS_MAX)] = 0
    offset_ns: Annotated[int, Meta(ge=-BLOCK_NS_MAX, le=BLOCK_NS_MAX)] = 0
    follows: bool = False


class End(Message, tag="end", kw_only=True):
    """End of stream, after the last frame: ``count`` frames were sent, of sound with ``sent_samples`` per channel (0:
    not said). The recorded time of this route ends at ``until_ns``, of which ``paused_ns`` were paused. ``exact``:
    pictures captured later are left out, which were sent before the stop was known. ``at_ns`` is when the end was asked
    for, ``sent_ns`` when this was sent, for the statistics alone; 0: not said."""

    route: Name
    count: Count
    until_ns: Ns
    sent_samples: Count = 0
    paused_ns: Count = 0
    dropped: Totals = {}
    counted: Totals = {}
    at_ns: Ns = 0
    sent_ns: Ns = 0
    exact: bool = False


class Mark(Message, tag="mark", kw_only=True):
    """Follows the last frame that the recording's request for data number ``number`` (from 1) is to give: of pictures
    those up to ``recorded_ns`` (recorded time) where the source cuts by capture time (``exact``), else all."""

    route: Name
    number: Count
    recorded_ns: Ns = 0
    exact: bool = False


DataMessage = Attach | Ring | VideoFrame | AudioFrame | PacketFrame | Mark | End


# --- worker -> sender -----------------------------------------------------------------------------


class Credit(Message, tag="credit", kw_only=True):
    """Totals since the route began: the sender may have sent this many frames and payload bytes. Frames whose
    ``sequence`` is less than ``released`` are read no more. ``message_ns``: how much sound a message had best hold,
    since the worker has many recordings; 0: as the sender likes. It had best end at ``line_ns``, or multiples of
    ``message_ns`` later: then the sound of many comes at once."""

    route: Name
    frames: Count
    bytes: Count
    released: Count = 0
    message_ns: Count = 0
    line_ns: Count = 0


class RingReady(Message, tag="ring_ready", kw_only=True):
    """From here on pictures of this route may lie in this ring."""

    route: Name
    ring: Count


class Ended(Message, tag="ended", kw_only=True):
    """The route's end of stream has come, over a network: a sender that has no answer to it sends it again, since a
    connection that broke may have taken it along. Who does not has it missed, and its recording ends late."""

    route: Name


class Refused(Message, tag="refused", kw_only=True):
    """A data message was refused and counted, for this ``reason``."""

    route: Name
    reason: str


DATA = Codec(DataMessage)
SENDER = Codec(Credit | RingReady | Ended | Refused)


def check_payload(header: FrameHeader, payload_bytes: int) -> None:
    """Raises ``MessageError`` unless the payload has the length that the header promises."""
    if isinstance(header, PacketFrame):
        if payload_bytes > PACKET_BYTES_MAX or not (payload_bytes or header.muted):
            raise MessageError(f"a packet of {payload_bytes} bytes: expected 1 to {PACKET_BYTES_MAX}")
        return
    assert isinstance(header, VideoFrame | AudioFrame)
    expected = header.payload_bytes()
    if isinstance(header, AudioFrame) and header.sample_count * S > BLOCK_NS_MAX * header.sample_rate:
        length = f"{header.sample_count} samples at {header.sample_rate} Hz"
        raise MessageError(f"a block of {length}: at most {BLOCK_NS_MAX // S} s are taken; send it in parts")
    if header.muted and payload_bytes == 0:
        return
    if payload_bytes != expected or payload_bytes > FRAME_BYTES_MAX:
        what = (
            f"{header.width}x{header.height} {header.pixel_format}"
            if isinstance(header, VideoFrame)
            else f"{header.sample_count} samples x {header.channel_count} of {header.sample_format}"
        )
        raise MessageError(f"payload of {payload_bytes} bytes: {what} takes {expected} (at most {FRAME_BYTES_MAX})")
