"""All messages between the roles, as MessagePack maps; no sockets here.

Each map has ``v`` (the protocol version) and ``kind``. Times are nanoseconds of the machine's monotonic
clock. Decoding validates: what does not fit raises ``MessageError`` with the reason. Raw pictures and
samples are never inside a map: they follow the header as a ZeroMQ frame of their own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ..common.descriptions import BlobDescription as BlobDescription
from ..common.descriptions import (
    Channels,
    Count,
    Name,
    Ns,
    Rate,
    RecordingAction,
    RouteAction,
    Side,
)
from ..common.descriptions import Id as Id
from ..common.descriptions import RecordedTrack as RecordedTrack
from ..common.descriptions import RecordingOptions as RecordingOptions
from ..common.descriptions import RecordingStatistics as RecordingStatistics
from ..common.descriptions import RouteDescription as RouteDescription
from ..common.descriptions import TrackDescription as TrackDescription
from ..common.descriptions import TrackStatistics as TrackStatistics
from ..common.limits import BLOCK_NS_MAX, FRAME_BYTES_MAX, HEADER_BYTES_MAX, S
from ..common.media import BYTES_PER_SAMPLE, picture_bytes
from ..common.redact import redacted

VERSION = 1


class MessageError(ValueError):
    """A message does not fit the protocol. The text has what was expected and what came."""


class Message(Struct, kw_only=True, tag_field="kind"):
    v: Annotated[int, Meta(ge=VERSION, le=VERSION)] = VERSION


# --- data: sender -> worker -----------------------------------------------------------------------


class Attach(Message, tag="attach", kw_only=True):
    """First message of a route: its sender is the peer that gets the route's credits. ``waits``: it waits where it has
    no credit, so that a full queue is no overload."""

    route: Name
    waits: bool = False


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
    dropped: dict[Name, Count] = {}
    counted: dict[Name, Count] = {}


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
    """Interleaved samples follow as payload; ``captured_ns`` is that of the first one. ``last``: the end of stream
    follows at once, and somebody may be waiting for it."""

    sample_format: Name
    sample_rate: Rate
    channel_count: Channels
    sample_count: Count
    last: bool = False

    def payload_bytes(self) -> int:
        width = BYTES_PER_SAMPLE.get(self.sample_format)
        if width is None:
            raise MessageError(f"unknown sample format {self.sample_format!r}: expected s16 or f32")
        return self.sample_count * self.channel_count * width


class End(Message, tag="end", kw_only=True):
    """End of stream, after the last frame: ``count`` frames were sent. The recorded time of this route ends at
    ``until_ns``, of which ``paused_ns`` were paused. ``exact``: pictures captured later are left out, which were sent
    before the stop was known. ``at_ns`` is when the end was asked for, ``sent_ns`` when this was sent."""

    route: Name
    count: Count
    until_ns: Ns
    paused_ns: Count = 0
    dropped: dict[Name, Count] = {}
    counted: dict[Name, Count] = {}
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


DataMessage = Attach | Ring | VideoFrame | AudioFrame | Mark | End


# --- data: worker -> sender -----------------------------------------------------------------------


class Credit(Message, tag="credit", kw_only=True):
    """Totals since the route began: the sender may have sent this many frames and payload bytes. Frames whose
    ``sequence`` is less than ``released`` are read no more."""

    route: Name
    frames: Count
    bytes: Count
    released: Count = 0


class RingReady(Message, tag="ring_ready", kw_only=True):
    """From here on pictures of this route may lie in this ring."""

    route: Name
    ring: Count


class Refused(Message, tag="refused", kw_only=True):
    """A data message was refused and counted, for this ``reason``."""

    route: Name
    reason: str


# --- caller -> controller -> roles, and their answers ----------------------------------------------


class Request(Message, kw_only=True):
    """``id`` comes back in the reply; 0 asks for none."""

    id: Count = 0


class Hello(Request, tag="hello", kw_only=True):
    """``pid``: so that the caller's end is seen where ``pid_namespace`` is the controller's too; the reply says its."""

    client: Id
    pid: Annotated[int, Meta(ge=0, le=2**31)] = 0
    pid_namespace: Annotated[str, Meta(max_length=200)] = ""


class OpenSource(Request, tag="open_source", kw_only=True):
    """Constraint maps as given to ``get_user_media``, each with its ``source`` and the name that its ``track`` is to
    have. ``CloseTrack`` of that name undoes it at any time, also before it was answered, or even came."""

    client: Annotated[str, Meta(max_length=100)] = ""
    audio: dict[str, Any] | None = None
    video: dict[str, Any] | None = None

    def __repr__(self) -> str:
        """As logs show it: an address may have a password in it."""
        wishes = [
            wish and {name: redacted(str(value)) for name, value in wish.items()} for wish in (self.audio, self.video)
        ]
        return f"OpenSource(id={self.id}, client={self.client!r}, audio={wishes[0]}, video={wishes[1]})"


class CloseTrack(Request, tag="close_track", kw_only=True):
    track: Name


class Start(Request, tag="start", kw_only=True):
    client: Id
    recorder: Id
    recording: Id
    tracks: tuple[RecordedTrack, ...]
    options: RecordingOptions
    at_ns: Ns


class Control(Request, tag="control", kw_only=True):
    """A command for a recording. ``modified``: the stream's set of tracks has changed. ``discard``: what ``Start``
    began, or is about to, is undone, and there are no events of it. ``number``: which of the caller's requests for
    data this is, from 1 on."""

    recording: Name
    action: RecordingAction
    at_ns: Ns
    number: Count = 0


class AskStatistics(Request, tag="statistics", kw_only=True):
    recording: Name


class Bye(Request, tag="bye", kw_only=True):
    """The caller is done: its recordings are finished, its tracks closed. The reply comes after that."""

    client: Name


class AskEvents(Request, tag="ask_events", kw_only=True):
    """For a subscriber that has missed some: the reply's result is a list of the recorder's events since this
    ``sequence`` of a recording, as far as they are kept. ``InvalidStateError``: nothing is known of the recording."""

    recorder: Name
    recording: Name
    sequence: Count


class OpenRecording(Request, tag="open_recording", kw_only=True):
    recording: Name
    path: str
    tracks: tuple[RecordedTrack, ...]
    routes: tuple[Name, ...]
    options: RecordingOptions
    at_ns: Ns


class StopRecording(Request, tag="stop_recording", kw_only=True):
    """The recording ended at ``at_ns``: it is finished when every end of stream has come."""

    recording: Name
    at_ns: Ns


class FinishRecording(Request, tag="finish_recording", kw_only=True):
    """The drain's deadline is over: the recording is finished with what has come."""

    recording: Name


