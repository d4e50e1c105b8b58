"""What all recordings of a service came to, since this process watches it: totals that only grow. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from ..common.descriptions import RecordingStatistics, RecordingStatus

Key = tuple[str, str, str]
"""``(figure, kind of track, cause)``; where a figure has none of these, ``""``."""
_ENDED_KEPT = 1_000
"""So many names of ended recordings are remembered, so that an answer of a moment ago counts none of them again."""


class Totals:
    """Sums over recordings that go on and that have ended. A total never shrinks: what is known of a recording that
    ends without its figures, by a crash, stays counted."""

    def __init__(self) -> None:
        self._ended: Counter[Key] = Counter()
        self._running: dict[str, Counter[Key]] = {}
        self._absent: set[str] = set()
        self._names_ended: deque[str] = deque(maxlen=_ENDED_KEPT)
        self.finished: Counter[str] = Counter()
        """Recordings that have ended, as ``finished`` or ``failed``."""
        self._failed: set[str] = set()

    def running(self, recordings: Iterable[RecordingStatus]) -> None:
        """These go on now."""
        names = set()
        for recording in recordings:
            names.add(recording.recording)
            if recording.statistics is not None and recording.recording not in self._names_ended:
                self._note(recording.recording, recording.statistics)
        for name in self._running.keys() & self._absent - names:  # the second time: its last event does not come
            self._end(name)
        self._absent = self._running.keys() - names

    def failed(self, recording: str) -> None:
        """It published an error."""
        self._failed.add(recording)

    def ended(self, recording: str, statistics: RecordingStatistics | None) -> None:
        """It has published the last of its data; ``None``: nothing is known of them."""
        if statistics is not None and recording not in self._names_ended:
            self._note(recording, statistics)
        if recording in self._running:
            self._end(recording)

    def stopped(self, recording: str) -> None:
        """It published its last event."""
        self.finished["failed" if recording in self._failed else "finished"] += 1
        self._failed.discard(recording)
        self.ended(recording, None)

    def sums(self) -> Counter[Key]:
        """The totals now."""
        total = Counter(self._ended)
        for figures in self._running.values():
            total.update(figures)
        return total

    def _note(self, name: str, statistics: RecordingStatistics) -> None:
        known = self._running.setdefault(name, Counter())
        for key, value in _figures(statistics).items():
            known[key] = max(known[key], value)

    def _end(self, name: str) -> None:
        self._ended.update(self._running.pop(name))
        self._names_ended.append(name)


def _figures(statistics: RecordingStatistics) -> Counter[Key]:
    figures: Counter[Key] = Counter({("bytes", "", ""): statistics.size_bytes})
    for track in statistics.tracks:
        figures["accepted", track.kind, ""] += track.frames_accepted
        figures["encoded", track.kind, ""] += track.frames_encoded
        for cause, count in track.dropped_by_cause.items():
            figures["dropped", track.kind, cause] += count
    return figures
