"""A daemon that other machines reach with keys, on ports of its own, and clients of it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fixtures_media import wait_until
from media import DEADLINE_S
from services import children

from recsvc.common.service import ServiceAddress
from recsvc.wire import curve, messages, sockets


class Daemon:
    """``recsvc serve`` below ``path``. A client's key is made by ``add``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = path / "keys"
        self.spool = path / "spool"
        self.key_file = path / "service.key"
        self.server = curve.make_service_keys(self.key_file)
        self.keys.mkdir(mode=0o700)
        self.log = path / "log"
        self.run = Path(tempfile.mkdtemp(prefix="keyed-"))  # a socket's path is short
        self.process: subprocess.Popen[bytes] | None = None
        self.tcp = "tcp://127.0.0.1:*"
        self.prefix: list[str] = []  # of its command

    @property
    def connection(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.run / "service.json").read_text())
        return found

    @property
    def local(self) -> str:
        """For clients of this machine."""
        return str(self.connection["endpoint"])

    @property
    def port(self) -> int:
        return int(str(self.connection["tcp"]).rpartition(":")[2])

    def add(self, name: str, *permissions: str) -> None:
        """Lets a client in."""
        pair = curve.make_keys()
        (self.keys / f"{name}.toml").write_text(curve.authorized_text(pair.public, permissions))
        (self.path / f"{name}.pair").write_text(" ".join(pair))

    def address(self, name: str = "", *, port: int = 0, host: str = "127.0.0.1") -> ServiceAddress:
        """By what this client reaches it; ``""``: one without keys."""
        endpoint = f"tcp://{host}:{port or self.port}"
        if not name:
            return ServiceAddress(endpoint)
        return ServiceAddress(endpoint, self.server.public, *(self.path / f"{name}.pair").read_text().split(" "))

    def file(self, name: str, *, host: str = "127.0.0.1") -> str:
        """A connection file of this client."""
        path = self.path / f"{name}.json"
        address = self.address(name, host=host)
        content = {field: getattr(address, field) for field in ("endpoint", "server_key", "public_key", "secret_key")}
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        return str(path)

    def start(self, *arguments: str, insecure: bool = False, files: int = 0) -> None:
        """``files``: how many it may have open."""
        command = [sys.executable, "-m", "recsvc", "serve", "--tcp", self.tcp, "--spool", str(self.spool)]
        command += ["--directory", str(self.run), "--keys", str(self.keys), "--key-file", str(self.key_file)]
        command += ["--insecure"] if insecure else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*self.prefix, *command, *arguments], stderr=log)
        if files:
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (files, files))
        ready = self.run / "service.json"
        wait_until(lambda: ready.exists() or self.process.poll() is not None, "the daemon", DEADLINE_S)
        assert ready.exists(), self.log.read_text()
        pid = self.process.pid
        wait_until(lambda: children("encode", pid) and children("catalog", pid), "its processes", DEADLINE_S)

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DEADLINE_S) == 0, self.log.read_text()


@contextlib.contextmanager
def daemon(
    path: Path,
    *arguments: str,
    insecure: bool = False,
    files: int = 0,
    tcp: str = "",
    prefix: Sequence[str] = (),
    **clients: tuple[str, ...],
) -> Iterator[Daemon]:
    """With keys of these clients, each with its permissions; ``tcp``: where it is to be reached; ``prefix``: of its
    command."""
    made = Daemon(path)
    made.tcp, made.prefix = tcp or made.tcp, list(prefix)
    try:
        for name, permissions in clients.items():
            made.add(name, *permissions)
        made.start(*arguments, insecure=insecure, files=files)
        yield made
        made.stop()
    finally:
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        shutil.rmtree(made.run)


class Talk:
    """A connection to a daemon's control socket, for requests as one likes."""

    def __init__(self, address: ServiceAddress) -> None:
        self.address = address
        self.socket = sockets.control_client(address)
        self.number = 0

    def ask(self, request: messages.Request, limit_s: float = DEADLINE_S) -> messages.Reply:
        self.number += 1
        request.id = self.number
        return self.send(messages.encode(request), limit_s=limit_s)

    def send(self, *parts: bytes, limit_s: float = DEADLINE_S) -> messages.Reply:
        """``AssertionError``: no answer."""
        self.socket.send_multipart(parts)
        assert self.socket.poll(limit_s * 1000), "no answer"
        reply: messages.Reply = messages.REPLIES.decode(self.socket.recv_multipart()[0])
        return reply

    def close(self) -> None:
        self.socket.close(0)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
