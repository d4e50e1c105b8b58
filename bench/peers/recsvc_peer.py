"""recsvc with pushed frames and a private controller."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import recorded
import sources
from content import Content
from workloads import CHANNEL_COUNT, SAMPLE_RATE, Workload

import recsvc

from .pace import Pace
from .recorder import Order, Recorder, Taken

_DEADLINE_S = 60.0


class Recsvc(Recorder):
    name = "recsvc"

    def __init__(self, work: Workload, content: Content, directory: Path) -> None:
        super().__init__(work, content, directory)
        self.record(Order(0.1, True, 0.0, str(directory / "warm.webm")))  # starts the controller

    def version(self) -> str:
        found = recorded.versions()
        return f"recsvc {found['commit']}, libvpx {found['libvpx']}, {found['libopus']}"

    def record(self, order: Order) -> Taken:
        work, content = self.work, self.content
        when_full = "drop" if order.real_time else "wait"
        sound = recsvc.AudioSource(SAMPLE_RATE, CHANNEL_COUNT, "s16", when_full=when_full)
        tracks = [sound.track]
        film = None
        if work.has_video:
            film = recsvc.VideoSource(work.width, work.height, "i420", when_full=when_full)
            tracks.append(film.track)
        recorder = sources.new_recorder(work, recsvc.MediaStream(tracks))
        available = threading.Event()
        ends_s: list[float] = []

        def on_data(event: Any) -> None:
            event.data.bytes()
            ends_s.append(time.monotonic())
            available.set()

        recorder.add_event_listener("dataavailable", on_data)
        recorder.start()
        recorder.wait("start", _DEADLINE_S)
        pace = Pace(work, order, self.meter)
        pace.run(
            lambda number, at_s: film.write(content.picture(number), round(at_s * 1e9)) if film else None,
            lambda number, at_s: sound.write(content.block(number), round(at_s * 1e9)),
        )
        recorder.stop()
        assert available.wait(_DEADLINE_S), "no dataavailable"
        taken = pace.taken(end_s=ends_s[0])
        recorder.wait("stop", _DEADLINE_S)
        assert recorder.recording is not None
        recorder.recording.save(order.path)
        return _with_account(taken, recorder)


def _with_account(taken: Taken, recorder: recsvc.MediaRecorder) -> Taken:
    """Everything that was written must be accounted for: encoded, or dropped for want of time."""
    encoded, speed_raised = 0, 0
    for track in recorder.statistics().tracks:
        written = taken.pictures if track.kind == "video" else taken.samples
        assert track.frames_accepted == written == track.frames_encoded + track.frames_dropped, track
        assert set(track.dropped_by_cause) <= {"queue_full"}, track
        if track.kind == "video":
            encoded, speed_raised = track.frames_encoded, track.speed_raised
    return replace(taken, encoded=encoded, speed_raised=speed_raised)
