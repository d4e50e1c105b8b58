"""No test leaves anything behind: no process, no socket file, no spool file, no shared memory.

A private controller is shared by the tests of a module, and must be gone, with all it started, behind the last of
them. Between two tests it may stay with its encoder workers, but nothing that the test opened may.
"""

import gc
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recsvc import client

# The helpers' assertions explain themselves as those of the tests do.
pytest.register_assert_rewrite("ebml", "fixtures_media", "media", "pattern")

# Everything of this run is below here; the name in their environment tells our processes from others.
DIRECTORY = Path(tempfile.mkdtemp(prefix="rst-"))
SPOOL = DIRECTORY / "spool"
RUNTIME = DIRECTORY / "run"
GONE_LIMIT_S = 20.0
POLL_S = 0.01
SHARED_MEMORY = Path("/dev/shm")
# The names that Python's and POSIX' shared memory and semaphores get, and our own.
SHARED_MEMORY_NAMES = ("recsvc*", "psm_*", "sem.mp-*")

_passed = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    for directory in (SPOOL, RUNTIME):
        directory.mkdir(mode=0o700)
    os.environ["RECSVC_SPOOL"] = str(SPOOL)
    os.environ["XDG_RUNTIME_DIR"] = str(RUNTIME)
    os.environ.pop("RECSVC_SERVICE", None)


def pytest_unconfigure(config: pytest.Config) -> None:
    try:
        client.close_all()
    finally:
        shutil.rmtree(DIRECTORY, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if report.when == "call":
        item.stash[_passed] = report.passed
    return report


def role_processes() -> dict[int, str]:
    """The command lines of this run's roles and command lines that live now, by process id; orphans too."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if words[1:3] == [b"-m", b"recsvc"] and os.fsencode(SPOOL) in (entry / "environ").read_bytes():
                found[int(entry.name)] = b" ".join(words).decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
    return found


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


def _unshared_processes() -> dict[int, str]:
    """All but the shared controllers and their encoder workers."""
    controllers = {one._process.pid for one in client._clients.values() if one._process is not None}
    return {
        pid: line
        for pid, line in role_processes().items()
        if pid not in controllers and not any(f" encode --parent {owner} " in line for owner in controllers)
    }


@pytest.fixture(autouse=True)
def nothing_left_by_the_test(request: pytest.FixtureRequest) -> Iterator[None]:
    for path in spool_files():  # of tests that failed
        path.unlink()
    known = set(role_processes())

    def unwanted_processes() -> dict[int, str]:
        return {pid: line for pid, line in _unshared_processes().items() if pid not in known}

    def unwanted_files() -> set[Path]:
        files = spool_files()
        if files:
            gc.collect()
        return files

    yield
    if request.node.stash.get(_passed, False):
        none_left(unwanted_processes, "processes")
        none_left(unwanted_files, "spool files")


@pytest.fixture(autouse=True, scope="module")
def nothing_left_by_the_module() -> Iterator[None]:
    before = shared_memory()
    yield
    client.close_all()
    none_left(role_processes, "processes")
    none_left(runtime_directories, "runtime directories")
    none_left(lambda: shared_memory() - before, "shared memory")


@pytest.fixture
def spool() -> Path:
    """Where recordings of this run are written."""
    return SPOOL


@pytest.fixture
def own_controller() -> Iterator[None]:
    """The test gets a private controller of its own, started in its environment; nothing of it stays."""
    client.close_all()
    yield
    client.close_all()
    none_left(role_processes, "processes")
    none_left(runtime_directories, "runtime directories")
