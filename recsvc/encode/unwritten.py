"""Packets that are encoded and not in their files yet, of all recordings of a worker."""

from __future__ import annotations

from collections.abc import Callable

from .recording import Recording

_MANY = 8
"""Recordings whose packets are written at once: more of them together cost no less each, and a stop waits for them."""


class Unwritten:
    """Recordings that have encoded something since they were written. They are written several at a time: each alone
    finds nothing of what it needs in the processor's cache, for an encoder was at work meanwhile."""

    def __init__(self, on_failure: Callable[[Recording, Exception], None]) -> None:
        """``on_failure(recording, error)`` ends a recording that could not be written."""
        self._on_failure = on_failure
        self._recordings: dict[str, Recording] = {}

    def add(self, recording: Recording) -> None:
        """One has encoded something; it may be written at once, or later with others."""
        self._recordings[recording.name] = recording
        if len(self._recordings) >= _MANY:
            self.write()

    def forget(self, recording: Recording) -> None:
        """It is over."""
        self._recordings.pop(recording.name, None)

    def write(self) -> None:
        """Those that are left; to be called now and then, so that a crash loses little."""
        recordings, self._recordings = self._recordings, {}
        for recording in recordings.values():
            try:
                recording.write()
            except Exception as error:
                self._on_failure(recording, error)
