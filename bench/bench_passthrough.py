"""CPU time of a stream that comes encoded and is recorded as it is: 1080p30 of H.264 with 4 Mbit/s, in real time.

Beside it, what reading the same packets out of a file takes alone.
"""

from __future__ import annotations

import functools
import io
import random
import time
from fractions import Fraction
from typing import Any

import av
import numpy as np
import processes
import workloads

import recsvc

RATE = 30
BITS_PER_SECOND = 4_000_000
GROUP = 30


@functools.cache
def stream() -> tuple[bytes, tuple[bytes, ...]]:
    """A group of pictures with the rate that is wanted, as a file, and its packets with start codes."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 1920, 1080, "yuv420p"
    encoder.time_base, encoder.gop_size = Fraction(1, RATE), GROUP
    rate = f"vbv-maxrate={BITS_PER_SECOND // 1000}:vbv-bufsize=1000:nal-hrd=cbr:filler=1"
    encoder.bit_rate = BITS_PER_SECOND
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": rate}
    noise = np.frombuffer(random.Random(1).randbytes(1620 * 1920), np.uint8).reshape(1620, 1920) // 16 + 100
    packets = []
    for number in range(GROUP):
        picture = av.VideoFrame.from_ndarray(np.roll(noise, 8 * number, axis=1), "yuv420p")
        picture.pts = number
        packets += [bytes(packet) for packet in encoder.encode(picture)]
    assert len(packets) == GROUP
    return b"".join(packets), tuple(packets)


def test_one_stream_copied(benchmark: Any) -> None:
    """CPU time of the sender's process and of the worker over the time that went by, less the sender's for waiting
    alone."""
    benchmark.group = "passthrough: one 1080p30 stream of H.264"
    file, packets = stream()
    seconds = max(workloads.SECONDS, 1.0)
    count = round(seconds * RATE)
    source = recsvc.EncodedVideoSource("h264", 1920, 1080)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    readings = []

    def pace(write: bool) -> None:
        begun_s = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, begun_s + number / RATE - time.monotonic()))
            if write:
                assert source.write(packets[number % GROUP])

    def record() -> None:
        recorder.start()
        pace(write=True)  # by then libraries are loaded, and the worker has warmed itself up
        readings.append(processes.tree())
        pace(write=True)
        readings.append(processes.tree())
        pace(write=False)
        readings.append(processes.tree())
        recorder.stop()
        recorder.wait("stop", workloads.WAIT_S)

    benchmark.pedantic(record, rounds=1, iterations=1)
    with_it, without = (processes.cpu_by_role(*readings[at : at + 2]) for at in (0, 1))
    cores = {role: (spent - without.get(role, 0.0)) / seconds for role, spent in with_it.items()}
    begun_s = time.thread_time()
    with av.open(io.BytesIO(file), format="h264") as container:
        read = sum(packet.size for packet in container.demux() if packet.size)
    reading = (time.thread_time() - begun_s) / (GROUP / RATE)
    [track] = recorder.statistics().tracks
    assert track.frames_encoded == 2 * count and not track.frames_dropped
    benchmark.extra_info.update(
        {f"{role}_core_percent": round(100 * share, 2) for role, share in cores.items()}
        | {"total_core_percent": round(100 * sum(cores.values()), 2)}
        | {"reading_core_percent": round(100 * reading, 2), "mbit_s": round(8e-6 * read / (GROUP / RATE), 2)}
    )
