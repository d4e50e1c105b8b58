"""Recorders of devices, as their users would have them: recsvc, FFmpeg's program, a pipeline of GStreamer.

FFmpeg and GStreamer open the device for each recording; recsvc keeps it open. The length of a recording counts from its
first media, so that all record as much.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from content import Content
from workloads import FRAME_RATE, S, Workload

from .ffmpeg_peer import FFmpeg as FedFFmpeg
from .ffmpeg_peer import film_encoder as ffmpeg_film
from .ffmpeg_peer import sound_encoder as ffmpeg_sound
from .gstreamer_peer import PYTHON, encoders, gst
from .gstreamer_peer import GStreamer as FedGStreamer
from .recorder import DEVICE_ADDRESS, DEVICE_KIND, Order, Recorder, Taken

_DEADLINE_S = 30.0


class _OfDevice(Recorder):
    flat_out = False

    def __init__(self, work: Workload, content: Content, directory: Path) -> None:
        super().__init__(work, content, directory)
        self.kind, self.address = os.environ[DEVICE_KIND], os.environ[DEVICE_ADDRESS]


def _taken(called_ns: int, read_ns: int, begin_ns: int, stages_ms: dict[str, float] | None = None) -> Taken:
    return Taken(
        stop_ms=(read_ns - called_ns) / 1e6,
        late_ms=0.0,
        wall_s=(read_ns - begin_ns) / S,
        cpu_s=0.0,
        cpu_media_s=0.0,
        pictures=-1,
        samples=-1,
        called_ns=called_ns,
        stages_ms=stages_ms or {},
    )


class Recsvc(_OfDevice):
    name = "recsvc-device"

    def __init__(self, work: Workload, content: Content, directory: Path) -> None:
        import sources
        import stops

        import recsvc

        super().__init__(work, content, directory)
        sound: Any = self.kind != "screen" and self.address
        film: Any = self.kind != "microphone" and {"source": self.address, "frame_rate": FRAME_RATE}
        if self.kind == "network":
            film = self.address
        self._stop = stops.Stop(sources.new_recorder(work, recsvc.get_user_media(audio=sound, video=film)))

    def version(self) -> str:
        import recorded

        return f"recsvc {recorded.versions()['commit']}"

    def record(self, order: Order) -> Taken:
        begin_ns = time.monotonic_ns()
        recorder = self._stop.recorder
        self._stop.start(order.stop_s)
        self._stop.stop()
        stop_ms = self._stop.finish()
        for track in recorder.statistics().tracks:
            assert track.frames_accepted == track.frames_encoded and not track.frames_dropped, track
        assert recorder.recording is not None
        recorder.recording.save(order.path)
        called_ns = self._stop.begin_ns
        return _taken(called_ns, called_ns + round(stop_ms * 1e6), begin_ns, self._stop.stages_ms)


class FFmpeg(_OfDevice):
    """Stopped by SIGINT: it looks for a key that was pressed ten times a second only."""

    name = "ffmpeg-device"
    missing = FedFFmpeg.missing
    version = FedFFmpeg.version

    def record(self, order: Order) -> Taken:
        begin_ns = time.monotonic_ns()
        log = self.directory / "ffmpeg.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                self._command(order), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
        try:
            assert process.stdout is not None
            has_media = any(_has_media(line) for line in process.stdout)
            assert has_media, log.read_text()
            drain = threading.Thread(target=process.stdout.read, daemon=True)
            drain.start()
            time.sleep(order.stop_s)
            called_ns = time.monotonic_ns()
            process.send_signal(signal.SIGINT)
            code = process.wait(_DEADLINE_S)
            Path(order.path).read_bytes()
            read_ns = time.monotonic_ns()
            drain.join()
            assert code in (0, 255), log.read_text()  # the second: by a signal, and all was written
            return _taken(called_ns, read_ns, begin_ns)
        finally:
            process.kill()
            process.wait()

    def _command(self, order: Order) -> list[str]:
        size = f"{self.work.width}x{self.work.height}"
        address = self.address
        words = {
            "microphone": ["-f", "pulse", "-i", "default"],
            "screen": [
                "-f",
                "x11grab",
                "-framerate",
                f"{FRAME_RATE}",
                "-video_size",
                size,
                "-i",
                address.partition(":")[2],
            ],
            "network": ["-rtsp_transport", "tcp", "-i", address],
        }[self.kind]
        coded = [*(ffmpeg_film(self.work) if self.work.has_video else []), *ffmpeg_sound()]
        progress = ["-progress", "pipe:1", "-stats_period", "0.05"]
        begin = ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "warning", "-y", *progress]
        return [*begin, *words, *coded, "-f", "webm", order.path]


def _has_media(line: bytes) -> bool:
    """Whether a line of its progress says that something was recorded."""
    name, _, value = line.strip().partition(b"=")
    return name in (b"out_time_us", b"frame") and value.isdigit() and int(value) > 0


class GStreamer(_OfDevice):
    """Its network source sends on at once what comes: by itself it holds everything for two seconds."""

    name = "gstreamer-device"
    interpreter = PYTHON
    missing = FedGStreamer.missing
    version = FedGStreamer.version

    def record(self, order: Order) -> Taken:
        Gst = gst()
        begin_ns = time.monotonic_ns()
        pipeline = Gst.parse_launch(self._description(order.path))
        coded = threading.Event()

        def on_buffer(pad: Any, info: Any) -> Any:
            coded.set()
            return Gst.PadProbeReturn.REMOVE

        pad = pipeline.get_by_name("coded").get_static_pad("sink")
        pad.add_probe(Gst.PadProbeType.BUFFER, on_buffer)
        try:
            pipeline.set_state(Gst.State.PLAYING)
            assert coded.wait(_DEADLINE_S), "nothing came from the device"
            time.sleep(order.stop_s)
            called_ns = time.monotonic_ns()
            pipeline.send_event(Gst.Event.new_eos())
            kinds = Gst.MessageType.EOS | Gst.MessageType.ERROR
            message = pipeline.get_bus().timed_pop_filtered(int(_DEADLINE_S) * Gst.SECOND, kinds)
            assert message is not None, "no end of stream"
            assert message.type == Gst.MessageType.EOS, message.parse_error()
            pipeline.set_state(Gst.State.NULL)  # the file is closed
            Path(order.path).read_bytes()
            return _taken(called_ns, time.monotonic_ns(), begin_ns)
        finally:
            pipeline.set_state(Gst.State.NULL)

    def _description(self, path: str) -> str:
        of_film, of_sound = encoders(self.work)
        film = f"videoconvert ! {of_film} ! queue name=coded ! mux."
        sound = f"audioconvert ! {of_sound} ! queue {'' if self.work.has_video else 'name=coded'} ! mux."
        display = self.address.partition(":")[2]
        rate = f"video/x-raw,framerate={FRAME_RATE}/1"
        source = {
            "microphone": f"pulsesrc ! {sound}",
            "screen": f"ximagesrc use-damage=false display-name={display} ! {rate} ! {film}",
            "network": f"rtspsrc name=from location={self.address} protocols=tcp latency=0"
            f" from. ! application/x-rtp,media=video ! rtph264depay ! decodebin ! {film}"
            f" from. ! application/x-rtp,media=audio ! rtpopusdepay ! opusdec ! {sound}",
        }[self.kind]
        return f"webmmux name=mux ! filesink location={path} sync=false async=false {source}"
