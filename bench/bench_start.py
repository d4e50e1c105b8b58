"""How long it takes until something is recorded: from a cold program, and in one that has recorded before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sources
import workloads
from workloads import A1, ROUNDS, W1, Workload

import recsvc


@pytest.mark.parametrize("work", [A1, W1], ids=lambda work: work.name)
def test_start_warm(benchmark: Any, work: Workload) -> None:
    """From `start()` to its event, in a program that has recorded before, with the source open."""
    benchmark.group = "start: warm, to the start event"
    taken_ms: list[float] = []
    with sources.capture(work) as stream:
        recorder = sources.new_recorder(work, stream)

        def start() -> None:
            recorder.start()
            recorder.wait("start", 20)

        def stop() -> None:
            recorder.stop()
            assert recorder.wait("stop", workloads.WAIT_S).type == "stop"

        benchmark.pedantic(start, teardown=stop, rounds=ROUNDS, iterations=1)
        taken_ms = [one_s * 1e3 for one_s in benchmark.stats.stats.data] if benchmark.stats else []
    if taken_ms:
        benchmark.extra_info.update(workloads.spread(taken_ms, "ms"))


@pytest.mark.parametrize("work", [A1, W1], ids=lambda work: work.name)
def test_get_user_media_warm(benchmark: Any, work: Workload) -> None:
    """Opens the synthetic source in a program whose controller runs already: a new capture process."""
    benchmark.group = "start: get_user_media, controller running"
    streams: list[recsvc.MediaStream] = []
    benchmark.pedantic(
        lambda: streams.append(sources.capture(work)),
        teardown=lambda: streams.pop().close(),
        rounds=max(1, ROUNDS // 6),
        iterations=1,
    )
    assert not streams


def test_start_cold(benchmark: Any) -> None:
    """A new program: import, private controller, capture, first `start` event. The benchmark's own number has the
    interpreter's own start and end with it; what is inside stands in `extra_info`."""
    benchmark.group = "start: cold"
    parts_ms: list[dict[str, float]] = []

    def once() -> None:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("cold.py"))],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        parts_ms.append(json.loads(done.stdout))

    benchmark.pedantic(once, rounds=max(1, ROUNDS // 6), iterations=1)
    medians = {name: workloads.percentile([one[name] for one in parts_ms], 0.5) for name in parts_ms[0]}
    benchmark.extra_info.update(medians)
