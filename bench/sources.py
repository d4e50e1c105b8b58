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


def tone() -> list[bytes]:
    """Blocks of a stereo tone of 500 Hz, which ends where it began: repeated, it goes on without a click."""
    step = 2 * math.pi * 500 / SAMPLE_RATE
    wave = [round(12_000 * math.sin(step * n)) for n in range(BLOCK_SAMPLES)]
    return [array("h", (value for value in wave for _ in "lr")).tobytes()]


class Pusher:
    """Writes pictures and sound at their times on the wall clock, on a thread of its own, until ``close``: open loop,
    whatever the encoder does. The first frame of each track is captured at ``begin_ns``. ``begin=False``: not before
    ``start``."""

    def __init__(self, work: Workload, pictures: Sequence[Buffer], begin: bool = True) -> None:
        self._sound = recsvc.AudioSource(SAMPLE_RATE, CHANNEL_COUNT)
        self._film = recsvc.VideoSource(work.width, work.height) if work.has_video else None
        self._blocks = tone()
        self._pictures = pictures
        self._block_ns = S // BLOCK_RATE
        self._picture_ns = S // FRAME_RATE
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
