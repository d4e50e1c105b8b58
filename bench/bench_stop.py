"""How long after `stop()` the listener holds the Blob, and how long it takes to be ready to record.

Real-time recordings (frames at wall-clock times), stopped at random phases. The benchmark's own number is the median;
percentiles and the stages are in `extra_info`. Asserted is the result, never the time. `RECSVC_BENCH_ROUNDS` says how
often each is measured; it is small by default, so that the benchmarks run with the tests.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import recsvc

WORKLOADS: dict[str, dict[str, Any]] = {
    "A1 audio": {"audio": "test:", "video": False},
    "W1 640x480": {"audio": "test:", "video": {"source": "test:", "width": 640, "height": 480, "frame_rate": 30}},
    "W2 1280x720": {"audio": "test:", "video": {"source": "test:", "width": 1280, "height": 720, "frame_rate": 30}},
}
BITRATES = {"A1 audio": 2_500_000, "W1 640x480": 1_000_000, "W2 1280x720": 2_500_000}


ROUNDS = int(os.environ.get("RECSVC_BENCH_ROUNDS", "5"))


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_stop_to_dataavailable(benchmark: Any, workload: str) -> None:
    benchmark.group = "stop to dataavailable"
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    taken_ms: list[float] = []
    stages: dict[str, list[float]] = {}
    with recsvc.get_user_media(**WORKLOADS[workload]) as stream:
        recorder = recsvc.MediaRecorder(stream, video_bits_per_second=BITRATES[workload])
        available = threading.Event()

        def on_data(event: Any) -> None:
            assert event.data.size == len(event.data.bytes())
            available.set()

        recorder.ondataavailable = on_data  # type: ignore[attr-defined]

        def start() -> None:
            available.clear()
            recorder.start()
            time.sleep(rng.uniform(0.4, 0.8))

        def stop() -> None:
            begin = time.perf_counter()
            recorder.stop()
            assert available.wait(20)
            taken_ms.append((time.perf_counter() - begin) * 1e3)

        def check() -> None:
            recorder.wait("stop", 20)
            found = recorder.statistics()
            assert all(t.frames_accepted == t.frames_encoded and not t.frames_dropped for t in found.tracks)
            for name, at_ns in found.stop_stages_ns.items():
                stages.setdefault(name, []).append(at_ns / 1e6)

        benchmark.pedantic(stop, setup=start, teardown=check, rounds=ROUNDS, iterations=1)
        benchmark.extra_info.update(
            seed=seed,
            p50_ms=statistics.median(taken_ms),
            p95_ms=percentile(taken_ms, 0.95),
            p99_ms=percentile(taken_ms, 0.99),
            max_ms=max(taken_ms),
            stages_p50_ms={name: statistics.median(values) for name, values in stages.items()},
        )


def test_start_when_warm(benchmark: Any) -> None:
    """From `start()` to its event, in a process that has recorded before."""
    benchmark.group = "start"
    with recsvc.get_user_media(audio="test:") as stream:
        recorder = recsvc.MediaRecorder(stream)

        def start() -> None:
            recorder.start()
            recorder.wait("start", 20)

        def stop() -> None:
            recorder.stop()
            assert recorder.wait("stop", 20).type == "stop"

        benchmark.pedantic(start, teardown=stop, rounds=ROUNDS, iterations=1)


COLD = """
import time
begin = time.perf_counter()
import recsvc
with recsvc.get_user_media(audio="test:", video="test:") as stream:
    with recsvc.MediaRecorder(stream) as recorder:
        recorder.start()
        recorder.wait("start", 20)
        print(time.perf_counter() - begin)
"""


def test_start_when_cold(benchmark: Any) -> None:
    """A new program: import, private controller, capture, first `start` event (the interpreter's own start apart)."""
    benchmark.group = "start"
    taken_s: list[float] = []

    def once() -> None:
        done = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, timeout=60, check=True)
        taken_s.append(float(done.stdout))

    benchmark.pedantic(once, rounds=max(2, ROUNDS // 6), iterations=1)
    benchmark.extra_info.update(inside_p50_ms=statistics.median(taken_s) * 1e3)
