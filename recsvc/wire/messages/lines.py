"""What the controller and its own processes send each other, over the lines between them. No client sees these."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ...common.descriptions import (
    BlobDescription,
    ClockSegment,
    Count,
    Name,
    Ns,
    RecordedTrack,
    RecordingInfo,
    RecordingOptions,
    RecordingStatistics,
    RouteDescription,
)
from .base import Codec, Message, Reply, Request
from .requests import AskStatistics, CloseTrack, ControlRoutes, OpenSource, Shutdown

# --- requests of the controller -------------------------------------------------------------------


class OpenRecording(Request, tag="open_recording", kw_only=True):
    """``owner``: the name of the key that began it, by which alone its routes are fed. ``encoder_threads``: for its
    pictures. ``clock``: of what is pushed to it; none: it is the service's own."""

    recording: Name
    path: str
    tracks: tuple[RecordedTrack, ...]
    routes: tuple[Name, ...]
    options: RecordingOptions
    at_ns: Ns
    owner: str = ""
    encoder_threads: Annotated[int, Meta(ge=1)] = 1
    clock: tuple[ClockSegment, ...] = ()


class TranslateClock(Request, tag="translate_clock", kw_only=True):
    """The clock of what is pushed to a recording goes on so, after the segments that ``OpenRecording`` has."""

    recording: Name
    segment: ClockSegment


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


class AskSilence(Request, tag="ask_silence", kw_only=True):
    """The reply's result: for how many nanoseconds no frame of the recording was encoded."""

    recording: Name


class AskFigures(Request, tag="ask_figures", kw_only=True):
    """How these recordings are, and how much room is left where they are written; the reply's result is ``Figures``."""

    recordings: tuple[Name, ...]
    directory: str


class RecordingFigures(Struct, kw_only=True, frozen=True):
    """What waits to be encoded is counted in the frames and payload bytes of its messages."""

    recording: Name
    statistics: RecordingStatistics
    queue_frames: Count = 0
    queue_bytes: Count = 0


class Figures(Struct, kw_only=True, frozen=True):
    """``cpu_ns``: of the worker, since it began, as ``frames_encoded``, and ``refused`` (as in ``ServiceStatus``).
    ``free_bytes``: ``None`` where it cannot be asked. Of recordings that have no room in a message nothing is said. Of
    a catalog it has ``refused`` alone."""

    cpu_ns: Count = 0
    frames_encoded: Count = 0
    refused: dict[str, int] = {}
    free_bytes: Count | None = None
    recordings: tuple[RecordingFigures, ...] = ()


class RecoverFile(Request, tag="recover_file", kw_only=True):
    """Complete what another worker left behind; the reply's result is a ``CompletedFile``."""

    path: str


class BeginRoutes(Request, tag="begin_routes", kw_only=True):
    """All routes of one recording that this process feeds, together: a source that waits to be wanted must not run
    off before the last of them. ``disabled``: those that begin black or silent."""

    routes: tuple[RouteDescription, ...]
    from_ns: Ns
    disabled: tuple[Name, ...] = ()


class ServeHttp(Request, tag="serve_http", kw_only=True):
    """Where to serve HTTP, and to which service (``endpoint``); port 0: any free one. The reply's result are the URLs;
    after an error the process ends. ``token``: what clients show; ``""``: none is needed."""

    endpoint: str
    host: str
    port: Annotated[int, Meta(ge=0, le=65535)]
    token: str = ""

    def __repr__(self) -> str:
        """As logs show it, without the token."""
        return f"ServeHttp(id={self.id}, host={self.host!r}, port={self.port})"


class EnterRecording(Request, tag="enter_recording", kw_only=True):
    """All that is known of a recording by now, in the place of what the catalog knew. ``file``: its name in the spool.
    The reply comes when that is written, an error where it cannot be for now."""

    info: RecordingInfo
    file: Name


class ForgetRecording(Request, tag="forget_recording", kw_only=True):
    """It was given up while it began, and its file is gone."""

    recording: Name


class Survey(Request, tag="survey", kw_only=True):
    """Every recording that goes on was entered. Whatever else is in the spool is of services before, and is
    completed where that is needed, and entered."""


# --- reports of the roles -------------------------------------------------------------------------


class Ready(Message, tag="ready", kw_only=True):
    """A role's first message; ``endpoints`` are where a worker takes frames, the one for this machine first."""

    endpoints: tuple[str, ...] = ()


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


class RecordingLoad(Struct, kw_only=True, frozen=True):
    """What was encoded of a recording so far, or ``copied`` (packets), and how large its file is. ``encoder_threads``:
    for its pictures now; 0: it has none that are encoded."""

    recording: Name
    size_bytes: Count
    pictures: Count = 0
    pixels: Count = 0
    sound_ns: Count = 0
    channel_count: Count = 0
    copied: Count = 0
    encoder_threads: Count = 0


class Load(Message, tag="load", kw_only=True):
    """A worker's report of its work, while it has any: ``cpu_ns`` that it has used since it began, at ``at_ns``.
    ``goes_on``: a further report follows at once with the other recordings."""

    at_ns: Ns
    cpu_ns: Count
    recordings: tuple[RecordingLoad, ...] = ()
    goes_on: bool = False


WORKER_REQUESTS = Codec(
    OpenRecording
    | StopRecording
    | FinishRecording
    | CloseRoutes
    | CutRecording
    | AskFigures
    | RecoverFile
    | AskStatistics
    | AskSilence
    | TranslateClock
    | Shutdown
)
CATALOG_LINE_REQUESTS = Codec(EnterRecording | ForgetRecording | Survey | AskFigures | Shutdown)
CAPTURE_REQUESTS = Codec(OpenSource | CloseTrack | BeginRoutes | ControlRoutes | Shutdown)
HTTP_REQUESTS = Codec(ServeHttp | Shutdown)
ROLE_REPORTS = Codec(Reply | Ready | TrackEnded | DataReady | RecordingFinished | Load)
