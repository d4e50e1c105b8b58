"""How long after `stop()` the listener holds a Blob and has read its bytes.

Real-time recordings, open loop: frames come by the wall clock whatever the encoder does, and the stop falls at a random
phase between two of them. The benchmark's own number is the time until the `stop` event; percentiles, stages and the
time that the codec takes for one frame, measured in the same run, are in `extra_info`. Asserted is the result, never
the time.

Stages, in ms after the call: `call` (stop() has returned), those of `RecordingStatistics.stop_stages_ns`,
`listener_called`, and `read` (its bytes). Where they go in two checkouts: `compare_stops.py`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import film
import load
import pytest
import recorded
import sources
import stops
import workloads
from workloads import A1, FRAME_RATE, ROUNDS, W1, W1_VP9, W2, Workload

import recsvc

RECORD_S = (0.4, 0.8) if workloads.FULL else (0.08, 0.2)
"""A recording is stopped at a random moment of this interval: many frames long, so that every phase is as likely."""
NEIGHBOURS = (1, 8, 32, 60) if workloads.FULL else (8,)
TIMESLICE_MS = 100
BLOB_S = 2.2 if workloads.FULL else 0.3
"""W2 has 700 kB by then."""
ENCODED_FRAMES_MIN = 200
"""A 99th percentile of fewer is little more than the maximum."""


class Stops:
    """Stops round after round; each round's outcome is checked."""

    def __init__(self, recorder: recsvc.MediaRecorder, timeslice_ms: float | None = None) -> None:
        self.taken_ms: list[float] = []
        self.stages_ms: dict[str, list[float]] = defaultdict(list)
        self.seed, self._random = workloads.seeded()
        self._stop = stops.Stop(recorder, timeslice_ms)
        self.run = self._stop.stop

    def start(self) -> None:
        self._stop.start(self._random.uniform(*RECORD_S))

    def check(self) -> None:
        self.taken_ms.append(self._stop.finish())
        recorded.check(self._stop.recorder)
        for name, at_ms in self._stop.stages_ms.items():
            self.stages_ms[name].append(at_ms)

    def figures(self) -> dict[str, Any]:
        return {
            **workloads.spread(self.taken_ms, "ms"),
            "rounds": len(self.taken_ms),
            "seed": self.seed,
            "stages_p50_ms": {name: workloads.percentile(all_ms, 0.5) for name, all_ms in self.stages_ms.items()},
            "stages_p99_ms": {name: workloads.percentile(all_ms, 0.99) for name, all_ms in self.stages_ms.items()},
            "taken_ms": [round(one_ms, 3) for one_ms in self.taken_ms],
        }


def measure(benchmark: Any, recorder: recsvc.MediaRecorder, timeslice_ms: float | None = None) -> None:
    rounds = Stops(recorder, timeslice_ms)
    benchmark.pedantic(rounds.run, setup=rounds.start, teardown=rounds.check, rounds=ROUNDS, iterations=1)
    benchmark.extra_info.update(rounds.figures())


def compare_with_codec(benchmark: Any, work: Workload) -> None:
    """One frame's encoding, at the pace of the recording, in the same run; what the stop takes beyond it."""
    frames = max(ENCODED_FRAMES_MIN, 3 * ROUNDS) if workloads.FULL else 15
    frame_ms = recorded.codec_cost(work, frames / FRAME_RATE).frame_ms
    info = benchmark.extra_info
    info["encode_p50_ms"] = workloads.percentile(frame_ms, 0.5)
    info["encode_p99_ms"] = workloads.percentile(frame_ms, 0.99)
    info["p99_over_encode_p99_ms"] = info["p99_ms"] - info["encode_p99_ms"]


@pytest.mark.parametrize("work", [A1, W1, W2, W1_VP9], ids=lambda work: work.name)
def test_stop_captured(benchmark: Any, work: Workload) -> None:
    """Frames come from a capture process."""
    benchmark.group = "stop: captured"
    with sources.capture(work) as stream:
        measure(benchmark, sources.new_recorder(work, stream))
    compare_with_codec(benchmark, work)


@pytest.mark.parametrize("work", [A1, W1], ids=lambda work: work.name)
def test_stop_pushed(benchmark: Any, work: Workload) -> None:
    """Frames come from a thread of this program."""
    benchmark.group = "stop: pushed"
    pusher = sources.Pusher(work, film.pictures(work))
    try:
        measure(benchmark, sources.new_recorder(work, recsvc.MediaStream(pusher.tracks)))
    finally:
        pusher.close()
    compare_with_codec(benchmark, work)


@pytest.mark.parametrize("work", [A1, W1], ids=lambda work: work.name)
def test_stop_with_timeslice(benchmark: Any, work: Workload) -> None:
    """Most of the recording was handed out before; the last piece comes with the stop."""
    benchmark.group = "stop: timeslice 100 ms"
    with sources.capture(work) as stream:
        measure(benchmark, sources.new_recorder(work, stream), TIMESLICE_MS)


@pytest.mark.parametrize("neighbours", NEIGHBOURS)
@pytest.mark.parametrize("work", [A1, W1], ids=lambda work: work.name)
def test_stop_beside_others(benchmark: Any, work: Workload, neighbours: int) -> None:
    """Other recordings of sound, pushed by another program to the same service, go on meanwhile."""
    benchmark.group = f"stop: {work.name} beside other recordings of sound"
    with ExitStack() as stack:
        stream = stack.enter_context(sources.capture(work))
        outcome = stack.enter_context(load.beside("A1", neighbours, load.private_service()))
        measure(benchmark, sources.new_recorder(work, stream))
    assert outcome["accepted"] == outcome["encoded"] > 0 and not outcome["dropped"], outcome
    benchmark.extra_info["neighbours"] = neighbours


def test_read_of_a_blob(benchmark: Any) -> None:
    """All bytes of a recording at once: one read of one file."""
    benchmark.group = "stop: reading the Blob"
    with sources.capture(W2) as stream, sources.new_recorder(W2, stream) as recorder:
        recorder.start()
        time.sleep(BLOB_S)
        recorder.stop()
        recorder.wait("stop", workloads.WAIT_S)
        blob = recorder.recording
    assert blob is not None
    begin = _reads()
    overhead = _reads() - begin
    begin = _reads()
    assert len(blob.bytes()) == blob.size
    assert _reads() - begin - overhead == 1
    benchmark.pedantic(blob.bytes, rounds=ROUNDS, iterations=1)
    benchmark.extra_info.update(bytes=blob.size, reads=1)


def _reads() -> int:
    """How often this thread has read from a file (proc(5))."""
    lines = Path("/proc/thread-self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("syscr:"))
