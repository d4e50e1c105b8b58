"""Whether this loop kept up: who was late itself, or halted, cannot say that others were silent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from ..common.complaints import Complaints
from ..common.limits import MS
from ..common.service_limits import PACE_LATE_NS, PACE_LOOK_NS
from .recordings import Recordings

complaints = Complaints(logging.getLogger("recsvc.controller"))


class Patient(Protocol):
    """Gives others time for something, and concludes from their silence."""

    def postpone(self, lost_ns: int) -> None:
        """They get so much more."""


class Pace:
    """The one rule for all deadlines by which the controller judges others: time that passed while its loop neither
    waited for messages nor came back to them soon is nobody's silence, and is added to all of them. Not thread-safe."""

    def __init__(self, recordings: Recordings, *patient: Patient, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._recordings = recordings
        self._patient = patient
        self._clock = clock
        self._since_ns = clock()

    def poll(self, poller: Any, due_ns: Iterable[int | None]) -> dict[Any, int]:
        """What is readable, as soon as something is, or what is due at the first of these times."""
        now = self._clock()
        dues = [at for at in due_ns if at is not None]
        wait_ns = min(PACE_LOOK_NS, max(0, min(dues) - now) + MS) if dues else 60_000 * MS
        readable = dict(poller.poll(wait_ns // MS))
        self._since_ns += min(self._clock() - now, wait_ns)
        self.look()  # what has come meanwhile is no answer in time
        return readable

    def look(self) -> None:
        """After what was readable has been handled, and before anybody is judged."""
        now = self._clock()
        lost_ns, self._since_ns = now - self._since_ns, now
        if lost_ns < PACE_LATE_NS:
            return
        complaints.about("", f"the controller was late by {lost_ns // MS} ms: it was halted, or has too much to do")
        for recording in self._recordings.active.values():
            recording.postpone(lost_ns)
        for part in self._patient:
            part.postpone(lost_ns)
