"""Pictures at the sending end: each lies once in shared memory for all recordings of its track on this machine."""

from __future__ import annotations

import logging
from collections import deque

from . import messages
from .flow import Interval
from .frames import Picture
from .lending import Writes
from .ring import FrameRing
from .route import Answer, Beginning, Route
from .sender import FrameSender

log = logging.getLogger("recsvc")


class PictureStore:
    """The shared memory of one sender: a ring, and after a larger picture, or an end with pictures unread, another one.

    A slot is held by the picture that is being sent, and by each recording that has not read it yet."""

    def __init__(self, writes: Writes) -> None:
        self.readers: list[PictureRoute] = []
        self.stored: tuple[Picture, FrameRing, int] | None = None  # the picture that is being sent, and its slot
        self._writes = writes
        self._ring: FrameRing | None = None
        self._number = 0

    def ring(self, size: int) -> FrameRing | None:
        """The one for pictures of this size; ``None`` where they have to be part of the messages."""
        if self._ring is None or self._ring.slot_bytes < size:
            if not FrameRing.holds(size):
                return None
            self.leave()
            self._number += 1
            try:
                self._ring = FrameRing(self._number, size)
            except OSError as error:
                log.debug("no shared memory: %s", error)
                return None
        if self._writes.torn:
            self._mend(self._ring)
        return self._ring

    def place(self, ring: FrameRing, picture: Picture) -> int | None:
        """Where the picture lies in this ring, for one more reader; ``None`` where there is no room."""
        stored = self.stored
        if stored is None or stored[0] is not picture:
            if stored is not None:
                self.forget()
            offset = ring.put(memoryview(picture.payload).cast("B"))
            if offset is None:
                return None
            stored = self.stored = picture, ring, offset
        ring.hold(stored[2])
        return stored[2]

    def forget(self) -> None:
        """The picture that was sent goes to no other recording."""
        if self.stored is not None:
            _, ring, offset = self.stored
            self.stored = None
            ring.release(offset)

    def leave(self) -> None:
        """What comes from now on goes into another ring."""
        self.forget()
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _mend(self, ring: FrameRing) -> None:
        """Steps that were left by an exception may have taken slots that nobody reads, and answers that nobody got."""
        self.stored = None
        ring.hold_only([offset for reader in self.readers for _, its, offset in reader.unread if its is ring])
        for reader in self.readers:
            if reader.mapped != reader.announced:
                reader.announced = 0
        self._writes.torn = False


class PictureRoute(Route[Picture]):
    """One recording of a track of pictures."""

    def __init__(self, store: PictureStore, beginning: Beginning) -> None:
        super().__init__(beginning)
        self.announced = self.mapped = 0  # numbers of rings: which the worker was sent last, which it has mapped
        self.unread: deque[tuple[int, FrameRing, int]] = deque()  # sequence and place
        self.store = store
        self._header = messages.VideoFrame(**self._common, pixel_format="", width=1, height=1)
        store.readers.append(self)

    def _take(self, picture: Picture, interval: Interval, muted: bool, size: int) -> Answer:
        if self.unread or self.announced != self.mapped or not self.balance.allows(size):
            self.take_credits()
            if not self.balance.allows(size):
                return self._full()
        header = self._header
        header.ring, header.offset = self._place(picture, size)
        header.pixel_format, header.width, header.height = picture.pixel_format, picture.width, picture.height
        payload = b"" if muted or header.ring else picture.payload
        sent = self._send_frame(header, picture.captured_ns, interval, muted, payload, size)
        return Answer.TAKEN if sent else Answer.UNWANTED

    def _place(self, picture: Picture, size: int) -> tuple[int, int]:
        """Ring and offset, both 0 where the picture is part of the message."""
        socket = self.socket
        ring = self.store.ring(size) if size and self.is_local and socket is not None else None
        if ring is None or socket is None:
            return 0, 0
        if self.announced != ring.number:
            socket.send(messages.encode(ring.announcement(self.name)))
            self.announced = ring.number
        if self.mapped != ring.number:
            return 0, 0
        offset = self.store.place(ring, picture)
        if offset is None:
            return 0, 0
        self.unread.append((self.sequence, ring, offset))
        return ring.number, offset

    def _granted(self, message: messages.Credit | messages.RingReady) -> None:
        super()._granted(message)
        if isinstance(message, messages.RingReady):
            self.mapped = message.ring
        else:
            self._release(message.released)

    def _release(self, sequence: int) -> None:
        """Pictures before this one are read no more."""
        while self.unread and self.unread[0][0] < sequence:
            _, ring, offset = self.unread.popleft()
            ring.release(offset)

    def close(self) -> None:
        if self.unread and not self.dead:
            self.take_credits()
            if self.unread:
                self.store.leave()  # the worker still reads there, and who ends says no more when it is done
        self._release(self.sequence + 1)  # the one too whose sending was interrupted
        if self in self.store.readers:
            self.store.readers.remove(self)
        super().close()


class PictureSender(FrameSender[Picture]):
    """Sends the pictures of one track to all its recordings."""

    _route_class: type[PictureRoute] = PictureRoute

    def __init__(self, when_full: str = "drop") -> None:
        super().__init__(when_full)
        self.store = PictureStore(self._writes)

    def _make_route(self, beginning: Beginning) -> PictureRoute:
        return self._route_class(self.store, beginning)

    def _given(self) -> None:
        if self.store.stored is not None:
            self._writes.step(self.store.forget)

    def _clean(self) -> None:
        super()._clean()
        if self.closed:
            self.store.leave()
