"""The file of a recording whose service, on another machine, has ended: it is there again when that is started anew."""

from __future__ import annotations

import time

from .. import errors
from ..common.descriptions import CompletedFile, RecordingInfo
from ..common.limits import LOOK_NS, S
from ..wire import messages
from ..wire.replies import understood
from . import connections
from .asking import ask, once
from .client import Client


def wait_completed(client: Client, recording: str, limit_ns: int) -> CompletedFile | None:
    """What the service's catalog says of a recording that it has completed. ``None``: nobody answers there, or nobody
    knows it. Blocks until then, or for the limit."""
    deadline_ns = time.monotonic_ns() + limit_ns
    try:
        once(client.address, messages.Ping(client=client.name), deadline_ns)
    except errors.ServiceError:
        return None
    except (errors.RecorderError, TypeError, ValueError):
        pass  # somebody answers
    while True:
        try:
            found = ask(connections.renewed(client), messages.GetRecording(recording=recording))
            info = understood(found, RecordingInfo)
            if not info.goes_on:
                return CompletedFile(size=info.size_bytes, duration=info.duration)
        except (errors.RecorderError, TypeError, ValueError):
            pass  # it has only begun, and looks through its spool
        if time.monotonic_ns() >= deadline_ns:
            return None
        time.sleep(LOOK_NS / S)
