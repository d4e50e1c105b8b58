"""How a role answers its controller: one request after the other, an exception becomes an error reply. One that is
no answer but a fault of ours is logged with its traceback: many requests have nobody who reads the reply."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .. import errors
from ..common.complaints import Complaints
from . import messages, sockets

log = logging.getLogger("recsvc")
complaints = Complaints(log)

LATER = object()
"""Returned by ``do`` when the reply will be sent by somebody else, later."""


def take_requests(socket: Any, codec: messages.Codec, do: Callable[[Any], Any]) -> None:
    """Takes every request that is there, calls ``do`` and sends what it returns or raises. Waits for nothing."""
    while sockets.readable(socket):
        try:
            request = codec.decode(socket.recv(sockets.NOBLOCK))
        except messages.MessageError as error:
            complaints.about("", f"a command was refused: {error}")
            continue
        try:
            result = do(request)
            if result is LATER:
                continue
            reply = messages.Reply(id=request.id, result=result)
        except Exception as error:
            if not isinstance(error, errors.RecorderError | TypeError | ValueError):
                log.exception("%s failed", request)
            reply = messages.Reply(id=request.id, error=errors.name_of(error), text=str(error))
        if request.id:
            socket.send(messages.encode(reply))
