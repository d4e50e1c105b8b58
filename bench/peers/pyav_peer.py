"""PyAV in the simplest program that records with it: one thread encodes and writes what it is given."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from workloads import BLOCK_SAMPLES, CHANNEL_COUNT, FRAME_RATE, SAMPLE_RATE, Workload

from .libav import audio_options, video_options
from .pace import Pace
from .recorder import Order, Recorder, Taken


class PyAV(Recorder):
    name = "pyav"

    def version(self) -> str:
        libraries = ".".join(map(str, av.library_versions["libavcodec"]))
        return f"PyAV {av.__version__}, libavcodec {libraries}, its own libvpx and libopus"

    def record(self, order: Order) -> Taken:
        work, content = self.work, self.content
        container = av.open(order.path, "w", format="webm")
        film = None
        if work.has_video:
            film = container.add_stream("libvpx", rate=FRAME_RATE, options=video_options(work))
            film.width, film.height, film.pix_fmt = work.width, work.height, "yuv420p"
            film.codec_context.time_base = Fraction(1, FRAME_RATE)
        sound: Any = container.add_stream("libopus", rate=SAMPLE_RATE, options=audio_options())
        sound.layout = "stereo"

        def picture(number: int, at_s: float) -> None:
            assert film is not None
            frame = picture_frame(work, content.picture(number))
            frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
            container.mux(film.encode(frame))

        def block(number: int, at_s: float) -> None:
            frame = sound_frame(content.block(number))
            frame.pts, frame.time_base = number * BLOCK_SAMPLES, Fraction(1, SAMPLE_RATE)
            container.mux(sound.encode(frame))

        pace = Pace(work, order, self.meter)
        pace.run(picture, block)
        for stream in filter(None, (film, sound)):
            container.mux(stream.encode(None))
        container.close()
        Path(order.path).read_bytes()
        return pace.taken()


def picture_frame(work: Workload, view: memoryview) -> av.VideoFrame:
    """A frame with a copy of the picture."""
    array = np.frombuffer(view, np.uint8).reshape(work.height * 3 // 2, work.width)
    return av.VideoFrame.from_ndarray(array, format="yuv420p")


def sound_frame(view: memoryview) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="stereo", samples=len(view) // (2 * CHANNEL_COUNT))
    frame.planes[0].update(view)
    frame.sample_rate = SAMPLE_RATE
    return frame
