"""The opened sources: one capture process each, and the tracks of it that are still wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ..common.limits import CLOSED_TRACKS_KEPT
from ..common.service_limits import SOURCES_MAX
from ..errors import InvalidStateError, NotSupportedError, QuotaExceededError, ServiceError
from ..wire import messages
from .supervisor import Child, OnReply, Supervisor


class _Capture:
    def __init__(self, child: Child, client: str, owner: str) -> None:
        self.child = child
        self.client = client
        self.owner = owner
        self.tracks: set[str] = set()


class Sources:
    """Not thread-safe: the controller's loop calls it."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._captures: list[_Capture] = []
        self._closed: deque[tuple[str, str]] = deque(maxlen=CLOSED_TRACKS_KEPT)

    def open(self, request: messages.OpenSource, on_reply: OnReply, owner: str = "") -> None:
        """One capture process per distinct source string. ``on_reply`` gets the tracks' descriptions when all are open,
        or the first error, and then none stays. ``owner``: the name of the key by which it came. Raises ``ValueError``
        for a track without a name of its own, ``InvalidStateError`` where its caller has closed it already,
        ``QuotaExceededError`` where too many are open."""
        by_source: dict[str, dict[str, Any]] = {}
        for kind, wish in (("audio", request.audio), ("video", request.video)):
            if wish is not None:
                self._check_name(wish.get("track"), owner)
                by_source.setdefault(str(wish.get("source", "")), {})[kind] = wish
        self._check_room(len(by_source), owner)
        captures: list[_Capture] = []
        answered = self._collect(len(by_source), captures, on_reply)
        for wishes in by_source.values():
            try:
                capture = _Capture(self._supervisor.start("capture"), request.client, owner)
            except OSError as error:
                for one in captures:
                    self._supervisor.end(one.child)
                raise ServiceError(f"no capture process can be started: {error}") from error
            capture.tracks = {wish["track"] for wish in wishes.values()}
            self._captures.append(capture)
            captures.append(capture)
            asked = messages.OpenSource(audio=wishes.get("audio"), video=wishes.get("video"))
            self._supervisor.ask(capture.child, asked, answered)

    def _check_room(self, more: int, owner: str) -> None:
        own = sum(capture.owner == owner for capture in self._captures) if owner else 0
        if len(self._captures) + more > SOURCES_MAX or own + more > SOURCES_MAX // 2:
            raise QuotaExceededError(
                f"{len(self._captures)} sources are open, {own} by this key: at most {SOURCES_MAX} can be, by one key "
                f"{SOURCES_MAX // 2}; close one"
            )

    def _check_name(self, track: Any, owner: str) -> None:
        try:
            msgspec.convert(track, messages.Id)
        except msgspec.ValidationError as error:
            raise ValueError(f"a source needs a name for its track, not {str(track)[:80]!r}: {error}") from None
        if self.was_closed(track, owner):
            raise InvalidStateError(f"the track {track} was closed before it was open")
        if self.child_of(track) is not None:
            raise ValueError(f"there is a track {track} already")

    def _collect(self, count: int, captures: list[_Capture], on_reply: OnReply) -> Callable[[messages.Reply], None]:
        opened: list[messages.Reply] = []
        failed: list[messages.Reply] = []

        def answered(reply: messages.Reply) -> None:
            (failed if reply.error else opened).append(reply)
            if len(failed) + len(opened) < count:
                return
            if failed:
                for capture in captures:
                    self._supervisor.end(capture.child)
                on_reply(failed[0])
                return
            tracks = [track for one in opened for track in one.result]
            on_reply(messages.Reply(id=0, result=sorted(tracks, key=lambda track: str(track["kind"]))))

        return answered

    def child_of(self, track: str) -> Child | None:
        """The capture process of a track that is still wanted."""
        return next((capture.child for capture in self._captures if track in capture.tracks), None)

    def tracks_of(self, client: str) -> tuple[str, ...]:
        """The tracks that a caller has opened, and which still go on."""
        return tuple(
            track for capture in self._captures if capture.client == client for track in sorted(capture.tracks)
        )

    def captures(self, recording: str, tracks: Iterable[messages.RecordedTrack], owner: str) -> dict[str, Child]:
        """The capture processes of the tracks of a recording of this key, by route. ``NotSupportedError``: one is not
        captured here."""
        found = {}
        for track in tracks:
            child = self.child_of(track.track) if track.captured else None
            if child is not None:
                found[f"{recording}/{track.track}"] = child
            elif track.captured and not self.was_closed(track.track, owner):  # else it has ended just now
                raise NotSupportedError(f"the {track.kind} track {track.track} is not captured here")
        return found

    def was_closed(self, track: str, owner: str) -> bool:
        """Whether this key had it, not long ago, and it has ended."""
        return (owner, track) in self._closed

    def client_of(self, child: Child) -> str:
        """Who opened it; ``""`` when it is none of these."""
        return next((capture.client for capture in self._captures if capture.child is child), "")

    def owner_of(self, track: str) -> str | None:
        """The name of the key that opened a track that is still wanted; ``None``: there is no such track."""
        return next((capture.owner for capture in self._captures if track in capture.tracks), None)

    def owner_of_client(self, client: str) -> str | None:
        """The name of the key of a caller that has opened something; ``None``: it has not."""
        return next((capture.owner for capture in self._captures if capture.client == client), None)

    def close_track(self, track: str, owner: str = "") -> None:
        """Nobody needs it any more; its process ends with its last track. One that is still to come by this key is not
        opened."""
        opened_by = self.owner_of(track)
        self._closed.append((owner if opened_by is None else opened_by, track))
        for capture in self._captures:
            if track in capture.tracks:
                capture.tracks.discard(track)
                if capture.tracks:
                    self._supervisor.ask(capture.child, messages.CloseTrack(track=track))
                else:
                    self._supervisor.end(capture.child)

    def close_client(self, client: str) -> None:
        """All that a caller has opened."""
        for capture in self._captures:
            if capture.client == client:
                self._supervisor.end(capture.child)

    def gone(self, child: Child) -> set[str]:
        """A process has ended: it is forgotten; the tracks of it that were still wanted."""
        found = [capture for capture in self._captures if capture.child is child]
        self._captures = [capture for capture in self._captures if capture.child is not child]
        return {track for capture in found for track in capture.tracks}
