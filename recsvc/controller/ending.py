"""How a controller ends: recordings are finished, then the roles are asked to end, then they are gone."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..common.limits import RECOVERY_DEADLINE_NS, WORKER_GRACE_NS
from .host import Host
from .recording import Recording
from .recordings import Recordings
from .supervisor import Supervisor


class Ending:
    """Not thread-safe: the controller's loop calls it."""

    def __init__(self, recordings: Recordings, supervisor: Supervisor, host: Host, limit_ns: int) -> None:
        """``limit_ns``: how long recordings may take to be finished."""
        self._recordings = recordings
        self._supervisor = supervisor
        self._host = host
        self._limit_ns = limit_ns
        self._deadline_ns: int | None = None  # for the recordings, once it has begun
        self._going_on: list[Recording] = []
        self._concluded = False

    @property
    def has_begun(self) -> bool:
        return self._deadline_ns is not None

    def begin(self, end: Callable[[Recording, int], object]) -> None:
        """``end(recording, wait_ns)`` ends one that goes on."""
        now = time.monotonic_ns()
        # A hung worker is killed after one grace, and another one completes its files before that is asked to end.
        self._deadline_ns = now + self._limit_ns + 2 * WORKER_GRACE_NS + RECOVERY_DEADLINE_NS
        self._recordings.workers.end()
        self._going_on = list(self._recordings.active.values())
        self._host.ending(len(self._going_on))
        for recording in self._going_on:
            end(recording, self._limit_ns)
            recording.hurry(now + self._limit_ns)  # one that was ending already may have had longer

    def insist(self) -> None:
        """Nobody wants to wait any more: what is not encoded by now is cut."""
        now = time.monotonic_ns()
        for recording in self._recordings.active.values():
            recording.hurry(now)

    def postpone(self, lost_ns: int) -> None:
        """As ``Patient`` says."""
        if self._deadline_ns is not None:
            self._deadline_ns += lost_ns

    @property
    def next_ns(self) -> int | None:
        """When recordings are waited for no longer."""
        return self._deadline_ns if self._recordings.active else None

    def is_over(self) -> bool:
        """To be asked at every turn: it takes the next step, where one is due."""
        if self._deadline_ns is None or (self._recordings.active and time.monotonic_ns() < self._deadline_ns):
            return False
        if not self._concluded:
            self._concluded = True
            cut = sum(one.cut or one.name in self._recordings.active for one in self._going_on)
            self._host.ended(len(self._going_on) - cut, cut)
        for child in self._supervisor.children:
            self._supervisor.end(child)
        return not self._supervisor.children
