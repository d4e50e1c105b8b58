"""One recording as its caller sees it: the tracks it began with, their ends, its file."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from . import client, recovery
from .blob import Blob, SpoolFile
from .pieces import HandedOut
from .stream import MediaStreamTrack, _PushedOrigin
from .wire import messages
from .wire.messages import RecordingStatistics
from .wire.sender import FrameSender

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
        self.stages: dict[str, int] = {}

    def route(self, track: MediaStreamTrack) -> str:
        return f"{self.name}/{track.id}"

    def pushed(self) -> Iterator[tuple[FrameSender, str]]:
        """The sender and route of each pushed track."""
        for track in self.tracks:
            if isinstance(track._origin, _PushedOrigin):
                yield track._origin.sender, self.route(track)

    def end_pushed(self, at_ns: int) -> None:
        """Pushed tracks are ended by their own process: behind the last frame that was written."""
        for sender, route in self.pushed():
            sender.end(route, at_ns)

    def count(self, action: str) -> None:
        """A command is about to be sent: ends of stream, which take the shorter way, say how many there are."""
        for sender, route in self.pushed():
            sender.commanded(route, cut=action == "request_data")

    def detach(self) -> None:
        for track in self.tracks:
            track._routes.discard(self.route(track))

    def blob(self, description: messages.BlobDescription) -> Blob:
        if self.file is None:
            self.file = SpoolFile(description.path)
        d = description
        return Blob._of_file(self.file, d.head, d.start, d.end, d.mime_type, d.duration)

    def left_behind(self, message: messages.RecorderEvent) -> messages.RecorderEvent:
        """The last ``dataavailable`` where no controller can send it: waits for the file to be finished, at most
        ``_RECOVERY_LIMIT_S``."""
        done = recovery.wait_completed(self.path, _RECOVERY_LIMIT_S)
        size = done.size if done is not None else os.path.getsize(self.path) if os.path.exists(self.path) else 0
        duration = None if done is None else done.duration
        blob, whole, timecode_ms = self.handed_out.rest(self.path, self.mime_type, size, duration)
        statistics = RecordingStatistics(state="inactive", duration=whole.duration, size_bytes=size)
        return msgspec.structs.replace(message, blob=blob, whole=whole, timecode_ms=timecode_ms, statistics=statistics)
