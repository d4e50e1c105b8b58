"""What every role process shares: how it is started, and how it learns that it must end."""

from __future__ import annotations

import argparse
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("recsvc")

RUNTIME_PREFIX = "recsvc-"  # of the directories that hold the sockets of private controllers


def start(role: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Starts ``python -m recsvc ROLE …`` as a child that outlives no parent: it watches this process.

    It gets a session of its own, so that a Ctrl-C at the terminal reaches the caller alone, who decides.
    """
    command = [sys.executable, "-m", "recsvc", role, "--parent", str(os.getpid()), *arguments]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)


def arguments(role: str, *names: str) -> argparse.Namespace:
    """The command line of a role: ``--parent PID`` and these options, all strings."""
    parser = argparse.ArgumentParser(prog=f"recsvc {role}")
    parser.add_argument("--parent", type=int, default=0, help="end when this process ends (0: no parent)")
    for name in names:
        parser.add_argument(f"--{name}", default="", help="set by the process that starts this role")
    return parser.parse_args(sys.argv[2:])


def remove_runtime(endpoint: str) -> None:
    """Removes the directory of an ``ipc://`` endpoint of ours: for a role whose controller can do it no more."""
    directory = Path(endpoint.removeprefix("ipc://")).parent
    if endpoint.startswith("ipc://") and directory.name.startswith(RUNTIME_PREFIX):
        shutil.rmtree(directory, ignore_errors=True)


class Lifeline:
    """Two file descriptors that become readable when this process is to end: its parent's, and SIGTERM's."""

    def __init__(self, parent_pid: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: None)
        self._signal_read, self._signal_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._signal_write)
        self.descriptors = [self._signal_read]
        self.parent_gone = False
        self._parent: int | None = None
        if parent_pid:
            with suppress(ProcessLookupError):
                self._parent = os.pidfd_open(parent_pid)
            if self._parent is None or os.getppid() != parent_pid:
                self.parent_gone = True
            else:
                self.descriptors.append(self._parent)

    def check(self) -> bool:
        """Whether the parent is gone by now."""
        if self._parent is not None and select.select([self._parent], [], [], 0)[0]:
            self.parent_gone = True
        return self.parent_gone

    def ended_by(self, readable: int) -> bool:
        """Whether this readable descriptor means that the process is to end."""
        if readable == self._parent:
            self.parent_gone = True
            return True
        if readable == self._signal_read:
            with suppress(BlockingIOError):
                return signal.SIGTERM in os.read(self._signal_read, 64)
        return False
