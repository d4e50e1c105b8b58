"""The encoder workers: how many, which one gets a recording, and when one that ended is replaced."""

from __future__ import annotations

import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ..common.service import WORKERS_PORT, ServiceOptions
from ..common.service_limits import AUDIO_LINE_NS
from ..errors import ServiceError
from .restarts import Restarts
from .supervisor import Child, Supervisor

log = logging.getLogger("recsvc.controller")

STARTING_COST = 0.25
"""In cores: who gets a worker that is not ready waits for it."""


class Workers:
    """One worker per core; not thread-safe: the controller's loop calls it.

    The first one starts at once, since somebody may be waiting for it. The others start together when it is ready, in a
    service that is there for many; a program's own has them when there is a second recording to place, for most
    programs make one at a time. ``load``: what the recordings of a worker cost, in cores, ready or not.
    """

    def __init__(
        self, supervisor: Supervisor, directory: Path, options: ServiceOptions, load: Callable[[Child], float]
    ) -> None:
        self._supervisor = supervisor
        self._directory = directory
        self._options = options
        self._count = options.workers or usable_cores()
        self._load = load
        self._children: list[Child] = []
        self._restarts = Restarts()
        self._reason = ""
        self._ending = False
        self._start(1)

    def choose(self, load: Callable[[Child], float] | None = None) -> Child:
        """The worker with the least load, by this measure or the usual one; one that is still starting only where those
        that are ready have much more. ``ServiceError`` where none can start."""
        for child in [one for one in self._children if not self._supervisor.knows(one)]:
            self.ended(child)  # whose end the controller has not seen yet
        living = self._living()
        if self.next_ns is None and (not living or all(self._load(child) for child in living)):
            self._start(1 if self._restarts.failures else self._count)
            living = self._living()
        if not living:
            raise ServiceError(f"no encoder worker can be started: {self._reason or 'they end at once'}")
        found = load or self._load
        return min(living, key=lambda child: found(child) + (0 if child.ready else STARTING_COST))

    @property
    def pool(self) -> list[Child]:
        """Those that are or will be ready, by their numbers."""
        return sorted(self._living(), key=lambda child: child.number)

    def ready(self) -> None:
        """One of them is."""
        if self._options.keeps or self._options.workers:
            self._start(self._count)

    def ended(self, child: Child) -> None:
        """It is replaced at once, but not over and over. Idempotent."""
        if child not in self._children:
            return
        self._children.remove(child)
        self._reason = child.reason or self._reason
        self._restarts.ended(time.monotonic_ns(), child.ready_ns)
        self.start_due()

    def end(self) -> None:
        """None is started any more, but for what must be recovered."""
        self._ending = True
        self._restarts.end()

    @property
    def next_ns(self) -> int | None:
        """When ``start_due`` has something to do."""
        return self._restarts.due_ns

    def start_due(self) -> None:
        """One that could not start is tried alone; the others follow when it is ready."""
        if self._restarts.take(time.monotonic_ns()):
            self._start(max(1, len(self._children) + 1))

    def _living(self) -> list[Child]:
        return [child for child in self._children if not child.ending]

    def _start(self, count: int) -> None:
        while len(self._children) < min(count, self._count) and not (self._ending and self._children):
            # One that takes the place of another has its number, and so its port.
            number = min(set(range(self._count)) - {one.number for one in self._children})
            try:
                child = self._supervisor.start("encode", *self._arguments(number))
            except OSError as error:
                log.warning("no encoder worker can be started: %s", error)
                self._reason = str(error)
                self._restarts.ended(time.monotonic_ns(), None)
                return
            child.number = number
            self._children.append(child)

    def _arguments(self, number: int) -> tuple[str, ...]:
        """Where it takes frames, over the network by a port of its number; and when sound, apart from the others."""
        data = "--data", f"ipc://{self._directory}/encode-{uuid.uuid4().hex[:8]}"
        sound_at = "--sound-at", str(AUDIO_LINE_NS * number // self._count)
        return *data, *sound_at, *self._options.network_arguments(WORKERS_PORT + number)


def usable_cores() -> int:
    """How many cores' time this process may use: those it may run on, but no more than its control groups allow."""
    return cores(len(os.sched_getaffinity(0)), _quotas())


def capacity() -> float:
    """The same, with parts of cores."""
    return share(len(os.sched_getaffinity(0)), _quotas())


def cores(affinity: int, quotas: list[str]) -> int:
    """A part of a core counts as one. Pure."""
    return max(1, math.ceil(share(affinity, quotas)))


def share(affinity: int, quotas: list[str]) -> float:
    """``quotas``: "MAX PERIOD" in µs, as in ``cpu.max``; ``max`` is no bound. Pure."""
    found = float(affinity)
    for quota in quotas:
        with suppress(ValueError):
            most, period = (int(number) for number in quota.split())
            if most > 0 and period > 0:
                found = min(found, most / period)
    return found


def _quotas(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[str]:
    found = []
    for directory in _groups(root, own):
        with suppress(OSError):
            found.append((directory / "cpu.max").read_text())
        with suppress(OSError):
            found.append(
                f"{(directory / 'cpu.cfs_quota_us').read_text()} {(directory / 'cpu.cfs_period_us').read_text()}"
            )
    return found


def _groups(root: Path, own: Path) -> Iterator[Path]:
    """The control groups for time that this process is in, from the innermost on; of both versions."""
    lines = []
    with suppress(OSError):
        lines = own.read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / controllers if controllers else root
        group = top / path.strip("/")
        yield group
        while group != top and top in group.parents:
            group = group.parent
            yield group
