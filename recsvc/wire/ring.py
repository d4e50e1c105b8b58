"""Pictures of one machine in shared memory: the message says where, the bytes are copied once and never sent.

A ``FrameRing`` is an anonymous file (memfd) of the sender; a worker maps it through the sender's ``/proc`` entry.
Nothing of it has a name in a file system, so nothing stays behind a ``kill -9``. A worker that cannot map it (another
machine, another user, another container) says nothing, and pictures go on inside the messages.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from collections.abc import Sequence

from ..common.limits import RING_BYTES_MAX, VIDEO_CREDIT_FRAMES
from .messages import MessageError, Ring

_PAGE = mmap.PAGESIZE
_TOKEN_BYTES = 16
_SLOTS_KEPT = 10  # more than a recording in real time uses between two credits, unless its encoder is late
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class FrameRing:
    """The sender's side: slots of one size, each free or held by those who still read it. Not thread-safe."""

    def __init__(self, number: int, slot_bytes: int) -> None:
        """Room for pictures of ``slot_bytes``. Memory is taken as slots are first used. Raises ``OSError``."""
        self.number = number
        self.slot_bytes = -(-slot_bytes // _PAGE) * _PAGE
        self._count = min(VIDEO_CREDIT_FRAMES + 2, RING_BYTES_MAX // self.slot_bytes)
        self._token = os.urandom(_TOKEN_BYTES)
        self._size = _PAGE + self._count * self.slot_bytes
        self._descriptor = os.memfd_create("recsvc-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._descriptor, self._size)
            # So that a reader's mapping cannot be pulled from under it.
            fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)
            self._memory = mmap.mmap(self._descriptor, self._size)
        except OSError:
            os.close(self._descriptor)
            raise
        self._memory[:_TOKEN_BYTES] = self._token
        # The slot freed last is used next: it is still in the processor's cache, and few slots are ever touched.
        self._free = list(range(self._count - 1, -1, -1))
        self._holders = [0] * self._count
        self._used: set[int] = set()  # slots that take memory

    @staticmethod
    def holds(payload_bytes: int) -> bool:
        """Whether a ring for pictures of this size is of use."""
        return 0 < payload_bytes <= RING_BYTES_MAX // 2

    def announcement(self, route: str) -> Ring:
        """What a worker needs to map it."""
        return Ring(
            route=route,
            ring=self.number,
            pid=os.getpid(),
            descriptor=self._descriptor,
            size=self._size,
            token=self._token,
        )

    def put(self, payload: memoryview) -> int | None:
        """Copies a picture into a slot, which is then held once; where it begins, or ``None`` when all are held."""
        if not self._free:
            return None
        slot = self._free.pop()
        self._used.add(slot)
        offset = _PAGE + slot * self.slot_bytes
        self._memory[offset : offset + len(payload)] = payload
        self._holders[slot] = 1
        return offset

    def hold(self, offset: int) -> None:
        """One more reads the slot that begins there."""
        self._holders[self._slot(offset)] += 1

    def release(self, offset: int) -> None:
        """One less; with the last the slot is free."""
        slot = self._slot(offset)
        self._holders[slot] -= 1
        if not self._holders[slot]:
            self._free.append(slot)
            has_caught_up = len(self._free) >= self._count - _SLOTS_KEPT // 2
            if len(self._used) > _SLOTS_KEPT and has_caught_up and self._descriptor >= 0:
                self._give_back()

    def _give_back(self) -> None:
        """The memory of the slots that were not used lately, after an encoder was late and has caught up."""
        for slot in self._used.intersection(self._free[:-_SLOTS_KEPT]):
            self._used.discard(slot)
            with contextlib.suppress(OSError):
                self._memory.madvise(mmap.MADV_REMOVE, _PAGE + slot * self.slot_bytes, self.slot_bytes)

    def hold_only(self, offsets: Sequence[int]) -> None:
        """Nobody reads any slot but those that begin there; one that stands there twice has two readers."""
        self._holders = [0] * self._count
        for offset in offsets:
            self._holders[self._slot(offset)] += 1
        self._free = [slot for slot in range(self._count - 1, -1, -1) if not self._holders[slot]]

    def close(self) -> None:
        """No more is written. What is mapped elsewhere stays as long as it is read there. Idempotent."""
        if self._descriptor >= 0:
            self._memory.close()
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        if hasattr(self, "_memory"):
            self.close()

    def _slot(self, offset: int) -> int:
        return (offset - _PAGE) // self.slot_bytes


class RingView:
    """The worker's side: the same memory, to read. It is unmapped when neither this nor a picture of it is held."""

    def __init__(self, announced: Ring) -> None:
        """Maps a sender's ring. Raises ``OSError`` where that is not possible, ``MessageError`` where it is none."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # it may be a pipe or a terminal
        descriptor = os.open(f"/proc/{announced.pid}/fd/{announced.descriptor}", flags)
        try:
            try:
                seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
            except OSError:
                seals = 0  # no memfd
            size = os.fstat(descriptor).st_size
            if seals & _SEALS != _SEALS or size != announced.size:
                raise MessageError(f"no sealed memory of {announced.size} bytes")
            memory = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        if memory[:_TOKEN_BYTES] != announced.token:
            raise MessageError("another ring than the one announced")
        self._view = memoryview(memory)

    def picture(self, offset: int, size: int) -> memoryview:
        """``size`` bytes from ``offset``, read-only, the sender's to change once the frame is released."""
        if not _PAGE <= offset <= len(self._view) - size:
            raise MessageError(f"a picture of {size} bytes at {offset} lies outside its ring of {len(self._view)}")
        return self._view[offset : offset + size]
