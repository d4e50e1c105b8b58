"""What the benchmarks should show, and what they do: ratios within one run, so that machines can differ.

Not every run has every figure: what is missing is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

WORKLOADS = ("A1", "W1", "W2")

Figure = Callable[[str, str, str], float | None]
"""``figure(group, name, key)``: a number of a benchmark's ``extra_info``, ``None`` where it was not measured."""


class Aim(NamedTuple):
    """``limits`` by workload; ``value`` gives the figure of one; ``TypeError`` where a part of it is missing."""

    what: str
    limits: Mapping[str, float]
    value: Callable[[Figure, str], Any]
    at_least: bool = False


def figures_of(results: Sequence[Any]) -> Figure:
    """``results``: with ``group``, ``name`` and ``info``; recorders beside ours are known by their own name."""
    infos = {(result.group, result.info.get("name", result.name)): result.info for result in results}

    def figure(group: str, name: str, key: str) -> float | None:
        return infos.get((group, name), {}).get(key)

    return figure


def aims(cores: int) -> list[Aim]:
    """``cores``: of the machine that was measured."""
    return [
        _stop_against("chromium-camera", "from its fake camera and microphone", (1.0, 0.8, 0.5)),
        _stop_against("chromium-canvas", "from a canvas; it loses its end", (1.0, 0.8, 0.5)),
        _stop_against("gstreamer", "with appsrc", (1.2, 0.8, 0.8)),
        _stop_against("ffmpeg", "fed through pipes", (0.3, 0.3, 0.3)),
        _stop_against("firefox", "headless", (0.3, 0.3, 0.3)),
        _stop_against("pyav", "in the same process", (2.0, 2.0, 2.0)),
        Aim("CPU time over that of the codecs alone", _limits(1.20, 1.10, 1.05), _cpu_over_floor),
        Aim("CPU time over the best of PyAV, FFmpeg and GStreamer", _limits(1.0, 1.0, 1.0), _cpu_over_best),
        Aim("p99 of captured stops, less that of encoding a frame, ms", _limits(3, 3, 3), _p99("stop: captured")),
        Aim("p99 of pushed stops, less that of encoding a frame, ms", _limits(3, 3), _p99("stop: pushed")),
        Aim("stop beside 32 recordings of sound over alone, p50", _limits(2, 2), _beside_others(32)),
        Aim("stop beside 60 recordings of sound over alone, p50", _limits(1.3, 1.3), _beside_others(60)),
        Aim("stop after the longest recording over after 5 s, p50", _limits(1.5), _after_hours),
        Aim("from start() to `start`, p50, ms", _limits(5, 5), _start),
        Aim(
            "memory grown from minute 5 to the longest recording's end, the most of any process, KiB",
            _limits(1000),
            _growth,
        ),
        Aim(
            "recordings at once over what the codecs' cost allows",
            _limits(0.8),
            lambda figure, work: _recordings(figure, work, cores),
            at_least=True,
        ),
    ]


def lines(results: Sequence[Any], cores: int) -> list[str]:
    """A Markdown table; what is reached is bold. No lines where nothing of it was measured."""
    figure = figures_of(results)
    rows = []
    for aim in aims(cores):
        cells = [_cell(aim, figure, work) for work in WORKLOADS]
        if any(cells):
            limits = [f"{limit:g}" for limit in aim.limits.values()]
            limits = limits if len(set(limits)) > 1 else limits[:1]
            sign = "≥" if aim.at_least else "≤"
            rows.append(f"| {aim.what} | {sign} {', '.join(limits)} | {' | '.join(cells)} |")
    if not rows:
        return []
    head = ["### Aims", "", "What is reached is bold.", "", f"| what | aim | {' | '.join(WORKLOADS)} |"]
    return [*head, "| --- | --- | ---: | ---: | ---: |", *rows, ""]


def _cell(aim: Aim, figure: Figure, work: str) -> str:
    limit = aim.limits.get(work)
    if limit is None:
        return ""
    try:
        value = aim.value(figure, work)
    except TypeError:
        return ""
    if value is None:
        return ""
    reached = value >= limit if aim.at_least else value <= limit
    return f"**{value:.3g}**" if reached else f"{value:.3g}"


def _limits(*limits: float) -> dict[str, float]:
    return dict(zip(WORKLOADS, limits, strict=False))


# --- the figures ----------------------------------------------------------------------------------


def _stop_against(name: str, how: str, limits: tuple[float, float, float]) -> Aim:
    def value(figure: Figure, work: str) -> Any:
        group = f"peers: stop to data, {work}"
        return figure(group, "recsvc", "p50_ms") / figure(group, name, "p50_ms")  # type: ignore[operator]

    return Aim(f"stop to data, p50, over {name}'s ({how})", _limits(*limits), value)


def _cpu(figure: Figure, work: str, name: str, key: str = "cpu_s_per_s") -> Any:
    return figure(f"peers: CPU seconds per second, real time, {work}", name, key)


def _cpu_over_floor(figure: Figure, work: str) -> Any:
    return _cpu(figure, work, "recsvc", "times_floor")


def _cpu_over_best(figure: Figure, work: str) -> Any:
    return _cpu(figure, work, "recsvc") / min(_cpu(figure, work, name) for name in ("pyav", "ffmpeg", "gstreamer"))


def _p99(group: str) -> Callable[[Figure, str], Any]:
    return lambda figure, work: figure(group, work, "p99_over_encode_p99_ms")


def _beside_others(count: int) -> Callable[[Figure, str], Any]:
    def value(figure: Figure, work: str) -> Any:
        beside: Any = figure(f"stop: {work} beside other recordings of sound", f"{work}-{count}", "p50_ms")
        return beside / figure("stop: captured", work, "p50_ms")

    return value


def _after_hours(figure: Figure, work: str) -> Any:
    group = "after long recordings: stop, and growth of memory"
    long: Any = figure(group, "the whole", "p50_ms")
    return long / figure(group, "5 s", "p50_ms")


def _growth(figure: Figure, work: str) -> Any:
    group = "after long recordings: stop, and growth of memory"
    return max(figure(group, "the whole", f"{role}_grown_kib") for role in ("encode", "controller"))  # type: ignore[type-var]


def _start(figure: Figure, work: str) -> Any:
    return figure("start: warm, to the start event", work, "p50_ms")


def _recordings(figure: Figure, work: str, cores: int) -> Any:
    recordings: Any = figure("recordings at once", work, "recordings")
    return recordings / (cores / _cpu(figure, work, "floor"))
