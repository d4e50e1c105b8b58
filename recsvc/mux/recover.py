"""recover: completes, in place, the file that a killed worker left behind.

The muxer only appends, a whole cluster or page at a time, and patches its header at the end (``muxer.py``). So what is
left is a header, complete clusters, and perhaps a torn one. Completing it means: cut the torn one off, write what
``finish()`` would have written. That may itself be killed at any point, by a power failure too:
``complete()`` again completes it then. Hence the order of the writes, and a sync wherever one must not
overtake another; the write that makes a file finished is always the last.

Only headers are read, so ten hours take less than a second.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from .. import errors
from .recover_matroska import Matroska
from .recover_ogg import Ogg
from .repair import File
from .spool import FULL, lock

_READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Completed(NamedTuple):
    """A finished file. ``changed``: it was not finished before. ``duration`` in seconds."""

    size: int
    mime_type: str
    duration: float
    changed: bool


def complete(path: str | os.PathLike[str]) -> Completed:
    """Completes an unfinished recording; a finished one is left untouched. Blocks on the disk.

    Raises ``NotFoundError`` (no such file), ``InvalidStateError`` (it is being written or completed right now),
    ``NotReadableError`` (none of ours, nothing recorded in it yet, damaged elsewhere than at its end, or not to
    be written), ``QuotaExceededError`` (the disk is full). Nothing is changed then, but for a full disk: what
    there is stays playable, and a further call goes on.
    """
    path = os.fspath(path)
    with _opened(path) as (file, writable):
        found = Ogg(file) if file.read(0, 4) == b"OggS" else Matroska(file)
        if found.finished:
            return Completed(file.size, found.mime_type, found.duration, False)
        if not writable:
            raise errors.NotReadableError(f"{path} is unfinished and cannot be completed: it may not be written")
        try:
            found.complete()
        except OSError as error:
            kind = errors.QuotaExceededError if error.errno in FULL else errors.NotReadableError
            raise kind(f"{path} cannot be completed: {error.strerror}") from error
        return Completed(file.size, found.mime_type, found.duration, True)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[File, bool]]:
    """The file, locked, and whether it may be written."""
    writable = True
    flags = os.O_CLOEXEC | os.O_NONBLOCK  # the latter: no waiting where it is a pipe
    try:
        try:
            descriptor = os.open(path, os.O_RDWR | flags)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            descriptor, writable = os.open(path, os.O_RDONLY | flags), False
    except (FileNotFoundError, NotADirectoryError):
        raise errors.NotFoundError(f"there is no file {path}") from None
    except OSError as error:
        raise errors.NotReadableError(f"{path} cannot be read: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise errors.NotReadableError(f"{path} is no file")
        if not lock(descriptor):
            raise errors.InvalidStateError(f"{path} is being written right now: it cannot be recovered yet")
        yield File(descriptor, path), writable
    finally:
        os.close(descriptor)