class CloseRoutes(Request, tag="close_routes", kw_only=True):
    """Who fed these routes is gone, or never came: they end with what arrives until nothing does. Ends of stream
    that have come count, this does not; ``until_ns`` and ``paused_ns`` are for the others, as in ``End``.
    ``reason``: why these are incomplete; ``""``: they are not. ``goes_on``: they end though more arrives."""

    routes: tuple[Name, ...]
    until_ns: Ns
    paused_ns: Count = 0
    reason: str = ""
    goes_on: bool = False


class CutRecording(Request, tag="cut_recording", kw_only=True):
    """A request for data: a piece is handed out once each track that goes on has sent the ``Mark`` of ``number``."""

    recording: Name
    number: Count


class RecoverFile(Request, tag="recover_file", kw_only=True):
    """Complete what another worker left behind; the reply's result is a ``CompletedFile``."""

    path: str


class BeginRoutes(Request, tag="begin_routes", kw_only=True):
    """All routes of one recording that this process feeds, together: a source that waits to be wanted must not run
    off before the last of them. ``disabled``: those that begin black or silent."""

    routes: tuple[RouteDescription, ...]
    from_ns: Ns
    disabled: tuple[Name, ...] = ()


class ControlRoutes(Request, tag="control_routes", kw_only=True):
    """A command for routes of one recording: ``pause``, ``resume``, ``mark`` or ``end`` at this instant of capture
    time; or ``enable``, ``disable`` or ``drop`` at once (drop forgets routes whose encoder is gone). ``number``: of a
    mark. A caller gives ``enable`` and ``disable`` for captured tracks, and ``end`` for any, also those it feeds."""

    routes: tuple[Name, ...]
    action: RouteAction
    at_ns: Ns
    number: Count = 0


