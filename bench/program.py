"""Programs of our own that measure: each line of their input is an order, each of their output an answer, both JSON.

Their first answer says that they are ready. They end with their input.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
READY_S = ANSWER_S = 60.0
END_S = 20.0


class Failed(Exception):
    """A program ended, could not do what it was asked, or did not answer in time."""


class Program:
    """A program that was started; ``ready`` waits until it can be used. It gets ``directory`` for all it writes, among
    it a spool and a private controller's place."""

    def __init__(self, words: Sequence[str], directory: Path, **environment: str) -> None:
        self.directory = directory
        self.environment = os.environ | _places(directory) | environment
        self._log = directory / "log"
        self._ready: dict[str, Any] | None = None
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                words,
                cwd=HERE,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def ready(self) -> dict[str, Any]:
        """Its first answer."""
        if self._ready is None:
            self._ready = self.answer(READY_S)
        return self._ready

    def ask(self, order: Mapping[str, Any], deadline_s: float = ANSWER_S) -> dict[str, Any]:
        self.order(order)
        return self.answer(deadline_s)

    def order(self, order: Mapping[str, Any]) -> None:
        """Does not wait for the answer."""
        self.ready()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer's absence says why
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self, deadline_s: float = ANSWER_S) -> dict[str, Any]:
        """The next one. ``Failed`` where it is an ``error``, or does not come."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], deadline_s)
        line = self._process.stdout.readline() if readable else b""
        answer = json.loads(line) if line else {"error": f"no answer in {deadline_s:g} s, or it ended"}
        if "error" in answer:
            raise Failed(f"{answer['error']}\n{self._log.read_text(errors='replace')[-2000:]}")
        return answer

    def close(self) -> None:
        """Ends it, in its own time if it can."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()


@contextlib.contextmanager
def running(*words: str, **environment: str) -> Iterator[Program]:
    """One that this Python runs, ready, with a directory of its own, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="rsb-") as directory:
        program = Program([sys.executable, *words], Path(directory), **environment)
        try:
            program.ready()
            yield program
        finally:
            program.close()


def serve(ready: Mapping[str, Any], handle: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """What such a program does: answers each order with what ``handle`` makes of it, until its input ends."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps(ready), file=answers)
    for line in sys.stdin:
        try:
            answer = handle(json.loads(line))
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers)


def _places(directory: Path) -> dict[str, str]:
    runtime = directory / "run"
    runtime.mkdir(mode=0o700)
    places = {"RECSVC_SPOOL": directory / "spool", "XDG_RUNTIME_DIR": runtime, "TMPDIR": directory}
    return {"RECSVC_SERVICE": ""} | {name: str(place) for name, place in places.items()}
