"""Which part of a spool file was handed out, in pieces, while its recording went on. No I/O."""

from __future__ import annotations

import msgspec

from .descriptions import BlobDescription
from .limits import MS, S


def after(timecode_ms: float) -> float:
    """The least timecode of a piece after one with this timecode: timecodes rise."""
    return timecode_ms + 0.001


class HandedOut:
    """The pieces of one recording so far, in their order: of the worker that makes them, or as the events show them."""

    def __init__(self) -> None:
        self.count = 0
        self.end = 0
        """Bytes of the file that others have."""
        self._until_ns = 0  # of the recording, that these bytes hold
        self._timecode_ms = 0.0

    def is_due(self, timeslice_ms: float, size: int, until_ns: int) -> bool:
        """Whether a file of ``size`` bytes, which hold the media up to ``until_ns``, has enough for another piece."""
        grown_ns = until_ns - self._until_ns
        return size > self.end and grown_ns > 0 and grown_ns >= timeslice_ms * MS

    def next(self, path: str, mime_type: str, end: int, until_ns: int, header: bytes) -> tuple[BlobDescription, float]:
        """Hands out the piece up to ``end``, which may be empty, with its timecode. The first piece has a copy of the
        file's header of its own, since the file's changes at the end."""
        head = b"" if self.end else header[:end]
        start, seconds = self.end + len(head), (until_ns - self._until_ns) / S
        blob = BlobDescription(path=path, start=start, end=end, head=head, mime_type=mime_type, duration=seconds)
        timecode_ms = self._next_timecode_ms()
        self.add(blob, timecode_ms)
        return blob, timecode_ms

    def add(self, blob: BlobDescription, timecode_ms: float) -> None:
        """A piece was handed out."""
        self.count += 1
        self.end = blob.end
        self._until_ns += round(blob.duration * S)
        self._timecode_ms = timecode_ms

    def rest(
        self, path: str, mime_type: str, size: int, duration: float | None
    ) -> tuple[BlobDescription, BlobDescription, float]:
        """The last piece of a file that has ``size`` bytes and ``duration`` seconds (``None``: unknown): all that comes
        after the pieces so far; the whole file; the last piece's timecode."""
        handed_out_s = self._until_ns / S
        seconds = handed_out_s if duration is None else duration
        last = whole = BlobDescription(path=path, start=0, end=size, mime_type=mime_type, duration=seconds, whole=True)
        if self.end:
            left = max(seconds - handed_out_s, 0.0)
            last = msgspec.structs.replace(whole, start=min(self.end, size), duration=left, whole=False)
        return last, whole, self._next_timecode_ms()

    def _next_timecode_ms(self) -> float:
        return max(self._until_ns / MS, after(self._timecode_ms)) if self.count else 0.0
