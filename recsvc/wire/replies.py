"""What comes as the answer of a service, which may be anything: another version's, or no service's at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from .. import errors
from ..common.service_limits import REQUESTS_PER_TURN
from . import messages, sockets

T = TypeVar("T")


def turn(socket: sockets.Socket[bytes]) -> Iterator[None]:
    """Once for each message that is there, as long as a turn may last: who sends without end keeps its reader from
    nothing else."""
    for _ in range(REQUESTS_PER_TURN):
        if not sockets.readable(socket):
            return
        yield


def read(header: Any) -> messages.Reply:
    """``ServiceError``: it is no reply."""
    try:
        reply: messages.Reply = messages.REPLIES.decode(header)
    except messages.MessageError as error:
        raise _not_understood(error) from None
    return reply


def result_of(reply: messages.Reply) -> Any:
    """Raises what the service has answered."""
    if reply.error:
        raise errors.from_name(reply.error, reply.text, reply.result)
    return reply.result


def understood(result: object, kind: type[T]) -> T:
    """A reply's result as what it has to be. ``ServiceError``: it is none."""
    try:
        return msgspec.convert(result, kind)
    except msgspec.ValidationError as error:
        raise _not_understood(error) from None


def _not_understood(error: Exception) -> errors.ServiceError:
    return errors.ServiceError(
        f"the service runs another version of recsvc: restart it; or it is none of recsvc: its answer is {error}"
    )
