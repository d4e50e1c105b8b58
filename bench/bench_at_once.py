"""CPU time and memory of many recordings at once: recsvc, GStreamer in one process, FFmpeg in one process each.

The same content and settings, in real time, one recorder after the other in the same minutes; beside them what the
codecs take for the same media in a warm loop. ``make bench-at-once`` measures in full size and prints a table; with the
tests two recordings for a moment. Asserted is the result: that all that was accepted of ours is in the files, by an
independent reader.

A recorder that is too slow falls behind the clock: how much of the media that was due is not encoded, in the recording
that is last, when all are stopped, or is dropped, stands in the table, and who misses more than ``BEHIND_S_MAX`` is
marked: its figures say nothing. ``--most`` looks for the number of recordings up to which nobody does (``Search``).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import av
import content
import processes
import recorded
from peers import recorders
from program import HERE, Failed, Program
from workloads import A1, AUDIO_BITS_PER_SECOND, FRAME_RATE, SAMPLE_RATE, W1, Workload

from recsvc.encode import native

NAMES = ("recsvc", "gstreamer", "ffmpeg")
COUNTS = {"A1": (1, 10, 60, 200), "W1": (1, 4, 8)}
ROUNDS, SECONDS, SETTLE_S = 2, 4.0, 2.0
BEHIND_S_MAX = 0.5
FEW = {"A1": 60, "W1": 6}
"""From what so many cost it is reckoned where a search begins."""
MOST_SECONDS, MOST_STEPS = 6.0, 3
"""So long each recorder has to go on, and so often its number is tried: an overload of a fifteenth shows by then."""
LONGEST_S = {"A1": 96, "W1": 32}
"""How much of the content the others can read: recordings that take long to begin go on longer."""


@dataclass(frozen=True)
class Found:
    """Of one recorder with so many recordings: CPU seconds per second (``worker``: of recsvc's workers), memory with
    the program, the same of the codecs alone, and what is missing."""

    name: str
    work: str
    count: int
    cpu: float
    worker: float
    codec: float
    memory_bytes: int
    behind_s: float
    dropped: int
    hurried: int
    """How often an encoder went on with less quality, to keep up."""
    end_s: float

    @property
    def is_late(self) -> bool:
        return self.behind_s > BEHIND_S_MAX or self.dropped > 0

    @property
    def goes_on(self) -> bool:
        """Whether so many can be recorded at once."""
        return not self.is_late and not self.hurried


class Search:
    """For how many recordings go on at once: between ``most``, which did, and ``too_many``, which did not."""

    def __init__(self, first: int) -> None:
        self.most = 0
        self.too_many: int | None = None
        self._first = max(first, 1)

    def next(self) -> int | None:
        """The number to be tried; ``None``: it is found, to a twentieth, which is what the time shows."""
        if self.too_many is None:
            return self.most + max(self.most // 12, 1) if self.most else self._first
        if self.too_many - self.most <= max(self.most // 20, 1):
            return None
        if not self.most:
            return max(self.too_many - max(self.too_many // 8, 1), 1)
        return (self.most + self.too_many) // 2

    def note(self, count: int, went_on: bool) -> None:
        if went_on:
            self.most = max(self.most, count)
        else:
            self.too_many = min(self.too_many or count, count)


def codec_alone(work: Workload, directory: Path, seconds: float) -> float:
    """CPU seconds for a second of media in a warm loop, one encoder of each kind."""
    made = content.Content(work, directory)
    with native.AudioEncoder(SAMPLE_RATE, 2, "s16", bits_per_second=AUDIO_BITS_PER_SECOND) as encoder:
        blocks = [made.block(number) for number in range(round(seconds * 100))]
        begin_s = time.thread_time()
        for block in blocks:
            encoder.encode(block)
        taken_s = time.thread_time() - begin_s
    if work.has_video:
        size = work.width, work.height
        rate = work.video_bits_per_second
        with native.VideoEncoder(work.codec, *size, bits_per_second=rate, key_frame_interval_max=30_000) as film:
            begin_s, step_us = time.thread_time(), 1_000_000 // FRAME_RATE
            for number in range(round(seconds * FRAME_RATE)):
                key = number % 100 == 0
                film.encode(made.picture(number), "i420", *size, number * step_us, step_us, force_key_frame=key)
            taken_s += time.thread_time() - begin_s
    return taken_s / seconds


@contextlib.contextmanager
def contents(work: Workload, seconds: float) -> Iterator[tuple[Path, Path]]:
    """The content as it is, and so many seconds of it in a row."""
    with tempfile.TemporaryDirectory(prefix="rsb-") as directory:
        short, long = Path(directory), Path(directory) / "long"
        long.mkdir()
        content.make(work, short)
        for name, length_s in (("sound.s16", content.SOUND_S), (f"{work.name}.i420", content.PICTURES / FRAME_RATE)):
            if (short / name).exists():
                with (long / name).open("wb") as file:
                    for _ in range(max(1, round(seconds / length_s))):
                        with (short / name).open("rb") as part:
                            shutil.copyfileobj(part, file)
        yield short, long


def media_s(path: Path) -> tuple[float, int, int]:
    """How long a file is, by its shorter track's packets, and how many of sound and of pictures it has."""
    with av.open(str(path)) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
        tracks = {stream.type for stream in container.streams}
    sound, pictures = kinds.count("audio"), kinds.count("video")
    lengths = [sound * 0.02] * ("audio" in tracks) + [pictures / FRAME_RATE] * ("video" in tracks)
    return min(lengths), sound, pictures


def missing(name: str) -> str | None:
    """Why a recorder cannot be measured here; ``None``: it can."""
    return None if name == "recsvc" else recorders.find(name).missing()


def run(
    name: str, work: Workload, count: int, places: tuple[Path, Path], codec: float, seconds: float, settle_s: float
) -> Found:
    """Records and measures. ``Failed``: it could not."""
    own = name == "recsvc"
    python = sys.executable if own else recorders.find(name).interpreter or sys.executable
    words = [python, str(HERE / "at_once.py"), name, work.name, str(count), str(places[0 if own else 1])]
    with tempfile.TemporaryDirectory(prefix="rsb-") as directory:
        program = Program(words, Path(directory))
        try:
            program.ready()
            time.sleep(settle_s)
            before, begin_s = processes.tree(program.pid), time.monotonic()
            time.sleep(seconds)
            after, end_s = processes.tree(program.pid), time.monotonic()
            memory = processes.memory_bytes(one.pid for one in after)
            taken = processes.cpu_by_role(before, after)
            outcome = program.ask({}, 120)
            found = [media_s(Path(path)) for path in outcome["paths"]]
        finally:
            program.close()
    assert len(found) == count
    if own:
        assert all(sound and bool(pictures) == work.has_video for _, sound, pictures in found), found
        assert outcome["accepted"] == outcome["encoded"] + outcome["dropped"], outcome
        assert sum(pictures for _, _, pictures in found) == outcome["pictures"], outcome
    return Found(
        name=name,
        work=work.name,
        count=count,
        cpu=sum(taken.values()) / (end_s - begin_s),
        worker=taken.get("encode", 0.0) / (end_s - begin_s),
        codec=codec * count,
        memory_bytes=memory,
        behind_s=max(outcome["lasted_s"] - min(length_s for length_s, _, _ in found), outcome.get("waiting_s", 0.0)),
        dropped=outcome.get("dropped", 0),
        hurried=outcome.get("speed_raised", 0),
        end_s=outcome["end_s"],
    )


def test_recordings_at_once() -> None:
    work = W1
    with contents(work, 0) as places:
        codec = codec_alone(work, places[0], 0.1)
        for name in NAMES:
            if missing(name) is None:
                found = run(name, work, 2, places, codec, 0.2, 0.0)
                assert found.cpu > 0 and found.memory_bytes > 0 and not found.dropped


def test_the_most_recordings_are_found() -> None:
    for capacity in (0, 1, 2, 7, 23, 60, 181, 257):
        for first in (1, 20, 60, 200, 300):
            search, tried = Search(first), []
            while (count := search.next()) is not None and count not in tried:
                tried.append(count)
                search.note(count, count <= capacity)
            assert search.most <= capacity and search.too_many is not None
            assert search.too_many > capacity and search.too_many - search.most <= max(search.most // 20, 1)


# --- the table ------------------------------------------------------------------------------------

HEAD = (
    "| | recordings | recorder | CPU, cores | over the codecs alone | its worker over them | MiB each | behind, s |\n"
    "|---|---|---|---|---|---|---|---|"
)


MOST_HEAD = "| | recorder | recordings that go on | too many |\n|---|---|---|---|"


def row(rounds: Sequence[Found]) -> str:
    one = rounds[0]
    over = median(found.cpu / found.codec for found in rounds)
    worker = f"{median(found.worker / found.codec for found in rounds):.2f}" if one.worker else ""
    memory = median(found.memory_bytes for found in rounds) / one.count / (1 << 20)
    late = " **late**" if any(found.is_late for found in rounds) else ""
    cpu, behind_s = median(found.cpu for found in rounds), max(found.behind_s for found in rounds)
    start = f"| {one.work} | {one.count} | {one.name} | {cpu:.3f} | {over:.2f} | {worker} |"
    return f"{start} {memory:.1f} | {behind_s:.2f}{late} |"


def ratio(ours: Sequence[Found], others: Sequence[Found]) -> str:
    """Of each round: both had the same minute."""
    pairs = list(zip(ours, others, strict=True))
    cpu = [our.cpu / other.cpu for our, other in pairs]
    memory = median(our.memory_bytes / other.memory_bytes for our, other in pairs)
    what = f"{ours[0].work}, {ours[0].count} recordings, recsvc over {others[0].name}"
    return f"{what}: CPU {median(cpu):.2f} ({min(cpu):.2f} to {max(cpu):.2f}), memory {memory:.2f}"


def look_for_most(
    work: Workload, names: Sequence[str], places: tuple[Path, Path], seconds: float, steps: int
) -> dict[str, Search]:
    """Of each recorder, one after the other with each step: so they have the same minutes."""
    searches: dict[str, Search] = {}

    def tried(name: str, count: int, seconds: float) -> Found | None:
        found, became = None, "failed"
        with contextlib.suppress(Failed, subprocess.TimeoutExpired):
            found = run(name, work, count, places, 1.0, seconds, SETTLE_S)
            became = f"{found.behind_s:.2f} s behind, {found.dropped} dropped, {found.hurried} times hurried"
        print(f"{work.name}, {count} by {name}: {became}", flush=True)
        return found

    for name in names:
        few = tried(name, FEW[work.name], 2.0)
        cores = len(os.sched_getaffinity(0))
        first = FEW[work.name] * 3 // 4  # who is late takes less than it needs
        if few is not None and few.goes_on:
            first = int(0.95 * cores * few.count / few.cpu)
        searches[name] = Search(first)
    for _ in range(steps):
        for name, search in searches.items():
            if (count := search.next()) is not None:
                found = tried(name, count, seconds)
                search.note(count, found is not None and found.goes_on)
    return searches


def print_most(work: Workload, searches: dict[str, Search]) -> None:
    print(f"\n{MOST_HEAD}")
    for name, search in searches.items():
        print(f"| {work.name} | {name} | {search.most} | {search.too_many or ''} |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", default="A1,W1")
    parser.add_argument("--counts", help="in place of the usual ones, with commas")
    parser.add_argument("--names", default=",".join(NAMES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--most", action="store_true", help="how many go on at once, in place of what some cost")
    asked = parser.parse_args()
    names = [name for name in asked.names.split(",") if not (why := missing(name)) or print(f"{name}: {why}")]
    print(f"{recorded.versions()}\n\n{'' if asked.most else HEAD}", flush=True)
    ratios = []
    for work in (work for work in (A1, W1) if work.name in asked.works.split(",")):
        with contents(work, LONGEST_S[work.name]) as places:
            if asked.most:
                print_most(work, look_for_most(work, names, places, MOST_SECONDS, MOST_STEPS))
                continue
            counts = [int(count) for count in asked.counts.split(",")] if asked.counts else COUNTS[work.name]
            for count in counts:
                rounds: dict[str, list[Found]] = {name: [] for name in names}
                for number in range(asked.rounds):
                    for name in names if number % 2 == 0 else reversed(names):
                        codec = codec_alone(work, places[0], 1.0)
                        with contextlib.suppress(Failed, subprocess.TimeoutExpired):
                            rounds[name].append(run(name, work, count, places, codec, asked.seconds, SETTLE_S))
                for name, found in rounds.items():
                    print(row(found) if found else f"| {work.name} | {count} | {name} | failed | | | | |", flush=True)
                for name in names[1:]:
                    if rounds["recsvc"] and len(rounds[name]) == len(rounds["recsvc"]):
                        ratios.append(ratio(rounds["recsvc"], rounds[name]))
    if ratios:
        print("\n" + "\n".join(ratios))


if __name__ == "__main__":
    main()
