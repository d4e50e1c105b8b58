"""What a client does right and wrong with one recording, by its messages alone. No sockets."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from ..common.descriptions import RecordingInfo
from ..common.limits import S
from ..wire import messages

Complain = Callable[[str], None]


class Track:
    """The route of one track: numbers, times and credit of what came."""

    def __init__(self, name: str, kind: str, frames: int, size: int, complain: Complain) -> None:
        self.name = name
        self.kind = kind
        self.granted, self.granted_bytes = frames, size
        self.window = frames
        self.received = self.received_bytes = 0
        self.ended = False
        self.until_ns = self.end_paused_ns = 0
        self.times: list[tuple[int, int, int]] = []
        """Of each frame its number, capture time, and what it says was paused before it."""
        self._newest_ns: int | None = None
        self._complain = complain

    def take(self, frame: Any, payload: bytes) -> None:
        """Of a frame that is well formed."""
        what = f"{frame.__struct_config__.tag} {frame.sequence} of {self.name}"
        if self.ended:
            self._complain(f"{what} came after the end of its route")
        if frame.sequence == self.received - 1:
            return  # once more: allowed
        if frame.sequence != self.received:
            self._complain(f"{what}: expected the number {self.received}")
        if self.received >= self.granted:
            self._complain(f"{what} is beyond the credit of {self.granted} frames")
        nothing_under_way = self.granted - self.received >= self.window
        if not nothing_under_way and self.received_bytes + len(payload) > self.granted_bytes:
            self._complain(f"{what} is beyond the credit of {self.granted_bytes} bytes")
        if self._newest_ns is not None and frame.captured_ns <= self._newest_ns:
            self._complain(f"{what}: captured_ns {frame.captured_ns} is not after that of the frame before")
        self.times.append((frame.sequence, frame.captured_ns, frame.paused_ns))
        self.received = frame.sequence + 1
        self.received_bytes += len(payload)
        self._newest_ns = frame.captured_ns

    def end(self, message: messages.End) -> None:
        if self.ended:
            self._complain(f"a second end of {self.name}")
        self.ended = True
        if message.count != self.received:
            self._complain(f"the end of {self.name} says {message.count} frames; {self.received} came")
        self.until_ns, self.end_paused_ns = message.until_ns, message.paused_ns
        if self._newest_ns is not None and message.until_ns < self._newest_ns:
            self._complain(f"the end of {self.name} is before its last frame")


class Judged:
    """One recording: its tracks, its pauses, its end."""

    def __init__(self, start: messages.Start, credit: int, size: int, complain: Complain) -> None:
        self.start = start
        self.began = 0.0
        """Seconds since 1970."""
        self.path = f"/made-up/{start.recording}.webm"
        self.tracks = {
            f"{start.recording}/{one.track}": Track(f"{start.recording}/{one.track}", one.kind, credit, size, complain)
            for one in start.tracks
        }
        self.paused_since_ns: int | None = None
        self.pauses: list[tuple[int, int]] = []
        self.stopped = False
        self.waiting: list[tuple[bytes, int]] = []
        """Who waits for the stop, and the ids of the requests."""
        self.events: list[messages.RecorderEvent] = []
        self.unseen: set[int] = set()
        """Numbers of events that were kept from the client, and that it has not asked for."""
        self.fetched: list[tuple[int, int]] = []
        self._complain = complain

    def pause(self, at_ns: int) -> bool:
        """Whether that changes anything."""
        if self.paused_since_ns is not None:
            return False
        self.paused_since_ns = at_ns
        return True

    def resume(self, at_ns: int) -> bool:
        if self.paused_since_ns is None:
            return False
        if at_ns < self.paused_since_ns:
            self._complain("a resume before its pause")
        self.pauses.append((self.paused_since_ns, max(at_ns, self.paused_since_ns)))
        self.paused_since_ns = None
        return True

    def judge_times(self) -> None:
        """Frames and commands come by different sockets, in any order: so once it is over."""
        for track in self.tracks.values():
            for number, at_ns, paused_ns in track.times:
                what = f"frame {number} of {track.name}"
                if any(begin < at_ns < end for begin, end in self.pauses):
                    self._complain(f"{what} was captured while the recording was paused")
                    continue
                expected = sum(end - begin for begin, end in self.pauses if end <= at_ns)
                if paused_ns != expected:
                    self._complain(f"{what}: paused_ns is {paused_ns}, but {expected} were paused by the commands")
            expected = sum(end - begin for begin, end in self.pauses if end <= track.until_ns)
            if track.end_paused_ns != expected:
                self._complain(f"the end of {track.name}: paused_ns is {track.end_paused_ns}, not {expected}")

    @property
    def is_over(self) -> bool:
        return self.stopped and all(track.ended for track in self.tracks.values())

    def info(self, size: int) -> RecordingInfo:
        """As a catalog describes it."""
        return RecordingInfo(
            recording=self.start.recording,
            name=self.start.name,
            owner="",
            state="finished" if self.is_over else "paused" if self.paused_since_ns is not None else "recording",
            mime_type="video/webm",
            began=self.began,
            ended=self.began + 1 if self.is_over else 0.0,
            size_bytes=size,
            duration=1.0 if self.is_over else 0.0,
            path=self.path,
        )

    def conclude(self, size: int) -> None:
        """Nothing more comes. ``size``: of the file that was to be fetched."""
        name = self.start.recording
        for track in self.tracks.values():
            if not track.ended:
                self._complain(f"no end of {track.name} came")
        if not self.stopped:
            self._complain(f"{name} was not stopped")
        elif not self.has_fetched(size):
            self._complain(f"the file of {name} was not fetched as a whole: {sorted(self.fetched)} of {size} bytes")
        if self.unseen:
            self._complain(f"events {sorted(self.unseen)} of {name} were missed and not asked for")

    def has_fetched(self, size: int) -> bool:
        """Whether all bytes were."""
        until = 0
        for begin, end in sorted(self.fetched):
            if begin > until:
                return False
            until = max(until, end)
        return until >= size


def gaps_between(times_ns: list[int], most_ns: int) -> float:
    """The longest time between two signs of life, in seconds, where it is above ``most_ns``; else 0."""
    gaps = [after - before for before, after in pairwise(times_ns)]
    worst = max(gaps, default=0)
    return worst / S if worst > most_ns else 0.0
