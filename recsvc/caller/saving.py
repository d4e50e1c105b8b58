"""Places that the user names, and how bytes get there: whole or not at all, shared or copied inside the kernel."""

from __future__ import annotations

import errno
import os
import select
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import ioctl

from .storage import Descriptor

Progress = Callable[[int], None]
"""Called with the number of further bytes that were written."""

_FICLONE = 0x40049409  # linux/fs.h: share the blocks of a file, where the file system can
_PREFIX = ".recsvc-"
_COPY_BYTES = 16 << 20  # at a time, so that progress is seen and an interruption noticed
_READ_BYTES = 1 << 20
# The errors of copy_file_range and sendfile for a pair of files that they cannot serve: another way may do.
_NOT_THIS_WAY = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.ETXTBSY, errno.EAGAIN}
)
_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EROFS})


def final_path(path: str | os.PathLike[str]) -> str:
    """Where a file of this name belongs: the absolute path, links followed as ``open`` does."""
    name = os.path.abspath(os.fspath(path))
    return os.path.realpath(name) if os.path.islink(name) else name


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether a device, a pipe or the like is there, which is written to and never replaced."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


@contextmanager
def replacing(path: str) -> Iterator[int]:
    """A descriptor to write to; at the end of the block that is the file ``path``, on the disk, replacing what was
    there. Nothing happens to it when the block fails."""
    directory = os.path.dirname(path)
    descriptor, temporary = _temporary(directory)
    try:
        try:
            yield descriptor
            os.fchmod(descriptor, new_file_mode())
            sync(descriptor)
            if not temporary:
                temporary = f"{directory}/{_PREFIX}{uuid.uuid4().hex[:12]}"
                # Python follows the link in /proc only where a directory is given, which an absolute path ignores.
                os.link(f"/proc/self/fd/{descriptor}", temporary, src_dir_fd=descriptor, follow_symlinks=True)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(directory)


def _temporary(directory: str) -> tuple[int, str]:
    """A new file there, and its name. It has none where the file system can do that: then nothing of it stays, however
    this process ends."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), ""
    except OSError:
        return tempfile.mkstemp(prefix=_PREFIX, dir=directory)


def clone(source: Descriptor, target: int) -> bool:
    """Makes the whole file ``source`` the content of ``target``, sharing its blocks; whether that was possible."""
    try:
        ioctl(target, _FICLONE, source.number)
    except OSError:
        return False
    return True


def copy(source: Descriptor, start: int, end: int, target: int, progress: Progress) -> None:
    """Copies these bytes to where ``target`` is at; inside the kernel where it can. Blocks on both."""
    ways: list[Callable[[int], int]] = [
        lambda size: os.copy_file_range(source.number, target, size, start),
        lambda size: os.sendfile(target, source.number, start, size),
        lambda size: write_all(target, source.read(start, min(size, _READ_BYTES))),
    ]
    while start < end:
        try:
            copied = ways[0](min(end - start, _COPY_BYTES))
        except OSError as error:
            if len(ways) == 1 or error.errno not in _NOT_THIS_WAY:
                raise
            copied = 0
        if copied:
            start += copied
            progress(copied)
        else:
            del ways[0]


def write_all(descriptor: int, data: bytes) -> int:
    """Writes all of it, waiting where a pipe is full; its length."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # a pipe that somebody else made non-blocking
            select.select([], [descriptor], [])
    return len(data)


def sync(descriptor: int) -> None:
    """What was written is on the disk; where that can be had at all."""
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def sync_directory(path: str) -> None:
    """The names in it are on the disk; no failure, since the file is there in any case."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def new_file_mode() -> int:
    """Of a file that this process makes; reading the mask from the system would change it, for all threads."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("Umask:"):
                return 0o666 & ~int(line.split()[1], 8)
    return 0o644
