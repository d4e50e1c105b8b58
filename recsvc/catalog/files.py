"""The recordings' files: ranges of them, their sizes, who reads them, what is noted at them, and how they are removed.

A name of a file comes from the controller or from the spool itself, never from a client.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ..common.descriptions import RecordingInfo
from ..common.service_limits import FETCH_PAUSE_NS
from ..errors import NotFoundError, NotReadableError
from ..mux.spool import lock

_NOTE = "user.recsvc.info"
"""An extended attribute: it is written as a whole or not, goes with its file, and leaves the content alone."""
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

_NOTED_ERROR_MAX = 200


class Files:
    """Not thread-safe."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._fetched_ns: dict[str, int] = {}  # when a range of a file was fetched last, of the last minute

    def path(self, file: str) -> Path:
        if not file or file in (".", "..") or "/" in file or "\0" in file:
            raise NotFoundError(f"{file!r} is no file of a recording")
        return self._spool / file

    def size(self, file: str) -> int | None:
        """``None``: it is not there."""
        try:
            return os.lstat(self.path(file)).st_size
        except OSError:
            return None

    def read(self, file: str, start: int, size: int) -> bytes:
        """What is there of these bytes. ``NotFoundError``, ``NotReadableError``."""
        parts = []
        with self._opened(file) as descriptor:
            self._fetched(file)
            while size and (part := os.pread(descriptor, size, start)):
                parts.append(part)
                start, size = start + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _fetched(self, file: str) -> None:
        """Remembered as long as it counts; the newest is the last."""
        now_ns = time.monotonic_ns()
        self._fetched_ns.pop(file, None)
        self._fetched_ns[file] = now_ns
        while now_ns - self._fetched_ns[oldest := next(iter(self._fetched_ns))] >= FETCH_PAUSE_NS:
            del self._fetched_ns[oldest]

    @contextmanager
    def _opened(self, file: str) -> Iterator[int]:
        path = self.path(file)
        try:
            descriptor = os.open(path, _FLAGS)
        except FileNotFoundError:
            raise NotFoundError(f"the recording's file {file} is gone") from None
        except OSError as error:
            raise NotReadableError(f"the recording's file {file} cannot be read: {error.strerror}") from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotReadableError(f"the recording's file {file} cannot be read: it is no regular file")
            yield descriptor
        except OSError as error:
            raise NotReadableError(f"the recording's file {file} cannot be read: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def is_read(self, file: str) -> bool:
        """Whether a client is fetching it, or somebody on this machine has it open with a lock."""
        pause_ns = time.monotonic_ns() - self._fetched_ns.get(file, -FETCH_PAUSE_NS)
        if pause_ns < FETCH_PAUSE_NS:
            return True
        self._fetched_ns.pop(file, None)
        with suppress(NotFoundError, NotReadableError), self._opened(file) as descriptor:
            return not lock(descriptor)
        return False

    def note(self, file: str, info: RecordingInfo) -> bool:
        """Writes what the file does not tell of its recording beside it, as far as there is room for that; whether it
        did. A file system may have none."""
        short = msgspec.structs.replace(info, statistics=None, error=info.error[:_NOTED_ERROR_MAX])
        for one in (info, short):
            with suppress(OSError, NotFoundError):
                os.setxattr(self.path(file), _NOTE, msgspec.msgpack.encode(one), follow_symlinks=False)
                return True
        return False

    def noted(self, file: str) -> RecordingInfo | None:
        """What ``note`` wrote last; ``None`` where there is nothing that can be read."""
        try:
            written = os.getxattr(self.path(file), _NOTE, follow_symlinks=False)
            return msgspec.msgpack.decode(written, type=RecordingInfo)
        except (OSError, NotFoundError, msgspec.MsgspecError):
            return None

    def remove(self, file: str) -> None:
        """Idempotent. ``NotReadableError`` where it cannot be."""
        self._fetched_ns.pop(file, None)
        try:
            os.unlink(self.path(file))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise NotReadableError(f"the recording's file {file} cannot be removed: {error.strerror}") from error

    def free_bytes(self) -> int:
        """What is free where the spool is."""
        return shutil.disk_usage(self._spool).free
