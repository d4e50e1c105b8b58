"""Each file of benchmarks gets a spool and a controller of its own, and leaves nothing behind."""

from __future__ import annotations

import gc
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
import recorded
import workloads

from recsvc.caller import connections

GONE_LIMIT_S = 20.0

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))  # for headless.py, which drives browsers


@pytest.hookimpl(tryfirst=True)  # before those are left out that `-m` does not want
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What measures needs the machine for itself. In the small form recsvc's only show that they work; those of other
    recorders share programs that they start once."""
    here = Path(__file__).parent
    for item in items:
        measures = item.path.is_relative_to(here) and "benchmark" in getattr(item, "fixturenames", ())
        if measures and (workloads.FULL or item.path.is_relative_to(here / "peers")):
            item.add_marker(pytest.mark.alone)


@pytest.fixture
def benchmark(benchmark: Any) -> Any:
    """Takes rounds also beside other tests, where the plugin would call it once, unprepared."""
    benchmark.disabled = False
    return benchmark


@pytest.fixture(autouse=True, scope="module")
def own_service() -> Iterator[None]:
    """A fresh private controller; after it no process is left. ``RECSVC_BENCH_SPOOL`` says on which disk to write."""
    connections.close_all()
    base = workloads.text("RECSVC_BENCH_SPOOL", "") or None
    directory = Path(tempfile.mkdtemp(prefix="rsb-", dir=base))
    (directory / "run").mkdir(mode=0o700)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RECSVC_SPOOL", str(directory / "spool"))
            patch.setenv("XDG_RUNTIME_DIR", str(directory / "run"))
            patch.delenv("RECSVC_SERVICE", raising=False)
            gc.collect()
            gc.freeze()  # pytest's many objects are no part of a program that records
            yield
            connections.close_all()
            gc.collect()
        deadline_s = time.monotonic() + GONE_LIMIT_S
        while left := [one for one in processes.tree() if one.role in processes.ROLES]:
            assert time.monotonic() < deadline_s, f"left behind: {left}"
            time.sleep(0.01)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(autouse=True)
def described(request: pytest.FixtureRequest) -> None:
    """Each result says by which versions it came about."""
    if "benchmark" in request.fixturenames:
        benchmark: Any = request.getfixturevalue("benchmark")
        benchmark.extra_info["versions"] = recorded.versions()
