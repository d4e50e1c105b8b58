"""Browsers' own MediaRecorder, headless. ``page.html`` records; this serves it, and passes orders and results.

The time of a stop counts from the call in the page: when the page's timers call it is not the recorder's doing.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import time
import urllib.parse
import wave
from pathlib import Path

import headless
from content import Content
from workloads import AUDIO_BITS_PER_SECOND, CHANNEL_COUNT, FRAME_RATE, SAMPLE_RATE, S, Workload

from .recorder import DEVICE_KIND, Order, Recorder, Taken

_READY_S = 50.0
_POLL_S = 5.0
_DEADLINE_S = 60.0
_PAGE = Path(__file__).with_name("page.html")


class _Browser(Recorder):
    flat_out = False
    browser: headless.Browser
    feed = "canvas"
    """How the page gets its media: ``camera`` or ``canvas``, see ``page.html``."""

    @classmethod
    def missing(cls) -> str | None:
        return None if headless.find_program(cls.browser) else f"no {cls.browser.name} that starts"

    def __init__(self, work: Workload, content: Content, directory: Path) -> None:
        super().__init__(work, content, directory)
        self._orders: queue.Queue[Order] = queue.Queue()
        self._posts: queue.Queue[tuple[str, str, bytes]] = queue.Queue()
        with contextlib.ExitStack() as stack:
            environment, arguments = self.prepare(directory, stack)
            address = stack.enter_context(headless.served(self._get, self._posted))
            stack.enter_context(
                headless.running(self.browser, address, self._ended, arguments=arguments, environment=environment)
            )
            self._next("ready", _READY_S)
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def prepare(self, directory: Path, stack: contextlib.ExitStack) -> tuple[dict[str, str], tuple[str, ...]]:
        """Makes and starts what it needs beside it; what to add to its environment and to its arguments."""
        return {}, ()

    def version(self) -> str:
        words = [str(headless.find_program(self.browser)), "--version"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return done.stdout.strip().partition(" built on")[0]

    def record(self, order: Order) -> Taken:
        self._orders.put(order)
        query, body = self._next("result", _DEADLINE_S + order.stop_s)
        figures = json.loads(urllib.parse.unquote(query))
        Path(order.path).write_bytes(body)
        called_ns = time.monotonic_ns() - round((time.time() - figures.pop("called_s")) * S)
        return Taken(
            called_ns=called_ns, late_ms=0.0, cpu_s=self.meter.cpu_s, cpu_media_s=self.meter.media_s, **figures
        )

    def _next(self, wanted: str, deadline_s: float) -> tuple[str, bytes]:
        try:
            name, query, body = self._posts.get(timeout=deadline_s)
        except queue.Empty:
            raise RuntimeError(f"{self.name} did not post {wanted} in {deadline_s:g} s") from None
        if name != wanted:
            raise RuntimeError(f"{self.name} posted {name}: {body.decode(errors='replace')}")
        return query, body

    def _page(self) -> bytes:
        work = self.work
        facts = {
            "feed": self.feed,
            "width": work.width,
            "height": work.height,
            "frame_rate": FRAME_RATE,
            "sample_rate": SAMPLE_RATE,
            "mime_type": work.mime_type,
            "audio_bits_per_second": AUDIO_BITS_PER_SECOND,
            "video_bits_per_second": work.video_bits_per_second,
        }
        return _PAGE.read_text().replace("WORK", json.dumps(facts), 1).encode()

    def _get(self, path: str, part: str) -> headless.Answer:
        if path == "/":
            return headless.Answer(200, self._page(), "text/html")
        if path == "/sound":
            return headless.Answer(200, self.content.sound_path.read_bytes())
        if path == "/pictures":
            return headless.Answer(200, self.content.pictures_path.read_bytes())
        if path == "/order":
            facts = None
            with contextlib.suppress(queue.Empty):
                order = self._orders.get(timeout=_POLL_S)
                facts = {"stop_s": order.stop_s, "measure_s": order.measure_s}
            return headless.Answer(200, json.dumps(facts).encode(), "application/json")
        return headless.Answer(404)

    def _posted(self, path: str, body: bytes) -> None:
        name, _, query = path.strip("/").partition("?")
        if name == "begin":
            self.meter.begin(float(body))
        elif name == "end":
            self.meter.end(float(body))
        else:
            self._posts.put((name, query, body))

    def _ended(self, failed: headless.BrowserFailed) -> None:
        self._posts.put(("its end", "", str(failed).encode()))


class ChromiumCanvas(_Browser):
    name = "chromium-canvas"
    browser = headless.CHROMIUM


class ChromiumCamera(_Browser):
    """Its fake camera and microphone play the content from files, again and again; where they are in it when the
    recording ends is not known."""

    name = "chromium-camera"
    browser = headless.CHROMIUM
    feed = "camera"

    def prepare(self, directory: Path, stack: contextlib.ExitStack) -> tuple[dict[str, str], tuple[str, ...]]:
        film, sound = directory / "camera.y4m", directory / "microphone.wav"
        with wave.open(str(sound), "wb") as track:
            track.setparams((CHANNEL_COUNT, 2, SAMPLE_RATE, 0, "NONE", ""))
            track.writeframes(self.content.sound_path.read_bytes())
        words = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        words.append(f"--use-file-for-fake-audio-capture={sound}")
        if self.work.has_video:
            size = self.work.picture_bytes
            pictures = memoryview(self.content.pictures_path.read_bytes())
            with film.open("wb") as file:
                file.write(b"YUV4MPEG2 W%d H%d F%d:1 Ip A1:1\n" % (self.work.width, self.work.height, FRAME_RATE))
                for at in range(0, len(pictures), size):
                    file.write(b"FRAME\n")
                    file.write(pictures[at : at + size])
            words.append(f"--use-file-for-fake-video-capture={film}")
        return {}, tuple(words)


class ChromiumMicrophone(_Browser):
    """The microphone of the sound server that the environment names."""

    name = "chromium-device"
    browser = headless.CHROMIUM
    feed = "camera"

    @classmethod
    def missing(cls) -> str | None:
        """Of other devices it has no part that a page could record."""
        return super().missing() or (None if os.environ[DEVICE_KIND] == "microphone" else "records no such device")

    def prepare(self, directory: Path, stack: contextlib.ExitStack) -> tuple[dict[str, str], tuple[str, ...]]:
        names = ("PULSE_SERVER", "PULSE_SOURCE")
        return {name: os.environ[name] for name in names}, ("--use-fake-ui-for-media-stream",)


class Firefox(_Browser):
    """Its AudioContext stands still without a sound device, so it gets a sound server, which is not counted."""

    name = "firefox"
    browser = headless.FIREFOX

    @classmethod
    def missing(cls) -> str | None:
        return super().missing() or (None if shutil.which("pulseaudio") else "no pulseaudio")

    def prepare(self, directory: Path, stack: contextlib.ExitStack) -> tuple[dict[str, str], tuple[str, ...]]:
        from fixtures_media import pulse_server

        sound = stack.enter_context(pulse_server(directory / "pulse"))
        self.meter.apart = {int(sound["PULSE_PID"])}
        # Without its crash reporter no process of it outlives it.
        return {"PULSE_SERVER": sound["PULSE_SERVER"], "MOZ_CRASHREPORTER_DISABLE": "1"}, ()
