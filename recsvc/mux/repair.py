"""The file under repair."""

import os
from collections.abc import Callable

from ..errors import NotReadableError


class File:
    """Every access to a file that is completed."""

    def __init__(self, descriptor: int, path: str) -> None:
        self.path = path
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, at: int, size: int) -> bytes:
        """What is there of these bytes."""
        return os.pread(self._descriptor, size, at)

    def write(self, at: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self._descriptor, memoryview(data)[done:], at + done)
        self.size = max(self.size, at + len(data))

    def cut(self, size: int) -> None:
        if size != self.size:
            os.ftruncate(self._descriptor, size)
            self.size = size

    def sync(self) -> None:
        """What was written before this call is on the disk before anything that is written after it."""
        os.fdatasync(self._descriptor)

    def check_torn(self, end: int, size_max: int, mark: bytes, is_whole: Callable[[int], bool]) -> None:
        """What is cut off after ``end`` must be what a kill leaves, not the rest of a recording after a bad spot:
        ``NotReadableError`` where more than ``size_max`` bytes come, or anything whole that begins with this mark."""
        is_too_much = self.size - end > size_max
        torn = b"" if is_too_much else self.read(end, size_max)
        at = torn.find(mark, 1)
        while at >= 0 and not is_whole(end + at):
            at = torn.find(mark, at + 1)
        if is_too_much or at >= 0:
            raise NotReadableError(
                f"{self.path} is damaged at byte {end}, and media follow after that: it is left as it is"
            )
