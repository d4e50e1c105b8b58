"""Starts recorders in programs of their own and passes orders to them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import headless
from program import ANSWER_S, HERE, Program
from workloads import Workload

from . import recorders
from .recorder import Order, Taken

_TESTS = HERE.parent / "tests"
"""Where ``headless.py`` is, which drives browsers."""


class Host(Program):
    """One recorder's program. Starting it takes a while: ``ready`` waits for it."""

    def __init__(self, name: str, work: Workload, content: Path, directory: Path) -> None:
        self.name = name
        self._recordings = 0
        python = recorders.find(name).interpreter or sys.executable
        words = [python, "-m", "peers.child", name, work.name, str(content), str(directory)]
        super().__init__(words, directory, PYTHONDONTWRITEBYTECODE="1", PYTHONPATH=str(_TESTS))

    def record(self, stop_s: float, *, real_time: bool = True, measure_s: float = 0.0) -> tuple[Taken, Path]:
        """The path is that of the file, which the caller may remove; some recorders write none."""
        self._recordings += 1
        path = self.directory / f"{self._recordings}.webm"
        order = Order(stop_s, real_time, measure_s, str(path))
        return Taken(**self.ask(asdict(order), ANSWER_S + 4 * stop_s)), path

    def close(self) -> None:
        """Nothing that it started is left, though it had to be killed: browsers have process groups of their own."""
        super().close()
        for pid in headless.processes_of(str(self.directory)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


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
