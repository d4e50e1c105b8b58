"""Blob: immutable data, held in files where it came from files, never in memory as a whole."""

from __future__ import annotations

import base64
import builtins
import io
import operator
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from ..errors import NotReadableError
from . import saving
from .storage import SpoolFile

_HTML_BYTES_MAX = 50_000_000  # browsers and notebook files become slow with more
_BUFFER_BYTES = 65_536  # of a file object: one reading of the spool file for many small ones


class _Range:
    """``[start, end)`` of a file."""

    __slots__ = ("end", "file", "start")

    def __init__(self, file: SpoolFile, start: int, end: int) -> None:
        self.file, self.start, self.end = file, start, end

    def __len__(self) -> int:
        return self.end - self.start

    def slice(self, start: int, end: int) -> _Range:
        return _Range(self.file, self.start + start, self.start + end)

    def open(self) -> _OpenRange:
        return _OpenRange(self)


class _OpenRange:
    """A range whose file is open as long as this is."""

    def __init__(self, part: _Range) -> None:
        self._part = part
        self._descriptor = part.file.open()

    def read(self, start: int, size: int) -> bytes:
        """At least one of these bytes, where there are any."""
        part = self._part
        size = min(size, len(part) - start)
        data = self._descriptor.read(part.start + start, size) if size > 0 else b""
        if size > 0 and not data:
            raise NotReadableError(f"the recording's file {part.file.path} was cut short by someone else")
        return data


