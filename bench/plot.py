"""The plots of the report, as SVG: what a table of numbers does not show at a glance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

Groups = Mapping[str, Sequence[Any]]  # of report.Result

# The same input gives the same bytes, so that a repository shows real changes only.
matplotlib.rcParams.update({"svg.hashsalt": "recsvc", "svg.fonttype": "none", "font.size": 9, "axes.grid": True})
matplotlib.rcParams.update({"axes.axisbelow": True, "grid.color": "#dddddd", "axes.spines.top": False})
WIDTH_IN, ROW_IN = 8.0, 0.32


def draw(groups: Groups, directory: Path) -> dict[str, str]:
    """Draws what the results allow into ``directory``; title -> file name."""
    directory.mkdir(exist_ok=True)
    drawn: dict[str, str] = {}
    plots: list[tuple[str, str, Callable[[Groups, Any], bool]]] = [
        ("From stop() to the data, every round", "stop.svg", stops),
        ("Where the time of a stop goes (medians)", "stop_stages.svg", stages),
        ("CPU seconds for a second of media, by role", "cpu.svg", cpu),
        ("Resident memory over a long recording", "memory.svg", memory),
    ]
    for title, name, plot in plots:
        figure, axes = pyplot.subplots(figsize=(WIDTH_IN, 3.2), layout="constrained")
        try:
            if plot(groups, axes):
                axes.set_title(title)
                figure.savefig(directory / name, metadata={"Date": None})
                drawn[title] = name
        finally:
            pyplot.close(figure)
    return drawn


def _having(groups: Groups, key: str, kind: type) -> list[tuple[str, Any]]:
    """``(label, figures)`` of all results that have this entry."""
    return [
        (f"{group}, {result.name}", result.info)
        for group, results in groups.items()
        for result in results
        if isinstance(result.info.get(key), kind) and result.info[key]
    ]


def _rows(axes: Any, labels: Sequence[str]) -> None:
    """One row for each label, the first on top."""
    axes.figure.set_figheight(max(2.0, 1.1 + ROW_IN * len(labels)))
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


def stops(groups: Groups, axes: Any) -> bool:
    """A point for each round, and a mark at the median; beside it the codec's 99th percentile for one frame."""
    found = _having(groups, "taken_ms", list)
    for row, (_, info) in enumerate(found):
        taken_ms = info["taken_ms"]
        axes.plot(taken_ms, [row] * len(taken_ms), ".", color="#1f5fa8", alpha=0.45, markersize=5)
        axes.plot([sorted(taken_ms)[len(taken_ms) // 2]], [row], "|", color="black", markersize=13, markeredgewidth=2)
        if "encode_p99_ms" in info:
            axes.plot([info["encode_p99_ms"]], [row], "D", color="#c04020", markersize=5)
    axes.plot([], [], ".", color="#1f5fa8", label="a round")
    axes.plot([], [], "|", color="black", markersize=10, markeredgewidth=2, label="median")
    axes.plot([], [], "D", color="#c04020", markersize=5, label="encoding of one frame alone, 99th percentile")
    _rows(axes, [label for label, _ in found])
    axes.set_xlabel("ms after the call")
    axes.set_xlim(left=0)
    axes.legend(loc="best", fontsize=8)
    return bool(found)


def stages(groups: Groups, axes: Any) -> bool:
    found = _having(groups, "stages_p50_ms", dict)
    _stacked(axes, [(label, _differences(info["stages_p50_ms"])) for label, info in found])
    axes.set_xlabel("ms after the call; each stage from the one before")
    return bool(found)


def _differences(at_ms: Mapping[str, float]) -> dict[str, float]:
    """What each stage took, when stages are reached in this order; one that overtook another took nothing."""
    taken, before_ms = {}, 0.0
    for name, ms in at_ms.items():
        taken[name] = max(0.0, ms - before_ms)
        before_ms = max(before_ms, ms)
    return taken


def cpu(groups: Groups, axes: Any) -> bool:
    found = _having(groups, "cpu_s_per_s_by_role", dict)
    _stacked(axes, [(label, info["cpu_s_per_s_by_role"]) for label, info in found])
    for row, (_, info) in enumerate(found):
        if "codec_alone_cpu_s_per_s" in info:
            axes.plot([info["codec_alone_cpu_s_per_s"]], [row], "D", color="black", markersize=5)
    axes.plot([], [], "D", color="black", markersize=5, label="codecs alone")
    axes.set_xlabel("CPU seconds per second of media")
    axes.legend(loc="best", fontsize=8)
    return bool(found)


def _stacked(axes: Any, rows: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    """A bar for each row, of one piece for each name."""
    names = list(dict.fromkeys(name for _, parts in rows for name in parts))
    colours = matplotlib.colormaps["tab20"].colors
    left = [0.0] * len(rows)
    for number, name in enumerate(names):
        widths = [parts.get(name, 0.0) for _, parts in rows]
        axes.barh(range(len(rows)), widths, left=left, label=name, color=colours[number % len(colours)], height=0.7)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    _rows(axes, [label for label, _ in rows])
    if names:
        axes.legend(loc="best", fontsize=8)


def memory(groups: Groups, axes: Any) -> bool:
    found = _having(groups, "rss_mib_over_media_s", dict)
    for _, info in found[-1:]:  # the longest
        for role, samples in info["rss_mib_over_media_s"].items():
            axes.plot([at_s / 3600 for at_s, _ in samples], [mib for _, mib in samples], label=role)
    axes.set_xlabel("hours of media")
    axes.set_ylabel("MiB resident")
    axes.set_ylim(bottom=0)
    if found:
        axes.legend(loc="best", fontsize=8)
    return bool(found)
