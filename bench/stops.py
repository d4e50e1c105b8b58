"""recsvc's recordings, stopped and measured, by its public names alone (see ``sources.py``).

As a program (``python bench/stops.py DIRECTORY``) it measures for ``compare_stops.py``, a recording for each order;
``DIRECTORY`` has the pictures to push.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import load
import sources
from program import serve
from workloads import WAIT_S, WORKLOADS

import recsvc


class Stop:
    """Records with one recorder, round after round; ``stages_ms`` are those of the last stop, in ms after its call,
    ``start_ms`` the time from the call of ``start()`` to its event, ``begin_ns`` the instant of that stop's call."""

    def __init__(self, recorder: recsvc.MediaRecorder, timeslice_ms: float | None = None) -> None:
        self.recorder = recorder
        self.stages_ms: dict[str, float] = {}
        self.start_ms = 0.0
        self._timeslice_ms = timeslice_ms
        self._stopped = threading.Event()
        self.begin_ns = self._returned_ns = self._called_ns = self._read_ns = self._size = 0
        self._start_ns = self._started_ns = 0
        recorder.add_event_listener("dataavailable", self._on_data)
        recorder.add_event_listener("stop", lambda event: self._stopped.set())
        recorder.add_event_listener("start", self._on_start)

    def _on_data(self, event: Any) -> None:
        """The last one counts."""
        self._called_ns = time.monotonic_ns()
        self._size += len(event.data.bytes())
        self._read_ns = time.monotonic_ns()

    def _on_start(self, event: Any) -> None:
        self._started_ns = time.monotonic_ns()

    def start(self, record_s: float) -> None:
        self._size = 0
        self._start_ns = time.monotonic_ns()
        self._stopped.clear()
        self.recorder.start(self._timeslice_ms)
        time.sleep(record_s)

    def stop(self) -> None:
        """Returns after the ``stop`` event."""
        self.begin_ns = time.monotonic_ns()
        self.recorder.stop()
        self._returned_ns = time.monotonic_ns()
        assert self._stopped.wait(WAIT_S)

    def finish(self) -> float:
        """Milliseconds from the call until the bytes were read."""
        assert self.recorder.recording is not None
        assert self._size == self.recorder.recording.size
        self.start_ms = (self._started_ns - self._start_ns) / 1e6
        self.stages_ms = {
            "call": (self._returned_ns - self.begin_ns) / 1e6,
            **{name: at_ns / 1e6 for name, at_ns in self.recorder.statistics().stop_stages_ns.items()},
            "listener_called": (self._called_ns - self.begin_ns) / 1e6,
            "read": (self._read_ns - self.begin_ns) / 1e6,
        }
        return self.stages_ms["read"]


def main() -> None:
    directory = Path(sys.argv[1])
    with ExitStack() as stack:
        stop: Stop | None = None

        def handle(order: dict[str, Any]) -> dict[str, Any]:
            nonlocal stop
            if "work" in order:
                stack.close()
                stop = _opened(stack, directory, **order)
                return {}
            if "beside" in order:
                stack.enter_context(load.beside("A1", order["beside"], load.private_service()))
                return {}
            assert stop is not None
            stop.start(order["record_s"])
            stop.stop()
            stop.finish()
            return {**stop.stages_ms, "start event": stop.start_ms}

        serve({"recsvc": recsvc.__file__}, handle)


def _opened(stack: ExitStack, directory: Path, work: str, feed: str) -> Stop:
    """A recorder that is fed until the stack is closed."""
    recorded = WORKLOADS[work]
    if feed == "captured":
        stream = stack.enter_context(sources.capture(recorded))
    else:
        size = recorded.picture_bytes
        film = memoryview((directory / f"{work}.i420").read_bytes()) if size else b""
        pusher = sources.Pusher(recorded, [film[at : at + size] for at in range(0, len(film), size or 1)])
        stack.callback(pusher.close)
        stream = recsvc.MediaStream(pusher.tracks)
    return Stop(stack.enter_context(sources.new_recorder(recorded, stream)))


if __name__ == "__main__":
    main()
