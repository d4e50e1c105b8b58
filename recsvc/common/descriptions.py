"""What the messages speak of: names and numbers with their bounds, tracks, recordings, ranges of files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from .media import CHANNEL_COUNT_MAX, FRAME_SIDE_MAX, SAMPLE_RATE_MAX, SAMPLE_RATE_MIN

Ns = Annotated[int, Meta(ge=-(2**62), le=2**62)]
Count = Annotated[int, Meta(ge=0, le=2**62)]
NAME_CHARACTERS_MAX = 200
Name = Annotated[str, Meta(max_length=NAME_CHARACTERS_MAX)]
Id = Annotated[str, Meta(max_length=100, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")]
"""What a caller names: file names and topics are made of it, so it is never a path."""
Pid = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=2**34)]
"""Of media, or since 1970: a number, and one that calendars know."""
Client = Annotated[str, Meta(max_length=100, pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]*)?\Z")]
"""The ``Id`` of a caller, or ``""`` where a request is of none: a topic is made of it."""
Side = Annotated[int, Meta(ge=1, le=FRAME_SIDE_MAX)]
Rate = Annotated[int, Meta(ge=SAMPLE_RATE_MIN, le=SAMPLE_RATE_MAX)]
Channels = Annotated[int, Meta(ge=1, le=CHANNEL_COUNT_MAX)]


RecordingAction = Literal["pause", "resume", "request_data", "stop", "modified", "discard"]
"""What a command does to a recording."""
RouteAction = Literal["pause", "resume", "mark", "end", "enable", "disable", "drop"]
"""What a command does to a track of one."""


class TrackDescription(Struct, kw_only=True, frozen=True):
    """A captured track; ``settings`` as ``get_settings()`` has them."""

    id: Name
    kind: Name
    label: str
    settings: dict[str, Any]


class RouteDescription(Struct, kw_only=True, frozen=True):
    """Where the frames of one track of one recording go, and how many may be under way at first. ``endpoints`` as in
    ``Welcome``."""

    route: Name
    track: Name
    endpoints: tuple[str, ...]
    credit_frames: Count
    credit_bytes: Count


class RecordedTrack(Struct, kw_only=True, frozen=True):
    """What the recorder wants recorded. ``captured`` is false for a track that the caller pushes itself."""

    track: Id
    kind: Name
    captured: bool
    settings: dict[str, Any]
    enabled: bool = True


class RecordingOptions(Struct, kw_only=True, frozen=True):
    """``key_frame_*`` are ``None`` where the caller gave none; ``timeslice_ms`` is ``None`` for one Blob."""

    mime_type: str
    audio_bits_per_second: Count
    video_bits_per_second: Count
    audio_bitrate_mode: Name = "variable"
    key_frame_interval_ms: float | None = None
    key_frame_interval_count: Count | None = None
    timeslice_ms: float | None = None
    overload: Name = "drop"


class TrackStatistics(Struct, kw_only=True, frozen=True):
    """Accounting of one track; raw sound is counted in samples per channel, what comes encoded in packets.

    ``frames_accepted`` = ``frames_encoded`` + ``frames_dropped`` once the recording is finished (before,
    the difference is in the queue). Encoded is what the file holds: where its disk failed, the rest counts as dropped,
    ``not_written``. ``timestamps_corrected`` counts corrections by kind. ``speed_raised``: how
    often the encoder had to hurry, before anything was dropped. ``frames_prerolled``: of the encoded, those that were
    captured before the start, since the recording begins with the key frame before it. ``encoder_threads``: that
    work on one picture, fewer where others took the cores; 0: nothing is encoded, or it is sound.
    """

    kind: str
    frames_accepted: int = 0
    frames_encoded: int = 0
    frames_dropped: int = 0
    dropped_by_cause: dict[str, int] = {}
    timestamps_corrected: dict[str, int] = {}
    clock_drift_ppm: float = 0.0
    level_dbfs: float | None = None
    speed_raised: int = 0
    frames_prerolled: int = 0
    encoder_threads: int = 0


class ClockSegment(Struct, kw_only=True, frozen=True):
    """From ``from_ns`` of a client's clock on, which is ``to_ns`` of the service's, this one runs faster by
    ``rate_ppb`` billionths."""

    from_ns: Ns
    to_ns: Ns
    rate_ppb: int


class ClockStatistics(Struct, kw_only=True, frozen=True):
    """A client's clock, which is not the service's: this one is ahead of it by ``offset_ns``, and runs faster by
    ``drift_ppm``. ``error_ns``: by how much the capture times may be wrong at most, ``None`` where the client does not
    ping."""

    offset_ns: int
    drift_ppm: float
    error_ns: int | None = None


class RecordingStatistics(Struct, kw_only=True, frozen=True):
    """``duration`` in seconds of media; ``size_bytes`` on disk so far; ``stop_stages_ns``: stage -> ns after
    the ``stop()`` call at which it was reached (empty before a stop). ``clock``: of a caller on another machine."""

    state: str
    duration: float = 0.0
    size_bytes: int = 0
    tracks: tuple[TrackStatistics, ...] = ()
    stop_stages_ns: dict[str, int] = {}
    clock: ClockStatistics | None = None


class BlobDescription(Struct, kw_only=True, frozen=True):
    """A range of a spool file: ``head`` (bytes that the file no longer has so) followed by
    ``[start, end)`` of the file at ``path``. ``whole``: the file is finished and this is all of it."""

    path: str
    start: Count
    end: Count
    head: bytes = b""
    mime_type: str = ""
    duration: float = 0.0
    whole: bool = False


class CompletedFile(Struct, kw_only=True, frozen=True):
    """A spool file that was completed after its worker's end; ``duration`` in seconds."""

    size: Count
    duration: float


