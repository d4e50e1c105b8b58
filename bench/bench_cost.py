"""What recording costs: CPU time for a second of media, pictures per second flat out, recordings at once.

CPU time is user and system of every process of ours, by role; beside it stands what the codecs take for the same media
without anything of ours around them. The pattern of the synthetic source is drawn by its capture process and counted
there; pushed pictures are made beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import film
import load
import processes
import pytest
import recorded
import sources
import workloads
from workloads import A1, FRAME_RATE, P1080, SECONDS, W1, W1_VP9, W2, S, Workload

import recsvc

SETTLE_S = 1.0 if workloads.FULL else 0.2
"""The beginning of a recording is left out: more workers being started, encoders opened, the first key frame."""
FLAT_OUT_FRAMES = 300 if workloads.FULL else 30
COUNT_MAX = {"A1": 256, "W1": 64} if workloads.FULL else {"A1": 2, "W1": 1}
"""The search for how many recordings go at once ends here; in small size it only shows that it works."""


BACKLOG_MS_MAX = 250
"""Queues hold seconds, so a machine that is too slow drops nothing at first; but its stops take as long as they do."""


def cost(benchmark: Any, work: Workload, recorder: recsvc.MediaRecorder) -> None:
    """Records for ``SECONDS`` and notes the CPU seconds per second of media, by role."""
    spent: dict[str, float] = {}

    def record() -> None:
        recorder.start()
        time.sleep(SETTLE_S)
        before, begin_s = processes.tree(), time.monotonic()
        time.sleep(SECONDS)
        after, end_s = processes.tree(), time.monotonic()
        recorder.stop()
        recorder.wait("stop", workloads.WAIT_S)
        for role, cpu_s in processes.cpu_by_role(before, after).items():
            spent[role] = cpu_s / (end_s - begin_s)

    benchmark.pedantic(record, rounds=1, iterations=1)
    found = recorded.check(recorder, may_drop=True)
    alone = recorded.codec_cost(work, SECONDS).cpu_s_per_s
    benchmark.extra_info.update(
        cpu_s_per_s=sum(spent.values()),
        codec_alone_cpu_s_per_s=alone,
        encode_over_codec_alone=spent["encode"] / alone,
        dropped=sum(track.frames_dropped for track in found.tracks),
        cpu_s_per_s_by_role={role: round(cpu_s, 4) for role, cpu_s in sorted(spent.items())},
    )


@pytest.mark.parametrize("work", [A1, W1, W2, P1080, W1_VP9], ids=lambda work: work.name)
def test_cpu_captured(benchmark: Any, work: Workload) -> None:
    benchmark.group = "cpu: captured"
    with sources.capture(work) as stream:
        cost(benchmark, work, sources.new_recorder(work, stream))


@pytest.mark.parametrize("work", [A1, W1], ids=lambda work: work.name)
def test_cpu_pushed(benchmark: Any, work: Workload) -> None:
    benchmark.group = "cpu: pushed"
    pusher = sources.Pusher(work, film.pictures(work))
    try:
        cost(benchmark, work, sources.new_recorder(work, recsvc.MediaStream(pusher.tracks)))
    finally:
        pusher.close()


@pytest.mark.parametrize("work", [W1, W2, P1080], ids=lambda work: work.name)
def test_frames_flat_out(benchmark: Any, work: Workload) -> None:
    """One recording takes pictures as fast as it can (``when_full="wait"``); stop included."""
    benchmark.group = "flat out: one recording"
    source = recsvc.VideoSource(work.width, work.height, when_full="wait")
    recorder = recsvc.MediaRecorder(
        recsvc.MediaStream([source.track]), video_bits_per_second=work.video_bits_per_second
    )
    pictures = film.pictures(work)
    taken_s: list[float] = []

    def record() -> None:
        recorder.start()
        begin_s, begin_ns = time.perf_counter(), time.monotonic_ns()
        for number in range(FLAT_OUT_FRAMES):
            assert source.write(pictures[number % len(pictures)], begin_ns + number * S // FRAME_RATE)
        recorder.stop()
        recorder.wait("stop", workloads.WAIT_S)
        taken_s.append(time.perf_counter() - begin_s)

    benchmark.pedantic(record, rounds=3 if workloads.FULL else 1, iterations=1)
    [track] = recorded.check(recorder).tracks
    assert track.frames_encoded == FLAT_OUT_FRAMES
    benchmark.extra_info.update(
        frames_per_s=FLAT_OUT_FRAMES / workloads.percentile(taken_s, 0.5), speed_raised=track.speed_raised
    )


def highest(fits: Callable[[int], bool], limit: int) -> int:
    """The greatest number that fits: doubled until one does not, then halved between to an eighth; 0: not even 1."""
    good, count = 0, 1
    while count <= limit and fits(count):
        good, count = count, count * 2
    bad = min(count, limit + 1)
    while bad - good > max(1, good // 8):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


@pytest.mark.parametrize("work", [A1, W1], ids=lambda work: work.name)
def test_recordings_at_once(benchmark: Any, work: Workload) -> None:
    """Recordings in real time, pushed by another program: how many the machine carries without one drop and without a
    backlog that grows, and how many while every encoder still works at its usual speed, that is quality."""
    benchmark.group = "recordings at once"
    tried: dict[int, dict[str, Any]] = {}

    def carried(count: int) -> dict[str, Any]:
        if count not in tried:
            with load.beside(work.name, count) as outcome:
                time.sleep(SECONDS)
            tried[count] = outcome
        return tried[count]

    def keeps_up(count: int) -> bool:
        found = carried(count)
        return found["dropped"] == 0 and found["stop_all_ms"] <= BACKLOG_MS_MAX

    def unhurried(count: int) -> bool:
        return keeps_up(count) and carried(count)["speed_raised"] == 0

    limit = COUNT_MAX[work.name]
    most = benchmark.pedantic(highest, args=(keeps_up, limit), rounds=1, iterations=1)
    assert all(found["accepted"] == found["encoded"] + found["dropped"] > 0 for found in tried.values()), tried
    benchmark.extra_info.update(
        recordings=most,
        recordings_unhurried=highest(unhurried, most),
        limit_of_search=limit,
        seconds_each=SECONDS,
        tried=[tried[count] for count in sorted(tried)],
    )
