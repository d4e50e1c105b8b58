"""GStreamer, fed through ``appsrc`` by a Python program; the end of stream is the stop.

Its bindings belong to the system's own Python, so this one runs there.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from workloads import (
    AUDIO_BITS_PER_SECOND,
    BLOCK_SAMPLES,
    CHANNEL_COUNT,
    FRAME_RATE,
    KEY_FRAME_DISTANCE,
    SAMPLE_RATE,
    Workload,
)

from .pace import Pace
from .recorder import Order, Recorder, Taken

PYTHON = "/usr/bin/python3"
_S = 1_000_000_000
_DEADLINE_S = 60
_PROBE = """
import gi
gi.require_version("Gst", "1.0"); gi.require_version("GstApp", "1.0")
from gi.repository import Gst, GstApp
Gst.init(None)
print(" ".join(n for n in ("appsrc", "vp8enc", "opusenc", "webmmux") if not Gst.ElementFactory.find(n)))
"""


def gst() -> Any:
    """Its types, ready to be used."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstApp", "1.0")
    from gi.repository import Gst, GstApp

    assert GstApp  # gives appsrc its methods
    Gst.init(None)
    return Gst


def encoders(work: Workload) -> tuple[str, str]:
    """Our codec settings in its words: for pictures and for sound."""
    video = (
        "vp8enc deadline=1 cpu-used=-6 threads=1 lag-in-frames=0 end-usage=vbr"
        f" target-bitrate={work.video_bits_per_second} min-quantizer=2 max-quantizer=58 undershoot=100"
        " overshoot=15 buffer-initial-size=500 buffer-optimal-size=600 buffer-size=1000 dropframe-threshold=0"
        " resize-allowed=false static-threshold=1 auto-alt-ref=false token-partitions=1 error-resilient=0"
        f" keyframe-max-dist={KEY_FRAME_DISTANCE}"
    )
    audio = f"opusenc bitrate={AUDIO_BITS_PER_SECOND} bitrate-type=constrained-vbr complexity=9"
    return video, f"{audio} audio-type=generic frame-size=20"


def pipeline(work: Workload, path: str, film: str, sound: str) -> str:
    """One that records these sources, each given in GStreamer's words, into a WebM file."""
    video, audio = encoders(work)
    lines = [f"webmmux name=mux ! filesink location={path} sync=false async=false"]
    if work.has_video:
        lines.append(f"{film} ! {video} ! queue ! mux.")
    lines.append(f"{sound} ! {audio} ! queue ! mux.")
    return " ".join(lines)


class GStreamer(Recorder):
    name = "gstreamer"
    interpreter = PYTHON

    @classmethod
    def missing(cls) -> str | None:
        if not Path(PYTHON).exists():
            return f"no {PYTHON}"
        asked = subprocess.run([PYTHON, "-c", _PROBE], capture_output=True, text=True, timeout=60)
        if asked.returncode:
            return "no python3-gi with GStreamer's types"
        return f"no GStreamer element {asked.stdout.strip()}" if asked.stdout.strip() else None

    def version(self) -> str:
        return str(gst().version_string())

    def record(self, order: Order) -> Taken:
        Gst = gst()
        content = self.content
        playing = Gst.parse_launch(self._description(order.path))
        sound = playing.get_by_name("sound")
        film = playing.get_by_name("film")

        def push(source: Any, view: memoryview, at_ns: int, end_ns: int) -> None:
            buffer = Gst.Buffer.new_wrapped(bytes(view))
            buffer.pts, buffer.duration = at_ns, end_ns - at_ns
            assert source.push_buffer(buffer) == Gst.FlowReturn.OK

        def picture(number: int, at_s: float) -> None:
            push(film, content.picture(number), number * _S // FRAME_RATE, (number + 1) * _S // FRAME_RATE)

        def block(number: int, at_s: float) -> None:
            at, end = number * BLOCK_SAMPLES, (number + 1) * BLOCK_SAMPLES
            push(sound, content.block(number), at * _S // SAMPLE_RATE, end * _S // SAMPLE_RATE)

        try:
            playing.set_state(Gst.State.PLAYING)
            pace = Pace(self.work, order, self.meter)
            pace.run(picture, block)
            for source in filter(None, (film, sound)):
                source.end_of_stream()
            kinds = Gst.MessageType.EOS | Gst.MessageType.ERROR
            message = playing.get_bus().timed_pop_filtered(_DEADLINE_S * Gst.SECOND, kinds)
            assert message is not None, "no end of stream"
            assert message.type == Gst.MessageType.EOS, message.parse_error()
            playing.set_state(Gst.State.NULL)  # the file is closed
            Path(order.path).read_bytes()
            return pace.taken()
        finally:
            playing.set_state(Gst.State.NULL)

    def _description(self, path: str) -> str:
        work = self.work
        # Room for as much as recsvc's credits allow; in real time it stays empty.
        source = "appsrc format=time block=true"
        film = (
            f"{source} name=film max-bytes={30 * work.picture_bytes} caps=video/x-raw,format=I420,"
            f"width={work.width},height={work.height},framerate={FRAME_RATE}/1"
        )
        sound = (
            f"{source} name=sound max-bytes=768000 caps=audio/x-raw,format=S16LE,layout=interleaved,"
            f"rate={SAMPLE_RATE},channels={CHANNEL_COUNT}"
        )
        return pipeline(work, path, film, sound)
