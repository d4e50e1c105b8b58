"""Where this test run writes, and what of it is there: processes, files, shared memory."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

# Everything of this run is below here; the name in their environment tells our processes from others.
DIRECTORY = Path(tempfile.mkdtemp(prefix="rst-"))
SPOOL = DIRECTORY / "spool"
RUNTIME = DIRECTORY / "run"
GONE_LIMIT_S = 20.0
POLL_S = 0.01
SHARED_MEMORY = Path("/dev/shm")
# The names that Python's and POSIX' shared memory and semaphores get, and our own.
SHARED_MEMORY_NAMES = ("recsvc*", "psm_*", "sem.mp-*")


def role_processes() -> dict[int, str]:
    """The command lines of this run's roles and command lines that live now, by process id; orphans too."""
    found = {}
    for name in os.listdir("/proc"):  # a few times for each test: the cheapest calls that do it
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            line = _read(f"/proc/{name}/cmdline")
            if b"\0-m\0recsvc\0" in line and os.fsencode(SPOOL) in _read(f"/proc/{name}/environ"):
                words = line.split(b"\0")
                if words[1:3] == [b"-m", b"recsvc"]:
                    found[int(name)] = b" ".join(words).decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
    return found


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 1 << 17)
    finally:
        os.close(descriptor)


def parent_of(pid: int) -> int:
    """The process that started this one; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("PPid:")), 0)


def spool_files() -> set[Path]:
    return set(SPOOL.iterdir())


def runtime_directories() -> list[Path]:
    """Other programs may keep things of their own beside them."""
    return list(RUNTIME.glob("recsvc-*"))


def shared_memory() -> set[Path]:
    return {path for name in SHARED_MEMORY_NAMES for path in SHARED_MEMORY.glob(name)}


def none_left(find: Callable[[], object], what: str) -> None:
    """Waits until ``find`` finds nothing; fails with what it still finds at the deadline."""
    deadline_s = time.monotonic() + GONE_LIMIT_S
    while found := find():
        if time.monotonic() > deadline_s:
            pytest.fail(f"{what} left behind: {found}")
        time.sleep(POLL_S)
