"""Large pictures in real time: how many are dropped, beside FFmpeg's program with the same pictures and threads.

1080p60 and 2160p30, VP8 at the same speed, pushed open loop by this program: to recsvc by ``write``, to FFmpeg through
a pipe behind a queue as long as recsvc's, where what finds it full is dropped. recsvc decides how many threads encode
(``encoder_threads``; of pushed pictures it supposes 30 in a second) and FFmpeg gets as many. recsvc raises its
encoder's speed when it is late (``speed_raised``); FFmpeg cannot.
"""

from __future__ import annotations

import fcntl
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import recorded
import workloads
from peers.ffmpeg_peer import film_encoder
from workloads import SECONDS, Workload

import recsvc
from recsvc.capture.pattern import Pattern

KEPT = 8
"""Different pictures; more would not fit into a processor's caches either."""
QUEUE, QUEUE_BYTES = 30, 128 << 20
"""What may wait for FFmpeg: as much as for recsvc's encoder."""


class Large(NamedTuple):
    work: Workload
    rate: int


LARGE = {
    "1080p60": Large(Workload("1080p60", 1920, 1080, 8_000_000), 60),
    "2160p30": Large(Workload("2160p30", 3840, 2160, 16_000_000), 30),
}
SMALL = {"small": Large(Workload("small", 320, 240, 300_000), 30)}
SIZES = LARGE if workloads.FULL else SMALL


def push(large: Large, film: Sequence[bytes], give: Callable[[bytes], object]) -> int:
    """Gives each picture when it is due, or as soon as can be; how many there were."""
    count = max(2, round(SECONDS * large.rate))
    begin_s = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, begin_s + number / large.rate - time.monotonic()))
        give(film[number % len(film)])
    return count


@pytest.mark.parametrize("name", SIZES)
def test_large_pictures(benchmark: Any, name: str) -> None:
    benchmark.group = "large pictures in real time"
    large = SIZES[name]
    pattern = Pattern("counter", large.work.width, large.work.height, seed=1)
    film = [pattern.picture(number) for number in range(KEPT)]
    source = recsvc.VideoSource(large.work.width, large.work.height)
    with recsvc.MediaRecorder(
        recsvc.MediaStream([source.track]),
        mime_type="video/webm;codecs=vp8",
        video_bits_per_second=large.work.video_bits_per_second,
    ) as recorder:

        def record() -> None:
            recorder.start()
            recorder.wait("start", workloads.WAIT_S)
            push(large, film, source.write)
            recorder.stop()
            recorder.wait("stop", workloads.WAIT_S)

        benchmark.pedantic(record, rounds=1, iterations=1)
        [track] = recorded.check(recorder, may_drop=True).tracks
    pictures = max(2, round(SECONDS * large.rate))
    assert track.frames_accepted == pictures, track
    dropped = ffmpeg(large, film, track.encoder_threads)
    benchmark.extra_info.update(
        pictures=pictures,
        dropped=track.frames_dropped,
        ffmpeg_dropped=dropped,
        encoder_threads=track.encoder_threads,
        speed_raised=track.speed_raised,
    )


def ffmpeg(large: Large, film: Sequence[bytes], threads: int) -> int | None:
    """How many it drops; ``None``: it is not here."""
    waiting: queue.Queue[bytes | None] = queue.Queue(min(QUEUE, QUEUE_BYTES // len(film[0])))
    dropped = 0
    with tempfile.TemporaryDirectory(prefix="rsl-") as directory:
        path = Path(directory, "large.webm")
        size = f"{large.work.width}x{large.work.height}"
        words = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-f", "rawvideo", "-pixel_format", "yuv420p"]
        words += ["-video_size", size, "-framerate", str(large.rate), "-i", "pipe:0", *film_encoder(large.work)]
        words += ["-threads:v", str(threads), "-slices:v", str(threads), "-f", "webm", str(path)]
        try:
            process = subprocess.Popen(words, stdin=subprocess.PIPE)
        except FileNotFoundError:
            return None
        assert process.stdin is not None
        pipe = process.stdin.fileno()
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)

        def feed() -> None:
            while (picture := waiting.get()) is not None:
                view = memoryview(picture)
                while view:
                    view = view[os.write(pipe, view) :]

        def give(picture: bytes) -> None:
            nonlocal dropped
            try:
                waiting.put_nowait(picture)
            except queue.Full:
                dropped += 1

        thread = threading.Thread(target=feed, daemon=True)
        thread.start()
        pictures = push(large, film, give)
        waiting.put(None)
        thread.join(workloads.WAIT_S)
        process.stdin.close()
        assert process.wait(workloads.WAIT_S) == 0
        assert _count(path) == pictures - dropped
    return dropped


def _count(path: Path) -> int:
    import av

    with av.open(str(path)) as container:
        return sum(packet.size > 0 for packet in container.demux())
