"""CPU time and memory of this program and of every process below it, read from ``/proc``."""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

ROLES = ("controller", "encode", "capture")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """One process now. ``role`` is one of ``ROLES``, ``"caller"`` for the first, else the command's name. CPU time is
    user and system, to the microsecond, ended threads included."""

    pid: int
    parent: int
    role: str
    cpu_s: float
    rss_bytes: int


class _Stat(NamedTuple):
    parent: int
    name: str
    rss_bytes: int


def tree(root: int | None = None, apart: Container[int] = ()) -> list[Process]:
    """``root`` (this process if ``None``) and all its descendants that live, parents first; without those ``apart``
    and all below them."""
    root = os.getpid() if root is None else root
    stats = {int(entry.name): _stat(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    children: dict[int, list[int]] = defaultdict(list)
    for pid, stat in stats.items():
        if stat is not None:
            children[stat.parent].append(pid)
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop(0)
        stat = stats.get(pid)
        if stat is None or pid in apart:
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile
            role = "caller" if pid == root else _role(pid, stat.name)
            # Its clock (clock_getcpuclockid(3)); 2 stands for running time.
            found.append(Process(pid, stat.parent, role, time.clock_gettime(~pid << 3 | 2), stat.rss_bytes))
        waiting += sorted(children[pid])
    return found


def _stat(entry: Path) -> _Stat | None:
    """``None`` where the process has ended meanwhile."""
    try:
        text = (entry / "stat").read_text()
    except OSError:
        return None
    # The name stands in brackets and may hold anything; after it come numbers only (proc(5)).
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return _Stat(parent=int(fields[1]), name=name, rss_bytes=int(fields[21]) * _PAGE_BYTES)


def _role(pid: int, name: str) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return name
    if words[1:3] == [b"-m", b"recsvc"] and len(words) > 3 and words[3].decode(errors="replace") in ROLES:
        return words[3].decode()
    return name


def cpu_by_role(before: Iterable[Process], after: Iterable[Process]) -> dict[str, float]:
    """CPU seconds spent between two readings. A process that ended between them is missing."""
    spent_before = {one.pid: one.cpu_s for one in before}
    spent: dict[str, float] = defaultdict(float)
    for one in after:
        spent[one.role] += one.cpu_s - spent_before.get(one.pid, 0.0)
    return dict(spent)


def rss_by_role(now: Iterable[Process]) -> dict[str, int]:
    """Resident bytes; of several processes with one role the sum. Pages that they share count in each."""
    resident: dict[str, int] = defaultdict(int)
    for one in now:
        resident[one.role] += one.rss_bytes
    return dict(resident)


def memory_bytes(pids: Iterable[int]) -> int:
    """What these processes hold in memory that nothing but their end frees: anonymous and shared memory, the shared in
    parts (proportional set size). Not their programs, nor files that they map."""
    found = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # it ended meanwhile
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    found += int(line.split()[1]) * 1024
    return found
