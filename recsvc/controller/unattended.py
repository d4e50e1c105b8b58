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
from ..wire.answers import error_reply
from .recording import SERVICE, Recording
from .recordings import Recordings
from .sources import Sources
from .supervisor import OnReply


class Unattended:
    """Not thread-safe: the controller's loop calls it."""

    def __init__(self, recordings: Recordings, sources: Sources) -> None:
        self._recordings = recordings
        self._sources = sources
        self._opening: dict[str, list[str]] = {}  # the tracks of those whose sources are still being opened
        self._ending = False

    def record(self, request: messages.Record, answer: OnReply, sender: bytes = b"", owner: str = "") -> None:
        """Opens the sources, then the recording. Raises what is wrong with the request. ``owner``: the key's name by
        which it came."""
        name = request.recording
        if request.audio is None and request.video is None:
            raise errors.NotSupportedError("a recording needs a source: give audio, video or both")
        if name in self._opening:
            raise errors.InvalidStateError(f"the recording {name} is being opened already")
        self._recordings.check_new(name, owner)
        audio, video = _named("audio", request.audio), _named("video", request.video)
        self._opening[name] = [wish["track"] for wish in (audio, video) if wish is not None]
        opened = partial(self._opened, request, answer, sender, owner)
        try:
            self._sources.open(messages.OpenSource(client=SERVICE, audio=audio, video=video), opened, owner)
        except BaseException:
            del self._opening[name]
            raise

    def owner_of(self, recording: str) -> str | None:
        """The name of the key that began one whose sources are still being opened; ``None``: there is no such."""
        tracks = self._opening.get(recording)
        return self._sources.owner_of(tracks[0]) if tracks else None

    def give_up(self, recording: str) -> bool:
        """Whether it was still being opened: then it does not begin."""
        tracks = self._opening.pop(recording, None)
        if tracks is None:
            return False
        self._close(tracks)
        return True

    def end(self) -> None:
        """What is still being opened does not begin."""
        self._ending = True
        for recording in list(self._opening):
            self.give_up(recording)

    def _opened(
        self, request: messages.Record, answer: OnReply, sender: bytes, owner: str, reply: messages.Reply
    ) -> None:
        names = self._opening.pop(request.recording, None)
        if names is None:
            text = f"the recording {request.recording} was stopped before it began"
            reply = messages.Reply(id=0, error="InvalidStateError", text=text)
            if self._ending:
                reply = messages.Reply(id=0, error="ServiceError", text="the service is ending")
        if names is None or reply.error:
            answer(reply)
            return
        tracks = msgspec.convert(reply.result, list[TrackDescription])
        try:
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
                partial(self._began, names, answer),
                sender,
                owner,
                None,
            )
        except Exception as error:
            self._close(names)
            answer(error_reply(error, 0))

    def _began(self, tracks: list[str], answer: OnReply, reply: messages.Reply) -> None:
        if reply.error:
            self._close(tracks)
        answer(reply)

    def _close(self, tracks: list[str]) -> None:
        for track in tracks:
            self._sources.close_track(track)

    def ended(self, recording: Recording) -> None:
        """Nobody else uses the sources of such a recording."""
        if recording.client == SERVICE:
            self._close([track.track for track in recording.tracks])


def _named(kind: str, wish: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if wish is None else {**wish, "track": f"{kind}-{uuid.uuid4().hex[:12]}"}
