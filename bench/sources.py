"""What feeds recsvc, by its public names alone: so it runs with other commits' recsvc too (``compare_stops.py``)."""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections.abc import Sequence

from workloads import (
    AUDIO_BITS_PER_SECOND,
    BLOCK_RATE,
    BLOCK_SAMPLES,
    CHANNEL_COUNT,
    FRAME_RATE,
    SAMPLE_RATE,
    S,
    Workload,
    deliveries,
)

import recsvc

Buffer = bytes | memoryview


def capture(work: Workload) -> recsvc.MediaStream:
    """A stream of the captured synthetic source."""
    video = {"source": "test:", "width": work.width, "height": work.height, "frame_rate": FRAME_RATE}
    return recsvc.get_user_media(audio="test:", video=video if work.has_video else False)


def new_recorder(work: Workload, stream: recsvc.MediaStream) -> recsvc.MediaRecorder:
    return recsvc.MediaRecorder(
        stream,
        mime_type=work.mime_type,
        audio_bits_per_second=AUDIO_BITS_PER_SECOND,
        video_bits_per_second=work.video_bits_per_second or None,
    )


def tone() -> bytes:
    """A block of a stereo tone of 500 Hz, which ends where it began: repeated, it goes on without a click."""
    step = 2 * math.pi * 500 / SAMPLE_RATE
    wave = [round(12_000 * math.sin(step * n)) for n in range(BLOCK_SAMPLES)]
    return array("h", (value for value in wave for _ in "lr")).tobytes()


class Pusher:
    """Writes pictures and sound at their times on the wall clock, on a thread of its own, until ``close``: open loop,
    whatever the encoder does. The first frame of each track is captured at ``begin_ns``. ``begin=False``: not before
    ``start``."""

    def __init__(self, work: Workload, pictures: Sequence[Buffer], begin: bool = True) -> None:
        self._sound = recsvc.AudioSource(SAMPLE_RATE, CHANNEL_COUNT)
        self._film = recsvc.VideoSource(work.width, work.height) if work.has_video else None
        self._work = work
        self._block = tone()
        self._pictures = pictures
        self._closing = threading.Event()
        self.late_ns_max = 0
        self.tracks = [source.track for source in (self._sound, self._film) if source is not None]
        self._thread = threading.Thread(target=self._run, name="pusher", daemon=True)
        self.begin_ns = 0
        if begin:
            self.start()

    def start(self) -> None:
        self.begin_ns = time.monotonic_ns()
        self._thread.start()

    def _run(self) -> None:
        for due_s, kind, number in deliveries(self._work):
            early_ns = self.begin_ns + round(due_s * S) - time.monotonic_ns()
            if self._closing.wait(max(0, early_ns) / S):
                return
            self.late_ns_max = max(self.late_ns_max, -early_ns)
            if kind == "block":
                self._sound.write(self._block, self.begin_ns + number * S // BLOCK_RATE)
            elif self._film is not None:
                picture = self._pictures[number % len(self._pictures)]
                self._film.write(picture, self.begin_ns + number * S // FRAME_RATE)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