class Shutdown(Request, tag="shutdown", kw_only=True):
    """Finish what is open and end."""


class Reply(Message, tag="reply", kw_only=True):
    """``error`` is the DOMException name, or ``""``; ``result`` depends on the request."""

    id: Count
    error: str = ""
    text: str = ""
    result: Any = None


class Ready(Message, tag="ready", kw_only=True):
    """A role's first message; ``endpoint`` is where a worker takes frames."""

    endpoint: str = ""


class TrackEnded(Message, tag="track_ended", kw_only=True):
    track: Name
    error: str = ""
    text: str = ""


class DataReady(Message, tag="data_ready", kw_only=True):
    """A piece of a recording that still goes on. ``asked``: for ``request_data``, else for the timeslice."""

    recording: Name
    blob: BlobDescription
    timecode_ms: float
    asked: bool = False


class RecordingFinished(Message, tag="recording_finished", kw_only=True):
    """The file is complete and closed. ``error`` is ``""`` unless the worker had to give up."""

    recording: Name
    blob: BlobDescription
    timecode_ms: float
    statistics: RecordingStatistics
    whole: BlobDescription
    error: str = ""
    text: str = ""


# --- events: controller -> subscribers ------------------------------------------------------------


class RecorderEvent(Message, tag="event", kw_only=True):
    """``sequence`` counts per recording from 0 without gaps: a subscriber that sees one asks with ``AskEvents``.
    ``at_ns`` is when it was published first."""

    recorder: Name
    recording: Name
    sequence: Count
    type: Literal["start", "pause", "resume", "dataavailable", "error", "stop"]
    at_ns: Ns
    mime_type: str = ""
    blob: BlobDescription | None = None
    timecode_ms: float = 0.0
    error: str = ""
    text: str = ""
    statistics: RecordingStatistics | None = None
    whole: BlobDescription | None = None


class SourceEvent(Message, tag="source_event", kw_only=True):
    """A captured track ended by itself; ``error`` is ``""`` when its source came to its end."""

    track: Name
    error: str = ""
    text: str = ""


class Subscribed(Message, tag="subscribed", kw_only=True):
    """Answers a new subscription: from now on its subscriber misses nothing."""


encode = msgspec.msgpack.Encoder().encode


class Codec:
    """Decodes the messages of one socket: a closed set of kinds, anything else is refused."""

    def __init__(self, kinds: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(kinds)

    def decode(self, header: Any) -> Any:
        """The message in ``header`` (any buffer); ``MessageError`` where it is none of this socket's."""
        if len(header) > HEADER_BYTES_MAX:
            raise MessageError(f"header of {len(header)} bytes: at most {HEADER_BYTES_MAX} are taken")
        try:
            return self._decoder.decode(header)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MessageError(f"unreadable message: {error}") from None


DATA = Codec(DataMessage)
SENDER = Codec(Credit | RingReady | Refused)
CALLER_REQUESTS = Codec(
    Hello | OpenSource | ControlRoutes | CloseTrack | Start | Control | AskStatistics | AskEvents | Bye | Shutdown
)
REPLIES = Codec(Reply)
WORKER_REQUESTS = Codec(
    OpenRecording
    | StopRecording
    | FinishRecording
    | CloseRoutes
    | CutRecording
    | RecoverFile
    | AskStatistics
    | Shutdown
)
CAPTURE_REQUESTS = Codec(OpenSource | CloseTrack | BeginRoutes | ControlRoutes | Shutdown)
ROLE_REPORTS = Codec(Reply | Ready | TrackEnded | DataReady | RecordingFinished)
EVENTS = Codec(RecorderEvent | SourceEvent | Subscribed)


class _Numbered(Struct):
    id: Count = 0


_NUMBERED: msgspec.msgpack.Decoder[_Numbered] = msgspec.msgpack.Decoder(_Numbered)


def request_id(header: Any) -> int:
    """The ``id`` of a request that cannot be read otherwise, so that who waits gets an answer; 0 where it has none."""
    try:
        return _NUMBERED.decode(header).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0


def check_payload(header: VideoFrame | AudioFrame, payload_bytes: int) -> None:
    """Raises ``MessageError`` unless the payload has the length that the header promises."""
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
