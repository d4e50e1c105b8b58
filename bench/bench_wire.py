"""The frame path alone: a sender in this process, the worker's side of it in another, nothing encoded.

One by one, every 2 ms: from the call to the frame's arrival, its header checked and its payload at hand. Flat out:
frames per second and the CPU time of both sides for each frame, threads of ZeroMQ included.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import processes
import pytest
import workloads
from workloads import FULL

from recsvc.common.limits import QUEUE_BYTES_MAX, VIDEO_CREDIT_FRAMES
from recsvc.common.media import AudioFormat
from recsvc.wire import messages, sockets
from recsvc.wire.frames import Block, Picture
from recsvc.wire.pictures import PictureSender
from recsvc.wire.ring import RingView
from recsvc.wire.sound import SoundSender

SIZES = {
    "sound 10 ms": (480, 0),
    "320x240": (320, 240),
    "640x480": (640, 480),
    "1280x720": (1280, 720),
    "1920x1080": (1920, 1080),
}
SINGLE_FRAMES = 500 if FULL else 20
SINGLE_INTERVAL_S = 0.002
FLAT_OUT_FRAMES = 2000 if FULL else 60


def receive() -> None:
    """The other process: takes, checks and counts frames, and gives credit as a worker does; a line for each route."""
    endpoint, routes = sys.argv[1], int(sys.argv[2])
    socket, _ = sockets.data_server(endpoint)
    print("ready", flush=True)
    poller = sockets.Poller()
    poller.register(socket, sockets.POLLIN)
    late_us: list[float] = []
    done = done_bytes = told = 0
    begin_s = begin_cpu_s = 0.0
    ring: RingView | None = None
    while routes:
        poller.poll()
        parts = socket.recv_multipart(copy=False)
        message = messages.DATA.decode(parts[1].buffer)
        if isinstance(message, messages.Ring):
            ring = RingView(message)
            socket.send_multipart(
                [parts[0].bytes, messages.encode(messages.RingReady(route=message.route, ring=message.ring))]
            )
        elif isinstance(message, messages.Attach):
            late_us, done, done_bytes, told = [], 0, 0, 0
            begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
        elif isinstance(message, messages.End):
            taken_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - begin_cpu_s
            found = {"count": message.count, "done": done, "late_us": late_us, "taken_s": taken_s, "cpu_s": cpu_s}
            print(json.dumps(found), flush=True)
            routes -= 1
        else:
            payload = parts[2].buffer
            if isinstance(message, messages.VideoFrame) and message.ring:
                assert ring is not None
                payload = ring.picture(message.offset, message.payload_bytes())
            messages.check_payload(message, len(payload))
            late_us.append((time.monotonic_ns() - message.captured_ns) / 1e3)
            done, done_bytes = done + 1, done_bytes + len(payload)
            if done - told >= VIDEO_CREDIT_FRAMES // 4:
                told = done
                frames, size = VIDEO_CREDIT_FRAMES + done, QUEUE_BYTES_MAX + done_bytes
                credit = messages.Credit(route=message.route, frames=frames, bytes=size, released=message.sequence + 1)
                socket.send_multipart([parts[0].bytes, messages.encode(credit)])
    socket.close()


@contextmanager
def receiver(routes: int) -> Iterator[tuple[str, Any]]:
    """Another process that receives so many routes: its endpoint, and where its lines come."""
    with tempfile.TemporaryDirectory(prefix="rsb-") as directory:
        endpoint = f"ipc://{Path(directory) / 'wire'}"
        with processes.helper(__file__, endpoint, str(routes)) as process:
            yield endpoint, process.stdout


def model(width: int, height: int) -> Picture | Block:
    if not height:
        return Block(0, bytes(width * 4), width)
    return Picture(0, bytes(messages.picture_bytes("i420", width, height)), "i420", width, height)


@pytest.mark.parametrize("size", SIZES)
def test_wire(benchmark: Any, size: str) -> None:
    benchmark.group = "wire: sender to worker's socket"
    width, height = SIZES[size]
    frame = model(width, height)
    sender = PictureSender("wait") if height else SoundSender(AudioFormat(48_000, 2, "s16"), "wait")

    def run(endpoint: str, route: str, count: int, interval_s: float) -> float:
        """CPU seconds that sending took here."""
        begin_cpu_s = time.process_time()
        description = messages.RouteDescription(
            route=route, track="t", endpoint=endpoint, credit_frames=VIDEO_CREDIT_FRAMES, credit_bytes=QUEUE_BYTES_MAX
        )
        sender.begin(description, 0)
        for _ in range(count):
            assert sender.send(frame._replace(captured_ns=time.monotonic_ns()))
            if interval_s:
                time.sleep(interval_s)
        sender.end(route, time.monotonic_ns())
        found.append(json.loads(answers.readline()))
        return time.process_time() - begin_cpu_s

    found: list[dict[str, Any]] = []
    with receiver(routes=2) as (endpoint, answers):
        run(endpoint, "one by one", SINGLE_FRAMES, SINGLE_INTERVAL_S)
        cpu_s = benchmark.pedantic(run, args=(endpoint, "flat out", FLAT_OUT_FRAMES, 0), rounds=1, iterations=1)
    single, flat_out = found
    assert single["done"] == single["count"] == SINGLE_FRAMES
    assert flat_out["done"] == flat_out["count"] == FLAT_OUT_FRAMES
    benchmark.extra_info.update(
        bytes=len(frame.payload),
        frames_per_s=FLAT_OUT_FRAMES / flat_out["taken_s"],
        sender_cpu_us=cpu_s / FLAT_OUT_FRAMES * 1e6,
        receiver_cpu_us=flat_out["cpu_s"] / FLAT_OUT_FRAMES * 1e6,
        **workloads.spread(single["late_us"], "us"),
    )


if __name__ == "__main__":
    receive()
