"""A program that records at a daemon as from another machine: run by tests, which command it by lines of its input and
read, as lines of JSON, what it fires and has written.

It pushes pictures with a counter and sound with a click each half second, in real time by its own clock.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from typing import Any

_given = argparse.ArgumentParser()
_given.add_argument("service")
_given.add_argument("--offset-ns", type=int, default=0)
_given.add_argument("--drift-ppm", type=float, default=0.0)
_given.add_argument("--when-full", default="drop")
given = _given.parse_args()

_true_ns = time.monotonic_ns
_begin_ns = _true_ns()


def _shifted_ns() -> int:
    now = _true_ns()
    return now + given.offset_ns + round((now - _begin_ns) * given.drift_ppm / 1e6)


if given.offset_ns or given.drift_ppm:
    time.monotonic_ns = _shifted_ns
    time.monotonic = lambda: _shifted_ns() / 1e9

import numpy as np  # noqa: E402
from media import counter_picture  # noqa: E402

import recsvc  # noqa: E402
from recsvc.process import role  # noqa: E402

if given.offset_ns or given.drift_ppm:
    role.clock_name = lambda: "another clock"

S = 1_000_000_000
BLOCK = 960  # samples, 20 ms
CLICK_BLOCKS = 25
_saying = threading.Lock()


def say(**what: Any) -> None:
    with _saying:
        print(json.dumps(what, default=str), flush=True)


def sound(number: int) -> bytes:
    """Silence; each half second begins with a click of 2 ms."""
    samples = np.zeros(BLOCK, np.int16)
    if number % CLICK_BLOCKS == 0:
        samples[:96] = 20_000
    return samples.tobytes()


class Client:
    def __init__(self) -> None:
        self.sound = recsvc.AudioSource(48_000, 1, when_full=given.when_full)
        self.pictures = recsvc.VideoSource(64, 48, when_full=given.when_full)
        stream = recsvc.MediaStream([self.sound.track, self.pictures.track])
        self.recorder = recsvc.MediaRecorder(stream, service=given.service)
        for type in ("start", "pause", "resume", "dataavailable", "error", "stop"):
            self.recorder.add_event_listener(type, self.fired)
        self.blocks = self.taken = self.pictures_taken = self.pictures_made = 0
        self._going = threading.Event()
        self._player: threading.Thread | None = None

    def fired(self, event: Any) -> None:
        more = {}
        if event.type == "error":
            more = {"error": type(event.error).__name__, "text": str(event.error)}
        if event.type == "dataavailable":
            more = {"size": event.data.size}
        say(event=event.type, at=time.time(), **more)

    def play(self) -> None:
        """Stamps are multiples of 20 ms from the start, so that what the file must have is known to the sample."""
        begin_ns = time.monotonic_ns()
        while self._going.is_set():
            at_ns = begin_ns + self.blocks * BLOCK * S // 48_000
            ahead_ns = at_ns - time.monotonic_ns()
            if ahead_ns > 0:
                time.sleep(ahead_ns / S)
            if not self._going.is_set():
                break
            self.taken += self.sound.write(sound(self.blocks), at_ns)
            if self.blocks % 2 == 0:
                self.pictures_taken += self.pictures.write(counter_picture(self.blocks // 2, 64, 48), at_ns)
                self.pictures_made += 1
            self.blocks += 1

    def start(self) -> None:
        self.recorder.start()
        self.blocks = self.taken = self.pictures_taken = self.pictures_made = 0
        self._going.set()
        self._player = threading.Thread(target=self.play)
        self._player.start()

    def halt(self) -> None:
        self._going.clear()
        if self._player is not None:
            self._player.join()

    def stop(self) -> None:
        self.halt()
        self.recorder.stop()

    def figures(self) -> None:
        found = self.recorder.statistics()
        tracks = {
            track.kind: {
                "accepted": track.frames_accepted,
                "encoded": track.frames_encoded,
                "dropped": track.dropped_by_cause,
            }
            for track in found.tracks
        }
        clock = None
        if found.clock is not None:
            clock = {name: getattr(found.clock, name) for name in ("offset_ns", "drift_ppm", "error_ns")}
        say(
            figures=tracks,
            clock=clock,
            duration=found.duration,
            stages=found.stop_stages_ns,
            blocks=self.blocks,
            taken=self.taken,
            pictures=self.pictures_made,
            pictures_taken=self.pictures_taken,
        )


def main() -> None:
    client = Client()
    say(ready=True)
    calls = {
        "start": client.start,
        "pause": client.recorder.pause,
        "resume": client.recorder.resume,
        "data": client.recorder.request_data,
        "halt": client.halt,
        "stop": client.stop,
        "figures": client.figures,
    }
    for line in sys.stdin:
        word = line.strip()
        if word == "quit":
            break
        try:
            calls[word]()
            say(done=word)
        except Exception as error:
            say(failed=word, error=type(error).__name__, text=str(error))
    client.halt()


if __name__ == "__main__":
    main()
