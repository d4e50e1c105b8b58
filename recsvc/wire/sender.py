"""The sending end of the frame path: one sender per track, which has one route per recording of it.

Used by the capture process for its sources and by the caller for pushed ones. Frames are sent from the thread that
brings them.
"""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Iterable
from typing import Generic

from ..common.limits import WRITER_BLIND_LOOK_MS, WRITER_LOOK_MS
from ..common.service import ServiceAddress
from . import messages, sockets
from .flow import Interval
from .frames import F
from .lending import Busy, Writes
from .route import Answer, Beginning, Route, Shared


class FrameSender(Generic[F]):
    """Sends the frames of one track to all its recordings. Thread-safe.

    ``when_full``: ``"drop"`` drops and counts a frame for which there is no credit, ``"wait"`` blocks.
    """

    def __init__(self, when_full: str = "drop") -> None:
        self.closed = False
        self._waits = when_full == "wait"
        self._writes = Writes()
        self._shared = Shared()
        self._routes: dict[str, Route[F]] = {}
        self._finished: list[Route[F]] = []  # those that a halted write may still have in hand

    def _make_route(self, beginning: Beginning) -> Route[F]:
        """One for this kind of frame."""
        raise NotImplementedError

    # --- routes -----------------------------------------------------------------------------------

    def prepare(self, route: str, from_ns: int, frames: int, size: int) -> None:
        """Begins to take frames for a route whose endpoint is not known yet; at most the first credit."""
        with self._writes.lock:
            self._routes[route] = self._make_route(Beginning(self._shared, route, from_ns, frames, size))
            if self.closed:
                self.end(route, from_ns)

    def open(self, name: str, address: ServiceAddress) -> None:
        """Connects a prepared route and sends what it holds, the end of stream too where it has ended already."""
        with self._writes.lock:
            route = self._routes.get(name)
            if route is not None:
                route.open(address, waits=self._waits)
                if route.over:
                    self._forget(route)

    def begin(self, description: messages.RouteDescription, from_ns: int, enabled: bool = True) -> None:
        """``prepare`` and ``open`` at once; of a device also what was captured from ``from_ns`` on and came before."""
        with self._writes.lock:
            self.prepare(description.route, from_ns, description.credit_frames, description.credit_bytes)
            self.enable(description.route, enabled)
            self.open(description.route, ServiceAddress(description.endpoints[0]))

    def enable(self, route: str, enabled: bool) -> None:
        """A disabled route gets black pictures and silence, of the right length."""
        with self._writes.lock:
            if route in self._routes:
                self._routes[route].enabled = enabled

    def mute(self, muted: bool) -> None:
        """The same for all routes."""
        self._shared.muted = muted

    def pause(self, route: str, at_ns: int) -> None:
        with self._writes.lock:
            if route in self._routes:
                self._routes[route].window.pause(at_ns)
                if self._waits:
                    self._writes.soon(self._routes[route].flush)  # nothing may follow for long

    def resume(self, route: str, at_ns: int) -> None:
        with self._writes.lock:
            if route in self._routes:
                self._routes[route].window.resume(at_ns)

    def mark(self, route: str, at_ns: int, number: int) -> None:
        """Sends what was captured up to ``at_ns``, or written by now, and after it the mark of this request for data;
        a write that a signal handler has halted does so at its end. Unknown: nothing happens."""
        with self._writes.lock:
            if route in self._routes:
                self._writes.soon(self._routes[route].mark, at_ns, number)

    def end(self, route: str, at_ns: int) -> None:
        """Sends the end of stream after the last frame and forgets the route; one that is not open yet keeps it until
        then. Unknown or ended: nothing happens."""
        with self._writes.lock:
            ending = self._routes.get(route)
            if ending is not None and not ending.over:
                ending.end(at_ns)
                if ending.socket is not None:
                    self._forget(ending)

    def drop(self, route: str) -> None:
        """Forgets a route whose encoder is gone, and what still waits for it. Unknown: nothing happens."""
        with self._writes.lock:
            dropped = self._routes.get(route)
            if dropped is not None:
                dropped.over = dropped.dead = True
                self._forget(dropped)

    def end_all(self, at_ns: int) -> None:
        with self._writes.lock:
            for route in list(self._routes):
                self.end(route, at_ns)

    def close(self) -> None:
        """Ends what is open at once; a writer that waits gets ``False``."""
        self.end_all(time.monotonic_ns())
        self.closed = True
        self._writes.soon(self._clean)

    def _forget(self, route: Route[F]) -> None:
        del self._routes[route.name]
        self._finished.append(route)
        self._writes.soon(self._clean)

    def _clean(self) -> None:
        """Frees what ended routes have held."""
        while self._finished:
            self._finished[0].close()
            del self._finished[0]

    @property
    def recorded(self) -> bool:
        """Whether the track has recordings."""
        return bool(self._routes)

    @property
    def wants(self) -> bool:
        """Whether one of them is not paused."""
        with self._writes.lock:
            return any(route.window.current.until_ns is None for route in self._routes.values())

    # --- frames -----------------------------------------------------------------------------------

    def count(self, cause: str, amount: int = 1) -> None:
        """Adds to a running total of each recording that there is now, which its later headers carry."""
        with self._writes.lock:
            for route in self._routes.values():
                route.counted[cause] += amount

    def send(self, frame: F) -> bool:
        """Gives one frame to every recording of the track; whether each that wanted it took it, and one did.

        Blocks only with ``when_full="wait"``. An exception of a signal handler leaves the frame in each recording
        or not; everything else is as if the call had not been. A handler that calls this while the same thread is
        inside for the same track has its frame dropped and counted.
        """
        return self._give(list(self._routes.values()), frame)

    def _give(self, routes: Iterable[Route[F]], frame: F) -> bool:
        taken = refused = False
        for route in routes:
            for part, interval in route.wanted(frame):
                answer = self._offer(route, part, interval)
                if answer is Answer.TAKEN:
                    taken = True
                elif answer is not Answer.UNWANTED:
                    refused = True
        self._given()
        return taken and not refused

    def _given(self) -> None:
        """A frame has gone to all that wanted it."""

    def _offer(self, route: Route[F], frame: F, interval: Interval) -> Answer | Busy:
        while True:
            answer = self._writes.step(route.take, frame, interval)
            if answer is Answer.TAKEN or answer is Answer.UNWANTED:
                return answer
            if answer is Busy.NESTED or not self._waits:
                route.drop("queue_full" if answer is Answer.FULL else "interrupted", frame.units)
                return answer
            waiter = select.poll()
            socket = route.socket
            with contextlib.suppress(sockets.ZMQError):  # it may be closed at this moment
                if socket is not None:
                    waiter.register(sockets.file_descriptor(socket), select.POLLIN)
            waiter.poll(WRITER_BLIND_LOOK_MS if socket is None or answer is Busy.HALTED else WRITER_LOOK_MS)
