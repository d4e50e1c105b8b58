"""recsvc under measurement: its streams and recorders for a workload, the check of what they made, the codecs alone."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import film
from sources import tone
from workloads import AUDIO_BITS_PER_SECOND, FRAME_RATE, SAMPLE_RATE, S, Workload

import recsvc
from recsvc.encode import core, native

OPUS_PACKET_SAMPLES = 960


# --- results --------------------------------------------------------------------------------------


def check(made: recsvc.MediaRecorder, *, may_drop: bool = False) -> recsvc.RecordingStatistics:
    """Asserts, after ``stop``, that all that was encoded is in the file, and that this is all that was accepted.

    ``may_drop``: a machine that is too slow for this in real time drops frames, which must be counted.
    """
    found = made.statistics()
    assert made.recording is not None
    packets = count_packets(made.recording)
    for track in found.tracks:
        assert track.frames_accepted == track.frames_encoded + track.frames_dropped, track
        assert track.frames_encoded > 0 and (may_drop or not track.frames_dropped), track
        if track.kind == "video":
            assert packets["video"] == track.frames_encoded, (packets, track)
        elif not track.timestamps_corrected:
            samples = track.frames_encoded + pre_skip_samples(made.recording)
            stretched = samples * abs(track.clock_drift_ppm) / 1e6  # sound of another clock follows ours
            off = packets["audio"] * OPUS_PACKET_SAMPLES - samples
            assert -stretched <= off < OPUS_PACKET_SAMPLES + stretched, (packets, track)
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
    block = tone()
    frame_ms: list[float] = []
    frame_cpu_ns = sound_cpu_ns = 0
    video = _video_encoder(work) if work.has_video else None
    shown = film.pictures(work)
    audio = native.AudioEncoder(SAMPLE_RATE, 2, "s16", bits_per_second=AUDIO_BITS_PER_SECOND)
    rate = FRAME_RATE
    begin_s = time.perf_counter()
    for number in range(max(2, round(seconds * rate))):
        time.sleep(max(0.0, begin_s + number / rate - time.perf_counter()))
        begin_ns = time.thread_time_ns()
        for _ in range(number * 100 // rate, (number + 1) * 100 // rate):
            sound_s = time.perf_counter()
            audio.encode(block)
            if video is None:
                frame_ms.append((time.perf_counter() - sound_s) * 1e3)
        sound_cpu_ns += time.thread_time_ns() - begin_ns
        if video is not None:
            frame_ms.append(_encode(video, work, shown, number))
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


def _encode(encoder: native.VideoEncoder, work: Workload, shown: Sequence[bytes], number: int) -> float:
    """Milliseconds for one frame; key frames come as often as in a recording."""
    begin_s = time.perf_counter()
    encoder.encode(
        shown[number % len(shown)],
        "i420",
        work.width,
        work.height,
        number * 1_000_000 // FRAME_RATE,
        1_000_000 // FRAME_RATE,
        force_key_frame=number % 100 == 0,
    )
    return (time.perf_counter() - begin_s) * 1e3


# --- versions -------------------------------------------------------------------------------------


@cache
def versions() -> dict[str, str]:
    """Everything that a figure depends on besides the machine."""
    packages = ("pyzmq", "msgspec", "av", "pytest-benchmark")
    cores = core.versions()
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        **{name: cores[name] for name in ("libvpx", "libopus", "libyuv")},
    }


def _commit() -> str:
    """The commit of this tree, with ``+`` where something was changed after it; empty outside a repository."""
    here = Path(__file__).parent
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=here, capture_output=True, text=True
    )
    return asked.stdout.strip()
