"""Blob: immutable data, held in files where it came from files, never in memory as a whole."""

from __future__ import annotations

import base64
import builtins
import errno
import io
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path
from typing import Any

from .errors import NotReadableError

_FICLONE = 0x40049409  # linux/fs.h: share the blocks of a file, where the file system can
_COPY_BYTES = 1 << 20
_HTML_BYTES_MAX = 50_000_000  # browsers and notebook files become slow with more


class SpoolFile:
    """A finished or growing file that Blobs refer to; it is removed with the last of them, unless ``keep``."""

    def __init__(self, path: str, *, keep: bool = False) -> None:
        self.path = path
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NotReadableError(f"the recording's file {path} cannot be opened: {error.strerror}") from error
        weakref.finalize(self, _forget, path, self.descriptor, None if keep else os.getpid())


def _forget(path: str, descriptor: int, owner_pid: int | None) -> None:
    with suppress(OSError):
        os.close(descriptor)
    if os.getpid() == owner_pid:  # not in a fork
        with suppress(OSError):
            os.unlink(path)


class _Range:
    """``[start, end)`` of a file."""

    __slots__ = ("end", "file", "start")

    def __init__(self, file: SpoolFile, start: int, end: int) -> None:
        self.file, self.start, self.end = file, start, end

    def __len__(self) -> int:
        return self.end - self.start

    def slice(self, start: int, end: int) -> _Range:
        return _Range(self.file, self.start + start, self.start + end)

    def read(self, start: int, size: int) -> bytes:
        return os.pread(self.file.descriptor, min(size, len(self) - start), self.start + start)


class _Bytes:
    """Bytes that stand for themselves."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def slice(self, start: int, end: int) -> _Bytes:
        return _Bytes(self.data[start:end])

    def read(self, start: int, size: int) -> bytes:
        return self.data[start : start + size]


class Blob:
    """Immutable data with a type (W3C File API, "Blob").

    ``parts`` are Blobs and bytes-like objects (copied), joined in order. Data that came from a recording stays in
    its spool file; that file is removed when the last Blob of it is gone, so ``save`` what is to stay.
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
        return b"".join(self.stream())

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
            position = 0
            while position < len(part):
                chunk = part.read(position, chunk_size)
                if not chunk:
                    raise NotReadableError(f"the file of {self!r} was cut short by someone else")
                yield chunk
                position += len(chunk)

    def open(self) -> io.BufferedReader:
        """A seekable, read-only file object of its own; the Blob's data lives as long as it."""
        return io.BufferedReader(_Reader(self))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the data to ``path``, replacing what is there at once or not at all; the absolute path.

        Where the file system can, no byte is copied: blocks are shared, or the spool file gets a second
        name. Replace a saved file rather than edit it in place while the Blob is still in use. Blocks.
        Raises ``OSError`` when the place cannot be written.
        """
        target = Path(os.path.abspath(os.fspath(path)))
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
        try:
            try:
                linked = self._link(temporary, descriptor)
                if not linked:
                    self._copy(descriptor)
                    os.fchmod(descriptor, 0o666 & ~_umask())
            finally:
                os.close(descriptor)
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        return target

    def _link(self, temporary: str, descriptor: int) -> bool:
        """Shares the storage of a whole spool file; whether that was possible."""
        if len(self._parts) != 1 or not isinstance(self._parts[0], _Range):
            return False
        part = self._parts[0]
        if part.start != 0 or part.end != os.fstat(part.file.descriptor).st_size:
            return False
        try:
            ioctl(descriptor, _FICLONE, part.file.descriptor)
            os.fchmod(descriptor, 0o666 & ~_umask())
            return True
        except OSError:
            pass
        second_name = temporary + ".link"
        try:
            os.link(part.file.path, second_name)
        except OSError:  # another file system, or one without links
            return False
        os.chmod(second_name, 0o666 & ~_umask())
        os.replace(second_name, temporary)
        return True

    def _copy(self, descriptor: int) -> None:
        for part in self._parts:
            if isinstance(part, _Range):
                _copy_range(part, descriptor)
            else:
                _write_all(descriptor, part.data)


def _copy_range(part: _Range, descriptor: int) -> None:
    position, end = part.start, part.end
    in_kernel = True
    while position < end:
        if in_kernel:
            try:
                copied = os.copy_file_range(part.file.descriptor, descriptor, end - position, position)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise
                in_kernel = False
                continue
        else:
            data = os.pread(part.file.descriptor, min(_COPY_BYTES, end - position), position)
            _write_all(descriptor, data)
            copied = len(data)
        if not copied:
            raise NotReadableError(f"the file {part.file.path} was cut short by someone else")
        position += copied


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _umask() -> int:
    with open("/proc/self/status") as status:  # reading it otherwise changes it, for all threads
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022


class _Reader(io.RawIOBase):
    """Reads a Blob as a file."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._size = blob.size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} is before the beginning")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        begin = 0
        for part in self._blob._parts:
            if self._position < begin + len(part):
                data = part.read(self._position - begin, len(view))
                view[: len(data)] = data
                self._position += len(data)
                return len(data)
            begin += len(part)
        return 0