# --- what a service says of itself and of its recordings -------------------------------------------


class Welcome(Struct, kw_only=True, frozen=True):
    """Where a service's other sockets are, each as endpoints of which the client takes the one with the transport that
    it came by; ``*`` as a host is the host that it came by. ``catalog``: none where recordings are not kept, but
    belong to their callers. ``lease_ms``: a client that cannot be watched otherwise is taken for gone when nothing
    came from it for so long; 0: it is not. ``clock`` as in ``Hello``. ``tracks``: those that the client has opened and
    that go on, so that who comes back after an interruption sees which have ended."""

    service: Name
    version: str
    events: tuple[str, ...]
    catalog: tuple[str, ...] = ()
    permissions: tuple[Name, ...] = ()
    lease_ms: Count = 0
    pid: Pid = 0
    pid_namespace: str = ""
    clock: str = ""
    tracks: tuple[Name, ...] = ()


class Pong(Struct, kw_only=True, frozen=True):
    """When the service answered, on its clock. ``known``: whether it had the client until then; else it was started
    anew, or has given the client up, which says ``Hello`` to learn what became of its recordings and tracks."""

    at_ns: Ns
    known: bool = True


class Started(Struct, kw_only=True, frozen=True):
    """``path`` is that of the file on the service's machine; ``topic`` that of its events; ``catalog`` as in
    ``Welcome``, for clients that say no ``Hello``."""

    recording: Name
    topic: str
    path: str
    routes: tuple[RouteDescription, ...] = ()
    catalog: tuple[str, ...] = ()


class Finished(Struct, kw_only=True, frozen=True):
    """A recording that was finished; ``whole`` is all of it. ``error`` is ``""`` where nothing went wrong."""

    recording: Name
    whole: BlobDescription
    statistics: RecordingStatistics
    error: str = ""
    text: str = ""


class RecordingInfo(Struct, kw_only=True, frozen=True):
    """A recording as the catalog knows it. ``began``, ``ended``: seconds since 1970; ``ended`` is 0 while it goes on.
    ``state``: ``recording``, ``paused``, ``finished``; ``failed`` where it ended with an ``error``; ``recovered`` where
    its file was completed after a crash. ``owner``: the name of the key that began it; ``""`` without keys. ``topic``:
    of its events. ``statistics``: of the whole, once it is finished. ``size_bytes``: so far, while it goes on; the file
    at ``path`` on the service's machine has so many."""

    recording: Name
    name: str
    owner: str
    state: Name
    mime_type: str
    began: Seconds
    ended: Seconds = 0.0
    size_bytes: Count = 0
    duration: Seconds = 0.0
    topic: str = ""
    error: str = ""
    statistics: RecordingStatistics | None = None
    path: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("recording", "paused")


class RecordingStatus(Struct, kw_only=True, frozen=True):
    """A recording that goes on. ``state``: ``opening``, ``recording``, ``paused``, ``stopping``. ``began`` and
    ``topic`` as in ``RecordingInfo``. ``worker``: the ``number`` of its ``WorkerStatus``. ``cost``: what placement
    reckons with for it, in cores. ``statistics``: ``None`` where its worker did not answer in time; ``queue_frames``:
    what its tracks have waiting to be encoded."""

    recording: Name
    name: str
    owner: str
    state: Name
    mime_type: str
    began: Seconds
    topic: str = ""
    worker: Count = 0
    cost: float = 0.0
    queue_frames: Count = 0
    queue_bytes: Count = 0
    statistics: RecordingStatistics | None = None


class WorkerStatus(Struct, kw_only=True, frozen=True):
    """An encoder worker; its place in the pool is ``number``, from 0. ``state``: ``starting``, ``ready``, ``ending``.
    ``load``: which share of one core it took lately; ``cost``: which share placement reckons with for its recordings.
    ``queue_frames``, ``queue_bytes``: of the recordings that are listed with it. ``encode_ns``: CPU time since it
    began, for ``frames_encoded`` frames (blocks of sound are frames too); both are 0 where it did not answer in
    time."""

    number: Count
    pid: Count
    state: Name
    recordings: Count = 0
    load: float = 0.0
    cost: float = 0.0
    queue_frames: Count = 0
    queue_bytes: Count = 0
    frames_encoded: Count = 0
    encode_ns: Count = 0


class ServiceStatus(Struct, kw_only=True, frozen=True):
    """How a service is. ``began``: seconds since 1970. ``cost_max``: what ``cost`` of all workers together may be, by
    admission; 0: nothing is refused for it. ``free_bytes``: room for recordings on the spool's disk; ``None``: no
    worker could say. ``clients``: those that are connected. ``recordings_by_state`` counts all that go on,
    ``recordings`` may have only some of them: ``more``: who wants the others asks for those after the last one.
    ``refused``: requests and subscriptions that were refused since it began, by error; ``data``: messages on data
    sockets; and connections of other machines: ``key`` (not authorized), ``handshake`` (no or a wrong key),
    ``connections`` (too many at once), ``subscriptions`` (ended: they had too many). By all of its processes
    that clients reach."""

    service: Name
    version: str
    began: float
    recordings: tuple[RecordingStatus, ...] = ()
    workers: tuple[WorkerStatus, ...] = ()
    cost_max: float = 0.0
    spool: str = ""
    free_bytes: Count | None = None
    clients: Count = 0
    recordings_by_state: dict[str, int] = {}
    refused: dict[str, int] = {}
    more: bool = False
