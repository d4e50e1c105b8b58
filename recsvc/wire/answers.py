"""How a role answers its controller: one request after the other, an exception becomes an error reply. One that is
no answer but a fault of ours is logged with its traceback: many requests have nobody who reads the reply."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .. import errors
from . import messages
from .line import Line

log = logging.getLogger("recsvc")

LATER = object()
"""Returned by ``do`` when the reply will be sent by somebody else, later."""


def error_reply(error: Exception, number: int) -> messages.Reply:
    """An exception as the answer to the request of this number."""
    name, text, details = errors.name_of(error), str(error), errors.details_of(error)
    return messages.Reply(id=number, error=name, text=text, result=details)


def take_requests(line: Line, do: Callable[[Any], Any]) -> None:
    """Takes every request that is there, calls ``do`` and sends what it returns or raises. Waits for nothing."""
    while (request := line.receive()) is not None:
        reply = answer(request, do)
        if reply is not None and request.id:
            try:
                line.send(reply)
            except messages.MessageError as error:
                line.send(messages.Reply(id=request.id, error="UnknownError", text=str(error)))


def answer(request: Any, do: Callable[[Any], Any]) -> messages.Reply | None:
    """The reply to a request: what ``do`` returned or raised. ``None``: later."""
    try:
        result = do(request)
    except Exception as error:
        if not isinstance(error, errors.RecorderError | TypeError | ValueError):
            log.exception("%s failed", request, extra={"recording": getattr(request, "recording", "")})
        return error_reply(error, request.id)
    return None if result is LATER else messages.Reply(id=request.id, result=result)
