"""What every role process shares: how it is started, and how it learns that it must end."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress

from ..common.service_limits import DESCRIPTORS_RESERVED_MIN, DESCRIPTORS_RESERVED_SHARE, INSIST_NS
from ..errors import QuotaExceededError

log = logging.getLogger("recsvc")

_STARTUP_BYTES_MAX = 64 * 1024
"""What a role writes to its standard error before it is ready is kept up to here."""


class Process(subprocess.Popen[bytes]):
    """``python -m recsvc ROLE …`` as a child, which ends when this process does. It has a session of its own, so that
    a Ctrl-C at the terminal reaches the caller alone, who decides. What it writes to its standard error before it is
    ready is kept here, so that one that cannot start can be asked why."""

    def __init__(self, role: str, *arguments: str, line: int | None = None) -> None:
        """``line``: a descriptor that it inherits, see ``wire.line``; else it watches this process by its id."""
        self._output: int | None = None
        try:
            stderr = os.dup(2)
        except OSError:  # this process has none
            stderr = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        tie = ("--parent", str(os.getpid())) if line is None else ("--line", str(line))
        try:
            self._output = os.memfd_create("recsvc-output")
            super().__init__(
                [sys.executable, "-m", "recsvc", role, *tie, "--stderr", str(stderr), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._output,
                pass_fds=[stderr] if line is None else [stderr, line],
                env=environment(),
                start_new_session=True,
            )
        except BaseException:
            self._close_output()
            raise
        finally:
            os.close(stderr)

    def started(self) -> str:
        """Passes on what was kept, once the role is ready or has ended; returns its last line. Idempotent."""
        if self._output is None:
            return ""
        written = os.pread(self._output, _STARTUP_BYTES_MAX, 0)
        self._close_output()
        lines = written.decode(errors="replace").strip().splitlines()
        if self.poll() is None or len(lines) > 1:  # else the line that is returned is all
            with suppress(OSError):
                os.write(2, written)
        return lines[-1].strip() if lines else ""

    def _close_output(self) -> None:
        output, self._output = self._output, None
        if output is not None:
            os.close(output)


def environment() -> dict[str, str]:
    """For Python processes of ours: they import nothing from the directory that they happen to run in, where any file
    may be called as one of Python's own."""
    found = dict(os.environ, PYTHONSAFEPATH="1")
    path = [entry for entry in found.pop("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)]
    if path:
        found["PYTHONPATH"] = os.pathsep.join(path)
    return found


_OPTIONS = {
    "endpoint": "where programs reach this controller, such as ipc:///run/user/1000/recsvc.sock",
    "data": "the endpoint that takes frames",
    "tcp": "where other machines send frames, such as tcp://*:7703",
    "keys": "the folder of the public keys that may connect from other machines; without one all may",
    "key-file": "the service's own pair of keys",
    "directory": "where the sockets are",
    "retention": "the bounds of what is kept, [age in s, bytes of all, bytes to be free] as JSON; 0 is none",
    "sound-at": "when in each interval its messages of sound are due, in ns: apart from those of other workers",
    "spool": "where recordings are written",
}


def arguments(
    role: str, *names: str, optional: tuple[str, ...] = (), needs_line: bool = False, needs_parent: bool = False
) -> argparse.Namespace:
    """The command line of a role: what ties it to its parent, and these options, all strings."""
    parser = argparse.ArgumentParser(prog=f"recsvc {role}")
    # Set by the process that starts this one: end when that ends, the line to the controller, the standard error later.
    parser.add_argument("--parent", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--line", type=int, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--stderr", type=int, default=None, help=argparse.SUPPRESS)
    for name in names + optional:
        parser.add_argument(f"--{name}", default="", required=name in names, help=_OPTIONS[name])
    by_hand = "it is started by a program that records; for a service that many share, run 'recsvc serve'"
    if (needs_line or needs_parent) and not {"--line", "--parent", "-h", "--help"} & set(sys.argv):
        parser.error(by_hand)
    given = parser.parse_args(sys.argv[2:])
    if needs_line and not _is_socket(given.line):
        parser.error(by_hand)
    return given


def _is_socket(descriptor: int | None) -> bool:
    try:
        return descriptor is not None and stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def started(given: argparse.Namespace) -> None:
    """The role is ready: what it writes to its standard error from now on is not kept for its parent."""
    if given.stderr is not None:
        sys.stderr.flush()
        os.dup2(given.stderr, 2)
        os.close(given.stderr)


def raise_descriptor_limit() -> None:
    """Sockets, files and shared memory of hundreds of recordings are more than the usual soft limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def check_descriptors(expected: int = 0) -> None:
    """``QuotaExceededError`` where this process can have hardly any more files and connections open, once it has those
    that are ``expected`` anyway. At the very limit libzmq would abort it, with everybody's recordings."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    reserved = max(DESCRIPTORS_RESERVED_MIN, most // DESCRIPTORS_RESERVED_SHARE)
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError:
        used = most
    if most != resource.RLIM_INFINITY and used + expected > most - reserved:
        raise QuotaExceededError(
            f"the service has no room for another one: a process of it has {used} descriptors and expects {expected} "
            f"more, of {most}; stop a recording, or raise the limit (ulimit -Hn, LimitNOFILE=)"
        )


def pid_namespace() -> str:
    """Names the set of processes in which this one's id means something; on all machines the first one is called the
    same."""
    return _namespace("pid")


def clock_name() -> str:
    """Names the clock of ``time.monotonic_ns()``: two processes with the same name read the same one."""
    return _namespace("time")


def _namespace(kind: str) -> str:
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as boot:
        return f"{boot.read().strip()} {os.readlink(f'/proc/self/ns/{kind}')}"
    return ""


def watch(pid: int, namespace: str) -> int | None:
    """A descriptor that becomes readable when another process has ended, which may be of no relation. ``None`` where
    its id means nothing here, as in another container. ``ProcessLookupError`` when it has ended already."""
    if namespace != pid_namespace():
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError as error:
        log.warning("process %d cannot be watched: %s", pid, error)
        return None


class Lifeline:
    """Descriptors that become readable when this process is to end: of SIGTERM, and of its parent's end, where it has
    a parent to watch; of a service also of SIGINT."""

    def __init__(self, given: argparse.Namespace, *, reloads: bool = False) -> None:
        """``reloads``: it is a service, for which SIGHUP is no end, see ``hung_up``."""
        self._ends = {signal.SIGTERM}
        self._reloads = reloads
        self._hung_up = False
        self._asked_ns: int | None = None
        self.insists = False
        """Whether a service was asked by a signal to end, and after a while again."""
        if reloads:
            if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as it is in the background of a script
                self._ends.add(signal.SIGINT)
            signal.signal(signal.SIGHUP, lambda *_: None)
        else:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in self._ends:
            signal.signal(number, lambda *_: None)
        self._signal_read, self._signal_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._signal_write)
        self.descriptors = [self._signal_read]
        self.parent_gone = False
        self._parent: int | None = None
        if given.parent:
            with suppress(ProcessLookupError):
                self._parent = os.pidfd_open(given.parent)
            if self._parent is None or os.getppid() != given.parent:
                self.parent_gone = True
            else:
                self.descriptors.append(self._parent)

    def ended_by(self, readable: int) -> bool:
        """Whether this readable descriptor means that the process is to end."""
        if readable == self._parent:
            self.parent_gone = True
            return True
        if readable == self._signal_read:
            with suppress(BlockingIOError):
                came = os.read(self._signal_read, 64)
                self._hung_up = self._hung_up or signal.SIGHUP in came
                if self._ends.isdisjoint(came):
                    return False
                now = time.monotonic_ns()
                self._asked_ns = self._asked_ns or now
                self.insists = self._reloads and now - self._asked_ns >= INSIST_NS
                return True
        return False

    def hung_up(self) -> bool:
        """Whether a SIGHUP has come since the last call, of one that ``reloads``."""
        came, self._hung_up = self._hung_up, False
        return came
