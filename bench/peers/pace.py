"""Delivers pictures and sound when they are due, whether the recorder keeps up or not."""

from __future__ import annotations

import time
from collections.abc import Callable

from workloads import BLOCK_RATE, BLOCK_SAMPLES, Workload, deliveries

from .meter import Meter
from .recorder import Order, Taken

LEAD_S = 0.02  # from the call to the first picture


def delivered(work: Workload, stop_s: float) -> tuple[int, int]:
    """How many pictures and samples are due up to ``stop_s``."""
    pictures = blocks = 0
    for _, kind, _ in deliveries(work, stop_s):
        pictures += kind == "picture"
        blocks += kind == "block"
    return pictures, blocks * BLOCK_SAMPLES


class Pace:
    """One recording's deliveries. ``run``, then stop the recorder, then ``taken`` when its file was read."""

    def __init__(self, work: Workload, order: Order, meter: Meter) -> None:
        self._work = work
        self._order = order
        self._meter = meter
        self._begin_s = 0.0
        self._due_s = 0.0
        self._late_s = 0.0

    def run(self, picture: Callable[[int, float], object], block: Callable[[int, float], object]) -> None:
        """Calls both with the number and with the time (of ``time.monotonic``) of its capture, that of a block being
        the time of its first sample. Returns when the stop is due."""
        order = self._order
        self._begin_s = begin_s = time.monotonic() + (LEAD_S if order.real_time else 0.0)
        measures = not order.real_time
        if measures:
            self._meter.begin(0.0)
        for due_s, kind, number in deliveries(self._work, order.stop_s):
            if order.real_time:
                if not measures and due_s >= order.measure_s:
                    measures = True
                    self._meter.begin(due_s)
                sleep_until(begin_s + due_s)
            if kind == "picture":
                picture(number, begin_s + due_s)
            else:
                block(number, begin_s + due_s - 1 / BLOCK_RATE)
        if order.real_time:
            sleep_until(begin_s + order.stop_s)
            self._due_s = begin_s + order.stop_s
            self._late_s = time.monotonic() - self._due_s
        else:
            self._due_s = time.monotonic()

    def taken(self, *, end_s: float | None = None, encoded: int = -1) -> Taken:
        """``end_s``: when the file had been read; ``None``: now. Counted CPU time runs until now."""
        end_s = time.monotonic() if end_s is None else end_s
        self._meter.end(self._order.stop_s)
        pictures, samples = delivered(self._work, self._order.stop_s)
        return Taken(
            stop_ms=(end_s - self._due_s) * 1e3,
            late_ms=self._late_s * 1e3,
            wall_s=end_s - self._begin_s,
            cpu_s=self._meter.cpu_s,
            cpu_media_s=self._meter.media_s,
            pictures=pictures,
            samples=samples,
            encoded=encoded,
        )


def sleep_until(at_s: float) -> None:
    while (left_s := at_s - time.monotonic()) > 0:
        time.sleep(left_s)
