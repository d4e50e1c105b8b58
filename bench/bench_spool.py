"""How old media is when it is on disk: the spool file's growth, looked at from outside.

The file grows by whole clusters. At each growth the new clusters' last block is the youngest media in the file; the
first one's is what was in memory longest, which is what a crash would have cost.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import ebml
import film
import pytest
import recorded
import sources
import workloads
from workloads import A1, SECONDS, W1, Workload

import recsvc

POLL_S = 0.001


class Watched:
    """A growing WebM file: which clusters are new since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = self._clusters = 0

    def grown(self) -> list[list[int]]:
        """The block times of each new cluster; their writer appends each as a whole."""
        if self._path.stat().st_size == self._size:
            return []
        data = self._path.read_bytes()
        clusters = ebml.read(data).clusters if data else []
        new = clusters[self._clusters :]
        self._size, self._clusters = len(data), len(clusters)
        return [[block.ms for block in blocks] for _, blocks in new]


@pytest.mark.parametrize("work", [A1, W1], ids=lambda work: work.name)
def test_capture_to_disk(benchmark: Any, work: Workload) -> None:
    """Pushed in real time; the age of the oldest and of the youngest media in each cluster when it is there."""
    benchmark.group = "capture to disk"
    oldest_ms: list[float] = []
    youngest_ms: list[float] = []
    pusher = sources.Pusher(work, film.pictures(work), begin=False)
    recorder = sources.new_recorder(work, recsvc.MediaStream(pusher.tracks))

    def record() -> None:
        recorder.start()
        pusher.start()  # the first frame that is recorded is its first one: time 0
        spool = Path(os.environ["RECSVC_SPOOL"])
        file = Watched(max(spool.glob("*.webm"), key=lambda path: path.stat().st_mtime_ns))
        until_s = time.monotonic() + max(SECONDS, 0.9)
        while time.monotonic() < until_s:
            clusters, now_ms = file.grown(), (time.monotonic_ns() - pusher.begin_ns) / 1e6
            oldest_ms.extend(now_ms - min(times) for times in clusters)
            youngest_ms.extend(now_ms - max(times) for times in clusters)
            time.sleep(POLL_S)
        recorder.stop()
        recorder.wait("stop", workloads.WAIT_S)

    try:
        benchmark.pedantic(record, rounds=1, iterations=1)
    finally:
        pusher.close()
    recorded.check(recorder)
    assert oldest_ms, "no cluster was written"
    benchmark.extra_info.update(
        clusters=len(oldest_ms),
        **{f"oldest_{name}": value for name, value in workloads.spread(oldest_ms, "ms").items()},
        **{f"youngest_{name}": value for name, value in workloads.spread(youngest_ms, "ms").items()},
    )
