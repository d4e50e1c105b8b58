"""The processes of this test run: which there are, and services that are shared."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from fixtures_media import wait_until
from media import DEADLINE_S
from traces import DIRECTORY, parent_of, role_processes

from recsvc import AudioSource, MediaRecorder, MediaStream


def roles(role: str) -> list[int]:
    return [pid for pid, line in role_processes().items() if f" -m recsvc {role} " in line]


def children(role: str, parent: int) -> list[int]:
    return [pid for pid in roles(role) if parent_of(pid) == parent]


def all_workers() -> list[int]:
    """Those of this program's own service, once there is one per core: the others start with a second recording."""
    recorders = [MediaRecorder(MediaStream([AudioSource(8000, 1).track])) for _ in range(2)]
    for recorder in recorders:
        recorder.start()
    count = len(os.sched_getaffinity(0))
    found = wait_until(lambda: len(roles("encode")) == count and roles("encode"), "all workers", DEADLINE_S)
    for recorder in recorders:
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)
    return sorted(found)


def place_of(endpoint: Path) -> Path:
    """What the service at a path has besides its socket is below; its recordings in ``kept``."""
    place = DIRECTORY / f"s{zlib.crc32(os.fsencode(endpoint)):x}"
    place.mkdir(exist_ok=True)
    return place


def _command(endpoint: Path, *arguments: str) -> list[str]:
    place = place_of(endpoint)
    own = ("--directory", str(place / "d"), "--spool", str(place / "kept"), "--log-level", "warning")
    return [sys.executable, "-m", "recsvc", "serve", *own, *arguments]


def run(endpoint: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A service that is to end by itself."""
    return subprocess.run(_command(endpoint, *arguments), capture_output=True, text=True, timeout=DEADLINE_S)


def begin(endpoint: Path, *arguments: str, cwd: Path | None = None, named: str = "") -> subprocess.Popen[bytes]:
    """A service at a path; it serves, or has ended."""
    command = _command(endpoint, "--endpoint", f"ipc://{named or endpoint}", *arguments)
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
