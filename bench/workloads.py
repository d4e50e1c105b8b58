"""What is recorded in the benchmarks, and how figures are summed up. The standard library alone: other recorders run in
other Pythons.

Environment, small by default so that the benchmarks run with the tests; ``make bench`` sets the full size:

- ``RECSVC_BENCH_ROUNDS``: how often each is measured (2)
- ``RECSVC_BENCH_SECONDS``: media of one cost or load measurement (0.4)
- ``RECSVC_BENCH_HOURS``: simulated length of the longest recording (0.02)
- ``RECSVC_BENCH_SPOOL``: a directory on the disk to be written to (that of temporary files)
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

S = 1_000_000_000
SAMPLE_RATE = 48_000
CHANNEL_COUNT = 2
FRAME_RATE = 30
AUDIO_BITS_PER_SECOND = 128_000
KEY_FRAME_DISTANCE = 100
BLOCK_SAMPLES = SAMPLE_RATE // 100
"""Pushed sound comes in blocks of 10 ms, as from a device."""
BLOCK_RATE = SAMPLE_RATE // BLOCK_SAMPLES
BLOCK_BYTES = BLOCK_SAMPLES * CHANNEL_COUNT * 2
WAIT_S = 60.0


def text(name: str, default: str) -> str:
    return os.environ.get(name) or default


ROUNDS = int(text("RECSVC_BENCH_ROUNDS", "2"))
SECONDS = float(text("RECSVC_BENCH_SECONDS", "0.4"))
HOURS = float(text("RECSVC_BENCH_HOURS", "0.02"))
FULL = ROUNDS >= 10


@dataclass(frozen=True)
class Workload:
    """What one recording takes. Stereo sound at 48 kHz is always in it; ``width`` 0: nothing else is. Pictures come at
    ``FRAME_RATE``."""

    name: str
    width: int = 0
    height: int = 0
    video_bits_per_second: int = 0
    codec: str = "vp8"

    @property
    def has_video(self) -> bool:
        return self.width > 0

    @property
    def picture_bytes(self) -> int:
        """Of one picture in I420."""
        return self.width * self.height * 3 // 2

    @property
    def mime_type(self) -> str:
        return f"video/webm;codecs={self.codec},opus" if self.has_video else "audio/webm;codecs=opus"


A1 = Workload("A1")
W1 = Workload("W1", 640, 480, 1_000_000)
W2 = Workload("W2", 1280, 720, 2_500_000)
P1080 = Workload("1080p", 1920, 1080, 5_000_000)
W1_VP9 = Workload("W1 VP9", 640, 480, 1_000_000, "vp9")
SMALL = Workload("small", 320, 240, 300_000)
"""For the small form alone."""
WORKLOADS = {work.name: work for work in (A1, W1, W2, P1080, W1_VP9, SMALL)}


def deliveries(work: Workload, stop_s: float = math.inf) -> Iterator[tuple[float, str, int]]:
    """When what is due up to ``stop_s``: a picture at the instant it shows, a block when its last sample is there."""
    picture = block = 0
    while True:
        picture_s = picture / FRAME_RATE if work.has_video else math.inf
        block_s = (block + 1) / BLOCK_RATE
        if min(picture_s, block_s) > stop_s:
            return
        if picture_s <= block_s:
            yield picture_s, "picture", picture
            picture += 1
        else:
            yield block_s, "block", block
            block += 1


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank: the smallest value that at least ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float], unit: str) -> dict[str, float]:
    """``p50_UNIT``, ``p95_UNIT``, ``p99_UNIT`` and ``max_UNIT``."""
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {f"{name}_{unit}": percentile(values, share) for name, share in shares.items()}


def seeded() -> tuple[int, random.Random]:
    """A new seed, printed so that a failure can be repeated, and its generator."""
    seed = random.randrange(2**32)
    print("seed", seed)
    return seed, random.Random(seed)
