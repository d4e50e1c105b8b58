"""Blob: immutable data, held in files where it came from files, never in memory as a whole."""

from __future__ import annotations

import base64
import builtins
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from ..common.limits import HTML_BYTES_MAX
from .content import Content, Part, Reader
from .remote import RemoteFile
from .storage import SpoolFile

_BUFFER_BYTES = 65_536  # of a file object: one reading of the spool file for many small ones


class Blob:
    """Immutable data with a type (W3C File API, "Blob").

    ``parts`` are Blobs and bytes-like objects (copied), joined in order. Data that came from a recording stays in
    its spool file, which is open only while somebody reads; that file is removed when the last Blob of it is gone,
    at the program's end after everything else, so ``save`` what is to stay. Recordings that a service keeps stay
    there, and are read from there, in ranges where that is another machine. Reading raises ``NotReadableError`` when
    the file was removed, cut short or replaced by someone else, ``ServiceError`` when its service is gone.
    """

    __slots__ = ("__weakref__", "_content", "_duration", "_type")
    _content: Content

    def __init__(self, parts: Iterable[Any] = (), type: str = "") -> None:
        if isinstance(parts, (str, bytes, bytearray, memoryview, Blob)):
            raise TypeError(f"parts must be a sequence of Blobs and bytes-like objects, got {parts!r:.80}")
        if not isinstance(type, str):
            raise TypeError(f"type must be a string, got {type!r}")
        self._type = type
        self._duration = 0.0
        joined: list[Part] = []
        for part in parts:
            if isinstance(part, Blob):
                joined += content_of(part).parts
                self._duration += part.duration
            elif isinstance(part, str):
                raise TypeError(f"a part must be a Blob or bytes-like, got the string {part!r:.80}; encode it first")
            else:
                try:
                    data = bytes(memoryview(part))
                except TypeError:
                    raise TypeError(f"a part must be a Blob or bytes-like, got {part!r:.80}") from None
                joined.append(Part(data, 0, len(data)))
        self._content = Content(joined)

    @classmethod
    def _of_file(
        cls, file: SpoolFile | RemoteFile, head: bytes, start: int, end: int, type: str, duration: float
    ) -> Blob:
        blob = cls((head,), type)
        blob._content = Content((*blob._content.parts, Part(file, start, end)))
        blob._duration = duration
        return blob

    @property
    def size(self) -> int:
        """In bytes."""
        return self._content.size

    @property
    def type(self) -> str:
        """The recording's full MIME type, or what the constructor was given."""
        return self._type

    @property
    def duration(self) -> float:
        """Seconds of media inside; of a slice: 0."""
        return self._duration

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        return True  # an empty Blob is a Blob, as in browsers

    def __repr__(self) -> str:
        return f"<Blob {self.size} bytes {self._type!r}>"

    def _repr_html_(self) -> str | None:
        """Plays in a notebook; only the text form when it is too large to stand in a page."""
        kind = self._type.partition("/")[0]
        if kind not in ("audio", "video") or self.size > HTML_BYTES_MAX:
            return None
        data = base64.b64encode(self.bytes()).decode("ascii")
        essence = self._type.partition(";")[0]
        return f'<{kind} controls src="data:{essence};base64,{data}"></{kind}>'

    def bytes(self) -> bytes:
        """All of it in memory."""
        return b"".join(self._content.chunks(self.size))

    def slice(self, start: int = 0, end: int | None = None, type: str = "") -> Blob:
        """A Blob of the bytes ``[start, end)``; negative counts from the end, and both are clamped."""
        begin, stop, _ = slice(start, end).indices(self.size)
        blob = Blob((), type)
        blob._content = self._content.slice(begin, stop)
        return blob

    def stream(self, chunk_size: int = 65_536) -> Iterator[builtins.bytes]:
        """The bytes in pieces of at most ``chunk_size``. ``NotReadableError`` when the file was cut short."""
        if not isinstance(chunk_size, int) or isinstance(chunk_size, bool):
            raise TypeError(f"chunk_size must be an integer, got {chunk_size!r}")
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
        return self._content.chunks(chunk_size)

    def open(self) -> io.BufferedReader:
        """A seekable, read-only file object of its own; the Blob's data lives as long as it."""
        return io.BufferedReader(Reader(self._content), _BUFFER_BYTES)

    def save(
        self,
        path: str | os.PathLike[str],
        move: bool = False,
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> Path:
        """Writes the data to ``path``, replacing the file there at once or not at all; the absolute path.

        What is saved is independent of the Blob: blocks are shared where the file system can (reflink), else copied
        inside the kernel. It is on the disk when the call returns. ``move=True``, for a Blob of a whole recording,
        gives the spool file up: it is renamed, else copied and removed, and this Blob, like all of that recording,
        reads from ``path`` from then on; do not change that file while one of them is in use. A link to a file is
        followed; a device or a pipe is written to. Blocks. Raises ``OSError`` when the place cannot be
        written: a recording's file stays in the spool then, also when the Blob goes, until the same is saved
        elsewhere.

        A recording that a service keeps stays there in any case, and ``move`` is of no effect; one that is on another
        machine is fetched. ``progress(written, total)`` is called from time to time, in bytes, and last with all of
        them written; what it raises ends the saving, and nothing is left at ``path``.
        """
        if not isinstance(move, bool):
            raise TypeError(f"move must be True or False, got {move!r}")
        if progress is not None and not callable(progress):
            raise TypeError(f"progress must be callable, got {progress!r}")
        written = 0

        def count(size: int) -> None:
            nonlocal written
            written += size
            if progress is not None and written < self.size:
                progress(written, self.size)

        if progress is not None:
            progress(0, self.size)
        saved = self._content.save(path, move, count)
        if progress is not None:
            progress(self.size, self.size)
        return saved

    def __copy__(self) -> Blob:
        return self  # immutable, as bytes are

    def __deepcopy__(self, memo: object) -> Blob:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Blob cannot be pickled: it belongs to this process; save() it and pass the path, or bytes()")


def content_of(blob: Blob) -> Content:
    """What a Blob consists of, for the other folders of this package."""
    return blob._content  # noqa: SLF001 the one door to it


def blob_of_file(file: SpoolFile | RemoteFile, head: bytes, start: int, end: int, type: str, duration: float) -> Blob:
    """A range of a recording's file after ``head``, which is nowhere else."""
    return Blob._of_file(file, head, start, end, type, duration)  # noqa: SLF001 the one door to it
