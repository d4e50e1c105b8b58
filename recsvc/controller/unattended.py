"""Recordings without a caller: the service opens their sources itself, and they go on until somebody stops them."""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import Any

import msgspec

from .. import errors
from ..common.descriptions import RecordedTrack, TrackDescription
from ..wire import messages
from .recording import Recording
from .recordings import Recordings
from .sources import Sources
from .supervisor import OnReply

SERVICE = "-service"
"""Whose these recordings and sources are: no client can have this name."""


class Unattended:
    """Not thread-safe: the controller's loop calls it."""

    def __init__(self, recordings: Recordings, sources: Sources) -> None:
        self._recordings = recordings
        self._sources = sources
        self._opening: set[str] = set()  # those whose sources are still being opened

    def record(self, request: messages.Record, answer: OnReply, sender: bytes = b"", owner: str = "") -> None:
        """Opens the sources, then the recording. Raises what is wrong with the request. ``owner``: the key's name by
        which it came."""
        name = request.recording
        if request.audio is None and request.video is None:
            raise errors.NotSupportedError("a recording needs a source: give audio, video or both")
        if name in self._opening:
            raise errors.InvalidStateError(f"the recording {name} is being opened already")
        self._recordings.check_new(name)
        self._opening.add(name)
        opened = partial(self._opened, request, answer, sender, owner)
        try:
            audio, video = _named("audio", request.audio), _named("video", request.video)
            self._sources.open(messages.OpenSource(client=SERVICE, audio=audio, video=video), opened, owner)
        except BaseException:
            self._opening.discard(name)
            raise

    def give_up(self, recording: str) -> bool:
        """Whether it was still being opened: then it does not begin."""
        if recording not in self._opening:
            return False
        self._opening.discard(recording)
        return True

    def _opened(
        self, request: messages.Record, answer: OnReply, sender: bytes, owner: str, reply: messages.Reply
    ) -> None:
        if reply.error:
            self._opening.discard(request.recording)
            answer(reply)
            return
        tracks = msgspec.convert(reply.result, list[TrackDescription])
        try:
            if not self.give_up(request.recording):
                raise errors.InvalidStateError(f"the recording {request.recording} was stopped before it began")
            self._recordings.start(
                messages.Start(
                    client=SERVICE,
                    recorder=request.recording,
                    recording=request.recording,
                    tracks=tuple(
                        RecordedTrack(track=one.id, kind=one.kind, captured=True, settings=one.settings)
                        for one in tracks
                    ),
                    options=request.options,
                    at_ns=time.monotonic_ns(),
                    name=request.name,
                ),
                partial(self._began, tracks, answer),
                sender,
                owner,
            )
        except Exception as error:
            self._close(tracks)
            answer(errors_reply(error))

    def _began(self, tracks: list[TrackDescription], answer: OnReply, reply: messages.Reply) -> None:
        if reply.error:
            self._close(tracks)
        answer(reply)

    def _close(self, tracks: list[TrackDescription]) -> None:
        for track in tracks:
            self._sources.close_track(track.id)

    def ended(self, recording: Recording) -> None:
        """Nobody else uses the sources of such a recording."""
        if recording.client == SERVICE:
            for track in recording.tracks:
                self._sources.close_track(track.track)


def _named(kind: str, wish: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if wish is None else {**wish, "track": f"{kind}-{uuid.uuid4().hex[:12]}"}


def errors_reply(error: Exception, number: int = 0) -> messages.Reply:
    """An exception as the answer to a request."""
    text, details = str(error), errors.details_of(error)
    return messages.Reply(id=number, error=errors.name_of(error), text=text, result=details)
