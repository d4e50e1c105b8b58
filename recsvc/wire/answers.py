"""How a role answers its controller: one request after the other, an exception becomes an error reply."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .. import errors
from . import messages, sockets

log = logging.getLogger("recsvc")

LATER = object()
"""Returned by ``do`` when the reply will be sent by somebody else, later."""


def take_requests(socket: Any, codec: messages.Codec, do: Callable[[Any], Any]) -> None:
    """Takes every request that is there, calls ``do`` and sends what it returns or raises. Waits for nothing."""
    while sockets.readable(socket):
        try:
            request = codec.decode(socket.recv(sockets.NOBLOCK))
        except messages.MessageError as error:
            log.warning("a command was refused: %s", error)
            continue
        try:
            result = do(request)
            if result is LATER:
                continue
            reply = messages.Reply(id=request.id, result=result)
        except Exception as error:
            log.debug("%s failed", request, exc_info=True)
            reply = messages.Reply(id=request.id, error=errors.name_of(error), text=str(error))
        if request.id:
            socket.send(messages.encode(reply))
