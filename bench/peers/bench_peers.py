"""recsvc beside other recorders: the time of a stop, CPU time, and what their files lack.

All recorders of a workload live at once and take turns, so that whatever else the machine does meets them alike:
compare within one run. What each is and how it differs stands in ``peers/__init__.py``. One that is not installed is
skipped by name.

``RECSVC_BENCH_ROUNDS`` says how many recordings are stopped; from 10 on all workloads are measured and CPU time has
recordings of its own, else only one workload, briefly. ``RECSVC_BENCH_PEERS`` names the recorders, with commas between.
Only what the chosen tests need is measured. Asserted is what recsvc and the floor promise, never a time.
"""

from __future__ import annotations

import math
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import content
import pytest
from program import Failed
from workloads import FULL, ROUNDS, WORKLOADS, Workload, percentile, seeded, spread

from . import inspection, recorders
from .host import Host, hosts
from .inspection import Found
from .recorder import Taken
from .replayed import CLOCK, replay

NAMES = (os.environ.get("RECSVC_BENCH_PEERS") or ",".join(recorders.NAMES)).split(",")
STOP_S = (0.4, 0.6)
MEASURE_S = 0.3  # when CPU time begins to count in the recordings that are stopped
INSPECT_EVERY = 3 if FULL else 1
"""Of others than recsvc only each third file is examined, to save time."""
COST_ROUNDS = max(3, ROUNDS // 10) if FULL else 0
COST_S = 6.0
COST_FROM_S = 1.0
FLAT_OUT_S = 8.0 if FULL else 1.0
WARM_S = 0.5
"""The length of the first recording, which does not count: libraries are loaded, encoders found."""
SETTLE_S = 3.0 if FULL else 0.0
"""Browsers are busy with themselves after their start."""
OWN = ("recsvc", "floor")

pytestmark = pytest.mark.timeout(3600 if FULL else 120)


@dataclass
class Measured:
    """Of one recorder."""

    name: str
    version: str = ""
    stops: list[Taken] = field(default_factory=list)
    files: list[Found] = field(default_factory=list)
    costs: list[Taken] = field(default_factory=list)
    flat_out: list[Taken] = field(default_factory=list)
    failure: str = ""


class Peers:
    """All recorders of a workload, each in its program; ``found`` is what was measured of each."""

    def __init__(self, work: Workload, running: dict[str, Host], rng: random.Random) -> None:
        self.work = work
        self.found = {name: Measured(name) for name in running}
        self._running = running
        self._random = rng
        self._reference = inspection.reference_sound()
        if FULL:
            self._all(lambda host, result: _record(host, WARM_S))
            time.sleep(SETTLE_S)

    def stop_all(self) -> None:
        for number in range(ROUNDS):
            stop_s = self._random.uniform(*STOP_S)  # at any phase, and the same for all of a round
            self._all(lambda host, result: self._stop(host, result, stop_s, number))  # noqa: B023

    def cost_all(self) -> None:
        for _ in range(COST_ROUNDS):
            self._all(lambda host, result: result.costs.append(_record(host, COST_S, measure_s=COST_FROM_S)))

    def flat_out_all(self) -> None:
        for _ in range(COST_ROUNDS or 1):
            self._all(self._flat_out)

    def _all(self, what: Callable[[Host, Measured], object]) -> None:
        """In another order each time; without time to settle the browsers, which start slowly, come last. One that
        fails takes no further part; its tests say why."""
        names = list(self._running)
        for name in self._random.sample(names, len(names)) if FULL else names:
            try:
                what(self._running[name], self.found[name])
                self.found[name].version = self._running[name].ready()["version"]
            except Failed as error:
                self.found[name].failure = f"{name}: {error}"
                self._running.pop(name).close()

    def _flat_out(self, host: Host, result: Measured) -> None:
        if recorders.find(host.name).flat_out:
            result.flat_out.append(_record(host, FLAT_OUT_S, real_time=False))

    def _stop(self, host: Host, result: Measured, stop_s: float, number: int) -> None:
        taken, path = host.record(stop_s, measure_s=MEASURE_S)
        result.stops.append(taken)
        if recorders.find(host.name).writes_file:
            if host.name in OWN or number % INSPECT_EVERY == 0:
                result.files.append(inspection.inspect(path, taken, self._reference))
            path.unlink()


def _record(host: Host, stop_s: float, **how: Any) -> Taken:
    taken, path = host.record(stop_s, **how)
    path.unlink(missing_ok=True)
    return taken


@pytest.fixture(scope="module", params=["A1", "W1", "W2"] if FULL else ["W1"])
def peers(request: pytest.FixtureRequest) -> Iterator[Peers]:
    work = WORKLOADS[request.param]
    names = [name for name in NAMES if recorders.find(name).missing() is None]
    _, rng = seeded()
    with tempfile.TemporaryDirectory(prefix="rsp-", ignore_cleanup_errors=True) as base:
        content.make(work, Path(base))
        with hosts(names, work, Path(base), Path(base)) as running:
            yield Peers(work, running, rng)


@pytest.fixture(scope="module")
def stopped(peers: Peers) -> Peers:
    peers.stop_all()
    return peers


@pytest.fixture(scope="module")
def cost(peers: Peers, stopped: Peers) -> Peers:
    peers.cost_all()
    return peers


@pytest.fixture(scope="module")
def flat_out(peers: Peers) -> Peers:
    peers.flat_out_all()
    return peers


# --- the benchmarks ---------------------------------------------------------------------------------


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("name", NAMES)
def test_stop_to_data(benchmark: Any, stopped: Peers, name: str) -> None:
    """From the instant of the stop until the bytes of the finished file were read."""
    result = _result(stopped, name)
    _check(name, result)
    stops_ms = [taken.stop_ms for taken in result.stops]
    _report(benchmark, f"peers: stop to data, {stopped.work.name}", result, [value / 1e3 for value in stops_ms])
    benchmark.extra_info.update(spread(stops_ms, "ms"))
    if "recsvc" in stopped.found:
        ours_ms = [taken.stop_ms for taken in stopped.found["recsvc"].stops]
        benchmark.extra_info["recsvc_over_it"] = _p50(ours_ms) / _p50(stops_ms)
    benchmark.extra_info["late_ms_p50"] = _p50(taken.late_ms for taken in result.stops)
    if result.files:
        benchmark.extra_info.update(_lacks(result.files))


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("name", NAMES)
def test_cpu_in_real_time(benchmark: Any, cost: Peers, name: str) -> None:
    """CPU seconds of all its processes for a second of media, once it runs."""
    result = _result(cost, name)
    shares = [_cpu_share(taken) for taken in result.costs or result.stops]
    _report(benchmark, f"peers: CPU seconds per second, real time, {cost.work.name}", result, shares)
    benchmark.extra_info["cpu_s_per_s"] = _p50(shares)
    if floor := [_cpu_share(taken) for taken in cost.found["floor"].costs] if "floor" in cost.found else []:
        benchmark.extra_info["times_floor"] = _p50(shares) / _p50(floor)


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("name", [name for name in NAMES if recorders.find(name).flat_out])
def test_cpu_flat_out(benchmark: Any, flat_out: Peers, name: str) -> None:
    """The same when fed as fast as it takes. recsvc raises its encoder's speed when pictures pile up, as they do here:
    where ``speed_raised`` is not 0 it did less work than the others."""
    result = _result(flat_out, name)
    shares = [_cpu_share(taken) for taken in result.flat_out]
    _report(benchmark, f"peers: CPU seconds per second, flat out, {flat_out.work.name}", result, shares)
    walls = [taken.wall_s / FLAT_OUT_S for taken in result.flat_out]
    raised = max(taken.speed_raised for taken in result.flat_out)
    benchmark.extra_info.update(cpu_s_per_s=_p50(shares), wall_s_per_s=_p50(walls), speed_raised=raised)


def _result(peers: Peers, name: str) -> Measured:
    if name not in peers.found:
        pytest.skip(f"{name}: {recorders.find(name).missing()}")
    result = peers.found[name]
    if result.failure and name not in OWN:
        pytest.skip(f"failed: {result.failure}")
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


def _report(benchmark: Any, group: str, result: Measured, values_s: Sequence[float]) -> None:
    replay(benchmark, group, result.name, result.version, values_s)


def _cpu_share(taken: Taken) -> float:
    return taken.cpu_s / taken.cpu_media_s


def _lacks(files: Sequence[Found]) -> dict[str, Any]:
    tails_ms = [file.lost_tail_ms for file in files if not math.isnan(file.lost_tail_ms)]
    return {
        "lost_tail_p50_ms": _p50(tails_ms) if tails_ms else None,
        "lost_tail_max_ms": max(tails_ms, default=None),
        "unknown_tails": len(files) - len(tails_ms),
        "pictures": sum(file.pictures for file in files),
        "missing_pictures": sum(file.missing_pictures for file in files),
        "has_duration": "yes" if all(file.has_duration for file in files) else "no",
        "has_cues": "yes" if all(file.has_cues for file in files) else "no",
    }


def _p50(values: Iterable[float]) -> float:
    found = list(values)
    return percentile(found, 0.5) if found else math.nan
