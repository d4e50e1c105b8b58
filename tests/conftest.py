"""No test leaves anything behind: no process, no socket file, no spool file, no shared memory.

A private controller is shared by the tests of a module, and must be gone, with all it started, behind the last of
them. Between two tests it may stay with its encoder workers, but nothing that the test opened may. Tests that run side
by side do so in several processes; each has directories of its own, by which it tells its roles from the others'.
"""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from traces import (
    DIRECTORY,
    RUNTIME,
    SPOOL,
    none_left,
    parent_of,
    role_processes,
    runtime_directories,
    shared_memory,
    spool_files,
)

from recsvc.caller import connections

# The helpers' assertions explain themselves as those of the tests do.
pytest.register_assert_rewrite("ebml", "fixtures_media", "media", "pattern", "worker_bench")

_passed = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    for directory in (SPOOL, RUNTIME):
        directory.mkdir(mode=0o700)
    os.environ["RECSVC_SPOOL"] = str(SPOOL)
    os.environ["XDG_RUNTIME_DIR"] = str(RUNTIME)
    os.environ.pop("RECSVC_SERVICE", None)
    # A job in the background of a script ignores these, and so would every program that it starts.
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """What is there stays, and makes collections slow, of which tests ask for many."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    try:
        connections.close_all()
    finally:
        shutil.rmtree(DIRECTORY, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if report.when == "call":
        item.stash[_passed] = report.passed
    return report


def _unshared_processes() -> dict[int, str]:
    """All but the shared controllers and their encoder workers."""
    controllers = {one._process.pid for one in connections._clients.values() if one._process is not None}
    return {
        pid: line
        for pid, line in role_processes().items()
        if pid not in controllers and not (" -m recsvc encode " in line and parent_of(pid) in controllers)
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
    connections.close_all()
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
    connections.close_all()
    yield
    connections.close_all()
    none_left(role_processes, "processes")
    none_left(runtime_directories, "runtime directories")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose name is short enough for sockets."""
    made = Path(tempfile.mkdtemp(dir=DIRECTORY))
    yield made
    shutil.rmtree(made)
