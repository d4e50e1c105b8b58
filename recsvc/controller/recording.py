"""The controller's view of recorders and their recordings: phases, and events in their one order. No I/O."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from ..common.limits import credit
from ..common.pieces import HandedOut
from ..common.state import Input, Phase, next_phase
from ..wire import messages


class Recording:
    """One life from ``start`` to ``stop``. ``worker`` and ``captures`` are the supervisor's children."""

    def __init__(self, request: messages.Start, worker: Any, captures: dict[str, Any], path: str) -> None:
        self.name = request.recording
        self.client = request.client
        self.recorder = request.recorder
        self.tracks = request.tracks
        self.options = request.options
        self.started_ns = request.at_ns
        self.worker = worker
        self.captures = captures  # route -> capture process, of the captured tracks that have not ended
        self.feeders = dict(captures)  # the same, of those whose process still lives
        self.orphaned = False  # its caller is gone
        self.moved = False  # to another worker, because the first one died before it had opened it
        self.path = path
        self.phase = next_phase(Phase.IDLE, Input.START)
        self.failure: tuple[str, str] | None = None
        self.stopped_ns = 0
        self.deadline_ns: int | None = None  # of the drain, then of the worker's answer
        self.discarded = False  # its caller gave it up while it began
        self.late = False  # the drain's deadline is over
        self.commands = self.cuts = 0  # of the caller, so far; requests for data among them
        self._paused_ns = 0  # all together, before the pause that goes on
        self._paused_since_ns: int | None = None
        self.report: Any = None  # of a finished recording, while a command of before its end is still on its way
        self.report_deadline_ns = 0
        self.handed_out = HandedOut()
        self.recovery_deadline_ns: int | None = None
        self.mime_type = ""

    def route(self, track: str) -> str:
        return f"{self.name}/{track}"

    def routes(self) -> list[messages.RouteDescription]:
        """What its sources are told, once its worker has opened it."""
        endpoint = self.worker.endpoint
        described = []
        for track in self.tracks:
            frames, size = credit(track.kind, self.options.overload)
            described.append(
                messages.RouteDescription(
                    route=self.route(track.track),
                    track=track.track,
                    endpoint=endpoint,
                    credit_frames=frames,
                    credit_bytes=size,
                )
            )
        return described

    @property
    def pushed(self) -> list[str]:
        """The routes that the caller feeds itself."""
        return [self.route(track.track) for track in self.tracks if not track.captured]

    @property
    def unfed(self) -> list[str]:
        """The routes of tracks that have ended, or whose caller is gone."""
        captured = [self.route(track.track) for track in self.tracks if track.captured]
        ended = [route for route in captured if route not in self.feeders or route not in self.captures]
        return ended + (self.pushed if self.orphaned else [])

    def paused(self, at_ns: int) -> None:
        self._paused_since_ns = at_ns

    def resumed(self, at_ns: int) -> None:
        if self._paused_since_ns is not None:
            self._paused_ns += max(0, at_ns - self._paused_since_ns)
            self._paused_since_ns = None

    def paused_ns(self, until_ns: int) -> int:
        """How long it was paused, up to this instant."""
        going_on = 0 if self._paused_since_ns is None else max(0, until_ns - self._paused_since_ns)
        return self._paused_ns + going_on

    def happened(self, what: Input) -> bool:
        """Applies an input; whether the phase changed. ``InvalidStateError`` where the table has none."""
        before = self.phase
        self.phase = next_phase(before, what)
        return self.phase is not before

    def fail(self, error: str, text: str) -> None:
        """The first failure is the one that is told."""
        self.failure = self.failure or (error, text)


_PROMISED = {"type": ""}  # stands in an outbox for an event that is still to come


class Outbox:
    """The events of one recorder, numbered, one recording after the other.

    A recorder may start again before the last recording's ``stop`` was published: what belongs to the newer
    recording waits until then.
    """

    def __init__(self, recorder: str, publish: Callable[[messages.RecorderEvent], None]) -> None:
        self._recorder = recorder
        self._publish = publish
        self._sequence = 0
        self._order: deque[str] = deque()
        self._held: dict[str, list[dict[str, Any]]] = {}

    @property
    def idle(self) -> bool:
        return not self._order

    def begin(self, recording: str) -> None:
        self._order.append(recording)
        self._held[recording] = []

    def add(self, recording: str, type: str, **fields: Any) -> None:
        """Publishes an event, or keeps it until its recording's turn. ``stop`` is a recording's last."""
        if recording not in self._held:
            return
        self._held[recording].append({"type": type, **fields})
        self._flush()

    def promise(self, recording: str) -> None:
        """A ``dataavailable`` was asked for: what is added from now on waits for it, so that events keep the order
        of the calls."""
        self._held[recording].append(dict(_PROMISED))

    def keep_promise(self, recording: str, **fields: Any) -> None:
        """The oldest promised ``dataavailable`` has come."""
        for held in self._held.get(recording, []):
            if held == _PROMISED:
                held.update(fields, type="dataavailable")
                break
        self._flush()

    def insert(self, recording: str, type: str, **fields: Any) -> None:
        """Adds an event in front of the first promise: a piece that was cut before what was asked for."""
        held = self._held.get(recording)
        if held is not None:
            at = held.index(_PROMISED) if _PROMISED in held else len(held)
            held.insert(at, {"type": type, **fields})
            self._flush()

    def promised(self, recording: str) -> int:
        """How many promises are still to be kept."""
        return self._held.get(recording, []).count(_PROMISED)

    def conclude(
        self,
        recording: Recording,
        blob: messages.BlobDescription,
        timecode_ms: float,
        statistics: messages.RecordingStatistics,
        whole: messages.BlobDescription,
    ) -> None:
        """The last events: what was asked for and has not come, the error, the data, ``stop``."""
        name, mime_type = recording.name, recording.mime_type
        for _ in range(self.promised(name)):  # the end came first, and with it what was asked for
            nothing = msgspec.structs.replace(blob, start=0, end=0, head=b"", duration=0.0, whole=False)
            self.keep_promise(name, blob=nothing, timecode_ms=timecode_ms, mime_type=mime_type)
            timecode_ms += 0.001  # they must rise
        if recording.failure is not None:
            error, text = recording.failure
            self.add(name, "error", error=error, text=text)
        self.add(
            name,
            "dataavailable",
            blob=blob,
            timecode_ms=timecode_ms,
            mime_type=mime_type,
            statistics=statistics,
            whole=whole,
        )
        self.add(name, "stop")

    def drop(self, recording: str) -> None:
        """A recording that never began: no events."""
        if recording in self._held:
            self._order.remove(recording)
            del self._held[recording]
            self._flush()

    def _flush(self) -> None:
        while self._order:
            recording = self._order[0]
            held = self._held[recording]
            while held and held[0] != _PROMISED:
                fields = held.pop(0)
                self._publish(
                    messages.RecorderEvent(
                        recorder=self._recorder,
                        recording=recording,
                        sequence=self._sequence,
                        at_ns=time.monotonic_ns(),
                        **fields,
                    )
                )
                self._sequence += 1
                if fields["type"] == "stop":
                    break
            else:
                return
            self._sequence = 0
            self._order.popleft()
            del self._held[recording]
