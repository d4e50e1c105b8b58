"""aiortc's MediaRecorder, which takes its frames from tracks on an event loop and encodes there."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

from content import Content
from workloads import (
    AUDIO_BITS_PER_SECOND,
    BLOCK_RATE,
    BLOCK_SAMPLES,
    FRAME_RATE,
    KEY_FRAME_DISTANCE,
    SAMPLE_RATE,
    Workload,
)

from .libav import audio_options, video_options
from .pace import LEAD_S, delivered
from .recorder import Order, Recorder, Taken


class Aiortc(Recorder):
    name = "aiortc"

    @classmethod
    def missing(cls) -> str | None:
        return None if importlib.util.find_spec("aiortc") else "no aiortc"

    def version(self) -> str:
        import aiortc

        return f"aiortc {aiortc.__version__}"

    def record(self, order: Order) -> Taken:
        return asyncio.run(self._record(order))

    async def _record(self, order: Order) -> Taken:
        from aiortc.contrib.media import MediaRecorder

        work, meter = self.work, self.meter
        begin_s = time.monotonic() + (LEAD_S if order.real_time else 0.0)
        tracks = _tracks(work, self.content, begin_s, order)
        recorder = MediaRecorder(order.path, format="webm")
        for track in tracks:
            recorder.addTrack(track)
        _apply_settings(recorder, work)
        if not order.real_time:
            meter.begin(0.0)
        await recorder.start()
        due_s = begin_s + order.stop_s
        if order.real_time:
            await asyncio.sleep(begin_s + order.measure_s - time.monotonic())
            meter.begin(order.measure_s)
            await asyncio.sleep(due_s - time.monotonic())
        else:
            await asyncio.gather(*(track.ended.wait() for track in tracks))
            due_s = time.monotonic()
        called_s = time.monotonic()
        await recorder.stop()
        Path(order.path).read_bytes()
        end_s = time.monotonic()
        meter.end(order.stop_s)
        pictures, samples = delivered(work, order.stop_s)
        return Taken(
            stop_ms=(end_s - due_s) * 1e3,
            late_ms=(called_s - due_s) * 1e3,
            wall_s=end_s - begin_s,
            cpu_s=meter.cpu_s,
            cpu_media_s=meter.media_s,
            pictures=pictures,
            samples=samples,
        )


def _tracks(work: Workload, content: Content, begin_s: float, order: Order) -> list[Any]:
    """A track each for pictures and sound, whose frames come when they are due."""
    from aiortc import MediaStreamTrack
    from aiortc.mediastreams import MediaStreamError

    from .pyav_peer import picture_frame, sound_frame

    pictures, samples = delivered(work, order.stop_s)

    class Track(MediaStreamTrack):
        def __init__(self, kind: str, count: int) -> None:
            self.kind = kind
            super().__init__()
            self._count = count
            self._number = 0
            self.ended = asyncio.Event()

        async def recv(self) -> Any:
            number = self._number
            self._number += 1
            is_film = self.kind == "video"
            due_s = begin_s + (number / FRAME_RATE if is_film else (number + 1) / BLOCK_RATE)
            if order.real_time:
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            elif number >= self._count:
                self.ended.set()
                raise MediaStreamError
            else:
                await asyncio.sleep(0)
            if is_film:
                frame: Any = picture_frame(work, content.picture(number))
                frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
            else:
                frame = sound_frame(content.block(number))
                frame.pts, frame.time_base = number * BLOCK_SAMPLES, Fraction(1, SAMPLE_RATE)
            return frame

    tracks = [Track("audio", samples // BLOCK_SAMPLES)]
    if work.has_video:
        tracks.insert(0, Track("video", pictures))
    return tracks


def _apply_settings(recorder: Any, work: Workload) -> None:
    """It offers none, so this reaches into it: at its defaults it encodes many times slower than all others."""
    container = recorder._MediaRecorder__container
    for stream in container.streams:
        options = video_options(work) if stream.type == "video" else audio_options()
        context = stream.codec_context
        context.options = options
        context.bit_rate = work.video_bits_per_second if stream.type == "video" else AUDIO_BITS_PER_SECOND
        if stream.type == "video":
            context.gop_size = KEY_FRAME_DISTANCE
            context.thread_count = 1
        else:
            context.layout = "stereo"
            context.sample_rate = SAMPLE_RATE
