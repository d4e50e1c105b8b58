"""A hundred clients that record sound and eight that record pictures, started and stopped at random, against one
alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import workloads
from crowd import crowd
from fixtures_media import wait_until
from processes import tree
from tuned import tuned
from workloads import FULL

SOUND, PICTURES, PROCESSES = (100, 8, 4) if FULL else (10, 2, 2)
ROUNDS, SECONDS = (6, 50.0) if FULL else (2, 1.0)
ALONE_S = 60.0 if FULL else 1.0


def times(members: list[dict[str, Any]], kind: str) -> dict[str, float]:
    found = {}
    for what in ("start", "stop"):
        of_all = [one_ms for member in members if member["kind"] == kind for one_ms in member[f"{what}_ms"]]
        for share in (0.5, 0.99):
            found[f"{what}_p{share * 100:g}_ms"] = workloads.percentile(of_all, share)
    return found


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.timeout(1200)
def test_many_clients(benchmark: Any, tmp_path: Path) -> None:
    """Rounds of starts and stops at random. Nothing is lost, every file is right, and neither memory nor descriptors
    of the service grow from the first round to the last."""
    benchmark.group = "many clients at once: start and stop"
    rounds: list[list[dict[str, Any]]] = []
    alone: list[dict[str, Any]] = []
    memory: list[dict[int, int]] = []
    roles: dict[int, str] = {}
    with tuned(tmp_path) as there:
        endpoint = Path(there.endpoint.removeprefix("ipc://"))
        for kind in ((1, 0), (0, 1)):
            with crowd(endpoint, tmp_path / f"alone{kind[0]}", *kind, processes=1, longest_s=0.6) as one:
                alone += one.round(ALONE_S)
                assert one.check() == []
        with crowd(endpoint, tmp_path / "c", SOUND, PICTURES, processes=PROCESSES) as everyone:

            def once() -> None:
                for _ in range(ROUNDS):
                    rounds.append(everyone.round(SECONDS))
                    there_now = tree(there.process.pid)
                    memory.append({one.pid: one.rss_bytes for one in there_now})
                    roles.update({one.pid: one.role for one in there_now})
                    if len(rounds) == 1:
                        opened.update({one.pid: descriptors(one.pid) for one in there_now})

            opened: dict[int, int] = {}
            benchmark.pedantic(once, rounds=1, iterations=1)
            members = [member for one in rounds for member in one]
            assert [problem for member in members for problem in member["wrong"]] == []
            wait_until(lambda: all(descriptors(pid) <= count for pid, count in opened.items()), "no more descriptors")
            assert everyone.check() == []
    assert memory[0].keys() == memory[-1].keys(), "a process of the service has died"
    info = benchmark.extra_info
    info["recordings"] = sum(member["recordings"] for member in members)
    info["dropped"] = sum(member["dropped"] for member in members)
    for number, (pid, role) in enumerate(sorted(roles.items())):
        sizes = [one[pid] // 1024 for one in memory]
        info[f"rss_kib_{'controller' if role == 'caller' else role}_{number}"] = dict(enumerate(sizes))
    for kind in ("audio", "video"):
        by_itself, beside = times(alone, kind), times(members, kind)
        for name, value_ms in beside.items():
            info[f"{kind}_{name}"] = value_ms
            info[f"{kind}_{name}_over_alone"] = value_ms / by_itself[name]
