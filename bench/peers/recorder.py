"""What every recorder is asked to do, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from content import Content
from workloads import Workload

from .meter import Meter

DEVICE_KIND, DEVICE_ADDRESS = "RECSVC_BENCH_DEVICE_KIND", "RECSVC_BENCH_DEVICE_ADDRESS"
"""In the environment of recorders that capture a device: those of ``devices.Device``."""


@dataclass(frozen=True)
class Order:
    """One recording: the first picture is due at 0 s, the stop at ``stop_s``; the file goes to ``path``.

    ``real_time``: everything is delivered when it is due; else as fast as it is taken. ``measure_s``: from when on
    CPU time is counted in real time, so that starting is left out; flat out all of it counts.
    """

    stop_s: float
    real_time: bool
    measure_s: float
    path: str


@dataclass(frozen=True)
class Taken:
    """What a recording took. ``stop_ms`` counts from when the stop was due until the bytes of the finished file had
    been read, and ``late_ms`` of it passed before the stop was called. ``pictures`` and ``samples`` were delivered
    before (``samples`` -1: which part of the content is not known); ``encoded`` is how many pictures the recorder
    itself says it has recorded (-1: it does not say); ``speed_raised`` how often it chose quicker encoding over
    quality. Of devices, which nobody delivers, it says in ``called_ns`` (of ``time.monotonic_ns``) when the stop was
    called, and recsvc when each stage of it was reached after that."""

    stop_ms: float
    late_ms: float
    wall_s: float
    cpu_s: float
    cpu_media_s: float
    pictures: int
    samples: int
    encoded: int = -1
    speed_raised: int = 0
    called_ns: int = 0
    stages_ms: dict[str, float] = field(default_factory=dict)


class Recorder:
    """Lives in a process of its own (``child.py``). One instance records one workload, as often as it is asked."""

    name = ""
    interpreter: str | None = None
    """The Python it needs; ``None``: that of the benchmark."""
    writes_file = True
    flat_out = True
    """Whether it can be fed faster than in real time."""

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot run here, or ``None``. Asked in the benchmark's own process."""
        return None

    def __init__(self, work: Workload, content: Content, directory: Path) -> None:
        self.work = work
        self.content = content
        self.directory = directory
        self.meter = Meter()

    def version(self) -> str:
        raise NotImplementedError

    def record(self, order: Order) -> Taken:
        raise NotImplementedError

    def close(self) -> None:
        """Ends everything it has started."""
