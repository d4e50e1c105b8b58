"""Memory of each role: per recording, and over a recording of hours in simulated time; the stop after so long.

Simulated time: pushed frames whose capture times run ahead of the clock. The picture is tiny and comes once a second,
the sound is silence in blocks of a second, so that hours take seconds; the number of packets, clusters and Cues that
could pile up is the real one. There is one recording of the same tracks per core, so that all workers are at it.
"""

from __future__ import annotations

import os
import time
from typing import Any

import film
import processes
import pytest
import recorded
import sources
import workloads
from workloads import A1, FULL, HOURS, SAMPLE_RATE, W1, S, Workload

import recsvc

MIB = 1 << 20
SAMPLES_OF_MEMORY = 60 if FULL else 12
BASE_S = 300 if HOURS >= 1 else 20
"""Growth counts from this minute on: by then buffers and caches have their size."""
COUNT = {"A1": 16, "W1": 4} if FULL else {"A1": 4, "W1": 2}
SIDE = 16


@pytest.mark.parametrize("work", [A1, W1], ids=lambda work: work.name)
def test_memory_per_recording(benchmark: Any, work: Workload) -> None:
    """Resident memory of the roles with some recordings in real time, less that with none."""
    benchmark.group = "memory: per recording"
    with sources.capture(work) as stream:  # has recorded once: libraries are loaded
        recorder = sources.new_recorder(work, stream)
        recorder.start()
        time.sleep(0.3)
        recorder.stop()
        recorder.wait("stop", workloads.WAIT_S)
    readings: list[dict[str, int]] = []
    recorder = None
    pusher = sources.Pusher(work, film.pictures(work))
    recorders = [sources.new_recorder(work, recsvc.MediaStream(pusher.tracks)) for _ in range(COUNT[work.name])]

    def record() -> None:
        readings.append(processes.rss_by_role(processes.tree()))
        for one in recorders:
            one.start()
        time.sleep(max(workloads.SECONDS / 2, 0.3))
        readings.append(processes.rss_by_role(processes.tree()))
        for one in recorders:
            one.stop()
        for one in recorders:
            one.wait("stop", workloads.WAIT_S)

    try:
        benchmark.pedantic(record, rounds=1, iterations=1)
    finally:
        pusher.close()
    for one in recorders:
        recorded.check(one)
    idle, busy = readings
    benchmark.extra_info.update(
        recordings=len(recorders),
        **{f"{role}_idle_mib": round(idle[role] / MIB, 1) for role in ("controller", "encode")},
        encode_mib_per_recording=(busy["encode"] - idle["encode"]) / MIB / len(recorders),
        controller_kib_per_recording=(busy["controller"] - idle["controller"]) / 1024 / len(recorders),
    )


class LongRecording:
    """Recordings of the same sparse tracks, fed as fast as they are taken."""

    def __init__(self, count: int) -> None:
        self._sound = recsvc.AudioSource(SAMPLE_RATE, 1, when_full="wait")
        self._film = recsvc.VideoSource(SIDE, SIDE, when_full="wait")
        tracks = [self._sound.track, self._film.track]
        self.recorders = [
            recsvc.MediaRecorder(recsvc.MediaStream(tracks), audio_bits_per_second=64_000, video_bits_per_second=50_000)
            for _ in range(count)
        ]
        self._silence = bytes(2 * SAMPLE_RATE)
        self._pictures = [bytes([level]) * (SIDE * SIDE * 3 // 2) for level in range(16, 236)]
        self._begin_ns = self._second = 0

    def start(self) -> None:
        self._second = 0
        self._begin_ns = time.monotonic_ns()
        for recorder in self.recorders:
            recorder.start()

    def run_until(self, media_s: float) -> None:
        """Returns when all up to this second of media is encoded."""
        while self._second < media_s:
            at_ns = self._begin_ns + self._second * S
            assert self._film.write(self._pictures[self._second % len(self._pictures)], at_ns)
            assert self._sound.write(self._silence, at_ns)
            self._second += 1
        deadline_s = time.monotonic() + workloads.WAIT_S
        while any(track.frames_encoded < track.frames_accepted for track in self._accounts()):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)

    def _accounts(self) -> list[recsvc.TrackStatistics]:
        accounts = [track for recorder in self.recorders for track in recorder.statistics().tracks]
        expected = {"audio": self._second * SAMPLE_RATE, "video": self._second}
        return [  # what is still in the socket was not accepted yet
            recsvc.TrackStatistics(kind=one.kind, frames_accepted=expected[one.kind], frames_encoded=one.frames_encoded)
            for one in accounts
        ]

    def stop(self) -> list[float]:
        """Stops one after the other; milliseconds until the data of each is there."""
        taken_ms = []
        for recorder in self.recorders:
            begin_s = time.perf_counter()
            recorder.stop()
            event: Any = recorder.wait("dataavailable", workloads.WAIT_S)
            with event.data.open() as file:
                assert file.read(4) == b"\x1a\x45\xdf\xa3"
            taken_ms.append((time.perf_counter() - begin_s) * 1e3)
            recorder.wait("stop", workloads.WAIT_S)
        return taken_ms


LENGTHS_S = {"5 s": 5, "a tenth": HOURS * 360, "the whole": HOURS * 3600}
ROUNDS = {"5 s": 10, "a tenth": 3, "the whole": 1} if FULL else {"5 s": 2, "a tenth": 1, "the whole": 1}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("length", LENGTHS_S)
def test_after_a_long_recording(benchmark: Any, length: str) -> None:
    """The stop after so much media, and how each role's memory has grown since the fifth minute."""
    benchmark.group = "after long recordings: stop, and growth of memory"
    media_s = max(1, round(LENGTHS_S[length]))
    taken_ms: list[float] = []
    grown: dict[str, list[tuple[float, int]]] = {}
    long = LongRecording(len(os.sched_getaffinity(0)))

    def run() -> None:
        grown.clear()
        long.start()
        for step in range(1, SAMPLES_OF_MEMORY + 1):
            at_s = media_s * step // SAMPLES_OF_MEMORY
            long.run_until(at_s)
            for role, resident in processes.rss_by_role(processes.tree()).items():
                grown.setdefault(role, []).append((at_s, resident))

    def finish() -> None:
        taken_ms.extend(long.stop())
        for recorder in long.recorders:
            found = recorder.statistics()
            assert found.duration == pytest.approx(media_s, abs=1.1)
            assert all(track.frames_accepted == track.frames_encoded for track in found.tracks)
            assert {track.kind: track.frames_encoded for track in found.tracks} == {
                "audio": media_s * SAMPLE_RATE,
                "video": media_s,
            }

    benchmark.pedantic(run, teardown=finish, rounds=ROUNDS[length], iterations=1)
    benchmark.extra_info.update(media_s=media_s, stops=len(taken_ms), **workloads.spread(taken_ms, "ms"))
    if media_s > BASE_S:
        for role, samples in grown.items():
            base = next(resident for at_s, resident in samples if at_s >= BASE_S)
            benchmark.extra_info[f"{role}_mib"] = round(samples[-1][1] / MIB, 1)
            benchmark.extra_info[f"{role}_grown_kib"] = (samples[-1][1] - base) // 1024
        benchmark.extra_info["rss_mib_over_media_s"] = {
            role: [(at_s, round(resident / MIB, 2)) for at_s, resident in samples] for role, samples in grown.items()
        }
