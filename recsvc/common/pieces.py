"""Which part of a spool file was handed out, for when its worker cannot say what the rest is. No I/O."""

from __future__ import annotations

import msgspec

from .descriptions import BlobDescription


class HandedOut:
    """The pieces of one recording so far, in their order."""

    def __init__(self) -> None:
        self._count = 0
        self._end = 0
        self._seconds = 0.0
        self._timecode_ms = 0.0

    def add(self, blob: BlobDescription, timecode_ms: float) -> None:
        """A piece was handed out."""
        self._count += 1
        self._end = blob.end
        self._seconds += blob.duration
        self._timecode_ms = timecode_ms

    def rest(
        self, path: str, mime_type: str, size: int, duration: float | None
    ) -> tuple[BlobDescription, BlobDescription, float]:
        """The last piece of a file that has ``size`` bytes and ``duration`` seconds (``None``: unknown): all that comes
        behind the pieces so far; the whole file; the last piece's timecode."""
        seconds = self._seconds if duration is None else duration
        whole = BlobDescription(path=path, start=0, end=size, mime_type=mime_type, duration=seconds, whole=True)
        if not self._count:
            return whole, whole, 0.0
        last = whole
        if self._end:
            left = max(seconds - self._seconds, 0.0)
            last = msgspec.structs.replace(whole, start=min(self._end, size), duration=left, whole=False)
        return last, whole, max(self._seconds * 1000, self._timecode_ms + 0.001)
