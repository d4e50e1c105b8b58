"""FFmpeg's program, fed through one pipe for pictures and one for sound; the end of both is the stop."""

from __future__ import annotations

import fcntl
import os
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

from workloads import CHANNEL_COUNT, FRAME_RATE, SAMPLE_RATE, Workload

from .libav import audio_options, video_options
from .pace import Pace
from .recorder import Order, Recorder, Taken

_PIPE_BYTES = 1 << 20
_DEADLINE_S = 60.0


class FFmpeg(Recorder):
    name = "ffmpeg"

    @classmethod
    def missing(cls) -> str | None:
        return None if shutil.which("ffmpeg") else "no ffmpeg"

    def version(self) -> str:
        printed = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
        return " ".join(printed.split()[:3])

    def record(self, order: Order) -> Taken:
        work, content = self.work, self.content
        sound = _Feed(ahead=not order.real_time)
        film = _Feed(ahead=not order.real_time) if work.has_video else None
        feeds = [feed for feed in (film, sound) if feed is not None]
        log = self.directory / "ffmpeg.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                self._command(order, film, sound),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=[feed.read_end for feed in feeds],
            )
        try:
            for feed in feeds:
                feed.begin()
            pace = Pace(work, order, self.meter)
            pace.run(
                lambda number, at_s: film.put(content.picture(number)) if film else None,
                lambda number, at_s: sound.put(content.block(number)),
            )
            for feed in feeds:
                feed.put(None)
            code = process.wait(_DEADLINE_S)
            assert code == 0, log.read_text()
            Path(order.path).read_bytes()
            return pace.taken()
        finally:
            process.kill()
            process.wait()
            for feed in feeds:
                feed.end()

    def _command(self, order: Order, film: _Feed | None, sound: _Feed) -> list[str]:
        words = ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "warning", "-y"]
        quick = ["-analyzeduration", "0", "-probesize", "32", "-thread_queue_size", "64"]
        if film is not None:
            size = f"{self.work.width}x{self.work.height}"
            words += [*quick, "-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size", size]
            words += ["-framerate", str(FRAME_RATE), "-i", f"pipe:{film.read_end}"]
        words += [*quick, "-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", str(CHANNEL_COUNT)]
        words += ["-i", f"pipe:{sound.read_end}"]
        if film is not None:
            words += ["-map", "0:v", "-map", "1:a", *film_encoder(self.work)]
        return [*words, *sound_encoder(), "-f", "webm", order.path]


def film_encoder(work: Workload) -> list[str]:
    options = {"c": "libvpx"} | video_options(work)
    return [word for name, value in options.items() for word in (f"-{name}:v", value)]


def sound_encoder() -> list[str]:
    options = {"c": "libopus"} | audio_options()
    return [word for name, value in options.items() for word in (f"-{name}:a", value)]


class _Feed:
    """A pipe and the thread that fills it, so that waiting for room for a picture does not delay the sound."""

    def __init__(self, ahead: bool) -> None:
        self.read_end, self._write_end = os.pipe()
        fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        # Flat out the recorder sets the pace; in real time the clock does.
        self._waiting: queue.Queue[Any] = queue.Queue(maxsize=2 if ahead else 0)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        os.close(self.read_end)
        self._thread.start()

    def put(self, data: memoryview | None) -> None:
        self._waiting.put(data)

    def _run(self) -> None:
        broken = False
        while (data := self._waiting.get()) is not None:
            while len(data) and not broken:
                try:
                    data = data[os.write(self._write_end, data) :]
                except BrokenPipeError:
                    broken = True
        os.close(self._write_end)

    def end(self) -> None:
        if self._thread.ident is not None:
            self._waiting.put(None)
            self._thread.join()
