"""The report's pure parts, and that it takes results it has never seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aims
import pytest
import report
import workloads


def benchmark(name: str, group: str, median_s: float = 0.5, /, **info: Any) -> dict[str, Any]:
    param = name.partition("[")[2].rstrip("]") or None
    return {"name": name, "param": param, "group": group, "stats": {"median": median_s}, "extra_info": info}


def document(*benchmarks: dict[str, Any]) -> dict[str, Any]:
    return {"datetime": "2026-01-02T03:04:05", "machine_info": {}, "benchmarks": list(benchmarks)}


def test_later_files_count_and_groups_keep_their_order() -> None:
    old = document(benchmark("test_a[x]", "one", p50_ms=1.0), benchmark("test_b", "two"))
    new = document(benchmark("test_a[x]", "one", p50_ms=2.0), benchmark("test_a[y]", "one"))
    found = report.results_of([old, new])
    assert [(one.group, one.name) for one in found] == [("one", "x"), ("one", "y"), ("two", "b")]
    assert found[0].info == {"p50_ms": 2.0}


def test_any_group_becomes_a_table_with_its_figures_as_columns() -> None:
    results = report.results_of(
        [
            document(
                benchmark("test_p[ours]", "peers: stop", p50_ms=1.23456, seed=5, note="a|b"),
                benchmark("test_p[other]", "peers: stop", p50_ms=20.0, lost_frames=3, stages_ms={"x": 1.5}),
            )
        ]
    )
    lines = report.group_lines("peers: stop", results)
    assert lines[:6] == [
        "### peers: stop",
        "",
        "|  | p50_ms | note | lost_frames |",
        "| --- | ---: | ---: | ---: |",
        "| ours | 1.23 | a\\|b |  |",
        "| other | 20 |  | 3 |",
    ]
    assert "| other | 1.5 |" in lines


def test_without_figures_the_benchmarks_own_median_is_shown() -> None:
    [result] = report.results_of([document(benchmark("test_open_it", "start", 0.0123))])
    assert report.group_lines("start", [result])[2:5] == ["|  | median_ms |", "| --- | ---: |", "| open it | 12.3 |"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (3, "3"), (0.0, "0"), (1.2345, "1.23"), (123456.7, "123457"), (0.000123, "0.000123"), ("x", "x")],
)
def test_figures(value: Any, shown: str) -> None:
    assert report.figure(value) == shown


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    text = f"above\n\n{report.BEGIN}\nold\n{report.END}\n\nbelow\n"
    once = report.between_marks(text, ["new", ""])
    assert once == f"above\n\n{report.BEGIN}\n\nnew\n\n{report.END}\n\nbelow\n"
    assert report.between_marks(once, ["new", ""]) == once
    with pytest.raises(ValueError, match="no place"):
        report.between_marks("nothing here", [])


def test_all_of_it_with_plots(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Benchmarks\n{report.BEGIN}\n{report.END}\n")
    results = document(
        benchmark("test_stop[W1]", "stop", taken_ms=[1.0, 2.0], encode_p99_ms=1.5, stages_p50_ms={"a": 1.0, "b": 2.0}),
        benchmark("test_cpu[W1]", "cpu", cpu_s_per_s_by_role={"encode": 0.2}, codec_alone_cpu_s_per_s=0.1),
        benchmark("test_long", "memory", rss_mib_over_media_s={"encode": [[1, 20.0], [3600, 21.0]]}),
    )
    drawn = report.report([results], readme, tmp_path / "plots")
    assert len(drawn) == 4
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(drawn)
    assert "| W1 | 1.5 |" in readme.read_text()
    assert report.report([document(benchmark("test_x", "peers: cpu"))], readme, tmp_path / "plots") == []


def test_percentiles_are_nearest_ranks() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [workloads.percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert workloads.percentile([7.0], 0.99) == 7


# --- aims -----------------------------------------------------------------------------------------


def results(*benchmarks: dict[str, Any]) -> list[report.Result]:
    return report.results_of([document(*benchmarks)])


def test_aims_are_ratios_within_one_run_and_those_reached_are_bold() -> None:
    stops = "peers: stop to data, W1"
    found = results(
        benchmark("test_s[W1-recsvc]", stops, name="recsvc", p50_ms=2.0),
        benchmark("test_s[W1-pyav]", stops, name="pyav", p50_ms=1.0),
        benchmark("test_s[W1-ffmpeg]", stops, name="ffmpeg", p50_ms=5.0),
        benchmark("test_t[A1]", "stop: captured", p99_over_encode_p99_ms=3.5),
    )
    lines = aims.lines(found, cores=2)
    assert [line for line in lines if "pyav" in line][0].endswith("| ≤ 2 |  | **2** |  |")
    assert [line for line in lines if "ffmpeg" in line][0].endswith("| ≤ 0.3 |  | 0.4 |  |")
    assert [line for line in lines if "captured" in line][0].endswith("| ≤ 3 | 3.5 |  |  |")
    assert not [line for line in lines if "chromium" in line], "it was not measured"
    assert aims.lines(results(benchmark("test_x", "other")), cores=2) == []


def test_recordings_at_once_are_compared_with_what_the_codecs_alone_would_take() -> None:
    cost = "peers: CPU seconds per second, real time, A1"
    found = results(
        benchmark("test_c[A1-floor]", cost, name="floor", cpu_s_per_s=0.04),
        benchmark("test_r[A1]", "recordings at once", recordings=40),
    )
    [row] = [line for line in aims.lines(found, cores=2) if "at once" in line]
    assert row.endswith("| ≥ 0.8 | **0.8** |  |  |")


def test_the_aims_name_benchmarks_that_are_there() -> None:
    """A renamed group would silently take its aim along."""
    here = Path(__file__).parent
    text = "".join(path.read_text() for path in [*here.glob("bench_*.py"), *here.glob("peers/bench_*.py")])
    asked: set[str] = set()

    def figure(group: str, name: str, key: str) -> float:
        asked.add(group.replace("A1", "{work.name}") if group.startswith("stop: A1") else group.removesuffix("A1"))
        asked.add(key.removeprefix("encode").removeprefix("controller"))
        return 1.0

    for aim in aims.aims(cores=2):
        aim.value(figure, "A1")
    unknown = {one for one in asked if one not in text and one not in ("p50_ms",)}
    assert not unknown
