"""The frame path alone: a sender in this process, the worker's side of it in another, nothing encoded.

One by one, every 2 ms: from the call to the frame's arrival, its header checked and its payload at hand. Flat out:
frames per second and the CPU time of both sides for each frame, threads of ZeroMQ included.
"""

from __future__ import annotations

import os
import time
from typing import Any

import program
import pytest
import workloads
from workloads import FULL

from recsvc.common import media
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
    """The other process: takes, checks and counts frames, and gives credit as a worker does. An order is a route."""
    socket, (endpoint,) = sockets.data_server(f"ipc://{os.environ['TMPDIR']}/wire")
    ring: RingView | None = None

    def run(order: dict[str, Any]) -> dict[str, Any]:
        nonlocal ring
        late_us: list[float] = []
        done = done_bytes = credited = 0
        begin_s = begin_cpu_s = 0.0
        while True:
            parts = socket.recv_multipart(copy=False)
            message = messages.DATA.decode(parts[1].buffer)
            if isinstance(message, messages.Ring):
                ring = RingView(message)
                ready = messages.RingReady(route=message.route, ring=message.ring)
                socket.send_multipart([parts[0].bytes, messages.encode(ready)])
            elif isinstance(message, messages.Attach):
                begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
            elif isinstance(message, messages.End):
                taken_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - begin_cpu_s
                return {"count": message.count, "done": done, "late_us": late_us, "taken_s": taken_s, "cpu_s": cpu_s}
            else:
                payload = parts[2].buffer
                if isinstance(message, messages.VideoFrame) and message.ring:
                    assert ring is not None
                    payload = ring.picture(message.offset, message.payload_bytes())
                messages.check_payload(message, len(payload))
                late_us.append((time.monotonic_ns() - message.captured_ns) / 1e3)
                done, done_bytes = done + 1, done_bytes + len(payload)
                if done - credited >= VIDEO_CREDIT_FRAMES // 4:
                    credited = done
                    frames, size = VIDEO_CREDIT_FRAMES + done, QUEUE_BYTES_MAX + done_bytes
                    released = message.sequence + 1
                    credit = messages.Credit(route=message.route, frames=frames, bytes=size, released=released)
                    socket.send_multipart([parts[0].bytes, messages.encode(credit)])

    program.serve({"endpoint": endpoint}, run)
    socket.close()


def model(width: int, height: int) -> Picture | Block:
    if not height:
        return Block(0, bytes(width * 4), width)
    return Picture(0, bytes(media.picture_bytes("i420", width, height)), "i420", width, height)


@pytest.mark.parametrize("size", SIZES)
def test_wire(benchmark: Any, size: str) -> None:
    benchmark.group = "wire: sender to worker's socket"
    width, height = SIZES[size]
    frame = model(width, height)
    sender = PictureSender("wait") if height else SoundSender(AudioFormat(48_000, 2, "s16"), "wait")

    def run(receiver: program.Program, route: str, count: int, interval_s: float) -> float:
        """CPU seconds that sending took here."""
        receiver.order({})
        begin_cpu_s = time.process_time()
        description = messages.RouteDescription(
            route=route,
            track="t",
            endpoints=(receiver.ready()["endpoint"],),
            credit_frames=VIDEO_CREDIT_FRAMES,
            credit_bytes=QUEUE_BYTES_MAX,
        )
        sender.begin(description, 0)
        for _ in range(count):
            assert sender.send(frame._replace(captured_ns=time.monotonic_ns()))
            if interval_s:
                time.sleep(interval_s)
        sender.end(route, time.monotonic_ns())
        found.append(receiver.answer())
        return time.process_time() - begin_cpu_s

    found: list[dict[str, Any]] = []
    with program.running(__file__) as receiver:
        run(receiver, "one by one", SINGLE_FRAMES, SINGLE_INTERVAL_S)
        cpu_s = benchmark.pedantic(run, args=(receiver, "flat out", FLAT_OUT_FRAMES, 0), rounds=1, iterations=1)
    single, flat_out = found
    for part, sent in ((single, SINGLE_FRAMES), (flat_out, FLAT_OUT_FRAMES)):
        # Where this process stood still for as long as a block lasts, the next one went with it.
        assert 0.8 * sent <= part["done"] == part["count"] <= sent
    benchmark.extra_info.update(
        bytes=len(frame.payload),
        frames_per_s=FLAT_OUT_FRAMES / flat_out["taken_s"],
        sender_cpu_us=cpu_s / FLAT_OUT_FRAMES * 1e6,
        receiver_cpu_us=flat_out["cpu_s"] / FLAT_OUT_FRAMES * 1e6,
        **workloads.spread(single["late_us"], "us"),
    )


if __name__ == "__main__":
    receive()
