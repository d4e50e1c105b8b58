"""Requests and commands of clients to the controller. What replies carry stands in ``common.descriptions``."""

from __future__ import annotations

from typing import Any

from ...common.descriptions import (
    Client,
    Count,
    Id,
    Name,
    Ns,
    Pid,
    RecordedTrack,
    RecordingAction,
    RecordingOptions,
    RouteAction,
)
from ...common.redact import redacted
from .base import Codec, Reply, Request


class Hello(Request, tag="hello", kw_only=True):
    """A client's first request; the reply's result is a ``Welcome``. ``pid``: so that its end is seen at once where
    ``pid_namespace`` is the service's too. ``clock`` names the clock of its capture times: where it is the service's
    own, nothing is translated; ``""``: another one, which is measured."""

    client: Id
    pid: Pid = 0
    pid_namespace: Name = ""
    clock: Name = ""


class Ping(Request, tag="ping", kw_only=True):
    """A sign of life (without an ``id`` it is not answered), and a measurement of the client's clock: it is sent at
    ``at_ns`` of that. ``echo_ns``: what the last reply said, which came at ``echo_at_ns``; both 0 at first. The reply's
    result is a ``Pong``."""

    client: Id
    at_ns: Ns = 0
    echo_ns: Ns = 0
    echo_at_ns: Ns = 0


class OpenSource(Request, tag="open_source", kw_only=True):
    """Constraint maps as given to ``get_user_media``, each with its ``source`` and the name that its ``track`` is to
    have. ``CloseTrack`` of that name undoes it at any time, also before it was answered, or even came."""

    client: Client = ""
    audio: dict[str, Any] | None = None
    video: dict[str, Any] | None = None

    def __repr__(self) -> str:
        """As logs show it: an address may have a password in it."""
        return f"OpenSource(id={self.id}, client={self.client!r}, {_shown(self.audio, self.video)})"


def _shown(audio: dict[str, Any] | None, video: dict[str, Any] | None) -> str:
    wishes = [wish and {name: redacted(str(value)) for name, value in wish.items()} for wish in (audio, video)]
    return f"audio={wishes[0]}, video={wishes[1]}"


class CloseTrack(Request, tag="close_track", kw_only=True):
    """Closes a track that ``OpenSource`` has opened."""

    track: Name


class Start(Request, tag="start", kw_only=True):
    """Opens a recording, which begins at ``at_ns``. ``name``: what people call it; any text. The reply's result is a
    ``Started``."""

    client: Id
    recorder: Id
    recording: Id
    tracks: tuple[RecordedTrack, ...]
    options: RecordingOptions
    at_ns: Ns
    name: Name = ""


class Record(Request, tag="record", kw_only=True):
    """Opens a recording of sources that the service captures, which needs no client: it goes on until somebody stops
    it, or its sources end. The constraint maps are those of ``OpenSource`` without ``track``. The reply's result is a
    ``Started``. A ``stop`` or ``discard`` that comes before undoes it."""

    recording: Id
    options: RecordingOptions
    name: Name = ""
    audio: dict[str, Any] | None = None
    video: dict[str, Any] | None = None

    def __repr__(self) -> str:
        """As logs show it: see ``OpenSource``."""
        return f"Record(id={self.id}, recording={self.recording!r}, {_shown(self.audio, self.video)})"


class Control(Request, tag="control", kw_only=True):
    """A command for a recording, by whoever may. ``at_ns``: when it was given; 0: when it comes.

    ``client``: who commands. The client that began the recording is known by this name, or by having sent its ``Start``
    on the same connection; from it a ``stop`` means that its own tracks end by themselves. From anybody else it ends
    these too, and a ``pause`` or ``resume`` is carried out by the client that feeds them, when it has the event.

    ``request_data`` has a ``number``: which of the caller's requests for data this is, from 1 on; so may its own
    ``pause`` and ``resume``, which count together: the events say by it which of them came before. ``modified``: the
    stream's set of tracks has changed. ``discard``: what ``Start`` or ``Record`` began, or is about to, is undone, and
    there are no events of it; only for who began it. ``wait``: the answer to a ``stop`` comes when the recording is
    finished, also where it is already; its result is a ``Finished``. ``InvalidStateError``: no such recording goes
    on."""

    recording: Name
    action: RecordingAction
    at_ns: Ns = 0
    number: Count = 0
    wait: bool = False
    client: Client = ""


class AskStatistics(Request, tag="statistics", kw_only=True):
    """Of a recording that goes on. The reply's result is its ``RecordingStatistics``. ``InvalidStateError``: it does
    not."""

    recording: Name


class Bye(Request, tag="bye", kw_only=True):
    """The caller is done: its recordings are finished, its tracks closed. The reply comes after that."""

    client: Id


class AskEvents(Request, tag="ask_events", kw_only=True):
    """For a subscriber that has missed some: the reply's result is a list of the recorder's events since this
    ``sequence`` of a recording, as far as they are kept; ``recorder`` may be ``""``. ``InvalidStateError``: nothing is
    known of the recording."""

    recorder: Name
    recording: Name
    sequence: Count


class ControlRoutes(Request, tag="control_routes", kw_only=True):
    """A command for routes of one recording: ``pause``, ``resume``, ``mark`` or ``end`` at this instant of capture
    time; or ``enable``, ``disable`` or ``drop`` at once (drop forgets routes whose encoder is gone). ``number``: of a
    mark. A caller gives ``enable`` and ``disable`` for captured tracks, and ``end`` for any, also those it feeds."""

    routes: tuple[Name, ...]
    action: RouteAction
    at_ns: Ns
    number: Count = 0


class AskStatus(Request, tag="status", kw_only=True):
    """How the service is: the reply's result is a ``ServiceStatus``. Of the recordings, which are in the order of their
    ids, it has those ``after`` this one that have room in a message."""

    after: Name = ""


class Shutdown(Request, tag="shutdown", kw_only=True):
    """Finish what is open and end."""


CALLER_REQUESTS = Codec(
    Hello
    | Ping
    | OpenSource
    | ControlRoutes
    | CloseTrack
    | Start
    | Record
    | Control
    | AskStatistics
    | AskEvents
    | AskStatus
    | Bye
    | Shutdown
)
REPLIES = Codec(Reply)
