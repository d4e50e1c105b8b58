"""Daemons of this test run: ``recsvc serve`` with a spool and a directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fixtures_media import wait_until
from media import DEADLINE_S
from services import children

from recsvc.process.services import Connection, read


class Daemon:
    """One that was started; it may have ended."""

    def __init__(self, place: Path, *arguments: str, cwd: Path | None = None, **environment: str) -> None:
        """Everything of it is below ``place``, unless ``arguments`` say otherwise."""
        self.place = place
        self.file = place / "d" / "service.json"
        self.spool = place / "kept"
        self._log = place / "log"
        command = [sys.executable, "-m", "recsvc", "serve", "--directory", str(place / "d")]
        command += ["--spool", str(self.spool), "--workers", "1", *arguments]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **environment}, stderr=log)

    def ready(self) -> Daemon:
        """Once it can be found."""
        wait_until(lambda: self.process.poll() is not None or self._is_there(), "the service", DEADLINE_S)
        assert self.process.poll() is None, self._log.read_text()
        return self

    def _is_there(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self.file.read_text())["pid"] == self.process.pid
        return False

    @property
    def connection(self) -> Connection:
        return read(self.file)

    @property
    def service(self) -> str:
        return str(self.file)

    def lines(self, **wanted: str) -> list[dict[str, Any]]:
        """Of its log, those with these fields; of ``event`` a part."""
        found = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [
            one
            for one in found
            if all(
                (value in one.get(name, "")) if name == "event" else one.get(name) == value
                for name, value in wanted.items()
            )
        ]

    def workers(self) -> list[int]:
        return children("encode", self.process.pid)

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@contextlib.contextmanager
def daemon(place: Path, *arguments: str, cwd: Path | None = None, **environment: str) -> Iterator[Daemon]:
    """Ready; ended in order with the block, if it still runs then."""
    made = Daemon(place, *arguments, cwd=cwd, **environment)
    try:
        yield made.ready()
        assert made.end() == 0
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait()


def refused(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A service that is not to begin; or anything that ends by itself."""
    command = [sys.executable, "-m", "recsvc", "serve", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE_S)
