"""The processes of this test run: which there are, and controllers that are run by hand."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fixtures_media import wait_until
from media import DEADLINE_S
from traces import parent_of, role_processes


def roles(role: str) -> list[int]:
    return [pid for pid, line in role_processes().items() if f" -m recsvc {role} " in line]


def children(role: str, parent: int) -> list[int]:
    return [pid for pid in roles(role) if parent_of(pid) == parent]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A controller that is to end by itself."""
    command = [sys.executable, "-m", "recsvc", "controller", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=DEADLINE_S)


def begin(endpoint: Path, *arguments: str, cwd: Path | None = None, named: str = "") -> subprocess.Popen[bytes]:
    """A controller at a path; it serves, or has ended."""
    command = [sys.executable, "-m", "recsvc", "controller", "--endpoint", f"ipc://{named or endpoint}", *arguments]
    endpoint.unlink(missing_ok=True)
    process = subprocess.Popen(command, cwd=cwd)
    wait_until(lambda: endpoint.is_socket() or process.poll() is not None, "the service", DEADLINE_S)
    return process


@contextlib.contextmanager
def service(
    endpoint: Path, *arguments: str, cwd: Path | None = None, named: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """Ended in order with the block, if it still runs then."""
    process = begin(endpoint, *arguments, cwd=cwd, named=named)
    try:
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def workers_of(paths: list[Path]) -> dict[Path, int]:
    """The encoder worker that has each of these spool files open."""
    found = {}
    for pid in roles("encode"):
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    path = Path(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
                    if path in paths:
                        found[path] = pid
    return found


def worker_of(path: Path) -> int:
    """The encoder worker that has a spool file open."""
    return wait_until(lambda: workers_of([path]).get(path), f"the worker that writes {path}", DEADLINE_S)
