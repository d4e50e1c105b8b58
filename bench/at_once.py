"""Many recordings of one content at once, by one recorder: ``python bench/at_once.py NAME WORKLOAD COUNT CONTENT``.

A program of its own (``program.py``). It is ready once all recordings have begun; it stops them when it is asked, and
answers where the files are, how long they were recorded and how long the end took. ``CONTENT`` has two raw files
(``content.py``), which begin again for recsvc and have to be long enough for the others. recsvc is fed by this program:
one thread writes each picture and each block, at its time, to each recording's own sources. The others read the files
themselves, at the pace of the clock, without an interpreter on the way.

- ``recsvc``: a private controller with its workers
- ``gstreamer``: a pipeline for each recording in one process
- ``ffmpeg``: a process for each recording
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from content import Content
from peers.gstreamer_peer import gst, pipeline
from peers.libav import audio_options, video_options
from program import serve
from workloads import (
    AUDIO_BITS_PER_SECOND,
    BLOCK_BYTES,
    BLOCK_RATE,
    CHANNEL_COUNT,
    FRAME_RATE,
    SAMPLE_RATE,
    WAIT_S,
    WORKLOADS,
    S,
    Workload,
    deliveries,
)


class Crowd:
    """``begun_s`` is when the last of the recordings had begun, by ``time.monotonic``."""

    begun_s = 0.0

    def __init__(self, work: Workload, count: int, content: Path) -> None:
        """Begins all recordings."""

    def stop(self) -> dict[str, Any]:
        """Stops all and waits for their files: ``paths``, and what only this recorder knows."""
        raise NotImplementedError


def _paths(count: int) -> list[str]:
    return [f"{os.environ['TMPDIR']}/{number}.webm" for number in range(count)]


class Recsvc(Crowd):
    def __init__(self, work: Workload, count: int, content: Path) -> None:
        import recsvc

        self._work = work
        self._content = Content(work, content)
        self._sound = [recsvc.AudioSource(SAMPLE_RATE, CHANNEL_COUNT) for _ in range(count)]
        self._film = [recsvc.VideoSource(work.width, work.height) for _ in range(count)] if work.has_video else []
        self._recorders = []
        for number in range(count):
            tracks = [source[number].track for source in (self._sound, self._film) if source]
            self._recorders.append(
                recsvc.MediaRecorder(
                    recsvc.MediaStream(tracks),
                    mime_type=work.mime_type,
                    audio_bits_per_second=AUDIO_BITS_PER_SECOND,
                    video_bits_per_second=work.video_bits_per_second or None,
                )
            )
        for recorder in self._recorders:
            recorder.start()
        self._closing = threading.Event()
        begin_ns = time.monotonic_ns()
        self._thread = threading.Thread(target=self._run, args=(begin_ns,))
        self.begun_s = begin_ns / S
        self._thread.start()

    def _run(self, begin_ns: int) -> None:
        for due_s, kind, number in deliveries(self._work):
            early_ns = begin_ns + round(due_s * S) - time.monotonic_ns()
            if early_ns > 0:
                time.sleep(early_ns / S)  # costs less than to wait for the end
            if self._closing.is_set():
                return
            if kind == "block":
                block, at_ns = bytes(self._content.block(number)), begin_ns + number * S // BLOCK_RATE
                for sound in self._sound:
                    sound.write(block, at_ns)
            else:
                picture, at_ns = self._content.picture(number), begin_ns + number * S // FRAME_RATE
                for film in self._film:
                    film.write(picture, at_ns)

    def stop(self) -> dict[str, Any]:
        rates = {"audio": SAMPLE_RATE, "video": FRAME_RATE}
        waiting_s = 0.0  # how much media was due at its recording and is not encoded
        for recorder in self._recorders:
            tracks = recorder.statistics().tracks
            encoded_s = min(track.frames_encoded / rates[track.kind] for track in tracks)
            waiting_s = max(waiting_s, time.monotonic() - self.begun_s - encoded_s)
        for recorder in self._recorders:
            recorder.stop()
        for recorder in self._recorders:
            recorder.wait("stop", WAIT_S)
        self._closing.set()
        self._thread.join()
        tracks = [track for recorder in self._recorders for track in recorder.statistics().tracks]
        paths = _paths(len(self._recorders))
        for path, recorder in zip(paths, self._recorders, strict=True):
            recorder.recording.save(path, move=True)
        return {
            "paths": paths,
            "accepted": sum(track.frames_accepted for track in tracks),
            "encoded": sum(track.frames_encoded for track in tracks),
            "dropped": sum(track.frames_dropped for track in tracks),
            "pictures": sum(track.frames_encoded for track in tracks if track.kind == "video"),
            "waiting_s": waiting_s,
            "speed_raised": sum(track.speed_raised for track in tracks),
        }


class GStreamer(Crowd):
    def __init__(self, work: Workload, count: int, content: Path) -> None:
        self._gst = gst()
        self._paths = _paths(count)
        film = (
            f"filesrc location={content / work.name}.i420 ! rawvideoparse format=i420 width={work.width}"
            f" height={work.height} framerate={FRAME_RATE}/1 ! identity sync=true"
        )
        sound = (
            f"filesrc location={content}/sound.s16 blocksize={BLOCK_BYTES} ! rawaudioparse format=pcm"
            f" pcm-format=s16le sample-rate={SAMPLE_RATE} num-channels={CHANNEL_COUNT} ! identity sync=true"
        )
        self._pipelines = [self._gst.parse_launch(pipeline(work, path, film, sound)) for path in self._paths]
        for playing in self._pipelines:
            playing.set_state(self._gst.State.PLAYING)
        for playing in self._pipelines:
            playing.get_state(self._gst.CLOCK_TIME_NONE)
        self.begun_s = time.monotonic()

    def stop(self) -> dict[str, Any]:
        kinds = self._gst.MessageType.EOS | self._gst.MessageType.ERROR
        for playing in self._pipelines:
            playing.send_event(self._gst.Event.new_eos())
        for playing in self._pipelines:
            message = playing.get_bus().timed_pop_filtered(WAIT_S * S, kinds)
            assert message is not None, "no end of stream"
            assert message.type == self._gst.MessageType.EOS, message.parse_error()
            playing.set_state(self._gst.State.NULL)
        return {"paths": self._paths}


class FFmpeg(Crowd):
    def __init__(self, work: Workload, count: int, content: Path) -> None:
        words = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y"]
        if work.has_video:
            words += ["-re", "-f", "rawvideo", "-pixel_format", "yuv420p", "-framerate", str(FRAME_RATE)]
            words += ["-video_size", f"{work.width}x{work.height}", "-i", f"{content / work.name}.i420"]
        words += ["-re", "-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", str(CHANNEL_COUNT)]
        words += ["-i", f"{content}/sound.s16"]
        if work.has_video:
            words += ["-map", "0:v", "-map", "1:a", "-c:v", "libvpx"]
            for name, value in video_options(work).items():
                words += [f"-{name}:v", value]
        words += ["-c:a", "libopus"]
        for name, value in audio_options().items():
            words += [f"-{name}:a", value]
        self._paths = _paths(count)
        self._processes = [subprocess.Popen([*words, path], stdin=subprocess.PIPE) for path in self._paths]
        for path in self._paths:
            until_s = time.monotonic() + WAIT_S
            while not Path(path).exists():
                assert time.monotonic() < until_s, f"no {path}"
                time.sleep(0.01)
        self.begun_s = time.monotonic()

    def stop(self) -> dict[str, Any]:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(b"q")
            process.stdin.close()
        for process in self._processes:
            assert process.wait(WAIT_S) == 0
        return {"paths": self._paths}


CROWDS: dict[str, type[Crowd]] = {"recsvc": Recsvc, "gstreamer": GStreamer, "ffmpeg": FFmpeg}


def main() -> None:
    name, work, count, content = sys.argv[1], WORKLOADS[sys.argv[2]], int(sys.argv[3]), Path(sys.argv[4])
    crowd = CROWDS[name](work, count, content)

    def stop(order: dict[str, Any]) -> dict[str, Any]:
        stopped_s = time.monotonic()
        outcome = crowd.stop()
        return {"lasted_s": stopped_s - crowd.begun_s, "end_s": time.monotonic() - stopped_s, **outcome}

    serve({}, stop)


if __name__ == "__main__":
    main()
