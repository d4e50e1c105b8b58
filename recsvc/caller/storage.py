"""A recording's file as its caller holds it: opened while it is read, removed when nobody can read it any more.

A Blob that is kept costs no descriptor. Nothing here waits for a lock, so signal handlers and forks find none taken.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from ..errors import NotReadableError
from .weak import Living


class Descriptor:
    """An open file, which is closed with the last reference to this object: never under a reader."""

    __slots__ = ("number", "path")

    def __init__(self, path: str, *, shared: bool = False) -> None:
        """``shared``: with a lock by which a service sees that it is read."""
        self.number = -1
        self.path = path
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # there may be a pipe by now
        if shared:
            with suppress(OSError):  # it is being written, and is not deleted for that
                fcntl.flock(self.number, fcntl.LOCK_SH | fcntl.LOCK_NB)

    # At the program's end modules are cleared before the last objects: hence functions as defaults, here and below.
    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self.number >= 0:
            close(self.number)

    @property
    def size(self) -> int:
        return os.fstat(self.number).st_size

    def read(self, start: int, size: int, end: int = 0) -> bytes:
        """At least one of these bytes; ``NotReadableError`` when the file has fewer. Those up to ``end`` are wanted
        soon."""
        data = os.pread(self.number, min(size, max(self.size - start, 0)), start)  # memory for no more than there is
        if not data:
            raise NotReadableError(f"the recording's file {self.path} was cut short by someone else")
        return data


class _Place(NamedTuple):
    """Where a file is, and how another that came in its place is recognized. ``changed_ns``: of a finished file."""

    path: str
    device: int
    inode: int
    changed_ns: int | None = None

    @classmethod
    def of(cls, path: str, status: os.stat_result, *, finished: bool = False) -> _Place:
        return cls(path, status.st_dev, status.st_ino, status.st_mtime_ns if finished else None)

    def is_that(self, status: os.stat_result, is_file: Callable[[int], bool] = stat.S_ISREG) -> bool:
        same = (self.device, self.inode) == (status.st_dev, status.st_ino)
        return same and is_file(status.st_mode) and self.changed_ns in (None, status.st_mtime_ns)

    def remove(
        self,
        lstat: Callable[[str], os.stat_result] = os.lstat,
        unlink: Callable[[str], None] = os.unlink,
    ) -> None:
        try:
            if self.is_that(lstat(self.path)):
                unlink(self.path)
        except OSError:
            pass  # it is gone already


class SpoolFile:
    """A finished or growing file that Blobs refer to.

    ``owned``: it is removed with the last reference to this object, by this process (not by a fork of it), and only
    if that name is still this file, and this user's. An interpreter that ends drops its objects after everything
    else, the functions of ``atexit`` too, so that whoever has a Blob until then can read it; a thread that never ends
    and still reads keeps the file. What is owed to somebody keeps it as well, until it is given.
    """

    def __init__(self, path: str, *, owned: bool, finished: bool = False, kept: bool = False) -> None:
        """``kept``: it belongs to a service, and stays where it is."""
        self._owner_pid = 0
        self._kept = kept
        self.finished = finished  # it grows no more
        self.owed: list[tuple[int, int]] = []  # ranges of bytes
        self._given: list[tuple[int, int]] = []
        try:
            status = os.stat(path, follow_symlinks=not owned and not kept)
        except OSError as error:
            raise NotReadableError(f"the recording's file {path} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):
            raise NotReadableError(f"the recording's file {path} cannot be read: it is no regular file")
        self._places: tuple[_Place, ...] = (_Place.of(path, status),)  # the newest first; two while it is renamed
        self._mover = threading.Lock()  # is tried, never waited for
        if owned and status.st_uid == os.geteuid():
            self._owner_pid = os.getpid()
            _files.add(self)

    def __del__(self, getpid: Callable[[], int] = os.getpid) -> None:
        if self._owner_pid and self._owner_pid == getpid() and not self.owed:
            self._places[-1].remove()

    @property
    def path(self) -> str:
        return self._places[0].path

    def keep(self) -> None:
        """The file is not removed any more."""
        self._owner_pid = 0

    def owe(self, start: int, end: int) -> bool:
        """Somebody is still to have these bytes: the file is not removed before they were given, or this was taken
        back. Returns whether that makes a difference."""
        if self._owner_pid != os.getpid() or self.gave(start, end):
            return False
        self.owed.append((start, end))
        return True

    def owe_no_more(self, start: int, end: int) -> None:
        """Takes one ``owe()`` back."""
        with suppress(ValueError):  # they were given meanwhile
            self.owed.remove((start, end))

    def gave(self, start: int, end: int) -> bool:
        """Whether all these bytes were given."""
        return any(first <= start and end <= last for first, last in self._given)

    def give(self, start: int, end: int) -> None:
        """These bytes are where they are wanted."""
        if self._given and self._given[-1][0] <= start <= self._given[-1][1]:  # one piece after the other
            first, last = self._given[-1]
            self._given[-1] = start, end = first, max(last, end)
        else:
            self._given.append((start, end))
        for owed in tuple(self.owed):
            if start <= owed[0] and owed[1] <= end:
                self.owe_no_more(*owed)

    def open(self) -> Descriptor:
        """Opens the file for reading; ``NotReadableError`` when it is gone, or another by now."""
        while True:
            places = self._places
            problem = ""
            for place in (*places, places[0]):  # renamed after the first look, it is there at the last
                try:
                    opened = Descriptor(place.path, shared=self._kept)
                except OSError as error:
                    problem = problem or _why(error)
                    continue
                if place.is_that(os.fstat(opened.number)):
                    return opened
                problem = "it was changed or replaced by someone else"
            if self._places is places:  # else it was moved meanwhile
                raise NotReadableError(f"the recording's file {self.path} cannot be read: {problem}")

    def is_at(self, path: str) -> bool:
        """Whether ``path`` is this very file."""
        with suppress(OSError):
            return self._places[0].is_that(os.stat(path))
        return False

    def rename(self, path: str, mode: int) -> bool:
        """Gives the file to ``path`` by its name alone, replacing what is there, and reads from there from now on.
        Returns whether that was possible; the data is on the disk then."""
        with self._moving() as may:
            if not may:
                return False
            before = self._places
            try:
                opened = self.open()
                os.fchmod(opened.number, mode)
                os.fdatasync(opened.number)
                self._places = (before[0]._replace(path=path), *before)
                os.rename(before[0].path, path)
            except (OSError, NotReadableError):
                self._places = before
                return False
            self._settle(path)
        return True

    def replaced_by(self, path: str) -> None:
        """A copy of the whole file is at ``path``: the file is given up, and read from there from now on."""
        with self._moving() as may:
            if may:
                before = self._places[0]
                self._settle(path)
                before.remove()

    @contextmanager
    def _moving(self) -> Iterator[bool]:
        """Whether the file may be moved by this thread, and by no other meanwhile. Whoever may not has a copy of his
        own, and leaves the file."""
        if not self._mover.acquire(blocking=False):
            yield False
            return
        try:
            here = len(self._places) == 1 and self._places[0].changed_ns is None and not self._kept
            yield here and self._owner_pid in (0, os.getpid())
        finally:
            self._mover.release()

    def _settle(self, path: str) -> None:
        """From now on the file is the user's."""
        self._places = (_Place.of(path, os.stat(path), finished=True),)
        self.keep()


class _VeryEnd:
    """Goes when the interpreter clears ``sys``, after all modules. A thread that never ends (a daemon) keeps the
    variables of the program's module, perhaps Blobs that it was still to bring elsewhere: so their files stay, but not
    those that were saved."""

    def __init__(self, files: Living[SpoolFile]) -> None:
        self._files = files

    def __del__(self, lstat: Callable[[str], os.stat_result] = os.lstat) -> None:
        for file in self._files.all():
            try:
                size = lstat(file.path).st_size
            except OSError:
                continue  # it is gone already
            if file.gave(0, size):
                file.__del__()


_files: Living[SpoolFile] = Living()
sys.__dict__["_recsvc_end"] = _VeryEnd(_files)


def _why(error: OSError) -> str:
    if error.errno not in (errno.EMFILE, errno.ENFILE):
        return error.strerror or str(error)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"{error.strerror}; this process may have {limit} (RLIMIT_NOFILE): close some, or raise the limit"
