"""Which messages a client may see, by the sockets on which they go, and what replies carry. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..common.descriptions import (
    Finished,
    Pong,
    RecordingInfo,
    RecordingStatistics,
    ServiceStatus,
    Started,
    TrackDescription,
    Welcome,
)
from ..wire import messages


class Way(NamedTuple):
    """Messages that go one way over one socket."""

    name: str
    socket: str
    direction: str
    kinds: tuple[type[messages.Message], ...]


def _of(*codecs: messages.Codec) -> tuple[type[messages.Message], ...]:
    return tuple(kind for codec in codecs for kind in codec.kinds)


WAYS = (
    Way("control", "control", "client to service", _of(messages.CALLER_REQUESTS)),
    Way("catalog", "catalog", "client to service", _of(messages.CATALOG_REQUESTS)),
    Way("replies", "control and catalog", "service to client", _of(messages.REPLIES)),
    Way("frames", "data", "client to worker", _of(messages.DATA)),
    Way("credits", "data", "worker to client", _of(messages.SENDER)),
    Way("events", "events", "service to client", _of(messages.EVENTS)),
)

RESULTS: dict[str, Any] = {
    "hello": Welcome,
    "ping": Pong,
    "open_source": tuple[TrackDescription, ...],
    "start": Started,
    "record": Started,
    "control": Finished | None,
    "statistics": RecordingStatistics,
    "ask_events": tuple[messages.RecorderEvent, ...],
    "status": ServiceStatus,
    "list": tuple[RecordingInfo, ...],
    "get": RecordingInfo,
    "rename": RecordingInfo,
}
"""What the reply to a request carries, by its kind; to the others nothing."""


def kind_of(message: type[messages.Message]) -> str:
    return str(message.__struct_config__.tag)


PUBLIC = {kind_of(message): message for way in WAYS for message in way.kinds}
"""Every message that a client may see, by its kind."""
