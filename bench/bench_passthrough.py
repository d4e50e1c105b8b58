"""CPU time of streams that come encoded and are recorded as they are: 1080p30 of H.264 with 4 Mbit/s, in real time.

One, pushed by a program, beside what reading the same packets out of a file takes alone; one out of a file; 200 at
once, pushed by one program, beside as many processes of ``ffmpeg -c copy`` that read files, and beside one process of
GStreamer that does.
"""

from __future__ import annotations

import contextlib
import functools
import io
import random
import resource
import shlex
import shutil
import subprocess
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import processes
import workloads
from fixtures_media import program

import recsvc

RATE = 30
BITS_PER_SECOND = 4_000_000
S = 1_000_000_000
GROUP = 30
AT_ONCE = 200 if workloads.FULL else 3


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


def film(path: Path, seconds: float) -> Path:
    """A file with the stream for so long."""
    data, _ = stream()
    raw = path.with_suffix(".h264")
    raw.write_bytes(data * (round(seconds * RATE / GROUP) or 1))
    command = [program("ffmpeg"), "-y", "-loglevel", "error", "-r", str(RATE), "-i", str(raw), "-c", "copy", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


def test_one_file_copied(benchmark: Any, tmp_path: Path) -> None:
    """CPU time of the capture process and the worker over the time that goes by, for a file in real time."""
    benchmark.group = "passthrough: one 1080p30 stream of H.264"
    seconds = max(workloads.SECONDS, 1.0)
    source = f"file:{film(tmp_path / 'film.mkv', 2 * seconds + 2)}"
    readings = []

    def record() -> None:
        with recsvc.get_user_media(video={"source": source, "encoded": True}) as media:
            recorder = recsvc.MediaRecorder(media)
            recorder.start()
            for _ in range(2):  # by the first reading libraries are loaded, and the worker has warmed itself up
                time.sleep(seconds)
                readings.append(processes.tree())
            recorder.stop()
            recorder.wait("stop", workloads.WAIT_S)
        [track] = recorder.statistics().tracks
        assert track.frames_encoded >= 2 * seconds * RATE and not track.frames_dropped

    benchmark.pedantic(record, rounds=1, iterations=1)
    spent = processes.cpu_by_role(*readings)
    benchmark.extra_info.update({f"{role}_core_percent": round(100 * s / seconds, 2) for role, s in spent.items()})


def test_streams_copied_at_once(benchmark: Any, tmp_path: Path) -> None:
    """CPU time of all processes over the time that goes by, and what was lost; that of FFmpeg and GStreamer, and how
    late they were done."""
    benchmark.group = f"passthrough: {AT_ONCE} 1080p30 streams of H.264 at once"
    _, packets = stream()
    seconds = max(workloads.SECONDS, 1.0)
    count = round(seconds * RATE)
    sources = [recsvc.EncodedVideoSource("h264", 1920, 1080) for _ in range(AT_ONCE)]
    recorders = [recsvc.MediaRecorder(recsvc.MediaStream([source.track])) for source in sources]
    readings = []
    refused = late_ns = 0

    def record() -> None:
        nonlocal refused, late_ns
        for recorder in recorders:
            recorder.start()
        begun_ns = time.monotonic_ns()
        readings.append(processes.tree())
        for number in range(count):
            for index, source in enumerate(sources):  # not all at the same instant
                due_ns = begun_ns + (number * AT_ONCE + index) * S // (RATE * AT_ONCE)
                now_ns = time.monotonic_ns()
                if now_ns < due_ns:
                    time.sleep((due_ns - now_ns) / S)
                late_ns = max(late_ns, now_ns - due_ns)
                at = number % GROUP
                refused += not source.write(packets[at], due_ns, key_frame=at == 0)
        readings.append(processes.tree())
        stops = [threading.Thread(target=recorder.stop) for recorder in recorders]
        for stop in stops:
            stop.start()
        for recorder in recorders:
            recorder.wait("stop", workloads.WAIT_S)

    benchmark.pedantic(record, rounds=1, iterations=1)
    tracks = [track for recorder in recorders for track in recorder.statistics().tracks]
    lost = AT_ONCE * count - sum(track.frames_encoded for track in tracks)
    spent = processes.cpu_by_role(*readings)
    for recorder in recorders:
        recorder.close()
    ours = sum(spent.values()) / seconds
    film(tmp_path / "source.mkv", seconds)
    copy = shlex.split("-y -loglevel error -re -i source.mkv -c copy")
    peers = {"ffmpeg": [[program("ffmpeg"), *copy, f"ffmpeg{number}.mkv"] for number in range(AT_ONCE)]}
    if gst := shutil.which("gst-launch-1.0"):
        line = (
            "filesrc location=source.mkv ! matroskademux ! h264parse ! clocksync ! matroskamux ! filesink location=gst"
        )
        lines = " ".join(f"{line}{number}.mkv" for number in range(AT_ONCE))
        peers["gstreamer"] = [[gst, "-q", *shlex.split(lines)]]
    theirs = {name: copied_at_once(commands, tmp_path, seconds) for name, commands in peers.items()}
    benchmark.extra_info.update(
        {f"{role}_cores": round(cpu_s / seconds, 3) for role, cpu_s in spent.items()}
        | {"cores": round(ours, 3), "lost": lost, "latest_write_ms": round(late_ns / 1e6, 1)}
        | {f"{name}_cores": round(cores, 3) for name, (cores, _) in theirs.items()}
        | {f"{name}_over_s": round(over_s, 2) for name, (_, over_s) in theirs.items()}
        | {f"of_{name}": round(ours / cores, 3) for name, (cores, _) in theirs.items()}
    )
    assert not lost and not refused


def copied_at_once(commands: list[list[str]], directory: Path, seconds: float) -> tuple[float, float]:
    """CPU time over the media's length of these processes together, and how much longer they took than that."""
    before, begun_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with contextlib.ExitStack() as stack:
        copies = [stack.enter_context(subprocess.Popen(command, cwd=directory)) for command in commands]
        assert {copy.wait(workloads.WAIT_S + seconds) for copy in copies} == {0}
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent_s / seconds, time.monotonic() - begun_s - seconds
