"""CPU time of this process and of all below it, to the microsecond."""

from __future__ import annotations

import os
import resource
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple


class Meter:
    """Counts user and system time of this process, its ended children and its living descendants. What a grandchild
    used that ended meanwhile is not known."""

    def __init__(self) -> None:
        self.apart: set[int] = set()
        """Children that do not count, with all below them."""
        self._before: dict[int, _Used] = {}
        self._ended_before_s = 0.0
        self.media_s = 0.0
        self.cpu_s = 0.0

    def begin(self, media_s: float) -> None:
        """From now on; ``media_s`` is how much media was delivered before."""
        self.media_s = media_s
        self._before = _living(self.apart)
        self._before[os.getpid()] = _Used(0, time.process_time())  # the look at the others is not theirs
        self._ended_before_s = _ended_s()

    def end(self, media_s: float) -> None:
        own_s = time.process_time()
        ended_s = _ended_s() - self._ended_before_s
        now = _living(self.apart)
        now[os.getpid()] = _Used(0, own_s)
        self.cpu_s = ended_s
        for pid, used in now.items():
            self.cpu_s += used.cpu_s - (self._before[pid].cpu_s if pid in self._before else 0.0)
        # All that an ended child had used counts among the ended, also what it had used before.
        for pid, used in self._before.items():
            if pid not in now and used.parent == os.getpid():
                self.cpu_s -= used.cpu_s
        self.media_s = media_s - self.media_s


class _Used(NamedTuple):
    parent: int
    cpu_s: float


def _ended_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _living(apart: set[int]) -> dict[int, _Used]:
    """CPU seconds of each living process from this one downwards."""
    children = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            children[int(fields[1])].append(int(entry.name))
    found = {}
    waiting = [(os.getppid(), os.getpid())]
    while waiting:
        parent, pid = waiting.pop()
        waiting += [(pid, child) for child in children[pid] if child not in apart]
        try:
            found[pid] = _Used(parent, _process_cpu_s(pid))
        except OSError:
            continue
    return found


def _process_cpu_s(pid: int) -> float:
    """The kernel's clock of a process, ended threads included (clock_getcpuclockid(3); 2 stands for running time)."""
    return time.clock_gettime(~pid << 3 | 2)
