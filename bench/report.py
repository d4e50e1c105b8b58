"""Tables and plots from the results of pytest-benchmark: ``python bench/report.py [--print] RESULTS.json...``.

Every group becomes a table with a row for each benchmark and a column for each number in its ``extra_info``, whoever
made it; what is a map of numbers there (stages, roles) becomes a table of its own. They are written into ``README.md``
beside this file, between its two marks, and the plots into ``plots/``; or the tables alone are printed. Where files
have the same benchmark, the later file counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aims

HERE = Path(__file__).parent
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
HIDDEN = frozenset({"versions", "seed", "name", "version"})
"""Entries of ``extra_info`` that are no figures."""


class Result(NamedTuple):
    """One benchmark: its group, what tells it from the others there, and its figures."""

    group: str
    name: str
    median_s: float
    info: dict[str, Any]


# --- reading --------------------------------------------------------------------------------------


def results_of(documents: Iterable[Mapping[str, Any]]) -> list[Result]:
    """The benchmarks of some files, each once, groups in the order of their first appearance."""
    found: dict[tuple[str, str], Result] = {}
    for document in documents:
        for one in document["benchmarks"]:
            group = one.get("group") or "other"
            result = Result(group, short_name(one), one["stats"]["median"], one.get("extra_info", {}))
            found[group, result.name] = result
    order = list(dict.fromkeys(group for group, _ in found))
    return sorted(found.values(), key=lambda result: order.index(result.group))


def short_name(benchmark: Mapping[str, Any]) -> str:
    """The parameters, else the name of the test without what all have."""
    return benchmark.get("param") or benchmark["name"].removeprefix("test_").replace("_", " ")


def groups_of(results: Iterable[Result]) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.group, []).append(result)
    return groups


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_numbers(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(is_number(one) for one in value.values())


# --- tables ---------------------------------------------------------------------------------------


def figure(value: Any) -> str:
    """Three significant digits, whole numbers as they are, nothing for what is missing."""
    if value is None:
        return ""
    if isinstance(value, float):
        digits = f"{value:.3g}"
        return f"{value:.0f}" if "e" in digits and abs(value) >= 1000 else digits
    return str(value).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; numbers, which is all but the first column, to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def columns_of(results: Iterable[Result], wanted: Any) -> list[str]:
    """The names of those entries that are ``wanted``, in the order of their first appearance."""
    names: dict[str, None] = {}
    for result in results:
        names.update((key, None) for key, value in result.info.items() if key not in HIDDEN and wanted(value))
    return list(names)


def group_lines(group: str, results: Sequence[Result]) -> list[str]:
    """A heading, the table of the numbers, and one for each map of numbers."""
    lines = [f"### {group}", ""]
    columns = columns_of(results, lambda value: is_number(value) or isinstance(value, str))
    has_median = any(not any(is_number(value) for value in result.info.values()) for result in results)
    head = ["", *(["median_ms"] if has_median else []), *columns]
    rows = [
        [
            result.name,
            *([figure(result.median_s * 1e3)] if has_median else []),
            *(figure(result.info.get(column)) for column in columns),
        ]
        for result in results
    ]
    lines += [*table(head, rows), ""]
    for key in columns_of(results, is_numbers):
        having = [result for result in results if is_numbers(result.info.get(key))]
        inner = list(dict.fromkeys(name for result in having for name in result.info[key]))
        rows = [[result.name, *(figure(result.info[key].get(name)) for name in inner)] for result in having]
        lines += [f"`{key}`:", "", *table(["", *inner], rows), ""]
    return lines


def machine_lines(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """On which machine, when, and with what all this was measured."""
    lines = []
    for document in documents:
        machine = document.get("machine_info", {})
        cpu = machine.get("cpu", {})
        versions = next((one["extra_info"]["versions"] for one in document["benchmarks"] if _has_versions(one)), {})
        words = ", ".join(f"{name} {version}" for name, version in versions.items())
        lines.append(
            f"- {document.get('datetime', '')[:16].replace('T', ' ')} UTC; {cpu.get('brand_raw', 'CPU not known')}, "
            f"{cpu.get('count', '?')} cores; {machine.get('system', '')} {machine.get('release', '')}; {words}"
        )
        recorders = {
            one["extra_info"]["name"]: one["extra_info"]["version"]
            for one in document["benchmarks"]
            if "version" in one.get("extra_info", {})
        }
        lines += [f"  - {name}: {version}" for name, version in recorders.items()]
    return [*lines, ""]


def _has_versions(benchmark: Mapping[str, Any]) -> bool:
    return isinstance(benchmark.get("extra_info", {}).get("versions"), dict)


def between_marks(text: str, lines: Sequence[str]) -> str:
    """``text`` with what stands between its marks replaced. ``ValueError`` where it has none."""
    if BEGIN not in text or END not in text:
        raise ValueError(f"no place for the results: expected {BEGIN} and, after it, {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[-1]
    return "\n".join([before + BEGIN, "", *lines]).rstrip() + f"\n\n{END}{after}"


# --- all of it ------------------------------------------------------------------------------------


def report(documents: Sequence[Mapping[str, Any]], readme: Path, plots: Path) -> list[str]:
    """Writes tables and plots; the names of the plots."""
    from plot import draw

    drawn = draw(groups_of(results_of(documents)), plots)
    pictures = [line for title, name in drawn.items() for line in (f"![{title}]({plots.name}/{name})", "")]
    readme.write_text(between_marks(readme.read_text(), tables(documents, pictures)))
    return list(drawn.values())


def tables(documents: Sequence[Mapping[str, Any]], pictures: Sequence[str] = ()) -> list[str]:
    """All that is said of some files, with lines that show the plots in the midst."""
    results = results_of(documents)
    cores = max(document.get("machine_info", {}).get("cpu", {}).get("count") or 1 for document in documents)
    lines = [*machine_lines(documents), *aims.lines(results, cores), *pictures]
    for group, members in groups_of(results).items():
        lines += group_lines(group, members)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--print", action="store_true", help="print the tables, write nothing")
    asked = parser.parse_args()
    documents = [json.loads(path.read_text()) for path in asked.results]
    if asked.print:
        print("\n".join(tables(documents)))
    else:
        drawn = report(documents, HERE / "README.md", HERE / "plots")
        print(f"wrote {HERE / 'README.md'} and {len(drawn)} plots in {HERE / 'plots'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
