"""Recordings that run beside, in a program of their own: ``python bench/load.py SERVICE WORKLOAD COUNT``.

All record the same pushed tracks, in real time, so that the load is that of the service and of the codecs: one thread
writes each picture and each block once, and the sender gives it to every recording. Says ``ready`` on standard output
once all have begun, runs until standard input ends, then prints what became of them as one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import processes
import workloads
from workloads import S, Workload

import recsvc
from recsvc.caller import client


class Pusher:
    """Writes pictures and sound at their times on the wall clock, on a thread of its own, until ``close``. The first
    frame of each track is captured at ``begin_ns``. ``begin=False``: not before ``start``."""

    def __init__(self, work: Workload, begin: bool = True) -> None:
        self._sound = recsvc.AudioSource(workloads.SAMPLE_RATE, 2)
        self._film = recsvc.VideoSource(work.width, work.height) if work.has_video else None
        self._blocks = workloads.tone()
        self._pictures = work.pictures() if work.has_video else []
        self._block_ns = workloads.BLOCK_SAMPLES * S // workloads.SAMPLE_RATE
        self._picture_ns = S // work.frame_rate
        self._closing = threading.Event()
        self.late_ns_max = 0
        self.tracks = [self._sound.track] + ([self._film.track] if self._film is not None else [])
        self._thread = threading.Thread(target=self._run, name="pusher", daemon=True)
        self.begin_ns = 0
        if begin:
            self.start()

    def start(self) -> None:
        self.begin_ns = time.monotonic_ns()
        self._thread.start()

    def _run(self) -> None:
        begin_ns = self.begin_ns
        sound = film = 0
        while not self._closing.is_set():
            # A block is there once its last sample was captured; a picture at once.
            sound_ns = begin_ns + sound * self._block_ns
            film_ns = begin_ns + film * self._picture_ns
            sound_is_next = self._film is None or sound_ns + self._block_ns <= film_ns
            due_ns = sound_ns + self._block_ns if sound_is_next else film_ns
            early_ns = due_ns - time.monotonic_ns()
            if early_ns > 0:
                self._closing.wait(early_ns / S)
            self.late_ns_max = max(self.late_ns_max, -early_ns)
            if sound_is_next:
                self._sound.write(self._blocks[sound % len(self._blocks)], sound_ns)
                sound += 1
            elif self._film is not None:
                self._film.write(self._pictures[film % len(self._pictures)], film_ns)
                film += 1

    def close(self) -> None:
        self._closing.set()
        self._thread.join()


@contextmanager
def beside(service: str, name: str, count: int) -> Iterator[list[dict[str, Any]]]:
    """``count`` recordings of a workload run meanwhile, in another process; gives a list that gets what became of
    them behind the block. Nothing is started for 0."""
    outcome: list[dict[str, Any]] = []
    if not count:
        yield outcome
        return
    with processes.helper(__file__, service, name, str(count)) as process:
        assert process.stdin is not None and process.stdout is not None
        yield outcome
        process.stdin.close()
        outcome.append(json.loads(process.stdout.readline()))


def private_service() -> str:
    """The endpoint of this program's own controller, for another program to join."""
    return client.connect()._endpoint


def main() -> None:
    service, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.environ["RECSVC_SERVICE"] = service
    work: Workload = getattr(workloads, name)
    pusher = Pusher(work)
    recorders = [work.recorder(recsvc.MediaStream(pusher.tracks), service) for _ in range(count)]
    for recorder in recorders:
        recorder.start()
    print("ready", flush=True)
    sys.stdin.read()
    begin_s = time.monotonic()
    for recorder in recorders:
        recorder.stop()
    dropped = raised = accepted = encoded = 0
    for recorder in recorders:
        recorder.wait("stop", workloads.WAIT_S)
        for track in recorder.statistics().tracks:
            dropped += track.frames_dropped
            accepted += track.frames_accepted
            encoded += track.frames_encoded
            raised += track.speed_raised
    stopped_s = time.monotonic() - begin_s
    pusher.close()
    outcome = {
        "count": count,
        "accepted": accepted,
        "encoded": encoded,
        "dropped": dropped,
        "speed_raised": raised,
        "late_ms_max": pusher.late_ns_max / 1e6,
        "stop_all_ms": stopped_s * 1e3,
    }
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
