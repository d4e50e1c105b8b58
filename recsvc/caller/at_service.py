"""What people and tools ask of a service: how it is, and what its recordings are to do, whoever began them."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from .. import errors
from ..common import mime
from ..common.descriptions import Finished, RecordingAction, RecordingInfo, ServiceStatus, Started, Welcome
from ..common.limits import LATE_DRAIN_DEADLINE_NS, MS, OPEN_SOURCE_DEADLINE_NS, RPC_DEADLINE_NS
from ..common.service import reachable
from ..common.status import joined
from ..process import services
from ..wire import messages, sockets
from ..wire.replies import understood
from . import connections
from .asking import ask_controller, once
from .client import Client
from .options import AUDIO_BITS_DEFAULT, VIDEO_BITS_DEFAULT, possible, uint32
from .user_media import wished

_STOP_NS = LATE_DRAIN_DEADLINE_NS + RPC_DEADLINE_NS
"""A stop that waits is answered within the drain's deadline, and what a killed worker left is completed after it."""


def connect(service: str | os.PathLike[str] | None) -> Client:
    """The connection to ``service``, else to the one that runs here; none is started. ``ServiceError``: there is
    none."""
    return connections.connect(service if service else services.default_service())


def status(client: Client) -> ServiceStatus:
    """How a service is, with all recordings that go on."""
    found = understood(client.request(messages.AskStatus()), ServiceStatus)
    while found.more and found.recordings:
        asked = messages.AskStatus(after=found.recordings[-1].recording)
        found = joined(found, understood(client.request(asked), ServiceStatus))
    return found


def begin(
    client: Client,
    wishes: Mapping[str, dict[str, Any] | None],
    *,
    name: str = "",
    mime_type: str = "",
    audio_bits_per_second: int | None = None,
    video_bits_per_second: int | None = None,
) -> Started:
    """Opens a recording that goes on without a caller. ``wishes``: constraints for ``audio`` and ``video``."""
    checked = {kind: wished(kind, wish) for kind, wish in wishes.items() if wish is not None}
    if not any(wish and wish.get("encoded") for wish in checked.values()):  # else the sources decide, too
        mime.choose(mime_type, set(checked))
    rates = possible(
        uint32("audio_bits_per_second", audio_bits_per_second) or AUDIO_BITS_DEFAULT,
        uint32("video_bits_per_second", video_bits_per_second) or VIDEO_BITS_DEFAULT,
    )
    request = messages.Record(
        recording=f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:8]}",
        options=messages.RecordingOptions(
            mime_type=mime_type, audio_bits_per_second=rates.audio, video_bits_per_second=rates.video
        ),
        name=name,
        audio=checked.get("audio"),
        video=checked.get("video"),
    )
    try:
        return understood(client.request(request, OPEN_SOURCE_DEADLINE_NS), Started)
    except BaseException:  # Ctrl-C, too: nobody would know of it
        with suppress(errors.ServiceError):
            client.command(messages.Control(recording=request.recording, action="stop"))
        raise


def command(client: Client, recording: str, action: RecordingAction) -> None:
    """Commands a recording now. ``InvalidStateError``: it has ended, or there is none."""
    ask_controller(client, messages.Control(recording=recording, action=action), RPC_DEADLINE_NS)


def stopped(client: Client, recording: str) -> Finished:
    """Stops a recording, and waits until it is finished. ``InvalidStateError`` where it ended long ago."""
    control = messages.Control(recording=recording, action="stop", wait=True)
    return understood(ask_controller(client, control, _STOP_NS), Finished)


def glance(service: str | None, limit_ms: int) -> list[RecordingInfo]:
    """Recordings of a service, the newest first, for who types an id and waits for nothing: those that it names within
    this time, none where there is no service."""
    deadline_ns = time.monotonic_ns() + limit_ms * MS
    try:
        address = services.address_of(service or services.default_service())
        hello = messages.Hello(client=f"client-{uuid.uuid4().hex[:12]}", pid=os.getpid())
        welcome = understood(once(address, hello, deadline_ns), Welcome)
        if welcome.catalog:
            there = reachable(welcome.catalog, address)
            return understood(once(there, messages.ListRecordings(), deadline_ns), list[RecordingInfo])
    except (errors.RecorderError, sockets.ZMQError, OSError, TypeError, ValueError):
        pass  # whoever types sees no suggestions
    return []
