"""Many clients of one service, in several processes: each starts and stops recordings at random, and checks every file.

``python tests/crowd.py JSON`` is one process of them. It reads a line for each round, how many seconds that takes, and
answers with a line of JSON when all its recordings are finished; at the end of its input it decodes every file, and
answers with what is wrong.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from media import DEADLINE_S, counter_picture, decode, tone

import recsvc

S = 1_000_000_000
RATE, BLOCK_NS = 16_000, S // 10
WIDTH, HEIGHT, PICTURE_NS = 320, 240, S // 10
LONGEST_S = 4.0


class Member:
    """One client with its own connection, and what it records."""

    def __init__(self, endpoint: str, kind: str, seed: int, longest_s: float) -> None:
        self.kind = kind
        self.longest_s = longest_s
        self.chance = random.Random(seed)
        self.start_ms: list[float] = []
        self.stop_ms: list[float] = []
        self.stages_ms: dict[str, list[float]] = {}
        self.kept: list[tuple[recsvc.Blob, int]] = []
        self.wrong: list[str] = []
        self.dropped = 0
        self.numbers = 0
        if kind == "audio":
            self.source: Any = recsvc.AudioSource(sample_rate=RATE, channel_count=1)
            block = tone(RATE * BLOCK_NS // S, rate=RATE).tobytes()
            self.frames, self.every_ns, self.units = [block], BLOCK_NS, RATE * BLOCK_NS // S
            options: dict[str, Any] = {"audio_bits_per_second": 24_000}
        else:
            self.source = recsvc.VideoSource(width=WIDTH, height=HEIGHT)
            self.frames = [counter_picture(number, WIDTH, HEIGHT).tobytes() for number in range(16)]
            self.every_ns, self.units = PICTURE_NS, 1
            options = {"video_bits_per_second": 250_000}
        stream = recsvc.MediaStream([self.source.track])
        self.recorder = recsvc.MediaRecorder(stream, service=endpoint, **options)
        self.record(0.1)  # the connection
        self.take()

    def run(self, until_s: float) -> None:
        while time.monotonic() < until_s:  # the last ones end when they end, not all together
            time.sleep(self.chance.uniform(0, self.longest_s / 4))
            try:
                self.record(self.chance.uniform(0.3, self.longest_s))
            except Exception as error:
                self.wrong.append(f"{self.kind}: {error!r}")
                return

    def record(self, seconds: float) -> None:
        """In real time; the frames have exact times, however late they are written."""
        begun_s = time.monotonic()
        self.recorder.start()
        at_ns = time.monotonic_ns()
        self.start_ms.append((time.monotonic() - begun_s) * 1e3)
        written = 0
        for number in range(max(1, round(seconds * S / self.every_ns))):
            due_ns = at_ns + number * self.every_ns
            time.sleep(max(0, due_ns - time.monotonic_ns()) / S)
            taken = self.source.write(self.frames[number % len(self.frames)], due_ns)
            written += self.units
            self.dropped += not taken
        begun_s = time.monotonic()
        self.recorder.stop()
        self.recorder.wait("stop", DEADLINE_S)
        self.stop_ms.append((time.monotonic() - begun_s) * 1e3)
        self.check(written)

    def check(self, written: int) -> None:
        """What was written is in the file, or counted as dropped."""
        self.numbers += 1
        statistics = self.recorder.statistics()
        for stage, reached_ns in statistics.stop_stages_ns.items():
            self.stages_ms.setdefault(stage, []).append(reached_ns / 1e6)
        [track] = statistics.tracks
        if track.frames_accepted != written or track.frames_encoded + track.frames_dropped != written:
            self.wrong.append(f"{written} written, {track}")
        blob = self.recorder.recording
        if blob is None:
            self.wrong.append("no file")
        else:
            self.kept.append((blob, track.frames_encoded))

    def decode(self) -> None:
        for blob, encoded in self.kept:
            decoded = decode(blob)
            found = len(decoded.samples) * RATE // 48_000 if self.kind == "audio" else len(decoded.pictures)
            if found != encoded or len(decoded.samples) % (48_000 // RATE):
                self.wrong.append(f"{self.kind}: {encoded} encoded, {found} decoded")
        self.kept.clear()

    def take(self) -> dict[str, Any]:
        """What happened since the last time."""
        found = {
            "recordings": self.numbers,
            "start_ms": self.start_ms[:],
            "stop_ms": self.stop_ms[:],
            "stages_ms": self.stages_ms,
            "dropped": self.dropped,
            "wrong": self.wrong[:],
        }
        self.stages_ms = {}
        self.numbers = self.dropped = 0
        for one in (self.start_ms, self.stop_ms, self.wrong):
            one.clear()
        return found


def _program(given: dict[str, Any]) -> None:
    members = [Member(*member) for member in given["members"]]
    print(json.dumps({"ready": len(members)}), flush=True)
    for line in sys.stdin:
        until_s = time.monotonic() + float(line)
        threads = [threading.Thread(target=member.run, args=(until_s,)) for member in members]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(json.dumps([{"kind": member.kind, **member.take()} for member in members]), flush=True)
    for member in members:
        member.decode()
    print(json.dumps([problem for member in members for problem in member.take()["wrong"]]), flush=True)


# --- the other side -------------------------------------------------------------------------------


class Crowd:
    """All of these processes."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes
        self._answers()

    def _answers(self) -> list[Any]:
        found = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "a process of the crowd has died"
            found.append(json.loads(line))
        return found

    def round(self, seconds: float) -> list[dict[str, Any]]:
        """What became of each member's recordings of this round. Afterwards none goes on."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        return [member for answer in self._answers() for member in answer]

    def check(self) -> list[str]:
        """What is wrong with the files."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        return [problem for answer in self._answers() for problem in answer]


@contextmanager
def crowd(
    endpoint: Path, links: Path, sound: int, pictures: int, processes: int, longest_s: float = LONGEST_S
) -> Iterator[Crowd]:
    """``sound`` and ``pictures``: how many clients record what; ``longest_s``: the longest of their recordings. Each
    has a name of its own for the service's socket, in the directory ``links``, and with it a connection of its own."""
    links.mkdir()
    members = []
    for number, kind in enumerate(["audio"] * sound + ["video"] * pictures):
        link = links / f"{number}"
        link.symlink_to(endpoint)
        members.append((f"ipc://{link}", kind, number, longest_s))
    with ExitStack() as stack:
        started = []
        for number in range(processes):
            given = json.dumps({"members": members[number::processes]})
            command = [sys.executable, __file__, given]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(_end, process)
            started.append(process)
        yield Crowd(started)


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(DEADLINE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


if __name__ == "__main__":
    _program(json.loads(sys.argv[1]))
