"""Recordings of a microphone, a screen and a network camera, stopped: how long it takes, and what it loses of the end.

recsvc, FFmpeg, GStreamer and, of the microphone, Chromium record the same device in turn. ``lost_tail_ms`` is how much
had been captured by the stop, as a reader beside knows, and is not in the file. ``under_way_ms`` is how long after the
stop that reader had what had been captured by then: nobody who loses nothing can be much sooner. Of recsvc's stops,
``until_captured`` is the stage ``capture_ended``, when the device had brought all.

``RECSVC_BENCH_ROUNDS`` as in ``bench_peers.py``, and ``RECSVC_BENCH_PEERS`` names the recorders. Asserted is that
recsvc loses nothing, never a time.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import content
import devices
import pytest
from program import Failed
from workloads import FULL, ROUNDS, SMALL, W1, percentile, seeded, spread

from . import recorders
from .host import Host, hosts
from .recorder import DEVICE_ADDRESS, DEVICE_KIND, Taken
from .replayed import CLOCK, replay

NAMES = [f"{name}-device" for name in ("recsvc", "ffmpeg", "gstreamer", "chromium")]
if chosen := os.environ.get("RECSVC_BENCH_PEERS"):
    NAMES = [name for name in NAMES if name.removesuffix("-device") in chosen.split(",")]
elif not FULL:
    NAMES = ["recsvc-device"]
KINDS = list(devices.KINDS) if FULL else ["screen", "network"]
"""In the small form ``bench_microphone.py`` has the other."""
WORK = W1 if FULL else SMALL
STOP_S = (0.5, 0.7)
SETTLE_S = 2.0
OWN = "recsvc-device"
pytestmark = pytest.mark.timeout(3600 if FULL else 120)


@dataclass
class Measured:
    """Of one recorder and device."""

    version: str = ""
    stops: list[Taken] = field(default_factory=list)
    lost_ms: list[float] = field(default_factory=list)
    excess_ms: list[float] = field(default_factory=list)
    """By how much that is more than may seem to be lost though nothing is."""
    under_way_ms: list[float] = field(default_factory=list)
    failure: str = ""


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """Where what is shown and played was made, for all devices."""
    with tempfile.TemporaryDirectory(prefix="rsd-", ignore_cleanup_errors=True) as base:
        content.make(WORK, Path(base))
        yield Path(base)


@pytest.fixture(scope="module", params=KINDS)
def measured(request: pytest.FixtureRequest, made: Path) -> Iterator[tuple[str, dict[str, Measured]]]:
    kind = request.param
    if reason := devices.missing(kind):
        pytest.skip(f"{kind}: {reason}")
    directory = made / kind
    directory.mkdir()
    with devices.KINDS[kind](WORK, made, directory) as device, pytest.MonkeyPatch.context() as patch:
        for name, value in {DEVICE_KIND: kind, DEVICE_ADDRESS: device.address, **device.environment}.items():
            patch.setenv(name, value)
        names = [name for name in NAMES if recorders.find(name).missing() is None]
        with hosts(names, device.work, made, directory) as running:
            yield kind, _rounds(device, running)


def _rounds(device: devices.Device, running: dict[str, Host]) -> dict[str, Measured]:
    """In another order each time."""
    _, rng = seeded()
    found = {name: Measured() for name in running}
    for number in range(ROUNDS + 1 if FULL else 1):
        stop_s = rng.uniform(*STOP_S)
        for name in rng.sample(list(running), len(running)):
            if found[name].failure:
                continue
            try:
                _measure(device, running[name], found[name], stop_s)
            except Failed as error:
                found[name].failure = f"{name}: {error}"
        if FULL and not number:  # the first of a full run does not count: programs load
            time.sleep(SETTLE_S)
            found = {name: Measured(failure=one.failure) for name, one in found.items()}
    return found


def _measure(device: devices.Device, host: Host, result: Measured, stop_s: float) -> None:
    taken, path = host.record(stop_s)
    result.version = host.ready()["version"]
    result.stops.append(taken)
    lost_ms = device.lost_tail_ms(path, taken.called_ns)
    result.lost_ms.append(lost_ms)
    result.excess_ms.append(lost_ms - device.tolerated_ms(path))
    result.under_way_ms.append(device.under_way_ms(taken.called_ns))
    path.unlink()


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("name", NAMES)
def test_stop_to_data_of_a_device(benchmark: Any, measured: tuple[str, dict[str, Measured]], name: str) -> None:
    """From the stop until the bytes of the finished file were read."""
    kind, found = measured
    if name not in found:
        pytest.skip(f"{name}: {recorders.find(name).missing()}")
    result = found[name]
    if name == OWN:
        assert not result.failure, result.failure
        assert all(excess_ms <= 0 for excess_ms in result.excess_ms), result
    elif result.failure:
        pytest.skip(f"failed: {result.failure}")
    stops_ms = [taken.stop_ms for taken in result.stops]
    replay(benchmark, f"devices: stop to data, {kind}", name, result.version, [value / 1e3 for value in stops_ms])
    lost_ms = [lost_ms for lost_ms in result.lost_ms if not math.isnan(lost_ms)]
    benchmark.extra_info.update(
        **spread(stops_ms, "ms"),
        lost_tail_p50_ms=percentile(lost_ms, 0.5) if lost_ms else None,
        lost_tail_max_ms=max(lost_ms, default=None),
        unknown_tails=len(result.lost_ms) - len(lost_ms),
        under_way_p50_ms=percentile(result.under_way_ms, 0.5),
        under_way_p99_ms=percentile(result.under_way_ms, 0.99),
    )
    if name == OWN:
        waited_ms = [taken.stages_ms["capture_ended"] for taken in result.stops]
        over_ms = [stop - way for stop, way in zip(stops_ms, result.under_way_ms, strict=True)]
        benchmark.extra_info.update(
            **spread(waited_ms, "until_captured_ms"),
            over_under_way_p50_ms=percentile(over_ms, 0.5),
        )
