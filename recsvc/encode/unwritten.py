"""Packets that are encoded and not in their files yet, of all recordings of a worker."""

from __future__ import annotations

from collections.abc import Callable, Sized

from .recording import Recording

_MANY = 8
"""Recordings whose packets are written at once: more of them together cost no less each, and a stop waits for them."""


class Unwritten:
    """Recordings that have encoded something since they were written. They are written several at a time: each alone
    finds nothing of what it needs in the processor's cache, for an encoder was at work meanwhile. Where there are few,
    they are written once each has encoded something: what is left to be written delays a stop."""

    def __init__(self, worked_on: Sized, on_failure: Callable[[Recording, Exception], None]) -> None:
        """``worked_on``: all recordings there are. ``on_failure(recording, error)`` ends one that could not be
        written."""
        self._worked_on, self._on_failure = worked_on, on_failure
        self._recordings: dict[str, Recording] = {}

    def add(self, recording: Recording) -> None:
        """One has encoded something; it may be written at once, or later with others."""
        self._recordings[recording.name] = recording
        if len(self._recordings) >= min(_MANY, len(self._worked_on)):
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
