"""A recording that a service keeps, as its catalog describes it; of whoever it is, it is used by its id."""

from __future__ import annotations

import builtins
import datetime
import os
import time

from .. import errors
from ..common.descriptions import NAME_CHARACTERS_MAX, RecordingAction, RecordingInfo, RecordingStatistics
from ..common.limits import LOOK_NS, RPC_DEADLINE_NS, S
from ..common.service_limits import LIST_MAX
from ..wire import messages
from ..wire.replies import understood
from . import at_service, connections
from .asking import ask
from .blob import Blob, blob_of_file
from .client import Client
from .remote import kept_file


def find(service: str | os.PathLike[str] | None, limit: int | None) -> tuple[Client, builtins.list[RecordingInfo]]:
    """The newest recordings of a service. ``TypeError``, ``ValueError`` for a limit that is none."""
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
        raise TypeError(f"limit must be an integer or None, got {limit!r}")
    if limit is not None and limit < 0:
        raise ValueError(f"limit must not be negative, got {limit}")
    client = at_service.connect(service)
    found: builtins.list[RecordingInfo] = []
    while limit is None or len(found) < limit:
        size = LIST_MAX if limit is None else min(LIST_MAX, limit - len(found))
        asked = messages.ListRecordings(limit=size, before=found[-1].began if found else 0.0)
        page = understood(ask(client, asked), builtins.list[RecordingInfo])
        if not page:
            break
        if len(page) > size or (found and page[0].began >= asked.before):  # it would go on for ever
            raise errors.ServiceError(f"the service at {client.address} lists other recordings than it was asked for")
        found += page
    return client, found


def look_up(service: str | os.PathLike[str] | None, id: str) -> tuple[Client, RecordingInfo]:
    """One recording of a service."""
    if not isinstance(id, str):
        raise TypeError(f"id must be a string, got {id!r}")
    client = at_service.connect(service)
    return client, _get(client, id)


def _get(client: Client, id: str) -> RecordingInfo:
    if len(id) > NAME_CHARACTERS_MAX:
        raise errors.NotFoundError(
            f"there is no recording {id[:40]!r}…: an id has at most {NAME_CHARACTERS_MAX} characters"
        )
    return _described(id, ask(client, messages.GetRecording(recording=id)))


def _described(id: str, reply: object) -> RecordingInfo:
    info = understood(reply, RecordingInfo)
    if info.recording != id:
        raise errors.ServiceError(f"the service was asked for recording {id}, and answers with {info.recording!r}")
    return info


class KeptRecording:
    """What was known of a recording when it was asked for; ``_update`` asks again."""

    def __init__(self, client: Client, info: RecordingInfo) -> None:
        self._client = client
        self._info = info

    def __repr__(self) -> str:
        return f"<Recording {self.id} {self.state} {self.size} bytes>"

    @property
    def id(self) -> str:
        """Names it at its service, and everywhere."""
        return self._info.recording

    @property
    def name(self) -> str:
        """What people call it; ``""`` where it was given none."""
        return self._info.name

    @property
    def owner(self) -> str:
        """The name of the key that began it; ``""`` where the service has no keys."""
        return self._info.owner

    @property
    def state(self) -> str:
        """``"recording"``, ``"paused"``, ``"finished"``; ``"failed"`` where it ended by an error; ``"recovered"`` where
        its file was completed after a crash."""
        return self._info.state

    @property
    def error(self) -> str:
        """Why it failed; ``""`` where it did not."""
        return self._info.error

    @property
    def mime_type(self) -> str:
        return self._info.mime_type

    @property
    def began(self) -> datetime.datetime:
        """When it began, in UTC."""
        return _time(self._info.began)

    @property
    def ended(self) -> datetime.datetime | None:
        """When it ended, in UTC; ``None`` while it goes on."""
        return _time(self._info.ended) if self._info.ended else None

    @property
    def size(self) -> int:
        """Bytes of its file, so far while it goes on."""
        return self._info.size_bytes

    @property
    def duration(self) -> float:
        """Seconds of media; 0 while it goes on."""
        return self._info.duration

    @property
    def statistics(self) -> RecordingStatistics | None:
        """Its accounting; ``None`` while it goes on, and where it was recovered."""
        return self._info.statistics

    @property
    def blob(self) -> Blob:
        """Its file, as far as it was written when it was asked for. The file stays at its service; it is read there by
        its path on the same machine, and else fetched in ranges, as it is needed."""
        info = self._info
        file = kept_file(self._client, info.recording, info.path)
        return blob_of_file(file, b"", 0, info.size_bytes, info.mime_type, info.duration)

    def _update(self) -> None:
        self._client = connections.renewed(self._client)
        self._info = _get(self._client, self.id)

    def _rename(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name must be a string, got {name!r}")
        if len(name) > NAME_CHARACTERS_MAX:
            raise ValueError(f"name must have at most {NAME_CHARACTERS_MAX} characters, got {len(name)}")
        self._client = connections.renewed(self._client)
        reply = ask(self._client, messages.RenameRecording(recording=self.id, name=name))
        self._info = _described(self.id, reply)

    def _delete(self) -> None:
        self._client = connections.renewed(self._client)
        ask(self._client, messages.DeleteRecording(recording=self.id))

    def _control(self, action: RecordingAction) -> None:
        """``InvalidStateError`` where it has ended."""
        self._update()
        if not self._info.goes_on:
            raise errors.InvalidStateError(f"{action}: the recording {self.id} has ended: it is {self.state}")
        if action == "stop":
            at_service.stopped(self._client, self.id)
        else:
            at_service.command(self._client, self.id, action)
        self._update()
        deadline_ns = time.monotonic_ns() + RPC_DEADLINE_NS
        # The catalog learns of it first, unless it has much to read just now.
        while action == "stop" and self._info.goes_on and time.monotonic_ns() < deadline_ns:
            time.sleep(LOOK_NS / S)
            self._update()


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
