"""The events a recorder fires."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .blob import Blob

EVENT_TYPES = ("start", "stop", "dataavailable", "pause", "resume", "error")


@dataclass(frozen=True, slots=True)
class Event:
    """``type`` is start, stop, pause or resume (or that of a subclass)."""

    type: str


@dataclass(frozen=True, slots=True)
class BlobEvent(Event):
    """``dataavailable``: ``data`` is the Blob, ``timecode`` (ms) the time of its first media since that of the
    recording's first Blob (MediaStream Recording, "BlobEvent")."""

    data: Blob = field(kw_only=True)
    timecode: float = field(default=0.0, kw_only=True)


@dataclass(frozen=True, slots=True)
class ErrorEvent(Event):
    """``error``: an exception of ``recsvc.errors``; ``dataavailable`` and ``stop`` follow."""

    error: Exception = field(kw_only=True)
