"""The sending end of the frame path: one ``FrameSender`` per track, one route per recording of it.

Used by the capture process for its sources and by the caller for pushed ones. Frames are sent from the
thread that brings them; nothing is queued here but the short pre-roll and what comes while a route is
still being opened.
"""

from __future__ import annotations

import contextlib
import logging
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from ..common.limits import AUDIO_HOLD_NS, AUDIO_MESSAGE_NS, PREROLL_BYTES_MAX, PREROLL_NS, S
from ..common.media import BYTES_PER_SAMPLE
from . import lending, messages, sockets
from .flow import Interval
from .frames import Block as Block
from .frames import Picture as Picture
from .frames import block_header, picture_header
from .ring import FrameRing
from .route import Joined, Route

log = logging.getLogger("recsvc")

_JOINT_NS = 2_000_000  # blocks whose stamps are this near to where the last one ended follow it; see AUDIO_GAP_NS
_WAIT_MS = 50  # a waiting writer looks again at least this often, in case another thread took its wake-up
_OPENING_MS = 2  # and so often while there is nothing that could wake it


class _Answer(Enum):
    """What became of a frame for one recording."""

    TAKEN = 1
    UNWANTED = 2  # the recording is over
    FULL = 3  # no credit
    NESTED = 4  # a signal handler wrote inside a write of the same thread
    HALTED = 5  # another thread's write is halted by a signal handler


