"""Where the time of a stop goes, in this checkout or in two of them side by side.

``python bench/compare_stops.py [--against DIRECTORY] [--rounds 30] [--works A1,W1,W2] [--feeds pushed,captured]
[--beside 60]``

Each checkout records with its own recsvc and Python (``DIRECTORY/.venv``), driven by the same programs (``stops.py``),
both alive at once and taking turns in random order: whatever else the machine does meets them alike. The tables have
medians in ms after the call of ``stop()``, the ratio of the medians, and between which ratios it lies in 9 of 10 draws
from the rounds with repetition. ``--beside``: so many recordings of sound go on meanwhile, by the same service, pushed
by another program. ``cpu`` is CPU time of all processes, in ms per second of media.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import film
import processes
from program import HERE, Program
from workloads import WORKLOADS, percentile

RECORD_S = (0.3, 0.6)
DRAWS = 1000
LAST = ("start event", "cpu")
"""These rows are no stages of a stop."""
Table = dict[str, dict[str, list[float]]]
"""What was measured: name of the row, name of the checkout, all rounds."""


class Checkout(Program):
    """A checkout's program."""

    def __init__(self, name: str, root: Path, pictures: Path, directory: Path) -> None:
        self.name = name
        self._python = str(root / ".venv" / "bin" / "python")
        super().__init__([self._python, str(HERE / "stops.py"), str(pictures)], directory)
        found = Path(self.ready()["recsvc"])
        assert found.is_relative_to(root), f"{self._python} imports {found}: run make setup in {root}"

    def stop(self, record_s: float) -> dict[str, float]:
        """One recording of this length; its stages, and what it took of the processor."""
        before_s = self._cpu_s()
        stages_ms = self.ask({"record_s": record_s})
        return stages_ms | {"cpu": (self._cpu_s() - before_s) * 1e3 / record_s}

    def cold(self) -> dict[str, float]:
        words = [self._python, str(HERE / "cold.py")]
        done = subprocess.run(words, env=self.environment, stdout=subprocess.PIPE, check=True, timeout=60)
        return json.loads(done.stdout)

    def _cpu_s(self) -> float:
        return sum(one.cpu_s for one in processes.tree(self.pid))


def measure(checkouts: Sequence[Checkout], rounds: int, work: str, feed: str, beside: int = 0) -> Table:
    table: Table = defaultdict(lambda: defaultdict(list))
    for one in checkouts:
        one.ask({"work": work, "feed": feed})
        one.stop(0.5)  # warm
        if beside:
            one.ask({"beside": beside})
    for _ in range(rounds):
        record_s = random.uniform(*RECORD_S)
        for one in random.sample(checkouts, len(checkouts)):
            time.sleep(0.05)
            for stage, value in one.stop(record_s).items():
                table[stage][one.name].append(value)
    return table


def measure_cold(checkouts: Sequence[Checkout], rounds: int) -> Table:
    table: Table = defaultdict(lambda: defaultdict(list))
    for _ in range(rounds):
        for one in random.sample(checkouts, len(checkouts)):
            for step, value in one.cold().items():
                table[step][one.name].append(value)
    return table


def show(title: str, table: Table, names: Sequence[str]) -> None:
    """Rows in the order of the last checkout's medians; a stage that only one of them has stands among them."""
    print(f"\n{title}\n{'p50, ms':18s}" + "".join(f"{name:>10s}" for name in names), end="")
    print("     ratio   in 9 of 10 draws" if len(names) > 1 else "")
    medians = {row: {name: statistics.median(values) for name, values in found.items()} for row, found in table.items()}
    for row in sorted(table, key=lambda row: (row in LAST, medians[row].get(names[-1], min(medians[row].values())))):
        print(f"{row:18s}" + "".join(f"{medians[row].get(name, float('nan')):10.2f}" for name in names), end="")
        if len(names) > 1 and len(table[row]) > 1:
            low, high = ratios(table[row][names[1]], table[row][names[0]])
            print(f"{medians[row][names[1]] / medians[row][names[0]]:10.2f}   {low:.2f} to {high:.2f}", end="")
        print()


def ratios(over: Sequence[float], under: Sequence[float]) -> tuple[float, float]:
    """Between which ratios of the medians 9 of 10 draws of the rounds lie: both had the same minutes, good and bad."""
    rounds = list(zip(over, under, strict=True))
    found = []
    for _ in range(DRAWS):
        drawn = random.choices(rounds, k=len(rounds))
        found.append(statistics.median(one for one, _ in drawn) / statistics.median(other for _, other in drawn))
    return percentile(found, 0.05), percentile(found, 0.95)


def main() -> None:

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout, in which `make setup` was run")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--cold", type=int, default=5, help="rounds of cold starts; 0: none")
    parser.add_argument("--works", default="A1,W1,W2")
    parser.add_argument("--feeds", default="pushed,captured")
    parser.add_argument("--beside", type=int, default=0)
    asked = parser.parse_args()
    roots = {"before": asked.against.resolve()} if asked.against else {}
    roots["after"] = HERE.parent
    names, works, feeds = list(roots), asked.works.split(","), asked.feeds.split(",")
    with ExitStack() as stack:
        pictures = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rsb-")))
        for work in works:
            (pictures / f"{work}.i420").write_bytes(b"".join(film.pictures(WORKLOADS[work])))
        checkouts = []
        for name, root in roots.items():
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rsb-")))
            checkouts.append(Checkout(name, root, pictures, directory))
            stack.callback(checkouts[-1].close)
        for work in works:
            for feed in feeds:
                for beside in sorted({0, asked.beside}):
                    table = measure(checkouts, asked.rounds, work, feed, beside)
                    show(f"{work}, {feed}, {asked.rounds} stops, {beside} others", table, names)
        if asked.cold:
            show(f"cold start, {asked.cold} programs", measure_cold(checkouts, asked.cold), names)


if __name__ == "__main__":
    main()