class _Bytes:
    """Bytes that stand for themselves."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def slice(self, start: int, end: int) -> _Bytes:
        return _Bytes(self.data[start:end])

    def open(self) -> _Bytes:
        return self

    def read(self, start: int, size: int) -> bytes:
        return self.data[start : start + size]


class Blob:
    """Immutable data with a type (W3C File API, "Blob").

    ``parts`` are Blobs and bytes-like objects (copied), joined in order. Data that came from a recording stays in
    its spool file, which is open only while somebody reads; that file is removed when the last Blob of it is gone,
    at the program's end after everything else, so ``save`` what is to stay. Reading raises ``NotReadableError`` when
    the file was removed, cut short or replaced by someone else.
    """

    __slots__ = ("__weakref__", "_duration", "_parts", "_type")

    def __init__(self, parts: Iterable[Any] = (), type: str = "") -> None:
        if isinstance(parts, (str, bytes, bytearray, memoryview, Blob)):
            raise TypeError(f"parts must be a sequence of Blobs and bytes-like objects, got {parts!r:.80}")
        if not isinstance(type, str):
            raise TypeError(f"type must be a string, got {type!r}")
        self._parts: tuple[_Range | _Bytes, ...] = ()
        self._type = type
        self._duration = 0.0
        joined: list[_Range | _Bytes] = []
        for part in parts:
            if isinstance(part, Blob):
                joined += part._parts
                self._duration += part._duration
            elif isinstance(part, str):
                raise TypeError(f"a part must be a Blob or bytes-like, got the string {part!r:.80}; encode it first")
            else:
                try:
                    joined.append(_Bytes(bytes(memoryview(part))))
                except TypeError:
                    raise TypeError(f"a part must be a Blob or bytes-like, got {part!r:.80}") from None
        self._parts = tuple(part for part in joined if len(part))

    @classmethod
    def _of_file(cls, file: SpoolFile, head: bytes, start: int, end: int, type: str, duration: float) -> Blob:
        blob = cls((head,) if head else (), type)
        if end > start:
            blob._parts = (*blob._parts, _Range(file, start, end))
        blob._duration = duration
        return blob

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(len(part) for part in self._parts)

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
        if kind not in ("audio", "video") or self.size > _HTML_BYTES_MAX:
            return None
        data = base64.b64encode(self.bytes()).decode("ascii")
        essence = self._type.partition(";")[0]
        return f'<{kind} controls src="data:{essence};base64,{data}"></{kind}>'

    def bytes(self) -> bytes:
        """All of it in memory."""
        pieces = list(self._chunks(self.size))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def slice(self, start: int = 0, end: int | None = None, type: str = "") -> Blob:
        """A Blob of the bytes ``[start, end)``; negative counts from the end, and both are clamped."""
        size = self.size
        begin, stop, _ = slice(start, end).indices(size)
        blob = Blob((), type)
        parts: list[_Range | _Bytes] = []
        position = 0
        for part in self._parts:
            first, last = max(begin - position, 0), min(stop - position, len(part))
            if first < last:
                parts.append(part.slice(first, last))
            position += len(part)
        blob._parts = tuple(parts)
        return blob

    def stream(self, chunk_size: int = 65_536) -> Iterator[builtins.bytes]:
        """The bytes in pieces of at most ``chunk_size``. ``NotReadableError`` when the file was cut short."""
        if not isinstance(chunk_size, int) or isinstance(chunk_size, bool):
            raise TypeError(f"chunk_size must be an integer, got {chunk_size!r}")
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
        return self._chunks(chunk_size)

    def _chunks(self, chunk_size: int) -> Iterator[builtins.bytes]:
        for part in self._parts:
            opened = part.open()
            position = 0
            while position < len(part):
                chunk = opened.read(position, chunk_size)
                yield chunk
                position += len(chunk)

    def open(self) -> io.BufferedReader:
        """A seekable, read-only file object of its own; the Blob's data lives as long as it."""
        return io.BufferedReader(_Reader(self), _BUFFER_BYTES)

    def save(self, path: str | os.PathLike[str], move: bool = False) -> Path:
        """Writes the data to ``path``, replacing the file there at once or not at all; the absolute path.

        What is saved is independent of the Blob: blocks are shared where the file system can (reflink), else copied
        inside the kernel. It is on the disk when the call returns. ``move=True``, for a Blob of a whole recording,
        gives the spool file up: it is renamed, else copied and removed, and this Blob, like all of that recording,
        reads from ``path`` from then on; do not change that file while one of them is in use. A link to a file is
        followed; a device or a pipe is written to. Blocks. Raises ``OSError`` when the place cannot be
        written: a recording's file stays in the spool then, also when the Blob goes, until the same is saved
        elsewhere.
        """
        if not isinstance(move, bool):
            raise TypeError(f"move must be True or False, got {move!r}")
        return self._save(path, move, lambda _: None)

    def _save(self, path: str | os.PathLike[str], move: bool, progress: saving.Progress) -> Path:
        try:
            saved = self._put(path, move, progress)
        except BaseException as error:  # Ctrl-C, too
            self._owe_for(error)
            raise
        for part in self._ranges():
            part.file.given(part.start, part.end)
        return saved

    def _put(self, path: str | os.PathLike[str], move: bool, progress: saving.Progress) -> Path:
        named = Path(os.path.abspath(os.fspath(path)))
        target, special = saving.final_path(path)
        if special:
            descriptor = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
            try:
                self._write(descriptor, progress)
            finally:
                os.close(descriptor)
            return named
        file = self._whole_file()
        if file is not None and file.is_at(target):
            file.keep()
            return named
        if move and file is not None and file.rename(target, saving.new_file_mode()):
            saving.sync_directory(os.path.dirname(target))
            return named
        with saving.replacing(target) as descriptor:
            opened = file.open() if file is not None else None
            if opened is None or not saving.clone(opened.number, descriptor):
                self._write(descriptor, progress)
        if move and file is not None:
            file.replaced_by(target)
        return named

    def _whole_file(self) -> SpoolFile | None:
        """The finished file whose content is this Blob, from its first byte to its last."""
        if len(self._parts) != 1 or not isinstance(self._parts[0], _Range):
            return None
        part = self._parts[0]
        if not part.file.finished:  # a piece may be all that is there yet
            return None
        return part.file if (part.start, part.end) == (0, part.file.open().size) else None

    def _write(self, descriptor: int, progress: saving.Progress) -> None:
        for part in self._parts:
            if isinstance(part, _Range):
                opened = part.file.open()
                saving.copy(opened.number, part.start, part.end, descriptor, progress)
            else:
                saving.write_all(descriptor, part.data)
                progress(len(part.data))

    def _ranges(self) -> list[_Range]:
        return [part for part in self._parts if isinstance(part, _Range)]

    def _files(self) -> set[SpoolFile]:
        return {part.file for part in self._ranges()}

    def _owe(self) -> list[str]:
        """Who was to have it failed: its files stay until it is saved, if it was not. Where those are."""
        return sorted({part.file.path for part in self._ranges() if part.file.owe(part.start, part.end)})

    def _owe_for(self, error: BaseException) -> None:
        """The same, and this is why."""
        for kept in self._owe():
            command = f"recsvc recover {shlex.quote(kept)} -o FILE"
            error.add_note(f"What was recorded is kept in {kept} until it is saved; fetch it with: {command}")

    def _keep(self) -> list[str]:
        """Its files stay when the last Blob goes; where they are."""
        for file in self._files():
            file.keep()
        return sorted(file.path for file in self._files())

    def __copy__(self) -> Blob:
        return self  # immutable, as bytes are

    def __deepcopy__(self, memo: Any) -> Blob:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Blob cannot be pickled: it belongs to this process; save() it and pass the path, or bytes()")


class _Reader(io.RawIOBase):
    """Reads a Blob as a file. Of its files the one that was read last is open."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._size = blob.size
        self._position = 0
        self._opened: tuple[int, _OpenRange | _Bytes] | None = None

    def readable(self) -> bool:
        self._check_open()
        return True

    def seekable(self) -> bool:
        self._check_open()
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check_open()
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        if whence not in bases:
            raise ValueError(f"whence must be 0, 1 or 2, got {whence!r}")
        position = bases[whence] + operator.index(offset)
        if position < 0:
            raise ValueError(f"position {position} is before the beginning")
        self._position = position
        return position

    def tell(self) -> int:
        self._check_open()
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._check_open()
        view = memoryview(buffer).cast("B")
        data = self._next(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        self._check_open()
        return b"".join(iter(lambda: self._next(self._size), b""))

    def close(self) -> None:
        self._opened = None
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed file")

    def _next(self, size: int) -> bytes:
        """At most so many bytes, from one part; empty at the end."""
        begin = 0
        for number, part in enumerate(self._blob._parts):
            if size and self._position < begin + len(part):
                if self._opened is None or self._opened[0] != number:
                    self._opened = number, part.open()
                data = self._opened[1].read(self._position - begin, size)
                self._position += len(data)
                return data
            begin += len(part)
        return b""
