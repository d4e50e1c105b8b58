"""recsvc beside other recorders: the time of a stop, CPU time, and what their files lack.

All recorders of a workload live at once and take turns, so that whatever else the machine does meets them alike:
compare within one run. What each is and how it differs stands in ``peers/__init__.py``. One that is not installed is
skipped by name.

``RECSVC_BENCH_ROUNDS`` says how many recordings are stopped; from 10 on all workloads are measured and CPU time has
recordings of its own, else only one workload, briefly. ``RECSVC_BENCH_PEERS`` names the recorders, with commas between.
Asserted is what recsvc and the floor promise, never a time.
"""

from __future__ import annotations

import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import content
import numpy as np
import pytest
from workloads import WORKLOADS, Workload

from . import inspection, recorders
from .host import Failed, Host, hosts
from .inspection import Found
from .recorder import Taken

ROUNDS = int(os.environ.get("RECSVC_BENCH_ROUNDS") or "2")
FULL = ROUNDS >= 10
NAMES = (os.environ.get("RECSVC_BENCH_PEERS") or ",".join(recorders.NAMES)).split(",")
STOP_S = (0.7, 1.4) if FULL else (0.5, 0.6)
MEASURE_S = 0.3  # when CPU time begins to count in the recordings that are stopped
COST_ROUNDS = max(3, ROUNDS // 10) if FULL else 0
COST_S = 6.0
COST_FROM_S = 1.0
FLAT_OUT_S = 8.0 if FULL else 1.0
SETTLE_S = 10.0 if FULL else 0.0
"""Browsers are busy with themselves after their start."""
OWN = ("recsvc", "floor")

pytestmark = pytest.mark.timeout(3600 if FULL else 120)


class Clock:
    """Tells the time that the recorders took, so that pytest-benchmark's own figures are theirs."""

    __name__ = "Clock"

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


CLOCK = Clock()


@dataclass
class Measured:
    version: str = ""
    stops: list[Taken] = field(default_factory=list)
    files: list[Found] = field(default_factory=list)
    costs: list[Taken] = field(default_factory=list)
    flat_out: list[Taken] = field(default_factory=list)
    failure: str = ""


@pytest.fixture(scope="module", params=["A1", "W1", "W2"] if FULL else ["W1"])
def measured(request: pytest.FixtureRequest) -> Iterator[dict[str, Measured]]:
    work = WORKLOADS[request.param]
    names = [name for name in NAMES if recorders.find(name).missing() is None]
    found = {name: Measured() for name in names}
    seed = random.randrange(2**32)
    print("seed", seed)
    with tempfile.TemporaryDirectory(prefix="rsp-", ignore_cleanup_errors=True) as base:
        content.make(work, Path(base))
        with hosts(names, work, Path(base), Path(base)) as running:
            _measure(running, found, work, random.Random(seed))
    yield found


def _measure(running: dict[str, Host], found: dict[str, Measured], work: Workload, rng: random.Random) -> None:
    reference = inspection.reference_sound()
    if FULL:
        for name in list(running):
            _attempt(running, found, name, lambda host, result: host.ready())
        time.sleep(SETTLE_S)
    for _ in range(ROUNDS):
        stop_s = rng.uniform(*STOP_S)  # at any phase, and the same for all of a round
        for name in _order(running, rng):
            _attempt(running, found, name, lambda host, result: _stop_once(host, result, stop_s, reference))  # noqa: B023
    for _ in range(COST_ROUNDS):
        for name in _order(running, rng):
            _attempt(running, found, name, _cost_once)
    for _ in range(COST_ROUNDS or 1):
        for name in _order(running, rng):
            if recorders.find(name).flat_out:
                _attempt(running, found, name, _flat_out_once)


def _order(running: dict[str, Host], rng: random.Random) -> list[str]:
    """Another one each round; without time to settle the browsers, which start slowly, come last."""
    return rng.sample(sorted(running), len(running)) if FULL else list(running)


def _attempt(
    running: dict[str, Host], found: dict[str, Measured], name: str, what: Callable[[Host, Measured], None]
) -> None:
    """One that fails takes no further part; its tests say why."""
    try:
        what(running[name], found[name])
        found[name].version = running[name].version
    except Failed as error:
        found[name].failure = str(error)
        running.pop(name).close()


def _stop_once(host: Host, result: Measured, stop_s: float, reference: np.ndarray) -> None:
    taken, path = host.record(stop_s, measure_s=MEASURE_S)
    result.stops.append(taken)
    if recorders.find(host.name).writes_file:
        result.files.append(inspection.inspect(path, taken, reference))
        path.unlink()


def _cost_once(host: Host, result: Measured) -> None:
    taken, path = host.record(COST_S, measure_s=COST_FROM_S)
    result.costs.append(taken)
    path.unlink(missing_ok=True)


def _flat_out_once(host: Host, result: Measured) -> None:
    taken, path = host.record(FLAT_OUT_S, real_time=False)
    result.flat_out.append(taken)
    path.unlink(missing_ok=True)


# --- the benchmarks ---------------------------------------------------------------------------------


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("name", NAMES)
def test_stop_to_data(benchmark: Any, measured: dict[str, Measured], name: str, request: Any) -> None:
    """From the instant of the stop until the bytes of the finished file were read."""
    result = _result(measured, name)
    _check(name, result)
    benchmark.group = f"peers: stop to data, {request.node.callspec.params['measured']}"
    stops_ms = [taken.stop_ms for taken in result.stops]
    _report(benchmark, [value / 1e3 for value in stops_ms])
    benchmark.extra_info.update(name=name, version=result.version, late_ms_p50=_p50(t.late_ms for t in result.stops))
    benchmark.extra_info.update({f"{word}_ms": value for word, value in _spread(stops_ms).items()})
    if result.files:
        benchmark.extra_info.update(_lacks(result.files))


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("name", NAMES)
def test_cpu_in_real_time(benchmark: Any, measured: dict[str, Measured], name: str, request: Any) -> None:
    """CPU seconds of all its processes for a second of media, once it runs."""
    result = _result(measured, name)
    benchmark.group = f"peers: CPU seconds per second, real time, {request.node.callspec.params['measured']}"
    costs = [_cpu_share(taken) for taken in result.costs or result.stops]
    _report(benchmark, costs)
    floor = [_cpu_share(taken) for taken in measured["floor"].costs] if "floor" in measured else []
    benchmark.extra_info.update(name=name, version=result.version, cpu_s_per_s=_p50(costs))
    if floor:
        benchmark.extra_info["times_floor"] = _p50(costs) / _p50(floor)


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("name", [name for name in NAMES if recorders.find(name).flat_out])
def test_cpu_flat_out(benchmark: Any, measured: dict[str, Measured], name: str, request: Any) -> None:
    """The same when fed as fast as it takes. recsvc raises its encoder's speed when pictures pile up, as they do here:
    where ``speed_raised`` is not 0 it did less work than the others."""
    result = _result(measured, name)
    benchmark.group = f"peers: CPU seconds per second, flat out, {request.node.callspec.params['measured']}"
    costs = [_cpu_share(taken) for taken in result.flat_out]
    _report(benchmark, costs)
    walls = [taken.wall_s / FLAT_OUT_S for taken in result.flat_out]
    benchmark.extra_info.update(name=name, version=result.version, cpu_s_per_s=_p50(costs), wall_s_per_s=_p50(walls))
    benchmark.extra_info["speed_raised"] = max(taken.speed_raised for taken in result.flat_out)


def _result(measured: dict[str, Measured], name: str) -> Measured:
    if name not in measured:
        pytest.skip(f"{name}: {recorders.find(name).missing()}")
    result = measured[name]
    if result.failure and name not in OWN:
        pytest.skip(f"{name} failed: {result.failure}")
    assert not result.failure, result.failure
    return result


def _check(name: str, result: Measured) -> None:
    assert len(result.stops) == ROUNDS
    if name == "floor":
        assert all(taken.encoded == taken.pictures for taken in result.stops), result.stops
    if name == "recsvc":
        for taken, file in zip(result.stops, result.files, strict=True):
            dropped = max(0, taken.pictures - taken.encoded)  # counted, on a machine that has no time
            assert file.missing_pictures == dropped, (taken, file)
            assert dropped or file.lost_tail_ms == 0, (taken, file)
            assert file.has_duration and file.has_cues, file


def _report(benchmark: Any, values_s: Sequence[float]) -> None:
    """Gives pytest-benchmark what was measured before."""
    waiting = iter(values_s)

    def play() -> None:
        CLOCK.now_s += next(waiting)

    benchmark.pedantic(play, rounds=len(values_s), iterations=1)


def _cpu_share(taken: Taken) -> float:
    return taken.cpu_s / taken.cpu_media_s


def _lacks(files: Sequence[Found]) -> dict[str, Any]:
    tails_ms = [file.lost_tail_ms for file in files]
    known_ms = [value for value in tails_ms if not math.isnan(value)]
    return {
        "lost_tail_ms": _spread(known_ms) if known_ms else None,
        "lost_sound_ms_p50": _p50(file.lost_sound_ms for file in files if not math.isnan(file.lost_sound_ms)),
        "lost_picture_ms_p50": _p50(file.lost_picture_ms for file in files if not math.isnan(file.lost_picture_ms)),
        "unreadable_ends": len(tails_ms) - len(known_ms),
        "missing_pictures": sum(file.missing_pictures for file in files),
        "has_duration": all(file.has_duration for file in files),
        "has_cues": all(file.has_cues for file in files),
    }


def _p50(values: Any) -> float:
    found = list(values)
    return statistics.median(found) if found else math.nan


def _spread(values: Sequence[float]) -> dict[str, float]:
    """By nearest rank."""
    ordered = sorted(values)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {word: ordered[max(0, math.ceil(share * len(ordered)) - 1)] for word, share in shares.items()}
