"""One recording as its caller sees it: its phase, the tracks it began with, their ends, its file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from .. import errors
from ..common.codecs import frames_of
from ..common.descriptions import CompletedFile, Started
from ..common.limits import RECOVERY_DEADLINE_NS, S, credit
from ..common.pieces import HandedOut
from ..common.recorded import format_of
from ..common.state import Input, Life
from ..mux.left_behind import left_behind
from ..mux.recover import Completed
from ..wire import messages
from ..wire.replies import understood
from . import afar, recovery
from .blob import Blob, blob_of_file
from .client import Client
from .connections import connect, connect_to
from .origin import Origin, Track
from .redirect import target
from .remote import RemoteFile, check_is_of, kept_file
from .storage import SpoolFile


def connection_for(tracks: list[Track], service: str | os.PathLike[str] | None) -> Client:
    """The service that captures these tracks, else the one at ``service``, else a private one."""
    captured = {track.origin.client for track in tracks if track.origin.client is not None}
    if len(captured) > 1:
        raise errors.NotSupportedError("the stream's tracks are captured by different services")
    if not captured:
        return connect(service)
    found = captured.pop()
    if service is not None and connect(service) is not found:
        raise errors.NotSupportedError(f"the stream's tracks are not captured by the service {service}")
    return found


class Session(Life):
    """One recording of a recorder, from ``start()`` to its ``stop`` event."""

    def __init__(self, name: str, connection: Client, tracks: list[Track]) -> None:
        super().__init__()
        self.name = name
        self.client = connection
        self.tracks = tracks
        self.path = ""
        self.stop_ns: int | None = None
        self.file: SpoolFile | RemoteFile | None = None
        self.mime_type = ""  # until its ``start`` event
        self.full_type = ""
        self.handed_out = HandedOut()
        self.requests = 0  # for data, so far
        self.commands = 0  # pauses and resumes, so far
        self.changed_ns: int | None = None  # when a track was added to the stream or removed
        self.asked_ns = time.monotonic_ns()  # when its last event came, or it was asked whether there is one
        self.lost: Exception | None = None  # why its controller can publish nothing more

    def open(
        self, recorder: str, options: messages.RecordingOptions, follow: Callable[[Session, Client], None]
    ) -> None:
        """Has the service open the recording, or another one that it names; ``follow`` subscribes to its events there
        before it is asked. Frames that come meanwhile belong to it."""
        at_ns = time.monotonic_ns()
        for track in self.tracks:
            bound = credit(frames_of(track), options.overload)
            track.origin.prepare(track, self.route(track), at_ns, *bound)
        recorded = tuple(
            messages.RecordedTrack(
                track=track.captured_as,
                kind=track.kind,
                captured=track.origin.captured,
                settings=dict(track.settings),
                enabled=track.enabled,
            )
            for track in self.tracks
        )
        self.full_type = format_of(options, recorded).mime_type
        start = messages.Start(
            client="", recorder=recorder, recording=self.name, tracks=recorded, options=options, at_ns=at_ns
        )
        started = self._begin(start, follow)
        if [one.route for one in started.routes] != [self.route(track) for track in self.tracks]:
            raise errors.ServiceError(f"the service at {self.client.address} has opened other tracks than it was to")
        self.path = started.path
        for track, route, one in zip(self.tracks, started.routes, recorded, strict=True):
            track.origin.opened(track, self.client, route, one.enabled)

    def _begin(self, start: messages.Start, follow: Callable[[Session, Client], None]) -> Started:
        been = [self.client.address]
        follow(self, self.client)
        while True:
            try:
                reply = self.client.request(msgspec.structs.replace(start, client=self.client.name))
                return understood(reply, Started)
            except errors.RedirectError as elsewhere:
                address = target(elsewhere, been)
                if any(track.origin.captured for track in self.tracks):
                    text = f"the service at {been[-1]} sends the recording to {address}, but captures its tracks itself"
                    raise errors.RedirectError(text) from None
                been.append(address)
            try:
                follow(self, connect_to(address))
            except errors.ServiceError as error:
                raise errors.ServiceError(
                    f"the service at {been[-2]} sends the recording elsewhere: {error}"
                ) from error

    def route(self, track: Track) -> str:
        return f"{self.name}/{track.captured_as}"

    def routes(self) -> Iterator[tuple[Origin, str]]:
        """Each track's origin and route."""
        for track in self.tracks:
            yield track.origin, self.route(track)

    def command(self, what: Input, at_ns: int) -> bool:
        """A pause or resume of its caller, which pushed tracks obey. Whether it changes anything."""
        if not self.happened(what):
            return False
        self.commands += 1
        self._apply(what, at_ns)
        return True

    def obey(self, what: Input, number: int) -> None:
        """A pause or resume that the service has published, perhaps of somebody else, after so many of its caller's:
        where that has commanded more since, the newest of these holds there too."""
        if number == self.commands and self.happened(what):
            self._apply(what, time.monotonic_ns())

    def _apply(self, what: Input, at_ns: int) -> None:
        for origin, route in self.routes():
            (origin.pause if what is Input.PAUSE else origin.resume)(route, at_ns)

    def end_pushed(self, at_ns: int) -> None:
        """Pushed tracks are ended by their own process, after the last frame that was written."""
        for origin, route in self.routes():
            origin.stop(route, at_ns)

    def detach(self) -> None:
        """The tracks control it no more."""
        for track in self.tracks:
            track.detach(self.route(track))

    def drop_pushed(self) -> None:
        """It is given up: nobody waits for its frames."""
        for origin, route in self.routes():
            origin.drop(route)

    def blob(self, description: messages.BlobDescription) -> Blob:
        if self.file is None:
            check_is_of(self.name, description.path)
            if self.client.welcome.catalog:
                self.file = kept_file(self.client, self.name, description.path)
            else:
                self.file = SpoolFile(description.path, owned=True)
        if isinstance(self.file, SpoolFile):
            self.file.finished |= description.whole
        d = description
        return blob_of_file(self.file, d.head, d.start, d.end, d.mime_type, d.duration)

    def made_up(
        self, kind: Literal["start", "error", "dataavailable", "stop"], **fields: str
    ) -> messages.RecorderEvent:
        """An event of it that no controller publishes."""
        now_ns = time.monotonic_ns()
        event = messages.RecorderEvent(recorder="", recording=self.name, sequence=0, type=kind, at_ns=now_ns)
        return msgspec.structs.replace(event, **fields)

    def left_behind(self, message: messages.RecorderEvent) -> messages.RecorderEvent:
        """The last ``dataavailable`` where no controller can publish it: waits for the file to be finished, at most
        ``RECOVERY_DEADLINE_NS``."""
        if self.path:  # else it was lost before it was opened
            check_is_of(self.name, self.path)
        if self.client.is_remote:
            done: Completed | CompletedFile | None = afar.wait_completed(self.client, self.name, RECOVERY_DEADLINE_NS)
            if done is None:
                raise errors.NotReadableError(
                    f"recording {self.name} is at its service, which does not answer, or does not know it"
                )
        else:
            done = recovery.wait_completed(self.path, RECOVERY_DEADLINE_NS / S)
        if done is None and self.mime_type and not os.path.exists(self.path):
            where = "at its service: ask there for it once that runs again" if self.client.welcome.catalog else "gone"
            raise errors.NotReadableError(f"the recording's file {self.path} is {where}")
        left = left_behind(self.path, self.mime_type, self.handed_out, done)
        return msgspec.structs.replace(message, **left._asdict())
