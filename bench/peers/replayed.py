"""Gives pytest-benchmark what was measured before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Clock:
    """Tells the time that the recorders took, so that pytest-benchmark's own figures are theirs."""

    __name__ = "Clock"

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


CLOCK = Clock()
"""Of benchmarks that call ``replay``: ``pytest.mark.benchmark(timer=CLOCK)``."""


def replay(benchmark: Any, group: str, name: str, version: str, values_s: Sequence[float]) -> None:
    waiting = iter(values_s)

    def play() -> None:
        CLOCK.now_s += next(waiting)

    benchmark.group = group
    benchmark.extra_info.update(name=name, version=version)
    benchmark.pedantic(play, rounds=len(values_s), iterations=1)
