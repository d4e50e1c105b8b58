"""The file of a recording whose service, on another machine, has ended: it is there again when that is started anew."""

from __future__ import annotations

import time

from .. import errors
from ..common.descriptions import CompletedFile, RecordingInfo
from ..common.limits import LOOK_NS, MS, S
from ..wire import messages, sockets
from ..wire.replies import understood
from . import calls, connections
from .client import Client
from .remote import ask


def wait_completed(client: Client, recording: str, limit_ns: int) -> CompletedFile | None:
    """What the service's catalog says of a recording that it has completed. ``None``: nobody answers there, or nobody
    knows it. Blocks until then, or for the limit."""
    deadline_ns = time.monotonic_ns() + limit_ns
    if not _answers(client, deadline_ns):
        return None
    while True:
        try:
            found = ask(connections.renewed(client), messages.GetRecording(recording=recording))
            info = understood(found, RecordingInfo)
            if not info.goes_on:
                return CompletedFile(size=info.size_bytes, duration=info.duration)
        except errors.RecorderError:
            pass  # it has only begun, and looks through its spool
        if time.monotonic_ns() >= deadline_ns:
            return None
        time.sleep(LOOK_NS / S)


def _answers(client: Client, deadline_ns: int) -> bool:
    """Whether somebody is there: making a connection would wait for much longer."""
    socket = sockets.control_client(client.address)
    try:
        socket.send(messages.encode(messages.Ping(id=1, client=client.name)))
        while time.monotonic_ns() < deadline_ns:
            calls.look()
            if socket.poll(LOOK_NS // MS):
                return True
        return False
    finally:
        socket.close(linger=0)
