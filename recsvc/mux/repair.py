"""The file under repair."""

import os


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
