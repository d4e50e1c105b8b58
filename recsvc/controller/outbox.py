"""The events of recorders: in which order they are published, and those that can be asked for again. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from ..common.limits import ENDED_RECORDINGS_KEPT, EVENTS_PER_REPLY, RECORDER_EVENTS_KEPT
from ..common.pieces import after
from ..common.service_limits import SNAPSHOT_RECORDINGS_MAX
from ..errors import InvalidStateError
from ..wire.messages import RecorderEvent, RecordingFinished


class Outbox:
    """The events of one recorder, numbered, one recording after the other.

    A recorder may start again before the last recording's ``stop`` was published: what belongs to the newer
    recording waits until then. So does what follows a promise, until that is kept.
    """

    def __init__(self, recorder: str, publish: Callable[[RecorderEvent], None], now_ns: Callable[[], int]) -> None:
        self._recorder = recorder
        self._publish = publish
        self._now_ns = now_ns
        self._sequence = 0
        self._order: deque[str] = deque()
        self._held: dict[str, list[dict[str, Any] | None]] = {}  # ``None``: a promise

    @property
    def idle(self) -> bool:
        return not self._order

    def begin(self, recording: str) -> None:
        self._order.append(recording)
        self._held[recording] = []

    def add(self, recording: str, type: str, **fields: Any) -> None:
        """Publishes an event, or keeps it until its recording's turn. ``stop`` is a recording's last."""
        if recording in self._held:
            self._held[recording].append({"type": type, **fields})
            self._flush()

    def waiting(self, recording: str) -> int:
        """How many of a recording's events, promised ones among them, are not published yet."""
        return len(self._held.get(recording, ()))

    def promise(self, recording: str) -> None:
        """A ``dataavailable`` was asked for: what is added from now on waits for it, so that events keep the order
        of the calls."""
        self._held[recording].append(None)

    def keep_promise(self, recording: str, **fields: Any) -> None:
        """The oldest promised ``dataavailable`` has come."""
        held = self._held.get(recording, [])
        if None in held:
            held[held.index(None)] = {"type": "dataavailable", **fields}
            self._flush()

    def insert(self, recording: str, type: str, **fields: Any) -> None:
        """Adds an event in front of the first promise: a piece that was cut before what was asked for."""
        held = self._held.get(recording)
        if held is not None:
            held.insert(held.index(None) if None in held else len(held), {"type": type, **fields})
            self._flush()

    def conclude(self, report: RecordingFinished, mime_type: str) -> None:
        """The last events: what was asked for and has not come, the error, the data, ``stop``."""
        name, timecode_ms = report.recording, report.timecode_ms
        for _ in range(self._held.get(name, []).count(None)):  # the end came first, and with it what was asked for
            nothing = msgspec.structs.replace(report.blob, start=0, end=0, head=b"", duration=0.0, whole=False)
            self.keep_promise(name, blob=nothing, timecode_ms=timecode_ms, mime_type=mime_type)
            timecode_ms = after(timecode_ms)
        if report.error:
            self.add(name, "error", error=report.error, text=report.text)
        self.add(
            name,
            "dataavailable",
            blob=report.blob,
            timecode_ms=timecode_ms,
            mime_type=mime_type,
            statistics=report.statistics,
            whole=report.whole,
        )
        self.add(name, "stop")

    def drop(self, recording: str) -> None:
        """A recording that was given up: no further events."""
        if recording in self._held:
            if self._order[0] == recording:
                self._sequence = 0  # it may have published its start already
            self._order.remove(recording)
            del self._held[recording]
            self._flush()

    def _flush(self) -> None:
        while self._order:
            recording = self._order[0]
            held = self._held[recording]
            over = False
            while held and held[0] is not None and not over:
                fields = held.pop(0) or {}
                number, self._sequence = self._sequence, self._sequence + 1
                over = fields["type"] == "stop"
                self._publish(
                    RecorderEvent(
                        recorder=self._recorder, recording=recording, sequence=number, at_ns=self._now_ns(), **fields
                    )
                )
            if not over:
                return
            self._sequence = 0
            self._order.popleft()
            del self._held[recording]


class Published:
    """The newest events of each recording, for subscribers that came late or have missed some."""

    def __init__(self) -> None:
        self._events: dict[str, deque[RecorderEvent]] = {}
        self._topics: dict[str, str] = {}
        self._ended: deque[str] = deque()

    def add(self, topic: str, event: RecorderEvent) -> None:
        """``topic``: the one on which it is published."""
        name = event.recording
        self._topics[name] = topic
        self._events.setdefault(name, deque(maxlen=RECORDER_EVENTS_KEPT)).append(event)
        if event.type == "stop":
            self._ended.append(name)
            if len(self._ended) > ENDED_RECORDINGS_KEPT:
                self.forget(self._ended.popleft())

    def forget(self, recording: str) -> None:
        """Nobody is to have its events any more."""
        self._events.pop(recording, None)
        self._topics.pop(recording, None)

    def snapshot(self, topic: str) -> dict[str, int]:
        """For who subscribes to all topics that begin so: the number of the next event of each of their recordings, of
        the newest ones."""
        names = [name for name, its in self._topics.items() if its.startswith(topic)][-SNAPSHOT_RECORDINGS_MAX:]
        return {name: self._events[name][-1].sequence + 1 for name in names}

    def since(self, recorder: str, recording: str, sequence: int) -> list[RecorderEvent]:
        """The first of a recording's events from ``sequence`` on; ``recorder`` may be ``""``. ``InvalidStateError``
        where none are known."""
        events = self._events.get(recording)
        if events is None or recorder not in ("", events[0].recorder):
            raise InvalidStateError(f"no events of a recording {recording!r} of this recorder are known")
        return [event for event in events if event.sequence >= sequence][:EVENTS_PER_REPLY]
