"""The requests of callers: read, judged, done once, answered."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from .. import errors
from ..common.complaints import Complaints
from ..common.permissions import Peer
from ..common.service_limits import REQUESTS_PER_TURN
from ..wire import messages, sockets
from ..wire.answers import error_reply
from ..wire.gate import Gate
from .callers import Callers
from .once import Once
from .permissions import Permissions
from .supervisor import OnReply

complaints = Complaints(logging.getLogger("recsvc.controller"))

ANSWERED_AT_ONCE = messages.ControlRoutes | messages.CloseTrack | messages.Shutdown
_DONE_ONCE = ANSWERED_AT_ONCE | messages.Start | messages.Record | messages.OpenSource | messages.Control | messages.Bye


class Asked(NamedTuple):
    """A request, and who sent it. ``known``: whether its client was there before."""

    request: Any
    answer: OnReply
    identity: bytes
    peer: Peer
    known: bool

    def answer_with(self, result: Any = None) -> None:
        self.answer(messages.Reply(id=0, result=result))


class Requests:
    """Not thread-safe: the controller's loop calls it."""

    def __init__(
        self,
        socket: sockets.Socket[bytes],
        gate: Gate,
        permissions: Permissions,
        callers: Callers,
        do: Callable[[Asked], None],
        on_failure: Callable[[Any, Exception], None],
        completed: Callable[[Any], Any],
    ) -> None:
        """``do(asked)`` raises, or answers now or later; ``on_failure(request, error)`` gets what it raised;
        ``completed(result)``: what an answer carries, with what no one else knows."""
        self._socket = socket
        self._gate = gate
        self._permissions = permissions
        self._callers = callers
        self._do = do
        self._on_failure = on_failure
        self._completed = completed
        self._once = Once()

    def take(self) -> None:
        """Handles those that are there, but no more than a turn's."""
        for _ in range(REQUESTS_PER_TURN):
            if not sockets.readable(self._socket):
                return
            try:
                identity, part = sockets.receive_frame(self._socket)[:2]
            except ValueError:
                continue  # a message of one part: there is nobody to answer
            header, peer = part.bytes, self._gate.peer(part)
            try:
                request = messages.CALLER_REQUESTS.decode(header)
            except messages.MessageError as error:
                number = messages.request_id(header)
                self._refuse(identity, peer, messages.Reply(id=number, error="TypeError", text=str(error)))
                continue
            try:
                self._permissions.check(peer, request)
                known = self._callers.came(identity, request, peer.name)
                if request.id and isinstance(request, _DONE_ONCE):
                    new, answered = self._once.is_new(identity, request.id, header)
                    if not new:
                        self._send(identity, answered)
                        continue
                self._do(Asked(request, self._answer_to(identity, request), identity, peer, known))
            except errors.NotAllowedError as error:
                self._refuse(identity, peer, error_reply(error, request.id), is_wanted=request.id != 0)
            except Exception as error:
                self._on_failure(request, error)
                if request.id:
                    self._reply(identity, error_reply(error, request.id))

    def _refuse(self, identity: bytes, peer: Peer, reply: messages.Reply, *, is_wanted: bool = True) -> None:
        """What was not even begun, so that it may come again."""
        self._gate.refused[reply.error] += 1
        complaints.about(f"{peer}", f"a request of {peer} was refused: {reply.text}")
        if is_wanted:
            self._send(identity, messages.encode(reply))

    def _answer_to(self, identity: bytes, request: messages.Request) -> OnReply:
        def answer(reply: messages.Reply) -> None:
            if request.id:
                result = self._completed(reply.result)
                self._reply(identity, msgspec.structs.replace(reply, id=request.id, result=result))

        return answer

    def _reply(self, identity: bytes, reply: messages.Reply) -> None:
        if reply.error:
            self._gate.refused[reply.error] += 1
        encoded = messages.encode(reply)
        self._once.answered(identity, reply.id, encoded)
        self._send(identity, encoded)

    def _send(self, identity: bytes, encoded: bytes | None) -> None:
        if encoded is not None:
            with contextlib.suppress(sockets.ZMQError):  # the caller went away
                self._socket.send_multipart([identity, encoded], sockets.NOBLOCK)
