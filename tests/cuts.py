"""Networks that tests can cut: a proxy before a daemon's ports, and two network namespaces with a cable between."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from media import DEADLINE_S

PORTS = 8


def free_ports(host: str = "127.0.0.1", other: str = "127.0.0.2") -> int:
    """The first of ``PORTS`` ports that follow each other and are free at both addresses."""
    for base in range(20_000 + os.getpid() % 5000 * 8, 64_000, PORTS):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(base, base + PORTS):
                    for at in (host, other):
                        one = stack.enter_context(socket.socket())
                        one.bind((at, port))
            except OSError:
                continue
            return base
    pytest.fail("no free ports")


class Proxy:
    """Connections to 127.0.0.2 go on to the same ports of 127.0.0.1, until the network is stalled or cut."""

    def __init__(self, base: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._other: dict[socket.socket, socket.socket] = {}
        self._waiting: dict[socket.socket, bytes] = {}  # what a socket is still to be sent
        self.is_stalled = self.is_cut = self._over = False
        self.bytes = 0
        self._listening = []
        for port in range(base, base + PORTS):
            listening = socket.create_server(("127.0.0.2", port))
            listening.setblocking(False)
            self._listening.append(listening)
            self._selector.register(listening, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stall(self) -> None:
        """Nothing passes, and nobody notices: packets are lost."""
        self.is_stalled = True

    def cut(self) -> None:
        """Connections break, and no new ones are made."""
        self.is_cut = True
        self.drop()

    def drop(self) -> None:
        """Connections break, with what is on its way; new ones can be made."""
        with self._lock:
            for one in list(self._other):
                self._close(one, reset=True)

    def mend(self) -> None:
        self.is_stalled = self.is_cut = False

    def _run(self) -> None:
        while not self._over:
            for key, _ in self._selector.select(0.02):
                with self._lock:
                    if key.fileobj in self._listening:
                        self._accept(key.fileobj)
                    elif key.fileobj in self._other and not self.is_stalled:
                        self._pass(key.fileobj)
            if self.is_stalled:
                time.sleep(0.02)

    def _accept(self, listening: Any) -> None:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        if self.is_cut:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", listening.getsockname()[1]), 2)
        except OSError:
            client.close()
            return
        for one, other in ((client, server), (server, client)):
            one.settimeout(5)
            self._other[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass(self, one: Any) -> None:
        try:
            data = one.recv(65536)
            if data:
                self.bytes += len(data)
                self._other[one].sendall(data)
                return
        except OSError:
            pass
        self._close(one)

    def _close(self, one: socket.socket, *, reset: bool = False) -> None:
        """``reset``: as of a machine that knows of no connection; what is on its way is lost then."""
        for each in (one, self._other.get(one)):
            if each is not None and self._other.pop(each, None) is not None:
                self._selector.unregister(each)
                with contextlib.suppress(OSError):
                    if reset:
                        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                each.close()

    def close(self) -> None:
        self._over = True
        self._thread.join()
        self.drop()
        for one in self._listening:
            one.close()


class Cable:
    """Two network namespaces, of the daemon and of the client, with a cable between them. Needs root, or leave to make
    user namespaces."""

    daemon_host, client_host = "10.77.0.1", "10.77.0.2"

    def __init__(self) -> None:
        self._sides: list[subprocess.Popen[bytes]] = []
        own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self._enter_options = ["--net"] if os.geteuid() == 0 else ["--user", "--preserve-credentials", "--net"]
        try:
            self._sides.append(_holder(["unshare", "--net", *own]))
            self._sides.append(_holder([*self._enter(0), "unshare", "--net"]))
            inner = str(self._sides[1].pid)
            self._do(0, f"ip link add cable type veth peer name cable netns {inner}")
            for side, host in enumerate((self.daemon_host, self.client_host)):
                self._do(side, f"ip addr add {host}/24 dev cable")
                self._do(side, "ip link set lo up")
                self._do(side, "ip link set cable up")
        except BaseException:
            self.close()
            raise

    def _enter(self, side: int) -> list[str]:
        options = self._enter_options if side == 0 else self._enter_options
        return ["nsenter", "--target", str(self._sides[side].pid), *options]

    def _do(self, side: int, command: str) -> None:
        subprocess.run([*self._enter(side), *command.split()], check=True, capture_output=True)

    @property
    def daemon_prefix(self) -> list[str]:
        return self._enter(0)

    @property
    def client_prefix(self) -> list[str]:
        return self._enter(1)

    def pull(self) -> None:
        self._do(1, "ip link set cable down")

    def plug(self) -> None:
        self._do(1, "ip link set cable up")

    def close(self) -> None:
        for side in reversed(self._sides):
            side.kill()
            side.wait()


def _holder(prefix: list[str]) -> subprocess.Popen[bytes]:
    """A process that holds a namespace."""
    holder = subprocess.Popen([*prefix, "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"\n"
    return holder


@cache
def why_no_cable() -> str:
    """Why there can be no network namespaces; ``""``: there can."""
    if not all(shutil.which(program) for program in ("unshare", "nsenter", "ip")):
        return "needs unshare, nsenter and ip"
    try:
        Cable().close()
    except (OSError, AssertionError, subprocess.CalledProcessError) as error:
        return f"no network namespaces can be made here: {getattr(error, 'stderr', error)!r}"
    return ""


class Far:
    """``far_client.py`` in a process of its own."""

    def __init__(self, service: str, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        program = Path(__file__).parent / "far_client.py"
        command = [*prefix, sys.executable, str(program), service, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said: list[dict[str, Any]] = []
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def until(self, limit_s: float = DEADLINE_S, **wanted: Any) -> dict[str, Any]:
        """The next line that says this; those before it are kept in ``said``."""
        deadline_s = time.monotonic() + limit_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"{wanted}: not within {limit_s:g} s; before: {self.said}")
            assert line is not None, f"the client has ended; before: {self.said}"
            self.said.append(line)
            if all(name in line and value in (..., line[name]) for name, value in wanted.items()):
                return line

    def send(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def do(self, word: str) -> None:
        self.send(word)
        self.until(done=word)

    def figures(self) -> dict[str, Any]:
        self.send("figures")
        return self.until(figures=...)

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.said if "event" in line]

    def halt(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.send("quit")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@contextlib.contextmanager
def far(service: str, *arguments: str, prefix: tuple[str, ...] = ()) -> Iterator[Far]:
    client = Far(service, *arguments, prefix=prefix)
    try:
        client.until(ready=True)
        yield client
    finally:
        client.close()
