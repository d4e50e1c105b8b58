"""The events of all recordings: published on their recorders' topics, and again for who came late or missed some."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import InvalidStateError
from ..wire import messages
from .keeping import Keeping
from .outbox import Outbox, Published
from .recording import Recording


class Events:
    """Not thread-safe: the controller's loop calls it."""

    def __init__(self, publish: Callable[[str, messages.Message], None], keeping: Keeping | None = None) -> None:
        """``publish(topic, event)``; a recorder's topic is its client's name, a slash, its own. ``keeping`` learns of
        each event after it was published."""
        self._publish = publish
        self._keeping = keeping
        self._outboxes: dict[str, Outbox] = {}  # by topic: two clients may call their recorders the same
        self._published = Published()

    def begin(self, recording: Recording) -> None:
        """Its events follow those of the recorder's recordings before it."""
        topic = recording.topic
        outbox = self._outboxes.get(topic)
        if outbox is None:
            outbox = Outbox(recording.recorder, lambda event: self._take(topic, event), time.monotonic_ns)
            self._outboxes[topic] = outbox
        outbox.begin(recording.name)
        if self._keeping is not None:
            self._keeping.began(recording)

    def of(self, recording: Recording) -> Outbox:
        """Where the events of a recording are put, from ``begin`` to ``end``."""
        return self._outboxes[recording.topic]

    def hand_out(self, recording: Recording, piece: messages.DataReady) -> None:
        """A piece of it that its worker has cut."""
        outbox = self.of(recording)
        fields = {"blob": piece.blob, "timecode_ms": piece.timecode_ms, "mime_type": recording.mime_type}
        if piece.asked:
            outbox.keep_promise(recording.name, **fields)
        else:
            outbox.insert(recording.name, "dataavailable", **fields)

    def drop(self, recording: Recording) -> None:
        """It was given up: nobody is to have events of it."""
        self.of(recording).drop(recording.name)
        self._published.forget(recording.name)
        if self._keeping is not None:
            self._keeping.dropped(recording)

    def end(self, recording: Recording) -> None:
        """Its last event was put there."""
        if self.of(recording).idle:
            del self._outboxes[recording.topic]

    def _take(self, topic: str, event: messages.RecorderEvent) -> None:
        self._published.add(topic, event)
        self._publish(topic, event)
        if self._keeping is not None:
            self._keeping.published(event)

    def snapshot(self, topic: str) -> dict[str, int]:
        """What a new subscriber of all topics that begin so may have missed: see ``Subscribed``."""
        return self._published.snapshot(topic)

    def since(self, request: messages.AskEvents, *, is_active: bool) -> list[messages.RecorderEvent]:
        """For a subscriber that has missed some. ``InvalidStateError`` where nothing is known of a recording that is
        not active."""
        try:
            return self._published.since(request.recorder, request.recording, request.sequence)
        except InvalidStateError:
            if not is_active:
                raise
            return []
