"""What a Blob consists of: ranges of files, and bytes in memory; how it is read, saved and kept from removal."""

from __future__ import annotations

import io
import operator
import os
import shlex
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from . import saving
from .remote import RemoteFile, RemoteReader
from .storage import Descriptor, SpoolFile


class Part(NamedTuple):
    """The bytes ``[start, end)`` of a file, here or at its service, or of memory."""

    source: SpoolFile | RemoteFile | bytes
    start: int
    end: int


class Content:
    """Parts, joined in order. Immutable."""

    __slots__ = ("ends", "parts", "size")

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self.parts = tuple(part for part in parts if part.start < part.end)
        self.ends = list(accumulate(part.end - part.start for part in self.parts))
        self.size = self.ends[-1] if self.ends else 0

    def slice(self, begin: int, end: int) -> Content:
        """The bytes ``[begin, end)``."""
        parts = []
        for part, last in zip(self.parts, self.ends, strict=True):
            first = last - (part.end - part.start)
            parts.append(Part(part.source, part.start + max(begin - first, 0), part.end - max(last - end, 0)))
        return Content(parts)

    def chunks(self, size: int) -> Iterator[bytes]:
        """All bytes, at most ``size`` at a time, each chunk from one part."""
        with Reader(self) as reader:
            yield from iter(lambda: reader.next(size), b"")

    # --- where the bytes go -----------------------------------------------------------------------

    def write(self, descriptor: int, progress: saving.Progress) -> None:
        """Writes all bytes there, inside the kernel where it can. Blocks."""
        for source, start, end in self.parts:
            if isinstance(source, SpoolFile):
                saving.copy(source.open(), start, end, descriptor, progress)
            elif isinstance(source, RemoteFile):
                reader = source.open()
                while start < end:
                    written = saving.write_all(descriptor, reader.read(start, end - start))
                    start += written
                    progress(written)
            else:
                progress(saving.write_all(descriptor, source[start:end]))

    def save(self, path: str | os.PathLike[str], move: bool, progress: saving.Progress) -> Path:
        """See ``Blob.save``."""
        try:
            saved = Path(os.path.abspath(os.fspath(path)))
            self._put(path, move, progress)
        except BaseException as error:  # Ctrl-C, too
            self.owe_for(error)
            raise
        for file, start, end in self._ranges():
            file.give(start, end)
        return saved

    def _put(self, path: str | os.PathLike[str], move: bool, progress: saving.Progress) -> None:
        target = saving.final_path(path)
        if saving.is_special(target):
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CLOEXEC), "wb", 0) as device:
                self.write(device.fileno(), progress)
            return
        file = self._whole_file()
        if file is not None and file.is_at(target):
            file.keep()
            return
        if move and file is not None and file.rename(target, saving.new_file_mode()):
            saving.sync_directory(os.path.dirname(target))
            return
        with saving.replacing(target) as descriptor:
            if file is None or not saving.clone(file.open(), descriptor):
                self.write(descriptor, progress)
        if move and file is not None:
            file.replaced_by(target)

    def _whole_file(self) -> SpoolFile | None:
        """The finished file whose bytes these are, from the first to the last."""
        ranges = self._ranges()
        if len(self.parts) != 1 or not ranges:
            return None
        file, start, end = ranges[0]  # of a file that still grows, a piece may be all that is there yet
        return file if file.finished and (start, end) == (0, file.open().size) else None

    # --- who still needs the files ----------------------------------------------------------------

    def _ranges(self) -> list[tuple[SpoolFile, int, int]]:
        return [(source, start, end) for source, start, end in self.parts if isinstance(source, SpoolFile)]

    @property
    def is_owed(self) -> bool:
        """Whether somebody is still to have a part of one of the files."""
        return any(file.owed for file, _, _ in self._ranges())

    def owe(self) -> list[str]:
        """Somebody is to have these bytes, and has not: the files stay until they are saved, or this is taken back.
        Returns the paths of the files to which that makes a difference."""
        return sorted({file.path for file, start, end in self._ranges() if file.owe(start, end)})

    def owe_no_more(self) -> None:
        """Takes one ``owe()`` back."""
        for file, start, end in self._ranges():
            file.owe_no_more(start, end)

    def owe_for(self, error: BaseException) -> None:
        """Nobody gets these bytes because of this error: adds a note to it with the place where they stay."""
        for kept in self.owe():
            command = f"recsvc recover {shlex.quote(kept)} -o FILE"
            error.add_note(f"What was recorded is kept in {kept} until it is saved; fetch it with: {command}")

    def keep(self) -> list[str]:
        """The files stay when the last Blob of them is gone. Returns their paths."""
        files = {file for file, _, _ in self._ranges()}
        for file in files:
            file.keep()
        return sorted(file.path for file in files)


class Reader(io.RawIOBase):
    """A content as a file. Of its files the one that was read last is open."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._position = 0
        self._opened: tuple[SpoolFile | RemoteFile, Descriptor | RemoteReader] | None = None

    def next(self, size: int) -> bytes:
        """At most ``size`` bytes, of one part; none at the end."""
        self._check_open()
        if self._position >= self._content.size or not size:
            return b""
        number = bisect_right(self._content.ends, self._position)
        source, _, end = self._content.parts[number]
        start = end - (self._content.ends[number] - self._position)
        size = min(size, end - start)
        data = source[start : start + size] if isinstance(source, bytes) else self._open(source).read(start, size, end)
        self._position += len(data)
        return data

    def _open(self, file: SpoolFile | RemoteFile) -> Descriptor | RemoteReader:
        opened = self._opened
        if opened is None or opened[0] is not file:
            self._opened = opened = file, file.open()
        return opened[1]

    def readable(self) -> bool:
        self._check_open()
        return True

    seekable = readable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check_open()
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._content.size}
        if whence not in bases:
            raise ValueError(f"whence must be 0, 1 or 2, got {whence!r}")
        position = bases[whence] + operator.index(offset)
        if position < 0:
            raise ValueError(f"position {position} is before the beginning")
        self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self.next(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.next(self._content.size), b""))

    def close(self) -> None:
        self._opened = None
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed file")
