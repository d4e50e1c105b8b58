"""One recording as its caller sees it: the tracks it began with, their ends, its file."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from .. import errors
from ..common.pieces import HandedOut
from ..wire import messages
from ..wire.messages import RecordingStatistics
from ..wire.sender import FrameSender
from . import client, recovery
from .blob import Blob
from .storage import SpoolFile
from .stream import MediaStreamTrack, _CapturedOrigin, _PushedOrigin

_RECOVERY_LIMIT_S = 4.0  # orphaned encoders finish their files within 2 s


class Session:
    """One recording of a recorder, from ``start()`` to its ``stop`` event."""

    def __init__(self, name: str, connection: client.Client, tracks: list[MediaStreamTrack], path: str = "") -> None:
        self.name = name
        self.client = connection
        self.tracks = tracks
        self.path = path
        self.stop_ns: int | None = None
        self.file: SpoolFile | None = None
        self.mime_type = ""
        self.handed_out = HandedOut()
        self.commands = 0  # given, all together
        self.controls = 0  # of captured routes: pauses, resumes, requests for data
        self.awaited = 0  # pauses and resumes whose events are still to come
        self.asked = 0  # requests for data
        self.pieces = 0  # that have come
        self.changed_ns: int | None = None  # when a track was added to the stream or removed
        self.modified = False
        self.stop_known = False  # to the controller: what it told before has come, an error too
        self.concluded = False  # the last data has come
        self.report: messages.RecordingFinished | None = None

    def route(self, track: MediaStreamTrack) -> str:
        return f"{self.name}/{track._captured_as}"

    def pushed(self) -> Iterator[tuple[FrameSender, str]]:
        """The sender and route of each pushed track."""
        for track in self.tracks:
            if isinstance(track._origin, _PushedOrigin):
                yield track._origin.sender, self.route(track)

    def end_pushed(self, at_ns: int) -> None:
        """Pushed tracks are ended by their own process: behind the last frame that was written."""
        for sender, route in self.pushed():
            sender.end(route, at_ns)

    def end_captured(self, at_ns: int) -> None:
        """Tells the capture processes what they will hear from the controller as well."""
        routes: dict[str, dict[str, int]] = {}
        for track in self.tracks:
            origin, route = track._origin, self.route(track)
            controlled = track._routes.get(route)
            if isinstance(origin, _CapturedOrigin) and origin.live and controlled is not None:
                routes.setdefault(origin.commands, {})[route] = self.controls + controlled
        for endpoint, its in routes.items():
            message = messages.EndRoutes(routes=its, at_ns=at_ns, commands=self.commands, cuts=self.asked)
            self.client.tell(endpoint, message)

    def count(self, action: str) -> None:
        """A command is about to be sent: ends of stream, which take the shorter way, say how many there are."""
        is_turn = action in ("pause", "resume")
        self.commands += 1
        self.awaited += is_turn
        self.asked += action == "request_data"
        self.controls += is_turn or action == "request_data"
        self.modified |= action == "modified"
        for sender, route in self.pushed():
            sender.commanded(route, self.commands, self.asked)

    def detach(self) -> None:
        """The tracks control it no more."""
        for track in self.tracks:
            track._detach(self.route(track))

    def drop_pushed(self) -> None:
        """It is given up: nobody waits for its frames."""
        for sender, route in self.pushed():
            sender.drop(route)

    def heard(self, message: messages.RecorderEvent) -> bool:
        """An event of the controller; whether it is to be fired: not so the last data that the worker told already."""
        if message.type == "dataavailable":
            if self.concluded:
                return False
            self.concluded = message.blob is None or message.statistics is not None
            self.pieces += not self.concluded
        elif message.type in ("pause", "resume"):
            self.awaited -= 1
        elif message.type == "error":
            self.modified = True
        return True

    def conclusion(self) -> messages.RecorderEvent | None:
        """The last ``dataavailable`` by the worker's own report, which comes a hop earlier than the controller's: where
        it is sure that nothing belongs before it."""
        report = self.report
        if report is None or self.concluded or self.modified or not self.stop_known or report.error:
            return None
        if not self.mime_type or self.awaited or self.pieces != report.pieces or self.asked != report.cuts:
            return None
        self.concluded = True
        return messages.RecorderEvent(
            recorder=report.recorder,
            recording=report.recording,
            sequence=0,
            type="dataavailable",
            at_ns=report.at_ns,
            mime_type=self.mime_type,
            blob=report.blob,
            timecode_ms=report.timecode_ms,
            statistics=report.statistics,
            whole=report.whole,
        )

    def blob(self, description: messages.BlobDescription) -> Blob:
        if self.file is None:
            self._check_is_ours(description.path)
            self.file = SpoolFile(description.path, owned=True)
        self.file.finished |= description.whole
        d = description
        return Blob._of_file(self.file, d.head, d.start, d.end, d.mime_type, d.duration)

    def _check_is_ours(self, path: str) -> None:
        """A service may name any file, and we will hand its content out, perhaps complete it, and remove it: so it must
        have the name that we made up for this recording, which no other file has."""
        if os.path.splitext(os.path.basename(path))[0] != self.name:
            raise errors.NotReadableError(
                f"the service says that recording {self.name} is in {path}, which has another name"
            )

    def left_behind(self, message: messages.RecorderEvent) -> messages.RecorderEvent:
        """The last ``dataavailable`` where no controller can send it: waits for the file to be finished, at most
        ``_RECOVERY_LIMIT_S``."""
        if self.path:  # else it was lost before it was opened
            self._check_is_ours(self.path)
        done = recovery.wait_completed(self.path, _RECOVERY_LIMIT_S)
        if done is None and self.mime_type and not os.path.exists(self.path):
            raise errors.NotReadableError(f"the recording's file {self.path} is gone")
        size = done.size if done is not None else os.path.getsize(self.path) if os.path.exists(self.path) else 0
        duration = None if done is None else done.duration
        blob, whole, timecode_ms = self.handed_out.rest(self.path, self.mime_type, size, duration)
        statistics = RecordingStatistics(state="inactive", duration=whole.duration, size_bytes=size)
        return msgspec.structs.replace(message, blob=blob, whole=whole, timecode_ms=timecode_ms, statistics=statistics)
