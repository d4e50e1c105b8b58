"""What becomes of a caller from which nothing comes: whether it is gone, and then of what is its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec

from ..common.descriptions import Pong
from ..common.limits import S
from ..common.service_limits import LEASE_NS
from ..common.state import Phase
from ..errors import InvalidStateError
from ..wire import messages
from .callers import Callers
from .recordings import Recordings
from .sources import Sources
from .supervisor import OnReply, Supervisor

Timed = messages.Start | messages.Control | messages.ControlRoutes

log = logging.getLogger("recsvc.controller")


class Leases:
    """The callers, and what ends with each. Not thread-safe: the controller's loop calls it."""

    def __init__(self, poller: Any, supervisor: Supervisor, sources: Sources) -> None:
        self.callers = Callers(poller, self._gone, self._silent)
        self._supervisor = supervisor
        self._sources = sources
        self.recordings: Recordings
        """To be set: they need this first."""

    def _gone(self, client: str) -> None:
        for recording in self.recordings.of(client):
            self.recordings.orphan(recording)
        self._sources.close_client(client)

    def _silent(self, client: str) -> None:
        """Nothing came for as long as its lease. It may have had nothing to send but frames, of which the workers
        know."""
        now = time.monotonic_ns()
        fed = [one for one in self.recordings.of(client) if one.pushed and one.phase is not Phase.STOPPING]
        silent: list[messages.Reply] = []

        def answered(reply: messages.Reply) -> None:
            if not reply.error and reply.result < LEASE_NS:
                self.callers.alive(client, now - reply.result)
                return
            silent.append(reply)
            if len(silent) == len(fed):
                self._give_up(client)

        for recording in fed:
            self._supervisor.ask(recording.worker, messages.AskSilence(recording=recording.name), answered)
        if not fed:
            self._give_up(client)

    def _give_up(self, client: str) -> None:
        own = self.recordings.of(client)
        level = logging.WARNING if own or self._sources.tracks_of(client) else logging.DEBUG
        log.log(level, "nothing came from the caller %s for %d s: it is taken for gone", client, LEASE_NS // S)
        for recording in own:
            recording.fail("UnknownError", f"nothing came from its caller for {LEASE_NS // S} s")
        self.callers.give_up(client)

    def in_our_time(self, identity: bytes, request: Timed) -> Any:
        """A request with its instant on our clock."""
        client = getattr(request, "client", "") or self.callers.of(identity)
        clock = self.callers.clock_of(client)
        if isinstance(request, messages.Start) and clock is not None and request.at_ns:
            clock.began(request.at_ns, time.monotonic_ns())
        at_ns = self.callers.instant(client, request.at_ns)
        return request if at_ns == request.at_ns else msgspec.structs.replace(request, at_ns=at_ns)

    def ping(self, request: messages.Ping, known: bool) -> Pong:
        """A sign of life, which is answered now. ``known``: whether the client was."""
        clock = self.callers.clock_of(request.client)
        now = time.monotonic_ns()
        if clock is not None:
            segment = clock.ping(request.at_ns, request.echo_ns, request.echo_at_ns, now, now)
            if segment is not None:
                for recording in self.recordings.of(request.client):
                    change = messages.TranslateClock(recording=recording.name, segment=segment)
                    self._supervisor.ask(recording.worker, change)
        return Pong(at_ns=now, known=known)

    def ask_statistics(self, name: str, answer: OnReply) -> None:
        """The accounting of a recording so far, with its caller's clock."""
        recording = self.recordings.active.get(name)
        if recording is None:
            raise InvalidStateError(f"recording {name!r} is not active")

        def answered(reply: messages.Reply) -> None:
            if not reply.error and recording.clock is not None:
                found = msgspec.convert(reply.result, messages.RecordingStatistics)
                reply = msgspec.structs.replace(reply, result=recording.with_clock(found))
            answer(reply)

        self._supervisor.ask(recording.worker, messages.AskStatistics(recording=recording.name), answered)

    def leave(self, client: str, stop: Callable[[Any], object], answer: Callable[[], None]) -> None:
        """It said goodbye: its recordings are stopped, its tracks closed, then it is answered."""
        for recording in self.recordings.of(client):
            stop(recording)
        self._sources.close_client(client)
        self.callers.goodbye(client, answer)
        self.conclude(client)

    def conclude(self, client: str) -> None:
        """A recording of its has ended."""
        if not self.recordings.of(client):
            self.callers.finished(client)
