"""An encoder worker inside the test's process that takes its turns one by one, without a controller.

A test module says ``pytest_plugins = ["worker_bench"]`` for the fixture ``bench``.
"""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import media
import msgspec
import pytest

from recsvc.common.complaints import Complaints
from recsvc.encode.process import Worker
from recsvc.wire import messages, sockets
from recsvc.wire.line import Line, pair

S = 1_000_000_000
RATE = 48_000
OPTIONS = messages.RecordingOptions(mime_type="", audio_bits_per_second=64_000, video_bits_per_second=500_000)
SOUND: dict[str, Any] = {"sample_rate": RATE, "channel_count": 1, "sample_format": "s16"}


class Bench:
    """The worker, what it is given, and what it tells."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        lifeline: Any = SimpleNamespace(descriptors=[])
        ours, theirs = pair()
        self._ours = Line(ours, messages.ROLE_REPORTS, Complaints(logging.getLogger("recsvc")))
        self._theirs = Line(theirs, messages.WORKER_REQUESTS, Complaints(logging.getLogger("recsvc")))
        self.worker = Worker(self._theirs, f"ipc://{directory}/data", lifeline)
        self._sequence: dict[str, int] = {}
        self._begun_ns = time.monotonic_ns()

    def close(self) -> None:
        worker = self.worker
        for recording in list(worker._recordings.values()):
            worker._finish(recording)
        worker.intake.socket.close(0)
        for recording in worker._finished:
            recording.close()
        for descriptor in (worker._wake, self._ours.descriptor, self._theirs.descriptor):
            os.close(descriptor)

    def open(self, name: str, *kinds: str, clock: str = "monotonic", captured: bool = False, **options: Any) -> None:
        """Opens a recording with a track of each kind: the routes are ``name/audio`` and ``name/video``."""
        settings = {"audio": {**SOUND, "clock": clock}, "video": {"width": 160, "height": 120, "clock": clock}}
        tracks = tuple(
            messages.RecordedTrack(track=kind, kind=kind, captured=captured, settings=settings[kind]) for kind in kinds
        )
        path = self._directory / f"{name}.webm"
        self.worker._do(
            messages.OpenRecording(
                recording=name,
                path=str(path),
                tracks=tracks,
                routes=tuple(f"{name}/{kind}" for kind in kinds),
                options=OPTIONS if not options else msgspec.structs.replace(OPTIONS, **options),
                at_ns=self._begun_ns,
            )
        )

    def give(self, header: messages.Message, payload: bytes | None = None) -> None:
        """A message as it comes from the data socket."""
        parts: list[Any] = [b"sender", sockets.Frame(messages.encode(header))]
        if payload is not None:
            parts.append(sockets.Frame(payload))
        self.worker.intake.handle(parts)

    def sound(self, recording: str, at_ns: int, sample_count: int, payload: bytes | None = None) -> None:
        """A block; without a payload a muted one."""
        route = f"{recording}/audio"
        header = messages.AudioFrame(
            route=route, sequence=self._next(route), captured_ns=at_ns, muted=payload is None,
            sample_count=sample_count,
            sample_format="s16", sample_rate=RATE, channel_count=1,
        )  # fmt: skip
        self.give(header, payload or b"")

    def picture(self, recording: str, at_ns: int) -> None:
        route = f"{recording}/video"
        header = messages.VideoFrame(
            route=route, sequence=self._next(route), captured_ns=at_ns, pixel_format="i420", width=160, height=120
        )
        self.give(header, media.counter_picture(header.sequence, 160, 120).tobytes())

    def _next(self, route: str) -> int:
        self._sequence[route] = self._sequence.get(route, -1) + 1
        return self._sequence[route]

    def mark(self, route: str, number: int, **fields: Any) -> None:
        self.give(messages.Mark(route=route, number=number, **fields))

    def ask_for_data(self, recording: str, number: int) -> None:
        self.worker._do(messages.CutRecording(recording=recording, number=number))

    def stop(self, recording: str, at_ns: int = 0) -> None:
        """The controller's, which every recording needs to be finished."""
        self.worker._do(messages.StopRecording(recording=recording, at_ns=at_ns))

    def end(self, route: str, at_ns: int, **fields: Any) -> None:
        self.give(messages.End(route=route, count=self._sequence.get(route, -1) + 1, until_ns=at_ns, **fields))

    def turn(self) -> None:
        self.worker._encode_one()

    def work(self, until: Callable[[], Any] | None = None) -> int:
        """Takes turns until a condition holds, or there is nothing to do; how many."""
        turns = 0
        while (until is None or not until()) and len(self.worker._scheduler):
            self.turn()
            turns += 1
        return turns

    def encoded(self, route: str) -> int:
        return self.worker.intake.routes[route].track.account.encoded

    def reports(self) -> list[Any]:
        """What the worker has told its controller since the last call."""
        return list(iter(self._ours.receive, None))

    def pieces(self) -> list[media.Decoded | None]:
        """What was handed out since the last call, each with all before it in the file; ``None``: nothing new."""
        found: list[media.Decoded | None] = []
        for report in self.reports():
            if isinstance(report, messages.DataReady):
                data = Path(report.blob.path).read_bytes()[: report.blob.end]
                found.append(media.decode(io.BytesIO(data)) if report.blob.end > report.blob.start else None)
        return found

    def finished(self, recording: str) -> messages.RecordingFinished:
        self.stop(recording)
        [found] = [
            report
            for report in self.reports()
            if isinstance(report, messages.RecordingFinished) and report.recording == recording
        ]
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def accounted(track: messages.TrackStatistics) -> tuple[int, int, int]:
    assert track.frames_accepted == track.frames_encoded + track.frames_dropped
    return track.frames_accepted, track.frames_encoded, track.frames_dropped
