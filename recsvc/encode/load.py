"""What a worker reports of itself now and then, and what it answers when it is asked how its recordings are."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from ..common.limits import HEADER_BYTES_MAX, MS
from ..common.service_limits import LOAD_REPORT_NS, LOADS_PER_REPORT, WARM_AFTER_NS
from ..wire import messages
from .intake import Intake
from .recording import Recording
from .tracks import AudioTrack, VideoTrack
from .warm import warm

_FIGURES_BYTES_MAX = HEADER_BYTES_MAX - 4096


class Loads:
    """When the next report is due, and what it says. Before the first, a worker that has nothing to do is warmed up.
    Not thread-safe: the worker's loop calls it."""

    def __init__(self) -> None:
        self.due_ns = time.monotonic_ns() + WARM_AFTER_NS
        self._was_idle = self._is_cold = True

    @property
    def wait_ms(self) -> int:
        """How long the loop may wait for messages while there is no recording."""
        return WARM_AFTER_NS // MS if self._is_cold else 60_000

    def reports(self, recordings: list[Recording], now_ns: int) -> Iterator[messages.Load]:
        """One without recordings follows the last one that had any."""
        self.due_ns = now_ns + LOAD_REPORT_NS
        if self._is_cold and not recordings:
            warm()
        self._is_cold = False
        if not recordings and self._was_idle:
            return
        self._was_idle = not recordings
        for first in range(0, max(len(recordings), 1), LOADS_PER_REPORT):
            some = recordings[first : first + LOADS_PER_REPORT]
            yield messages.Load(
                at_ns=now_ns,
                cpu_ns=time.process_time_ns(),
                recordings=tuple(_load(recording) for recording in some),
                goes_on=first + LOADS_PER_REPORT < len(recordings),
            )


def _load(recording: Recording) -> messages.RecordingLoad:
    size, pictures, pixels, threads, sound_ns, channels, copied = 0, 0, 0, 0, 0, 0, 0
    with suppress(OSError):
        size = os.stat(recording.path).st_size
    for track in recording.tracks.values():
        if isinstance(track, VideoTrack):
            pictures, pixels, threads = track.account.encoded, track.pixels, track.encoder_threads
        elif isinstance(track, AudioTrack):
            sound_ns, channels = track.sound_ns, track.channel_count
        else:
            copied += track.account.encoded
    return messages.RecordingLoad(
        recording=recording.name,
        size_bytes=size,
        pictures=max(pictures, 0),
        pixels=pixels,
        sound_ns=max(sound_ns, 0),
        channel_count=channels,
        copied=copied,
        encoder_threads=threads,
    )


def figures(request: messages.AskFigures, recordings: Iterable[Recording], intake: Intake) -> messages.Figures:
    """How these recordings are now, as far as a message has room, and where they are written."""
    found, room = [], _FIGURES_BYTES_MAX
    for recording in recordings:
        routes = [intake.routes[name] for name in recording.tracks]
        one = messages.RecordingFigures(
            recording=recording.name,
            statistics=recording.statistics(),
            queue_frames=sum(max(0, route.received - route.frames_done) for route in routes),
            queue_bytes=sum(max(0, route.bytes_received - route.bytes_done) for route in routes),
        )
        room -= len(messages.encode(one))
        if room > 0:
            found.append(one)
    return messages.Figures(
        cpu_ns=time.process_time_ns(),
        frames_encoded=intake.frames_done,
        refused=intake.refused,
        free_bytes=_free(request.directory),
        recordings=tuple(found),
    )


def _free(directory: str) -> int | None:
    """Here and not in the controller: a disk that hangs halts who asks it."""
    with suppress(OSError):
        there = os.statvfs(directory)
        return there.f_bavail * there.f_frsize
    return None
