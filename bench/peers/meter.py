"""CPU time of this process and of all below it while media is delivered."""

from __future__ import annotations

import os
import resource
import time

import processes


class Meter:
    """Counts this process, its ended children and its living descendants. What a grandchild used that ended meanwhile
    is not known."""

    def __init__(self) -> None:
        self.apart: set[int] = set()
        """Children that do not count, with all below them."""
        self._before: dict[int, processes.Process] = {}
        self._own_before_s = self._ended_before_s = 0.0
        self.media_s = 0.0
        self.cpu_s = 0.0

    def begin(self, media_s: float) -> None:
        """From now on; ``media_s`` is how much media was delivered before."""
        self.media_s = media_s
        self._before = self._descendants()
        self._ended_before_s = _ended_s()
        self._own_before_s = time.process_time()  # the look at the others is not theirs

    def end(self, media_s: float) -> None:
        self.cpu_s = time.process_time() - self._own_before_s + _ended_s() - self._ended_before_s
        now = self._descendants()
        for pid, one in now.items():
            self.cpu_s += one.cpu_s - (self._before[pid].cpu_s if pid in self._before else 0.0)
        # All that an ended child had used counts among the ended, also what it had used before.
        for pid, one in self._before.items():
            if pid not in now and one.parent == os.getpid():
                self.cpu_s -= one.cpu_s
        self.media_s = media_s - self.media_s

    def _descendants(self) -> dict[int, processes.Process]:
        return {one.pid: one for one in processes.tree(apart=self.apart) if one.pid != os.getpid()}


def _ended_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
