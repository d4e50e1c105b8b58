"""A daemon of its own for a test, and a recording on it that needs no device."""

from __future__ import annotations

import array
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fixtures_media import wait_until
from media import DEADLINE_S
from services import children
from traces import DIRECTORY

import recsvc
from recsvc.caller import connections
from recsvc.caller.blob import blob_of_file
from recsvc.caller.client import Client
from recsvc.caller.remote import RemoteFile


class Daemon:
    """``recsvc serve`` with a spool below ``base``."""

    def __init__(self, base: Path, *arguments: str) -> None:
        self.spool = base / "kept"
        self._directory = Path(tempfile.mkdtemp(prefix="d", dir=DIRECTORY))  # of a short name
        self.log = base / "log"
        self._arguments = arguments
        self.address = f"ipc://{self._directory}/control"
        self.process: subprocess.Popen[bytes]
        self.begin()

    def begin(self) -> None:
        """It and all its processes are there afterwards."""
        command = [sys.executable, "-m", "recsvc", "serve", "--spool", str(self.spool), "--workers", "1"]
        command += ["--directory", str(self._directory), *self._arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)
        wait_until(lambda: self._is_there() or self.process.poll() is not None, "the daemon", DEADLINE_S)
        assert self.process.poll() is None, self.log.read_text()

    def _is_there(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            is_found = json.loads((self._directory / "service.json").read_text())["pid"] == self.process.pid
            return is_found and all(children(role, self.process.pid) for role in ("encode", "catalog"))
        return False

    @property
    def tcp(self) -> str:
        """Where it is reached over the network, if it is."""
        port = json.loads((self._directory / "service.json").read_text())["tcp"].rpartition(":")[2]
        return f"tcp://127.0.0.1:{port}"

    @property
    def client(self) -> Client:
        return connections.connect(self.address)

    @property
    def catalog(self) -> int:
        """The process of its catalog."""
        return wait_until(lambda: children("catalog", self.process.pid), "the catalog", DEADLINE_S)[0]

    def list(self, **given: int | None) -> list[recsvc.recording.Recording]:
        return recsvc.recording.list(service=self.address, **given)

    def get(self, id: str) -> recsvc.recording.Recording:
        return recsvc.recording.get(id, service=self.address)

    def files(self) -> set[str]:
        """Recordings in its spool, by their ids."""
        return {path.stem for path in self.spool.iterdir() if path.suffix in (".webm", ".ogg")}

    def end(self) -> None:
        connections.close_all()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(DEADLINE_S) == 0


@contextlib.contextmanager
def daemon(base: Path, *arguments: str) -> Iterator[Daemon]:
    """Ended in order with the block."""
    running = Daemon(base, *arguments)
    try:
        yield running
        running.end()
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()


def sound(seconds: float, value: int = 0) -> bytes:
    """Samples of one channel at 48 kHz."""
    return value.to_bytes(2, "little", signed=True) * round(48_000 * seconds)


@contextlib.contextmanager
def recording_of_sound(daemon: Daemon, service: str = "") -> Iterator[tuple[recsvc.MediaRecorder, recsvc.AudioSource]]:
    """A recorder that has begun, and what it records; stopped with the block if it still goes on."""
    source = recsvc.AudioSource(48_000, 1)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]), service=service or daemon.address)
    recorder.start()
    try:
        recorder.wait("start", DEADLINE_S)
        yield recorder, source
    finally:
        if recorder.state != "inactive":
            recorder.stop()


def record(daemon: Daemon, seconds: float = 0.2, service: str = "", *, noise: bool = False) -> recsvc.Blob:
    """A finished recording of sound; of ``noise`` a second takes 16 kB."""
    with recording_of_sound(daemon, service) as (recorder, source):
        silence = sound(seconds)
        assert source.write(os.urandom(len(silence)) if noise else silence)
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)
    assert recorder.recording is not None
    return recorder.recording


def name_of(blob: recsvc.Blob) -> str:
    """The id of the recording whose whole Blob this is."""
    (part,) = blob._content.parts
    return getattr(part.source, "recording", "") or Path(part.source.path).stem


def wait_listed(daemon: Daemon, *states: str) -> list[recsvc.recording.Recording]:
    """The catalog learns of a recording's end after everybody else: until all have one of these states."""
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        listed = daemon.list(limit=None)
        if all(one.state in states for one in listed):
            return listed
        assert time.monotonic() < deadline_s, listed
        time.sleep(0.01)


def remote(daemon: Daemon, recording: recsvc.recording.Recording) -> recsvc.Blob:
    """As a program on another machine has it."""
    file = RemoteFile(daemon.client, recording.id)
    return blob_of_file(file, b"", 0, recording.size, recording.mime_type, recording.duration)


def enlarged(daemon: Daemon, size: int) -> tuple[recsvc.recording.Recording, Path]:
    """A finished recording whose file was made this large, with bytes that tell their places, and that file."""
    record(daemon, 0.05)
    (found,) = wait_listed(daemon, "finished")
    path = daemon.spool / f"{found.id}.webm"
    numbers = array.array("Q", range(path.stat().st_size // 8 + 1, size // 8 + 1))
    with path.open("ab") as file:
        file.write(b"\0" * (-file.tell() % 8))
        file.write(numbers.tobytes())
    os.truncate(path, size)
    found.update()
    assert found.size == size
    return found, path


def peak_kib(pid: int | str = "self") -> int:
    """The most memory that a process has had at a time."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
