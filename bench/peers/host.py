"""Starts recorders in programs of their own and passes orders to them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from workloads import Workload

from . import recorders
from .recorder import Order, Taken

_BENCH = Path(__file__).resolve().parent.parent
_TESTS = _BENCH.parent / "tests"
"""Where ``headless.py`` is, which drives browsers."""
_READY_S = 60.0
_ANSWER_S = 60.0
_END_S = 20.0


class Failed(Exception):
    """A recorder ended, or did not answer in time; the text is what it said."""


class Host:
    """One recorder's program. Starting it takes a while: ``ready`` waits for it."""

    def __init__(self, name: str, work: Workload, content: Path, directory: Path) -> None:
        self.name = name
        self.version = ""
        self._directory = directory
        self._log = directory / "log"
        self._recordings = 0
        words = [recorders.find(name).interpreter or sys.executable, "-m", "peers.child", name, work.name, str(content)]
        runtime = directory / "run"
        runtime.mkdir(mode=0o700)
        own = {"RECSVC_SPOOL": str(directory / "spool"), "XDG_RUNTIME_DIR": str(runtime), "TMPDIR": str(directory)}
        own |= {"PEERS_DIRECTORY": str(directory), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(_TESTS)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                words,
                cwd=_BENCH,
                env=os.environ | own,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def ready(self) -> None:
        if not self.version:
            self.version = str(self._answer(_READY_S)["version"])

    def record(self, stop_s: float, *, real_time: bool = True, measure_s: float = 0.0) -> tuple[Taken, Path]:
        """The path is that of the file, which the caller may remove; some recorders write none."""
        self.ready()
        self._recordings += 1
        path = self._directory / f"{self._recordings}.webm"
        order = Order(stop_s, real_time, measure_s, str(path))
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # why it ended is told below
            self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
            self._process.stdin.flush()
        answer = self._answer(_ANSWER_S + 4 * stop_s)
        return Taken(**answer), path  # type: ignore[arg-type]

    def _answer(self, deadline_s: float) -> dict[str, object]:
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], deadline_s)
        line = self._process.stdout.readline() if readable else b""
        answer = json.loads(line) if line else {"error": f"no answer in {deadline_s:g} s, or it ended"}
        if "error" in answer:
            raise Failed(f"{self.name}: {answer['error']}\n{self._log.read_text(errors='replace')[-2000:]}")
        return answer

    def close(self) -> None:
        """Ends it, in its own time if it can."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()


@contextlib.contextmanager
def hosts(names: list[str], work: Workload, content: Path, base: Path) -> Iterator[dict[str, Host]]:
    """All of them, started together; those that cannot be used yet become ready meanwhile."""
    found: dict[str, Host] = {}
    try:
        for name in names:
            directory = base / f"{work.name}-{name}"
            directory.mkdir()
            found[name] = Host(name, work, content, directory)
        yield found
    finally:
        for host in found.values():
            host.close()