class FrameSender:
    """Sends the frames of one track to all its recordings. Thread-safe.

    ``when_full``: ``"drop"`` drops and counts a frame for which there is no credit, ``"wait"`` blocks.
    ``by_capture_time``: a recording gets the frames *captured* in its window (devices), else those *written*
    in it (pushed frames, whose time stamps are the caller's business).
    """

    def __init__(self, kind: str, *, when_full: str = "drop", by_capture_time: bool = False) -> None:
        self.kind = kind
        self.when_full = when_full
        self.by_capture_time = by_capture_time
        self.muted = False
        self.audio_format: tuple[str, int, int] | None = None  # sample_format, sample_rate, channel_count
        self._routes: dict[str, Route] = {}
        self._lock = threading.RLock()
        self._writer = 0  # the thread that is about to give a route a frame; it holds the lock, or has lent it
        self._torn = False  # it was interrupted since the shared memory was looked through
        self._marks: list[tuple[Route, int, int]] = []  # for the halted write to send
        self._finished: list[Route] = []  # ended while a write was halted, which still has them in hand
        self._counted: dict[str, int] = {}
        self._held: deque[Block] = deque()
        self._preroll: deque[Picture | Block] = deque()
        self._preroll_bytes = 0
        self._ring: FrameRing | None = None
        self._stored: tuple[Any, FrameRing, int] | None = None  # the frame being sent, held once
        self._ring_number = 0
        self._closed = False

    # --- routes -----------------------------------------------------------------------------------

    def prepare(self, route: str, from_ns: int, frames: int, size: int) -> None:
        """Begins to take frames for a route whose endpoint is not known yet; at most the first credit."""
        with self._lock:
            self._routes[route] = Route(route, from_ns, frames, size)
            lending.recorded.add(self)
            if self._closed:
                self.end(route, from_ns)

    def open(self, description: messages.RouteDescription) -> None:
        """Connects a prepared route and sends what it holds, the end of stream too where it has ended already."""
        with self._lock:
            route = self._routes.get(description.route)
            if route is not None:
                route.open(description.endpoint, waits=self.when_full == "wait")
                if route.over:
                    self._forget(route)

    def begin(self, description: messages.RouteDescription, from_ns: int, enabled: bool = True) -> None:
        """``prepare`` and ``open`` at once; frames of the pre-roll captured from ``from_ns`` on are sent too."""
        with self._lock:
            self.prepare(description.route, from_ns, description.credit_frames, description.credit_bytes)
            self.open(description)
            route = self._routes[description.route]
            route.enabled = enabled
            for frame in list(self._preroll):
                self._offer(route, frame, wait=False)
            self._forget_stored()

    def enable(self, route: str, enabled: bool) -> None:
        """A disabled route gets black pictures and silence, of the right length."""
        with self._lock:
            if route in self._routes:
                self._routes[route].enabled = enabled

    def pause(self, route: str, at_ns: int) -> None:
        with self._lock:
            if route in self._routes:
                self._routes[route].window.pause(at_ns)

    def resume(self, route: str, at_ns: int) -> None:
        with self._lock:
            if route in self._routes:
                self._routes[route].window.resume(at_ns)

    def commanded(self, route: str, commands: int, cuts: int) -> None:
        """So many commands the caller has given the recording by now; see ``messages.End``."""
        with self._lock:
            if route in self._routes:
                self._routes[route].commands, self._routes[route].cuts = commands, cuts

    def mark(self, route: str, at_ns: int, cuts: int) -> None:
        """Sends what was captured up to ``at_ns``, or written by now, and behind it the word that ``cuts`` requests for
        data have been made; a write that a signal handler has halted does so at its end. Unknown: nothing happens."""
        with self._lock:
            marked = self._routes.get(route)
            if marked is not None and isinstance(self._write(self._mark, marked, at_ns, cuts), _Answer):
                self._marks.append((marked, at_ns, cuts))

    def end(self, route: str, at_ns: int) -> None:
        """Sends the end of stream behind the last frame and forgets the route; one that is not open yet keeps it until
        then. Unknown or ended: nothing happens."""
        with self._lock:
            ending = self._routes.get(route)
            if ending is None or ending.over:
                return
            ending.settle()
            until_ns, paused_ns = ending.window.end(at_ns)
            ending.last = True
            for block in self._held:
                self._offer(ending, block, wait=False)
            self._send_joined(ending)
            ending.finish(
                messages.End(
                    route=route,
                    count=ending.sequence,
                    until_ns=until_ns,
                    paused_ns=paused_ns,
                    dropped=ending.dropped,
                    counted=self._counted,
                    at_ns=at_ns,
                    sent_ns=time.monotonic_ns(),
                    exact=self.by_capture_time,
                    commands=ending.commands,
                    cuts=ending.cuts,
                )
            )
            if ending.socket is not None:
                self._forget(ending)

    def drop(self, route: str) -> None:
        """Forgets a route whose encoder is gone, and what still waits for it. Unknown: nothing happens."""
        with self._lock:
            dropped = self._routes.get(route)
            if dropped is not None:
                dropped.over = dropped.dead = True
                self._forget(dropped)

    def end_all(self, at_ns: int) -> None:
        with self._lock:
            for route in list(self._routes):
                self.end(route, at_ns)

    def close(self) -> None:
        """Ends what is open at once; a writer that waits gets ``False``."""
        self.end_all(time.monotonic_ns())
        with self._lock:
            self._closed = True
            self._held.clear()
            self._preroll.clear()
            if not self._writer:
                self._clean()

    def _forget(self, route: Route) -> None:
        del self._routes[route.name]
        self._finished.append(route)
        if not self._writer:  # else it is in the midst of using the socket and the memory, and does it then
            self._clean()

    def _clean(self) -> None:
        """Frees what ended routes have held."""
        for route in self._finished:
            if route.in_ring and not route.dead:
                route.take_credits()
                if route.in_ring:
                    self._leave_ring()  # the worker still reads there, and who ends says no more when it is done
            route.close(linger_ms=0 if route.dead else None)
        self._finished = []
        if self._closed:
            self._leave_ring()
        if not self._routes:
            lending.recorded.discard(self)

    # --- frames -----------------------------------------------------------------------------------

    def count(self, cause: str, amount: int = 1) -> None:
        """Adds to a running total that every later header carries."""
        with self._lock:
            self._counted = {**self._counted, cause: self._counted.get(cause, 0) + amount}

    def send(self, frame: Picture | Block) -> bool:
        """Gives one frame to every recording of the track; whether each that wanted it took it, and one did.

        Blocks only with ``when_full="wait"``. An exception of a signal handler leaves the frame in each recording
        or not; everything else is as if the call had not been. A handler that calls this while the same thread is
        inside for the same track has its frame dropped and counted.
        """
        frames: Sequence[Picture | Block] = (frame,)
        if self.by_capture_time:
            with self._lock:
                frames = self._hold(frame)
        routes = list(self._routes.values())
        wait = self.when_full == "wait"
        taken = bool(frames and routes)
        for each in frames:
            for route in routes:
                if not self._offer(route, each, wait=wait):
                    taken = False
        if self._stored is not None:
            self._write(self._forget_stored)
        return taken

    def _hold(self, frame: Picture | Block) -> list[Picture | Block]:
        """What may go now that this frame has come: sound waits until it is old enough to be cut no more."""
        if isinstance(frame, Picture):
            self._keep(frame)
            return [frame]
        assert self.audio_format is not None
        sample_rate = self.audio_format[1]
        self._held.append(frame)
        newest_ns = frame.captured_ns + frame.sample_count * S // sample_rate
        released: list[Picture | Block] = []
        while self._held:
            oldest = self._held[0]
            if oldest.captured_ns + oldest.sample_count * S // sample_rate > newest_ns - AUDIO_HOLD_NS:
                break
            self._keep(oldest)
            released.append(self._held.popleft())
        return released

    def _keep(self, frame: Picture | Block) -> None:
        self._preroll.append(frame)
        self._preroll_bytes += len(frame.payload)
        oldest_ns = frame.captured_ns - PREROLL_NS
        while self._preroll and (self._preroll[0].captured_ns < oldest_ns or self._preroll_bytes > PREROLL_BYTES_MAX):
            self._preroll_bytes -= len(self._preroll.popleft().payload)

    def _offer(self, route: Route, frame: Picture | Block, *, wait: bool) -> bool:
        if not self.by_capture_time:
            interval = route.window.current
            return interval.until_ns is None and self._offer_part(route, frame, interval, wait)
        with self._lock:
            parts = self._parts(route, frame)
        return bool(parts) and all([self._offer_part(route, part, interval, wait) for part, interval in parts])

    def _parts(
        self, route: Route, frame: Picture | Block, end: int | None = None
    ) -> list[tuple[Picture | Block, Interval]]:
        """What of a frame a recording wants by capture time and has not been given yet, of sound the first ``end``
        samples; each with its interval."""
        if isinstance(frame, Picture):
            interval = route.window.interval_of(frame.captured_ns)
            return [] if interval is None else [(frame, interval)]
        assert self.audio_format is not None
        sample_format, sample_rate, channel_count = self.audio_format
        width = BYTES_PER_SAMPLE[sample_format] * channel_count
        parts: list[tuple[Picture | Block, Interval]] = []
        count = frame.sample_count if end is None else end
        wanted = route.window.cut(frame.captured_ns, count, sample_rate, self._given(route, frame))
        for first, end, at_ns, interval in wanted:
            payload = frame.payload
            if (first, end) != (0, frame.sample_count):
                payload = bytes(memoryview(payload)[first * width : end * width])
            parts.append((Block(at_ns, payload, end - first), interval))
        return parts

    def _offer_part(self, route: Route, frame: Picture | Block, interval: Interval, wait: bool) -> bool:
        while True:
            taken = self._write(self._take, route, frame, interval)
            if taken is _Answer.TAKEN:
                return True
            if taken is _Answer.UNWANTED:
                return False
            if taken is _Answer.NESTED or not wait:
                amount = frame.sample_count if isinstance(frame, Block) else 1
                route.count_drop("queue_full" if taken is _Answer.FULL else "interrupted", amount)
                return False
            waiter = select.poll()
            socket = route.socket
            with contextlib.suppress(sockets.ZMQError):  # it may be closed at this moment
                if socket is not None:
                    waiter.register(sockets.file_descriptor(socket), select.POLLIN)
            waiter.poll(_OPENING_MS if socket is None or taken is _Answer.HALTED else _WAIT_MS)

    def _write(self, step: Callable[..., Any], *given: Any) -> Any:
        """A step of a write, under the lock. While it is halted by a signal handler nobody else takes such a step,
        though the lock may be lent (``lend``)."""
        me = threading.get_ident()
        with self._lock:
            if self._writer:
                return _Answer.NESTED if self._writer == me else _Answer.HALTED
            try:
                self._writer = me  # no handler has run since the lock was taken
                result = step(*given)
            except BaseException:
                self._torn = True
                raise
            finally:
                try:
                    if not self._lock._is_owned():  # type: ignore[attr-defined]
                        lending.take_back([self])  # who had it lent was interrupted in the midst
                finally:
                    try:
                        while self._marks:
                            self._mark(*self._marks.pop(0))
                    finally:
                        self._writer = 0
                        if self._finished:
                            self._clean()
        return result

    def _take(self, route: Route, frame: Picture | Block, interval: Interval) -> _Answer:
        route.settle()
        if route.over:
            return _Answer.UNWANTED
        muted = self.muted or not route.enabled
        size = 0 if muted else len(frame.payload)
        joined = route.joined
        if joined is not None:
            answer = self._join(route, joined, frame, interval, muted, size)  # type: ignore[arg-type]
            if answer is not None:
                return answer
        if route.in_ring or route.ring_told != route.ring_ready or not route.balance.allows(size):
            route.take_credits()
        if not route.balance.allows(size):
            return _Answer.FULL
        if isinstance(frame, Block):
            joined = Joined(frame.captured_ns, interval, muted, frame.payload, frame.sample_count, size)
            if route.over:  # looked at last, and no handler runs between this and what follows
                return _Answer.UNWANTED
            route.joined = joined
            self._send_joined(route, unless_short=True)
            return _Answer.TAKEN
        place = self._place(route, frame) if size else None
        header = self._header(route, frame, interval, muted, place)
        sent = route.send(header, b"" if muted or place else frame.payload, size)
        return _Answer.TAKEN if sent else _Answer.UNWANTED

    def _mark(self, route: Route, at_ns: int, cuts: int) -> None:
        route.settle()
        given = []
        for block in self._held:  # none where frames are not cut by capture time
            until = (at_ns - block.captured_ns) * self.audio_format[1] // S + 1  # type: ignore[index]
            end = max(min(until, block.sample_count), self._given(route, block))
            for part, interval in self._parts(route, block, end):
                if self._take(route, part, interval) is _Answer.FULL:
                    route.count_drop("queue_full", part.sample_count)  # type: ignore[union-attr]
            given.append((block, end))
            if end < block.sample_count:
                break  # by their order, not by their stamps: these may overlap
        route.given = given
        self._send_joined(route)
        interval = route.window.current
        until_ns = at_ns if interval.until_ns is None else min(at_ns, interval.until_ns)
        mark = messages.Mark(
            route=route.name, cuts=cuts, recorded_ns=until_ns - interval.paused_ns, exact=self.by_capture_time
        )
        route.tell(messages.encode(mark))

    @staticmethod
    def _given(route: Route, block: Block) -> int:
        """How many samples of a block that is held were given to a request for data."""
        return next((end for one, end in route.given if one is block), 0)

    def _join(
        self, route: Route, joined: Joined, block: Block, interval: Interval, muted: bool, size: int
    ) -> _Answer | None:
        """Adds a block to the sound that waits, which goes once it is long enough; ``None`` where it does not follow
        it, or there is no room: then what waited has gone. What was added once is as good as sent."""
        assert self.audio_format is not None
        off_ns = block.captured_ns - joined.captured_ns - joined.sample_count * S // self.audio_format[1]
        follows = -_JOINT_NS <= off_ns <= _JOINT_NS and interval is joined.interval and muted == joined.muted
        fits = follows and route.balance.allows(joined.size + size)
        if fits:
            if route.over:
                return _Answer.UNWANTED
            joined.payloads.append(block.payload)
            joined.sample_count += block.sample_count
            joined.size += size
        self._send_joined(route, unless_short=fits)
        return _Answer.TAKEN if fits else None

    def _send_joined(self, route: Route, *, unless_short: bool = False) -> None:
        joined = route.joined
        if joined is None:
            return
        if unless_short and joined.sample_count * S < AUDIO_MESSAGE_NS * self.audio_format[1]:  # type: ignore[index]
            return
        payload = joined.payload()
        sample_format, _, channel_count = self.audio_format  # type: ignore[misc]
        sample_count = len(payload) // (BYTES_PER_SAMPLE[sample_format] * channel_count)
        block = Block(joined.captured_ns, payload, sample_count)
        header = self._header(route, block, joined.interval, joined.muted, None)
        route.send(header, b"" if joined.muted else payload, 0 if joined.muted else len(payload))

    def _header(
        self, route: Route, frame: Picture | Block, interval: Interval, muted: bool, place: tuple[int, int] | None
    ) -> bytes:
        since = interval.from_ns if self.by_capture_time else 0, interval.paused_ns
        if isinstance(frame, Picture):
            return picture_header(route, frame, since, muted, self._counted, place)
        return block_header(route, frame, since, muted, self._counted, self.audio_format)

    # --- shared memory ----------------------------------------------------------------------------

    def _place(self, route: Route, picture: Picture) -> tuple[int, int] | None:
        """Puts a picture into the ring, once for all its recordings: the ring's number and the offset; ``None`` where
        it has to be part of the message."""
        size = len(picture.payload)
        if route.socket is None or not FrameRing.holds(size):
            return None
        if self._ring is None or self._ring.slot_bytes < size:
            self._leave_ring()
            self._ring_number += 1
            try:
                self._ring = FrameRing(self._ring_number, size)
            except OSError as error:
                log.debug("no shared memory: %s", error)
                return None
        ring = self._ring
        if self._torn:
            self._mend_ring(ring)
        if route.ring_told != ring.number:
            route.socket.send(messages.encode(ring.announcement(route.name)))
            route.ring_told = ring.number
        if route.ring_ready != ring.number:
            return None
        stored = self._stored
        if stored is None or stored[0] is not picture:
            self._forget_stored()
            put = ring.put(memoryview(picture.payload).cast("B"))
            if put is None:
                return None
            stored = self._stored = picture, ring, put
        offset = stored[2]
        ring.hold(offset)
        route.in_ring.append((route.sequence, ring, offset))
        return ring.number, offset

    def _mend_ring(self, ring: FrameRing) -> None:
        """Interrupted writes may have taken slots that nobody reads, and answers that nobody got."""
        self._stored = None
        ring.hold_only([offset for route in self._routes.values() for _, its, offset in route.in_ring if its is ring])
        for route in self._routes.values():
            if route.ring_ready != route.ring_told:
                route.ring_told = 0
        self._torn = False

    def _forget_stored(self) -> None:
        if self._stored is not None:
            _, ring, offset = self._stored
            self._stored = None
            ring.release(offset)

    def _leave_ring(self) -> None:
        """What comes from now on goes into another ring."""
        self._forget_stored()
        if self._ring is not None:
            self._ring.close()
            self._ring = None
