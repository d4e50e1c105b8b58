"""What is recorded in the benchmarks, how it is checked, and how figures are summed up.

Environment, small by default so that the benchmarks run with the tests; ``make bench`` sets the full size:

- ``RECSVC_BENCH_ROUNDS``: how often each is measured (2)
- ``RECSVC_BENCH_SECONDS``: media of one cost or load measurement (0.4)
- ``RECSVC_BENCH_HOURS``: simulated length of the longest recording (0.02)
- ``RECSVC_BENCH_SPOOL``: a directory on the disk to be written to (that of temporary files)
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import random
import subprocess
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av

import recsvc
from recsvc.capture.pattern import Pattern
from recsvc.encode import native

S = 1_000_000_000
SAMPLE_RATE = 48_000
AUDIO_BITS_PER_SECOND = 128_000
BLOCK_SAMPLES = SAMPLE_RATE // 100
"""Pushed sound comes in blocks of 10 ms, as from a device."""
PICTURES_KEPT = 32
"""The pattern repeats itself after so many pictures, but for its frame number."""
OPUS_PACKET_SAMPLES = 960
WAIT_S = 60.0


def text(name: str, default: str) -> str:
    return os.environ.get(name) or default


ROUNDS = int(text("RECSVC_BENCH_ROUNDS", "2"))
SECONDS = float(text("RECSVC_BENCH_SECONDS", "0.4"))
HOURS = float(text("RECSVC_BENCH_HOURS", "0.02"))
FULL = ROUNDS >= 10


@dataclass(frozen=True)
class Workload:
    """What one recording takes. Stereo sound at 48 kHz is always in it; ``width`` 0: nothing else is."""

    name: str
    width: int = 0
    height: int = 0
    frame_rate: int = 30
    video_bits_per_second: int = 0
    codec: str = "vp8"

    @property
    def has_video(self) -> bool:
        return self.width > 0

    @property
    def mime_type(self) -> str:
        return f"video/webm;codecs={self.codec},opus" if self.has_video else "audio/webm;codecs=opus"

    def capture(self) -> recsvc.MediaStream:
        """A stream of the captured synthetic source."""
        video = {"source": "test:", "width": self.width, "height": self.height, "frame_rate": self.frame_rate}
        return recsvc.get_user_media(audio="test:", video=video if self.has_video else False)

    def recorder(self, stream: recsvc.MediaStream, service: str | None = None) -> recsvc.MediaRecorder:
        return recsvc.MediaRecorder(
            stream,
            mime_type=self.mime_type,
            audio_bits_per_second=AUDIO_BITS_PER_SECOND,
            video_bits_per_second=self.video_bits_per_second or None,
            service=service,
        )

    def pictures(self) -> list[bytes]:
        """What the synthetic source would show, to be pushed over and over."""
        pattern = Pattern("counter", self.width, self.height, seed=1)
        return [pattern.picture(number) for number in range(PICTURES_KEPT)]


A1 = Workload("A1")
W1 = Workload("W1", 640, 480, 30, 1_000_000)
W2 = Workload("W2", 1280, 720, 30, 2_500_000)
P1080 = Workload("1080p", 1920, 1080, 30, 5_000_000)
W1_VP9 = Workload("W1 VP9", 640, 480, 30, 1_000_000, "vp9")


def tone() -> list[bytes]:
    """Blocks of a stereo tone of 500 Hz, which ends where it began: repeated, it goes on without a click."""
    step = 2 * math.pi * 500 / SAMPLE_RATE
    wave = [round(12_000 * math.sin(step * n)) for n in range(BLOCK_SAMPLES)]
    return [array("h", (value for value in wave for _ in "lr")).tobytes()]


# --- results --------------------------------------------------------------------------------------


def check(recorder: recsvc.MediaRecorder, *, may_drop: bool = False) -> recsvc.RecordingStatistics:
    """Asserts, behind ``stop``, that all that was encoded is in the file, and that this is all that was accepted.

    ``may_drop``: a machine that is too slow for this in real time drops frames, which must be counted.
    """
    found = recorder.statistics()
    assert recorder.recording is not None
    packets = count_packets(recorder.recording)
    for track in found.tracks:
        assert track.frames_accepted == track.frames_encoded + track.frames_dropped, track
        assert track.frames_encoded > 0 and (may_drop or not track.frames_dropped), track
        if track.kind == "video":
            assert packets["video"] == track.frames_encoded, (packets, track)
        elif not track.timestamps_corrected:
            samples = track.frames_encoded + pre_skip_samples(recorder.recording)
            assert packets["audio"] == -(-samples // OPUS_PACKET_SAMPLES), (packets, track)
    return found


def count_packets(blob: recsvc.Blob) -> dict[str, int]:
    """Packets in a recording by kind, as an independent reader finds them."""
    counts = {"audio": 0, "video": 0}
    with blob.open() as file, av.open(file) as container:
        for packet in container.demux():
            if packet.size:
                counts[packet.stream.type] += 1
    return counts


def pre_skip_samples(blob: recsvc.Blob) -> int:
    """What a decoder leaves out at the beginning, as the file says (RFC 7845 section 5.1)."""
    with blob.open() as file, av.open(file) as container:
        head = container.streams.audio[0].codec_context.extradata
    return int.from_bytes(head[10:12], "little")


# --- the codec alone ------------------------------------------------------------------------------


@dataclass(frozen=True)
class CodecCost:
    """What the codecs take without anything of ours around them."""

    frame_ms: list[float]
    """Wall-clock time of each frame's encoding (of each block's, where there is no video)."""
    cpu_s_per_s: float
    """CPU seconds for a second of media, picture and sound together."""


def codec_cost(work: Workload, seconds: float) -> CodecCost:
    """Encodes in this process at the pace of a recording: a codec that has slept finds its caches cold."""
    blocks = tone()
    frame_ms: list[float] = []
    frame_cpu_ns = sound_cpu_ns = 0
    video = _video_encoder(work) if work.has_video else None
    pictures = work.pictures() if work.has_video else []
    audio = native.AudioEncoder(SAMPLE_RATE, 2, "s16", bits_per_second=AUDIO_BITS_PER_SECOND)
    rate = work.frame_rate
    begin_s = time.perf_counter()
    for number in range(max(2, round(seconds * rate))):
        time.sleep(max(0.0, begin_s + number / rate - time.perf_counter()))
        begin_ns = time.thread_time_ns()
        for _ in range(number * 100 // rate, (number + 1) * 100 // rate):
            sound_s = time.perf_counter()
            audio.encode(blocks[0])
            if video is None:
                frame_ms.append((time.perf_counter() - sound_s) * 1e3)
        sound_cpu_ns += time.thread_time_ns() - begin_ns
        if video is not None:
            frame_ms.append(_encode(video, work, pictures, number))
            frame_cpu_ns += time.thread_time_ns() - begin_ns
    taken = (frame_cpu_ns or sound_cpu_ns) / S
    audio.close()
    if video is not None:
        video.close()
    return CodecCost(frame_ms, taken / (max(2, round(seconds * rate)) / rate))


def _video_encoder(work: Workload) -> native.VideoEncoder:
    return native.VideoEncoder(
        work.codec,
        work.width,
        work.height,
        bits_per_second=work.video_bits_per_second,
        key_frame_interval_max=30_000,
    )


def _encode(encoder: native.VideoEncoder, work: Workload, pictures: Sequence[bytes], number: int) -> float:
    """Milliseconds for one frame; key frames come as often as in a recording."""
    begin_s = time.perf_counter()
    encoder.encode(
        pictures[number % len(pictures)],
        "i420",
        work.width,
        work.height,
        number * 1_000_000 // work.frame_rate,
        1_000_000 // work.frame_rate,
        force_key_frame=number % 100 == 0,
    )
    return (time.perf_counter() - begin_s) * 1e3


# --- figures --------------------------------------------------------------------------------------


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank: the smallest value that at least ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float], unit: str) -> dict[str, float]:
    """``p50_UNIT``, ``p95_UNIT``, ``p99_UNIT`` and ``max_UNIT``."""
    shares: Mapping[str, float] = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {f"{name}_{unit}": percentile(values, share) for name, share in shares.items()}


def seeded() -> tuple[int, random.Random]:
    """A new seed, printed so that a failure can be repeated, and its generator."""
    seed = random.randrange(2**32)
    print("seed", seed)
    return seed, random.Random(seed)


@cache
def versions() -> dict[str, str]:
    """Everything that a figure depends on besides the machine."""
    packages = ("pyzmq", "msgspec", "av", "pytest-benchmark")
    cores = native.versions()
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        **{name: cores[name] for name in ("libvpx", "libopus", "libyuv")},
    }


def _commit() -> str:
    """The commit of this tree, with ``+`` where something was changed behind it; empty outside a repository."""
    here = Path(__file__).parent
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=here, capture_output=True, text=True
    )
    return asked.stdout.strip()
