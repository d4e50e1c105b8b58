"""A recording's file as its caller holds it: opened while it is read, removed when nobody can read it any more.

A kept Blob costs no descriptor. Nothing here waits for a lock, so that signal handlers and forks find nothing locked.
"""

from __future__ import annotations

import errno
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

_TOO_MANY = frozenset({errno.EMFILE, errno.ENFILE})


class Descriptor:
    """An open file; it is closed with the last who holds this object, so never under a reader."""

    __slots__ = ("number",)

    def __init__(self, path: str) -> None:
        self.number = -1
        self.number = os.open(
            path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        )  # the latter: should it be a pipe by now

    # At the program's end modules are cleared before the last objects: hence functions as defaults, here and below.
    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self.number >= 0:
            close(self.number)

    @property
    def size(self) -> int:
        return os.fstat(self.number).st_size

    def read(self, start: int, size: int) -> bytes:
        return os.pread(self.number, size, start)


class _Place(NamedTuple):
    """Where a file is, and what tells it from another that came in its place; ``changed_ns``: of a finished one."""

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


class SpoolFile:
    """A finished or growing file that Blobs refer to.

    ``owned``: it is removed with the last reference to this object, by this process (not by a fork of it), and only
    if that name is still this file, and this user's. An interpreter that ends drops its objects after everything
    else, the functions of ``atexit`` too, so that whoever has a Blob until then can read it; who is still reading, in
    a thread that never ends, keeps the file.
    """

    def __init__(self, path: str, *, owned: bool, finished: bool = False) -> None:
        self._owner_pid = 0
        self.finished = finished  # it grows no more
        self._holds: list[None] = []
        self._owed: set[tuple[int, int]] = set()
        self._given: list[tuple[int, int]] = []
        try:
            status = os.stat(path, follow_symlinks=not owned)
        except OSError as error:
            raise NotReadableError(f"the recording's file {path} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):
            raise NotReadableError(f"the recording's file {path} cannot be read: it is no regular file")
        self._first = _Place.of(path, status)
        self._places: tuple[_Place, ...] = (self._first,)  # the newest first; two while it is renamed
        self._movable = True
        self._moving = threading.Lock()  # is tried, never waited for
        if owned and status.st_uid == os.geteuid():
            self._owner_pid = os.getpid()
            _files.add(self)

    def __del__(
        self,
        getpid: Callable[[], int] = os.getpid,
        lstat: Callable[[str], os.stat_result] = os.lstat,
        unlink: Callable[[str], None] = os.unlink,
    ) -> None:
        if self._owner_pid and self._owner_pid == getpid() and not self._holds and not self._owed:
            try:
                if self._first.is_that(lstat(self._first.path)):
                    unlink(self._first.path)
            except OSError:
                pass  # it is gone already

    @property
    def path(self) -> str:
        return self._places[0].path

    def keep(self) -> None:
        """It is not removed any more."""
        self._owner_pid = 0

    def hold(self) -> None:
        """It is not removed before ``release()`` was called as often."""
        self._holds.append(None)

    def release(self) -> None:
        self._holds.pop()

    def owe(self, start: int, end: int) -> bool:
        """Who was to have these bytes elsewhere failed: the file is not removed before they were ``given()``. Whether
        that makes a difference."""
        if self._owner_pid != os.getpid() or self.gave(start, end):
            return False
        self._owed.add((start, end))
        return True

    @property
    def is_owed(self) -> bool:
        return bool(self._owed)

    def gave(self, start: int, end: int) -> bool:
        """Whether all these bytes were ``given()``."""
        return any(first <= start and end <= last for first, last in self._given)

    def given(self, start: int, end: int) -> None:
        """These bytes are where they are wanted."""
        if self._given and self._given[-1][0] <= start <= self._given[-1][1]:  # one piece after the other
            first, last = self._given[-1]
            self._given[-1] = start, end = first, max(last, end)
        else:
            self._given.append((start, end))
        for owed in tuple(self._owed):
            if start <= owed[0] and owed[1] <= end:
                self._owed.discard(owed)

    def open(self) -> Descriptor:
        """For one who reads; ``NotReadableError`` when the file is gone, or another by now."""
        while True:
            places = self._places
            problem = ""
            for place in (*places, places[0]):  # renamed after the first look, it is there at the last
                try:
                    opened = Descriptor(place.path)
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
        """Gives the file to ``path`` by its name alone, replacing what is there, and reads from there from now on;
        whether that was possible. It is on the disk then."""
        with self._moved_by_us() as may:
            before = self._places
            if not may or len(before) != 1:
                return False
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
        """A copy of the whole file is at ``path``: it is given up, and read from there from now on."""
        with self._moved_by_us() as may:
            if may:
                self._settle(path)
                with suppress(OSError):
                    if self._first.is_that(os.lstat(self._first.path)):
                        os.unlink(self._first.path)

    @contextmanager
    def _moved_by_us(self) -> Iterator[bool]:
        """Whether it may be moved, and nobody else will meanwhile: who cannot has a copy of his own, and leaves it."""
        if not self._moving.acquire(blocking=False):
            yield False
            return
        try:
            yield self._movable and self._owner_pid in (0, os.getpid())
        finally:
            self._moving.release()

    def _settle(self, path: str) -> None:
        """From now on it is the user's."""
        self._places = (_Place.of(path, os.stat(path), finished=True),)
        self._movable = False
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
    if error.errno not in _TOO_MANY:
        return error.strerror or str(error)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"{error.strerror}; this process may have {limit} (RLIMIT_NOFILE): close some, or raise the limit"
