"""How frames come into a worker: its data socket, the routes that are open, and the credits that go back.

What cannot be accepted is refused, counted and answered; what can goes to the scheduler.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from ..common.clocks import Translation
from ..common.codecs import frames_of
from ..common.complaints import Complaints
from ..common.limits import UNFED_SILENCE_NS
from ..common.permissions import RECORD
from ..common.service_limits import AUDIO_LINE_NS, AUDIO_LINE_ROUTES, AUDIO_MESSAGE_MANY_NS, ROUTES_FEW
from ..wire import messages, sockets
from ..wire.gate import Gate
from ..wire.ring import RingView
from .foreign import ForeignTimes
from .recording import Recording
from .route import Route
from .scheduler import Scheduler

log = logging.getLogger("recsvc.encode")

_MESSAGES_PER_TURN = 64
"""Data messages that are taken before the next frame is encoded."""

_GONE_MAX = 64
"""The newest routes that have ended, of which a message may still be on its way."""


class Intake:
    """Owns the data socket. Not thread-safe: the worker's loop calls it."""

    def __init__(
        self,
        endpoints: tuple[str, str],
        gate: Gate,
        scheduler: Scheduler[tuple[Any, Any]],
        on_failure: Callable[[Recording, Exception], None],
        line_ns: int = 0,
    ) -> None:
        """``endpoints``: for senders of this machine, and for others (``""``: none). ``on_failure(recording, error)``
        ends a recording whose frame could not be taken. ``line_ns``: see ``messages.Credit``."""
        self.socket, self.endpoints = sockets.data_server(*endpoints, gate.secret)
        self._send = sockets.sending(self.socket)
        self._gate = gate
        self.routes: dict[str, Route] = {}
        self._clocks: dict[str, Translation] = {}  # of senders whose clock is not ours, by recording
        self._scheduler = scheduler
        self._on_failure = on_failure
        self._gone: deque[str] = deque(maxlen=_GONE_MAX)
        self.refused = gate.refused
        self.frames_done = 0  # of all routes there have been
        self._line_ns, self._opened = line_ns, 0
        self._complaints = Complaints(log)
        self._unfed: dict[str, tuple[messages.CloseRoutes, int, int]] = {}
        """Routes that are to end, how many frames of each had come, and when that was."""

    def expected(self, more: int) -> int:
        """Descriptors that are still to come: a connection and a ring for each route that nobody feeds yet, ``more``
        of which are to be opened, and their file."""
        return 1 + 2 * (more + sum(route.identity is None for route in self.routes.values()))

    def open(self, recording: Recording, request: messages.OpenRecording) -> None:
        """Takes the frames of a recording's routes from now on."""
        clock = Translation(request.clock)
        is_spare = request.options.overload == "finish-late" or any(
            track.settings.get("clock") == "media" for track in request.tracks
        )
        for name, track in zip(request.routes, request.tracks, strict=True):
            route = self.routes[name] = Route(recording, name, frames_of(track))
            route.line_ns = self._opened // AUDIO_LINE_ROUTES * AUDIO_LINE_NS % AUDIO_MESSAGE_MANY_NS
            self._opened += route.expected is messages.AudioFrame
            self._scheduler.add(name, recording.name, partial(recording.reached_by, name), spare=is_spare)
            if request.clock and not track.captured:
                self._clocks[recording.name] = clock
                route.times = ForeignTimes(clock, recording.tracks[name].clock.is_media)

    def translate(self, request: messages.TranslateClock) -> None:
        """The clock of a recording's sender goes on otherwise than before."""
        if request.recording in self._clocks:
            self._clocks[request.recording].add(request.segment)

    def close(self, recording: Recording) -> None:
        """Forgets its routes, and the frames of them that are not encoded yet."""
        self._clocks.pop(recording.name, None)
        for name in recording.tracks:
            self._scheduler.remove(name)
            del self.routes[name]
            self._gone.append(name)

    def close_socket(self) -> None:
        """Takes nothing more. An open socket would hold the process's end up."""
        self.socket.close()
        self._gate.close()

    def take(self) -> None:
        for _ in range(_MESSAGES_PER_TURN):
            self.handle(sockets.receive_frame(self.socket))
            if not sockets.readable(self.socket):
                return

    def handle(self, parts: list[Any]) -> None:
        """A message that came. Where we make a mistake with it, it is refused: the recordings of all go on."""
        try:
            self._accept(parts)
        except messages.MessageError as error:
            self._refuse(parts, str(error))
        except Exception:
            log.exception("a data message could not be taken")
            self._refuse(parts, "an internal error of the worker, see its log")

    def _accept(self, parts: list[Any]) -> None:
        if len(parts) < 2:
            raise messages.MessageError("an empty message: expected identity, header and at most one payload")
        del parts[1:-2]  # a sender that was interrupted in the midst of a frame begins it again
        message = messages.DATA.decode(parts[1].buffer)
        route = self.routes.get(message.route)
        if route is None:
            if message.route in self._gone:
                if isinstance(message, messages.End):
                    self._answer(parts[0], messages.Ended(route=message.route))
                return  # it was on its way when its recording failed
            raise messages.MessageError(f"route {message.route!r} is not open here")
        if parts[0] != route.identity:
            self._attach(parts, route)
        if route.closed:
            return
        if route.times is not None:
            route.times.translate(message)
        if not isinstance(message, messages.FrameHeader):
            self._accept_control(parts[0], message.route, route, message)
            return
        if len(parts) != 3:
            raise messages.MessageError("a frame without its payload")
        if not isinstance(message, route.expected):
            raise messages.MessageError(f"a frame of another kind on a route for {route.expected.__name__}s")
        payload = parts[2].buffer
        if isinstance(message, messages.VideoFrame) and message.ring:
            if (ring := route.rings.get(message.ring)) is None:
                raise messages.MessageError(f"a picture in ring {message.ring}, which is not open here")
            payload = ring.picture(message.offset, message.payload_bytes())
        else:
            messages.check_payload(message, len(payload))
        if not route.came(message, len(payload)):
            return
        try:
            ready = route.recording.arrived(message.route, message, payload)
        except Exception as error:
            self._on_failure(route.recording, error)
            return
        for name, frame in ready:
            self._scheduler.push(name, frame)
        if not ready and len(payload) > route.window_bytes // 4:  # its sender may have no room for another
            self.push_waited(message.route)

    def _attach(self, parts: list[Any], route: Route) -> None:
        """Credits go where the route's messages come from, another connection after the first was cut; but only its
        owner's."""
        peer = self._gate.peer(parts[1])
        if not peer.owns(route.recording.owner) or not peer.has(RECORD):
            raise messages.MessageError(f"the route belongs to another key than {peer}'s")
        route.identity, route.is_local = parts[0], peer.is_local
        route.key = sockets.property_of(parts[1], "User-Id")

    def _accept_control(self, identity: bytes, name: str, route: Route, message: Any) -> None:
        """``Attach``, ``Ring``, ``Mark`` or ``End``."""
        if isinstance(message, messages.Attach):
            route.identity, route.waits = identity, message.waits
            route.sent(message, is_idle=not self._scheduler.waiting(name))
            self._send_credit(name, route)
        elif isinstance(message, messages.Ring):
            if not route.is_local:
                raise messages.MessageError("shared memory is taken from this machine alone")
            self._map_ring(route, message)
        else:
            if isinstance(message, messages.End) and identity and not route.is_local:
                self._answer(identity, messages.Ended(route=name))
            if route.ends:
                return  # it comes again, since its sender has not had the answer
            route.ends = isinstance(message, messages.End)
            self.push_waited(message.route)
            if message.route not in self.routes:
                return
            self._scheduler.push(message.route, (message, None))
            if route.ends:
                self._scheduler.stop(message.route)

    def push_waited(self, name: str, now_ns: int | None = None) -> None:
        """Frames that wait for others to confirm their time stamps: all of them, or at ``now_ns`` those overdue."""
        recording = self.routes[name].recording
        try:
            waited = recording.waited(name, now_ns)
        except Exception as error:
            self._on_failure(recording, error)
            return
        for ready, frame in waited:
            self._scheduler.push(ready, frame)

    def end_unfed(self, request: messages.CloseRoutes) -> None:
        """Nobody feeds these routes any more: each ends after the last frame that is still under way."""
        now_ns = time.monotonic_ns()
        for name in request.routes:
            if name in self.routes:
                self._unfed[name] = request, self.routes[name].received, now_ns

    def look(self, now_ns: int) -> None:
        """Ends such routes of which nothing came for a while, if no end of stream did."""
        for name, (request, received, since_ns) in list(self._unfed.items()):
            route = self.routes.get(name)
            if route is None or route.ends:
                del self._unfed[name]
                continue
            if route.received != received and not request.goes_on:
                self._unfed[name] = request, route.received, now_ns
                continue
            if now_ns - since_ns < UNFED_SILENCE_NS or (not request.goes_on and sockets.readable(self.socket)):
                continue
            del self._unfed[name]
            account, until_ns = route.track.account, request.until_ns
            end = messages.End(route=name, count=route.received, until_ns=until_ns, at_ns=until_ns, sent_ns=now_ns)
            end.paused_ns, end.dropped, end.counted = request.paused_ns, account.sender_dropped, account.sender_counted
            route.recording.incomplete = request.reason
            self._accept_control(b"", name, route, end)
            route.closed = request.goes_on

    def settle(self, now_ns: int) -> None:
        """Nothing waits to be encoded: frames that waited too long for others go on, and senders get what they may send
        by now, unless they send all the time."""
        for name, route in list(self.routes.items()):
            if name in self.routes:  # as long as none of its recording failed
                self.push_waited(name, now_ns)
            if route.frames_done > route.frames_granted and route.received == route.seen:
                self._send_credit(name, route)
            route.seen = route.received

    def _answer(self, identity: bytes, message: messages.Message) -> None:
        with contextlib.suppress(sockets.ZMQError):  # the sender is gone
            self.socket.send_multipart([identity, messages.encode(message)], sockets.NOBLOCK)

    def _map_ring(self, route: Route, message: messages.Ring) -> None:
        """A route has one ring at a time; pictures that wait keep an older one mapped."""
        route.rings.clear()
        try:
            route.rings[message.ring] = RingView(message)
        except (OSError, messages.MessageError) as error:
            log.debug("the pictures of %s come inside the messages: %s", message.route, error)
            return
        if route.identity is not None:
            self._answer(route.identity, messages.RingReady(route=message.route, ring=message.ring))

    def _refuse(self, parts: list[Any], reason: str) -> None:
        self.refused["data"] += 1
        route, is_frame = "", False
        with contextlib.suppress(messages.MessageError, IndexError):
            message = messages.DATA.decode(parts[1].buffer)
            route, is_frame = message.route, isinstance(message, messages.FrameHeader)
        known = self.routes.get(route)
        if known is not None and is_frame and known.identity == parts[0]:
            known.recording.tracks[route].account.drop("refused", 1)
            known.recording.tracks[route].account.received += 1
            known.received += 1
            self.consumed(route, known, 0)
        peer = self._gate.peer(parts[-1]) if len(parts) > 1 else ""
        subject = f"{peer} {route if known is not None else ''}"
        self._complaints.about(subject, f"a data message was refused ({self.refused['data']} so far): {reason}")
        self._answer(parts[0], messages.Refused(route=route, reason=reason))

    def consumed(self, name: str, route: Route, size: int) -> None:
        """Grants what was consumed. The sender gets its credit in steps."""
        route.frames_done += 1
        self.frames_done += 1
        route.bytes_done += size
        if route.credit_is_due(self._scheduler.waiting(name)):
            self._send_credit(name, route)

    def _send_credit(self, name: str, route: Route) -> None:
        if not self._gate.lets_in(route.key):
            route.identity = None  # so that the next message is judged, as that of another connection
        if route.identity is None:
            return
        route.frames_granted, route.bytes_granted = route.frames_done, route.bytes_done
        credit = messages.Credit(
            route=name,
            frames=route.window + route.frames_done,
            bytes=route.window_bytes + route.bytes_done,
            released=route.released,
            message_ns=AUDIO_MESSAGE_MANY_NS if len(self.routes) > ROUTES_FEW else 0,
            line_ns=self._line_ns + route.line_ns,
        )
        try:
            self._send(route.identity, sockets.NOBLOCK | sockets.SNDMORE)
            self._send(messages.encode(credit), sockets.NOBLOCK)
        except sockets.ZMQError as error:
            log.debug("credit for %s could not be sent: %s", name, error)
