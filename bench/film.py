"""The pictures that benchmarks push: those of the synthetic source. Runs with other commits' recsvc too."""

from __future__ import annotations

from workloads import Workload

from recsvc.capture.pattern import Pattern

PICTURES_KEPT = 32
"""The pattern repeats itself after so many pictures, but for its frame number."""


def pictures(work: Workload) -> list[bytes]:
    """What the synthetic source would show, to be pushed over and over; none without video."""
    if not work.has_video:
        return []
    pattern = Pattern("counter", work.width, work.height, seed=1)
    return [pattern.picture(number) for number in range(PICTURES_KEPT)]
