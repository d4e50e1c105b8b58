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
from ..wire import messages
from .callers import Callers
from .recordings import Recordings
from .sources import Sources
from .supervisor import Supervisor

Timed = messages.Start | messages.Control | messages.ControlRoutes

log = logging.getLogger("recsvc.controller")


class Leases:
    """What ends with each caller. Not thread-safe: the controller's loop calls it."""

    def __init__(self, callers: Callers, supervisor: Supervisor, sources: Sources, recordings: Recordings) -> None:
        self._callers = callers
        self._supervisor = supervisor
        self._sources = sources
        self._recordings = recordings

    def gone(self, client: str) -> None:
        """Its process has ended, or it was given up."""
        for recording in self._recordings.of(client):
            self._recordings.orphan(recording)
        self._sources.close_client(client)

    def silent(self, client: str) -> None:
        """Nothing came for as long as its lease. It may have had nothing to send but frames, of which the workers
        know."""
        now = time.monotonic_ns()
        alive_ns = self._callers.alive_ns(client)
        fed = [one for one in self._recordings.of(client) if one.pushed]
        silent: list[messages.Reply] = []

        def answered(reply: messages.Reply) -> None:
            if not reply.error and reply.result < LEASE_NS:
                self._callers.alive(client, now - reply.result)
                return
            silent.append(reply)
            if len(silent) == len(fed) and self._callers.alive_ns(client) == alive_ns:
                self._give_up(client)

        for recording in fed:
            self._supervisor.ask(recording.worker, messages.AskSilence(recording=recording.name), answered)
        if not fed:
            self._give_up(client)

    def _give_up(self, client: str) -> None:
        """Those that it has stopped end in order: it may be waiting for nothing but that, and is answered."""
        own = self._recordings.of(client)
        level = logging.WARNING if own or self._sources.tracks_of(client) else logging.DEBUG
        log.log(level, "nothing came from the caller %s for %d s: it is taken for gone", client, LEASE_NS // S)
        for recording in [one for one in own if one.phase is not Phase.STOPPING]:
            recording.fail("UnknownError", f"nothing came from its caller for {LEASE_NS // S} s")
        self._callers.give_up(client)

    def in_our_time(self, identity: bytes, request: Timed) -> Any:
        """A request with its instant on our clock."""
        client = getattr(request, "client", "") or self._callers.of(identity)
        clock = self._callers.clock_of(client)
        if isinstance(request, messages.Start) and clock is not None and request.at_ns:
            clock.began(request.at_ns, time.monotonic_ns())
        at_ns = self._callers.instant(client, request.at_ns)
        return request if at_ns == request.at_ns else msgspec.structs.replace(request, at_ns=at_ns)

    def ping(self, request: messages.Ping, known: bool) -> Pong:
        """A sign of life, which is answered now. ``known``: whether the client was."""
        clock = self._callers.clock_of(request.client)
        now = time.monotonic_ns()
        if clock is not None:
            segment = clock.ping(request.at_ns, request.echo_ns, request.echo_at_ns, now, now)
            if segment is not None:
                for recording in self._recordings.of(request.client):
                    change = messages.TranslateClock(recording=recording.name, segment=segment)
                    self._supervisor.ask(recording.worker, change)
        return Pong(at_ns=now, known=known)

    def leave(self, client: str, stop: Callable[[Any], object], answer: Callable[[], None]) -> None:
        """It said goodbye: its recordings are stopped, its tracks closed, then it is answered."""
        for recording in self._recordings.of(client):
            stop(recording)
        self._sources.close_client(client)
        self._callers.goodbye(client, answer)
        self.conclude(client)

    def conclude(self, client: str) -> None:
        """A recording of its has ended."""
        if not self._recordings.of(client):
            self._callers.finished(client)
