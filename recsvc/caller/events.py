"""The events a recorder fires."""

from __future__ import annotations

from dataclasses import dataclass, field

from .blob import Blob

EVENT_TYPES = ("start", "stop", "dataavailable", "pause", "resume", "error")


@dataclass(frozen=True, slots=True)
class Event:
    """``type`` is start, stop, pause or resume (or that of a subclass)."""

    type: str

    def __post_init__(self) -> None:
        if not isinstance(self.type, str):
            raise TypeError(f"an event's type is a string, got {self.type!r}")


@dataclass(frozen=True, slots=True)
class BlobEvent(Event):
    """``dataavailable``: ``data`` is the Blob, ``timecode`` the time of its first media, in ms after that of the
    recording's first Blob (MediaStream Recording, "BlobEvent")."""

    data: Blob = field(kw_only=True)
    timecode: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        Event.__post_init__(self)
        if not isinstance(self.data, Blob):
            raise TypeError(f"a BlobEvent's data is a Blob, got {self.data!r}")
        if isinstance(self.timecode, bool) or not isinstance(self.timecode, (int, float)):
            raise TypeError(f"a BlobEvent's timecode is a number of ms, got {self.timecode!r}")


@dataclass(frozen=True, slots=True)
class ErrorEvent(Event):
    """``error``: an exception of ``recsvc.errors``; ``dataavailable`` and ``stop`` follow."""

    error: Exception = field(kw_only=True)

    def __post_init__(self) -> None:
        Event.__post_init__(self)
        if not isinstance(self.error, Exception):
            raise TypeError(f"an ErrorEvent's error is an exception, got {self.error!r}")
