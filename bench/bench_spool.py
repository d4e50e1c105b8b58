"""How old media is when it is on disk: the spool file's growth, looked at from outside.

The file grows by whole clusters. At each growth the new clusters' last block is the youngest media in the file; the
first one's is what was in memory longest, which is what a crash would have cost.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import recorded
import sources
import workloads
from workloads import A1, SECONDS, W1, Workload

import recsvc

POLL_S = 0.001
_CLUSTER, _TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0x1F43B675, 0xE7, 0xA3, 0xA0, 0xA1
_SEGMENT = 0x18538067


def element(data: bytes, at: int) -> tuple[int, int, int]:
    """Identifier of the EBML element at ``at``, and where its content begins and ends (RFC 8794)."""
    width = 9 - data[at].bit_length()
    identifier = int.from_bytes(data[at : at + width], "big")
    at += width
    width = 9 - data[at].bit_length()
    size = int.from_bytes(data[at : at + width], "big") & (1 << 7 * width) - 1
    return identifier, at + width, at + width + size


def times_ms(cluster: bytes) -> list[int]:
    """The times of the blocks in a cluster's content."""
    at, base, found = 0, 0, []
    while at < len(cluster):
        identifier, begin, end = element(cluster, at)
        if identifier == _TIMESTAMP:
            base = int.from_bytes(cluster[begin:end], "big")
        if identifier == _BLOCK_GROUP:
            _, begin, _ = element(cluster, begin)
        if identifier in (_SIMPLE_BLOCK, _BLOCK_GROUP):
            found.append(base + int.from_bytes(cluster[begin + 1 : begin + 3], "big", signed=True))
        at = end
    return found


class Watched:
    """A growing WebM file: which clusters are new since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def grown(self) -> list[list[int]]:
        """The block times of each new cluster; their writer appends each as a whole."""
        data = self._path.read_bytes() if self._path.stat().st_size > self._at else b""
        clusters = []
        while self._at < len(data):
            identifier, begin, end = element(data, self._at)
            if identifier == _CLUSTER:
                clusters.append(times_ms(data[begin:end]))
            self._at = begin if identifier == _SEGMENT else end
        return clusters


@pytest.mark.parametrize("work", [A1, W1], ids=lambda work: work.name)
def test_capture_to_disk(benchmark: Any, work: Workload) -> None:
    """Pushed in real time; the age of the oldest and of the youngest media in each cluster when it is there."""
    benchmark.group = "capture to disk"
    oldest_ms: list[float] = []
    youngest_ms: list[float] = []
    pusher = sources.Pusher(work, recorded.pictures(work), begin=False)
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
