"""The command line under test: as a process of its own, without a terminal or with one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from typing import Any

from media import DEADLINE_S, SMALL_TEST
from typer.testing import CliRunner

from recsvc.cli.commands import app

RECSVC = [sys.executable, "-m", "recsvc"]
SOURCES = ["--audio", SMALL_TEST, "--video", SMALL_TEST]


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command to its end, nowhere near a terminal."""
    given = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": DEADLINE_S}
    return subprocess.run([*RECSVC, *map(str, arguments)], **(given | options))


def run_inside(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A command that fails before it records, inside this process: that is faster than one of its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTTOU, signal.SIGTTIN)}
    try:
        done = CliRunner().invoke(app, list(map(str, arguments)))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


class Terminal:
    """A program in a session and at a terminal of its own; ``output``: what was read of it so far."""

    def __init__(self, *command: object, **options: Any) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "150", "LINES": "24"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that its Ctrl-C sends the signal
            **options,
        )
        os.close(theirs)
        self.output = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.hang_up()

    def shows(self, pattern: str, since: int = 0) -> str:
        """Reads on until this was shown; returns all output."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not re.search(pattern, self.output[since:]):
            assert self._read(deadline_s), f"{pattern!r} was not shown: {self.output[since:]!r}"
        return self.output

    def _read(self, deadline_s: float) -> bool:
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            if select.select([self._ours], [], [], max(deadline_s - time.monotonic(), 0))[0]:
                data = os.read(self._ours, 4096)
                self.output += data.decode(errors="replace")
                return bool(data)
        return False

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def hang_up(self) -> None:
        """The terminal is closed."""
        if self._ours >= 0:
            os.close(self._ours)
        self._ours = -1

    def end(self) -> int:
        """Reads all that is still to come; returns the exit code."""
        deadline_s = time.monotonic() + DEADLINE_S
        while self._ours >= 0 and self._read(deadline_s):
            pass
        return self.process.wait(max(deadline_s - time.monotonic(), 1))
