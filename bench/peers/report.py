"""Makes Markdown tables of a run: ``python bench/peers/report.py build/peers.json``."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_STOP_HEAD = ("recorder", "p50 ms", "p95 ms", "p99 ms", "max ms", "recsvc's p50 over it", "lost tail, p50 ms")
_STOP_HEAD += ("max ms", "pictures missing", "Duration", "Cues")
_CPU_HEAD = ("recorder", "CPU s per s", "times the floor")
_FLAT_HEAD = ("recorder", "CPU s per s", "wall-clock s per s", "speed raised")


def main() -> None:
    found = json.loads(Path(sys.argv[1]).read_text())
    print(f"{found['machine_info']['cpu'].get('brand_raw', '')}, {found['datetime']}")
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in found["benchmarks"]:
        if one["group"] and one["group"].startswith("peers: "):
            groups.setdefault(one["group"], []).append(one["extra_info"])
    for group, results in groups.items():
        print(f"\n### {group.removeprefix('peers: ')}\n")
        head, rows = _table(group, results)
        for row in (head, ["---"] * len(head), *rows):
            print("| " + " | ".join(row) + " |")
    versions = {one["name"]: one["version"] for results in groups.values() for one in results}
    print("\nVersions: " + "; ".join(f"{name}: {version}" for name, version in versions.items()))


def _table(group: str, results: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[list[str]]]:
    if "stop to data" in group:
        ours = next((one["p50_ms"] for one in results if one["name"] == "recsvc"), math.nan)
        return _STOP_HEAD, [list(_stop_row(one, ours)) for one in results]
    if "flat out" in group:
        keys = ("cpu_s_per_s", "wall_s_per_s", "speed_raised")
        return _FLAT_HEAD, [[one["name"], *(_short(one[key]) for key in keys)] for one in results]
    keys = ("cpu_s_per_s", "times_floor")
    return _CPU_HEAD, [[one["name"], *(_short(one.get(key)) for key in keys)] for one in results]


def _stop_row(one: dict[str, Any], ours_ms: float) -> Iterator[str]:
    yield one["name"]
    for word in ("p50", "p95", "p99", "max"):
        yield f"{one[f'{word}_ms']:.1f}"
    yield f"{ours_ms / one['p50_ms']:.2f}"
    if "has_cues" not in one:  # the floor writes no file
        yield from ["–"] * 5
        return
    tail = one["lost_tail_ms"] or {}
    unknown = f" (of {one['unknown_ends']} not known)" if one["unknown_ends"] else ""
    yield _short(tail.get("p50_ms"))
    yield _short(tail.get("max_ms")) + unknown
    yield f"{one['missing_pictures']} of {one['missing_pictures'] + one['pictures']}"
    yield "yes" if one["has_duration"] else "no"
    yield "yes" if one["has_cues"] else "no"


def _short(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    main()
