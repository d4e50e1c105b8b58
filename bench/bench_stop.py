"""How long after `stop()` the listener holds a Blob and has read its bytes.

Real-time recordings, open loop: frames come by the wall clock whatever the encoder does, and the stop falls at a random
phase between two of them. The benchmark's own number is the median; percentiles, stages and the time that the codec
takes for one frame, measured in the same run, are in `extra_info`. Asserted is the result, never the time.

Stages, in ms after the call: `call` (stop() has returned), `capture_ended` (the senders have sent the end of stream),
`frames_drained` (all frames are encoded), `encoders_drained`, `muxed` (the file is complete), `published` (by the
worker, or by the controller), `blob_ready`, `listener_called`, `read` (its bytes).
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from typing import Any

import load
import pytest
import workloads
from workloads import A1, ROUNDS, W1, W1_VP9, W2, Workload

import recsvc

RECORD_S = (0.4, 0.8) if workloads.FULL else (0.08, 0.2)
"""A recording is stopped at a random moment of this interval: many frames long, so that every phase is as likely."""
NEIGHBOURS = (1, 8, 32) if workloads.FULL else (8,)
TIMESLICE_MS = 100
ENCODED_FRAMES_MIN = 200
"""A 99th percentile of fewer is little more than the maximum."""


class Stops:
    """Records, stops and measures, round after round; each round's outcome is checked."""

    def __init__(self, recorder: recsvc.MediaRecorder, timeslice_ms: float | None = None) -> None:
        self.taken_ms: list[float] = []
        self.stages_ms: dict[str, list[float]] = defaultdict(list)
        self.seed, self._random = workloads.seeded()
        self._recorder = recorder
        self._timeslice_ms = timeslice_ms
        self._done = threading.Event()
        self._called_ns = self._read_ns = self._size = 0
        recorder.add_event_listener("dataavailable", self._on_data)

    def _on_data(self, event: Any) -> None:
        called_ns = time.monotonic_ns()
        self._size += len(event.data.bytes())
        read_ns = time.monotonic_ns()
        # The last piece is the one that comes with the recording's accounting.
        if self._recorder.state == "inactive" and self._recorder.statistics() is not self._former:
            self._called_ns, self._read_ns = called_ns, read_ns
            self._done.set()

    def start(self) -> None:
        self._size = 0
        self._former = self._recorder.statistics()
        self._done.clear()
        self._recorder.start(self._timeslice_ms)
        time.sleep(self._random.uniform(*RECORD_S))

    def stop(self) -> None:
        self._begin_ns = time.monotonic_ns()
        self._recorder.stop()
        self._returned_ns = time.monotonic_ns()
        assert self._done.wait(workloads.WAIT_S)

    def check(self) -> None:
        self._recorder.wait("stop", workloads.WAIT_S)
        found = workloads.check(self._recorder)
        assert self._recorder.recording is not None
        assert self._size == self._recorder.recording.size
        stages_ms = {"call": (self._returned_ns - self._begin_ns) / 1e6}
        stages_ms |= {name: at_ns / 1e6 for name, at_ns in found.stop_stages_ns.items()}
        stages_ms["listener_called"] = (self._called_ns - self._begin_ns) / 1e6
        stages_ms["read"] = (self._read_ns - self._begin_ns) / 1e6
        for name, at_ms in stages_ms.items():
            self.stages_ms[name].append(at_ms)
        self.taken_ms.append(stages_ms["read"])

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
    stops = Stops(recorder, timeslice_ms)
    benchmark.pedantic(stops.stop, setup=stops.start, teardown=stops.check, rounds=ROUNDS, iterations=1)
    benchmark.extra_info.update(stops.figures())


def compare_with_codec(benchmark: Any, work: Workload) -> None:
    """One frame's encoding, at the pace of the recording, in the same run; what the stop takes beyond it."""
    frames = max(ENCODED_FRAMES_MIN, 3 * ROUNDS) if workloads.FULL else 15
    frame_ms = workloads.codec_cost(work, frames / work.frame_rate).frame_ms
    info = benchmark.extra_info
    info["encode_p50_ms"] = workloads.percentile(frame_ms, 0.5)
    info["encode_p99_ms"] = workloads.percentile(frame_ms, 0.99)
    info["p99_over_encode_p99_ms"] = info["p99_ms"] - info["encode_p99_ms"]


@pytest.mark.parametrize("work", [A1, W1, W2, W1_VP9], ids=lambda work: work.name)
def test_stop_captured(benchmark: Any, work: Workload) -> None:
    """Frames come from a capture process."""
    benchmark.group = "stop: captured"
    with work.capture() as stream:
        measure(benchmark, work.recorder(stream))
    compare_with_codec(benchmark, work)


@pytest.mark.parametrize("work", [A1, W1], ids=lambda work: work.name)
def test_stop_pushed(benchmark: Any, work: Workload) -> None:
    """Frames come from a thread of this program."""
    benchmark.group = "stop: pushed"
    pusher = load.Pusher(work)
    try:
        measure(benchmark, work.recorder(recsvc.MediaStream(pusher.tracks)))
    finally:
        pusher.close()
    compare_with_codec(benchmark, work)


@pytest.mark.parametrize("work", [A1, W1], ids=lambda work: work.name)
def test_stop_with_timeslice(benchmark: Any, work: Workload) -> None:
    """Most of the recording was handed out before; the last piece comes with the stop."""
    benchmark.group = "stop: timeslice 100 ms"
    with work.capture() as stream:
        measure(benchmark, work.recorder(stream), TIMESLICE_MS)


@pytest.mark.parametrize("neighbours", NEIGHBOURS)
@pytest.mark.parametrize("work", [A1, W1], ids=lambda work: work.name)
def test_stop_beside_others(benchmark: Any, work: Workload, neighbours: int) -> None:
    """Other recordings of sound, pushed by another program to the same service, go on meanwhile."""
    benchmark.group = f"stop: {work.name} beside other recordings of sound"
    with ExitStack() as stack:
        stream = stack.enter_context(work.capture())
        outcome = stack.enter_context(load.beside(load.private_service(), "A1", neighbours))
        measure(benchmark, work.recorder(stream))
    assert outcome[0]["accepted"] == outcome[0]["encoded"] > 0 and not outcome[0]["dropped"], outcome
    benchmark.extra_info["neighbours"] = neighbours
