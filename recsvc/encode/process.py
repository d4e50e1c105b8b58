"""The encoder worker: frames in from ZeroMQ, spool files out. One loop, one thread.

The loop takes every message that is there, then encodes the one frame the scheduler names, then looks again:
a command waits for at most one frame's encoding. In real time the loop wakes into cold caches, where each line costs
many times what it costs in a tight loop: the way of a frame has as few of them as it can.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from .. import errors
from ..common.complaints import Complaints
from ..common.limits import (
    CREDIT_STEP_BYTES,
    DRAIN_DEADLINE_NS,
    IDLE_FLUSH_NS,
    RECORDINGS_PER_WORKER_MAX,
    UNFED_SILENCE_NS,
    credit,
)
from ..mux.recover import complete
from ..process.role import Lifeline, arguments, started
from ..process.runtime import join
from ..wire import messages, sockets
from ..wire.answers import LATER, take_requests
from ..wire.line import Line
from ..wire.ring import RingView
from .account import units_of
from .recording import Recording
from .scheduler import Scheduler

log = logging.getLogger("recsvc.encode")

_MESSAGES_PER_TURN = 64  # data messages taken before the next frame is encoded
_TURN_NS = 200_000  # frames that are encoded sooner do not end a turn: sound that makes no packet, ends of stream
_FREE_AFTER_MS = 5  # of idleness: finished recordings' encoders
_GONE_MAX = 64  # the newest routes that have ended, of which a message may still be on its way
_FINISHED_MAX = 8  # recordings that wait for that; then one is freed although others wait


class _Route:
    """The worker's side of a route: what was granted, where the credits go."""

    def __init__(self, recording: Recording, name: str, kind: str) -> None:
        self.recording = recording
        self.track = recording.tracks[name]
        self.expected = messages.VideoFrame if kind == "video" else messages.AudioFrame
        self.identity: bytes | None = None
        self.received = 0
        self.newest = -1  # the number of the frame that came last
        self.window, self.window_bytes = credit(kind, recording.options.overload)
        self.frames_done = 0
        self.bytes_done = 0
        self.frames_told = self.bytes_told = 0
        self.released = 0
        self.waits = False
        self.ends = False  # its end of stream has come
        self.rings: dict[int, RingView] = {}


class Worker:
    """Owns the sockets, the scheduler and the recordings of this process."""

    def __init__(self, line: Line, data_endpoint: str, lifeline: Lifeline) -> None:
        self._lifeline = lifeline
        self._line = line
        self._data, endpoint = sockets.data_server(data_endpoint)
        self._scheduler: Scheduler[tuple[Any, Any]] = Scheduler()
        self._recordings: dict[str, Recording] = {}
        self._routes: dict[str, _Route] = {}
        self._gone: deque[str] = deque(maxlen=_GONE_MAX)  # routes whose recordings have ended
        self._refused = 0
        self._complaints = Complaints(log)
        self._finished: deque[Recording] = deque()  # whose encoders are still to be freed
        self._ending_ns: int | None = None  # until when its files are finished, once this process is to end
        self._recovering = 0
        self._unfed: dict[str, tuple[messages.CloseRoutes, int]] = {}  # and how many frames of these routes had come
        self._unfed_check_ns = 0
        self._idle_check_ns = 0
        self._recovered: queue.SimpleQueue[messages.Reply] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = sockets.Poller()
        self._handlers: dict[Any, Callable[[], None]] = {
            line.descriptor: self._take_requests,
            self._data: self._take_data,
            self._wake: self._tell_recovered,
            **{descriptor: partial(self._look_at, descriptor) for descriptor in lifeline.descriptors},
        }
        for source in self._handlers:
            self._poller.register(source, sockets.POLLIN)
        line.send(messages.Ready(endpoint=endpoint))

    def run(self) -> None:
        """Until a shutdown, a SIGTERM or the controller's end, and then until the files are complete."""
        while self._ending_ns is None or self._recordings or self._recovering:
            readable = self._poller.poll(self._timeout_ms())
            for source, _ in readable:
                self._handlers[source]()
            until_ns = time.monotonic_ns() + _TURN_NS
            while len(self._scheduler):
                self._encode_one()
                if time.monotonic_ns() >= until_ns:
                    break
            if self._finished and not readable and not len(self._scheduler):
                self._finished.popleft().close()
            if until_ns >= self._idle_check_ns:
                self._flush_idle()
            if self._unfed and until_ns >= self._unfed_check_ns:
                self._end_unfed()
            if self._ending_ns is not None and time.monotonic_ns() >= self._ending_ns:
                for recording in list(self._recordings.values()):
                    self._finish_late(recording)
            if self._line.waits:
                self._line.flush()
        self._data.close()

    def _timeout_ms(self) -> int:
        if len(self._scheduler):
            return 0
        if self._finished or self._line.waits:
            return _FREE_AFTER_MS
        return IDLE_FLUSH_NS // 2_000_000 if self._recordings else 60_000

    def _look_at(self, descriptor: int) -> None:
        """One of the lifeline's."""
        if self._lifeline.ended_by(descriptor):
            self._poller.unregister(descriptor)
            self._end()

    # --- requests ---------------------------------------------------------------------------------

    def _take_requests(self) -> None:
        take_requests(self._line, self._do)
        if self._line.is_over:
            self._poller.unregister(self._line.descriptor)
            self._end()

    def _do(self, request: Any) -> Any:
        if isinstance(request, messages.OpenRecording):
            return self._open(request)
        if isinstance(request, messages.Shutdown):
            self._end()
            return None
        if isinstance(request, messages.RecoverFile):
            self._recovering += 1
            threading.Thread(target=self._recover, args=(request,), name="recsvc-recover").start()
            return LATER
        if isinstance(request, messages.CloseRoutes):
            for route in request.routes:
                if route in self._routes:
                    self._unfed[route] = request, self._routes[route].received
            self._unfed_check_ns = time.monotonic_ns() + UNFED_SILENCE_NS
            return None
        recording = self._recordings.get(request.recording)
        if recording is None and not isinstance(request, messages.AskStatistics):
            return None  # it has ended by itself meanwhile; the report is on its way
        if recording is None:
            raise errors.InvalidStateError(f"recording {request.recording!r} is not open here")
        if isinstance(request, messages.StopRecording):
            recording.stop_ns = request.at_ns
            self._hand_out(recording)
        elif isinstance(request, messages.FinishRecording):
            self._finish_late(recording)
        elif isinstance(request, messages.CutRecording):
            recording.ask_for_data(request.number)
            self._hand_out(recording)
        else:
            return recording.statistics()
        return None

    def _open(self, request: messages.OpenRecording) -> None:
        if len(self._recordings) >= RECORDINGS_PER_WORKER_MAX:
            raise errors.QuotaExceededError(
                f"this worker has {RECORDINGS_PER_WORKER_MAX} recordings already; stop one, or start more workers"
            )
        recording = Recording(request)
        self._recordings[recording.name] = recording
        for name, track in zip(request.routes, request.tracks, strict=True):
            self._routes[name] = _Route(recording, name, track.kind)
            self._scheduler.add(name, recording.name, partial(recording.reached_by, name))

    def _end(self) -> None:
        """Everybody who could send is told or gone: what is in the queues is finished, then this process ends."""
        now = time.monotonic_ns()
        # Senders end their routes when they lose their controller; the deadline is for those that can't.
        self._ending_ns = self._ending_ns or now + DRAIN_DEADLINE_NS // 5
        for recording in list(self._recordings.values()):
            for route in recording.tracks:
                self._scheduler.stop(route)
            if recording.ended:  # the controller's stop will not come
                self._finish(recording)

    def _recover(self, request: messages.RecoverFile) -> None:
        """On a thread of its own, since it waits for the disk: the recordings of this worker go on meanwhile."""
        try:
            done = complete(request.path)
            result = messages.CompletedFile(size=done.size, duration=done.duration)
            reply = messages.Reply(id=request.id, result=result)
        except Exception as error:
            if not isinstance(error, errors.RecorderError):
                log.exception("%s failed", request)
            reply = messages.Reply(id=request.id, error=errors.name_of(error), text=str(error))
        self._recovered.put(reply)
        os.eventfd_write(self._wake, 1)

    def _tell_recovered(self) -> None:
        for _ in range(os.eventfd_read(self._wake)):
            self._line.send(self._recovered.get())
            self._recovering -= 1

    # --- data -------------------------------------------------------------------------------------

    def _take_data(self) -> None:
        for _ in range(_MESSAGES_PER_TURN):
            parts = sockets.receive_frame(self._data)
            try:
                self._accept(parts)
            except messages.MessageError as error:
                self._refuse(parts, str(error))
            if not sockets.readable(self._data):
                return

    def _accept(self, parts: list[Any]) -> None:
        if len(parts) < 2:
            raise messages.MessageError("an empty message: expected identity, header and at most one payload")
        del parts[1:-2]  # a sender that was interrupted in the midst of a frame begins it again
        message = messages.DATA.decode(parts[1].buffer)
        route = self._routes.get(message.route)
        if route is None and message.route in self._gone:
            return  # it was on its way when its recording failed
        if route is None:
            raise messages.MessageError(f"route {message.route!r} is not open here")
        if not isinstance(message, messages.FrameHeader):
            self._accept_word(parts[0], route, message)
            return
        if len(parts) != 3:
            raise messages.MessageError("a frame without its payload")
        if not isinstance(message, route.expected):
            raise messages.MessageError(f"a frame of another kind on a route for {route.expected.__name__}s")
        track = route.track
        payload = parts[2].buffer
        if isinstance(message, messages.VideoFrame) and message.ring:
            ring = route.rings.get(message.ring)
            if ring is None:
                raise messages.MessageError(f"a picture in ring {message.ring}, which is not open here")
            payload = ring.picture(message.offset, message.payload_bytes())
        messages.check_payload(message, len(payload))
        if message.sequence == route.newest:
            return  # it was interrupted behind it
        if track.ended:
            raise messages.MessageError("a frame behind the end of stream")
        route.newest = message.sequence
        route.received += 1
        track.account.received += units_of(message)
        track.account.heard(message.dropped, message.counted)
        try:
            ready = route.recording.arrived(message.route, message, payload)
        except Exception as error:
            self._fail(route.recording, error)
            return
        for name, frame in ready:
            self._scheduler.push(name, frame)
        if not ready and len(payload) > route.window_bytes // 4:  # its sender may have no room for another
            self._push_waited(message.route)

    def _accept_word(self, identity: bytes, route: _Route, message: Any) -> None:
        """A data message that is no frame."""
        if isinstance(message, messages.Attach):
            route.identity, route.waits = identity, message.waits
        elif isinstance(message, messages.Ring):
            self._map_ring(route, message)
        else:
            route.ends = isinstance(message, messages.End)
            self._push_waited(message.route)
            if message.route not in self._routes:
                return
            self._scheduler.push(message.route, (message, None))
            if route.ends:
                self._scheduler.stop(message.route)

    def _push_waited(self, name: str, now_ns: int | None = None) -> None:
        """Frames that wait for others to confirm their time stamps: all of them, or at ``now_ns`` those overdue."""
        recording = self._routes[name].recording
        try:
            waited = recording.waited(name, now_ns)
        except Exception as error:
            self._fail(recording, error)
            return
        for ready, frame in waited:
            self._scheduler.push(ready, frame)

    def _end_unfed(self) -> None:
        """Routes whose sender is gone end after the last frame that was still under way, if no end came behind it."""
        now = time.monotonic_ns()
        self._unfed_check_ns = now + UNFED_SILENCE_NS
        if sockets.readable(self._data):
            return
        for name, (request, received) in list(self._unfed.items()):
            route = self._routes.get(name)
            if route is not None and not route.ends and route.received != received:
                self._unfed[name] = request, route.received
                continue
            del self._unfed[name]
            if route is None or route.ends:
                continue
            end = messages.End(
                route=name,
                count=route.received,
                until_ns=request.until_ns,
                paused_ns=request.paused_ns,
                dropped=route.track.account.sender_dropped,
                counted=route.track.account.sender_counted,
                at_ns=request.until_ns,
                sent_ns=now,
            )
            route.recording.incomplete = request.reason
            self._accept_word(b"", route, end)

    def _map_ring(self, route: _Route, message: messages.Ring) -> None:
        """A route has one ring at a time; pictures that wait keep an older one mapped."""
        route.rings.clear()
        try:
            route.rings[message.ring] = RingView(message)
        except (OSError, messages.MessageError) as error:
            log.debug("the pictures of %s come inside the messages: %s", message.route, error)
            return
        if route.identity is not None:
            ready = messages.encode(messages.RingReady(route=message.route, ring=message.ring))
            with contextlib.suppress(sockets.ZMQError):
                self._data.send_multipart([route.identity, ready], sockets.NOBLOCK)

    def _refuse(self, parts: list[Any], reason: str) -> None:
        self._refused += 1
        route = ""
        with contextlib.suppress(messages.MessageError, IndexError):
            route = messages.DATA.decode(parts[1].buffer).route
        known = self._routes.get(route)
        if known is not None:
            known.recording.tracks[route].account.drop("refused", 1)
            known.recording.tracks[route].account.received += 1
            known.received += 1
            self._give_credit(route, known, 0)
        self._complaints.about(route, f"a data message was refused ({self._refused} so far): {reason}")
        try:
            self._data.send_multipart(
                [parts[0], messages.encode(messages.Refused(route=route, reason=reason))],
                sockets.NOBLOCK,
            )
        except sockets.ZMQError:
            log.debug("nobody there to hear of the refusal")

    def _encode_one(self) -> None:
        picked = self._scheduler.pop()
        if picked is None:
            return
        name, (message, payload) = picked
        route = self._routes[name]
        recording = route.recording
        try:
            if isinstance(message, messages.End):
                self._route_ended(name, route, message)
                return
            if isinstance(message, messages.Mark):
                recording.mark(name, message)
                self._hand_out(recording)
                return
            done = recording.encode(name, message, payload, 0 if route.waits else self._scheduler.waiting(name))
            if recording.options.timeslice_ms is not None:
                piece = recording.due_piece()
                if piece is not None:
                    self._line.send(piece)
        except Exception as error:
            self._fail(recording, error)
            return
        if not done:
            self._scheduler.again(name, (message, payload))
            return
        route.released = message.sequence + 1
        self._give_credit(name, route, 0 if payload is None else len(payload))

    def _give_credit(self, name: str, route: _Route, size: int) -> None:
        """Grants what was consumed; tells the sender in steps."""
        route.frames_done += 1
        route.bytes_done += size
        many_frames = route.frames_done - route.frames_told >= max(1, route.window // 4)
        many_bytes = route.bytes_done - route.bytes_told >= CREDIT_STEP_BYTES and not self._scheduler.waiting(name)
        if many_frames or many_bytes:
            self._tell_credit(name, route)

    def _tell_credit(self, name: str, route: _Route) -> None:
        if route.identity is None:
            return
        route.frames_told, route.bytes_told = route.frames_done, route.bytes_done
        credit = messages.Credit(
            route=name,
            frames=route.window + route.frames_done,
            bytes=route.window_bytes + route.bytes_done,
            released=route.released,
        )
        try:
            self._data.send_multipart([route.identity, messages.encode(credit)], sockets.NOBLOCK)
        except sockets.ZMQError as error:
            log.debug("credit for %s could not be sent: %s", name, error)

    def _route_ended(self, name: str, route: _Route, message: messages.End) -> None:
        recording = route.recording
        if message.count > route.received:
            recording.tracks[name].account.drop("lost", message.count - route.received)
        recording.end_route(name, message)
        if recording.ended:
            recording.reached("capture_ended", message.sent_ns)
            recording.reached("frames_drained")
        self._hand_out(recording)

    def _hand_out(self, recording: Recording, now_ns: int = 0) -> None:
        """What was asked for and is there by now; the recording may have waited for that alone."""
        try:
            for piece in recording.asked_pieces(now_ns):
                self._line.send(piece)
        except Exception as error:
            self._fail(recording, error)
            return
        if recording.complete or (recording.ended and self._ending_ns is not None):
            self._finish(recording, "UnknownError" if recording.incomplete else "", recording.incomplete)

    def _fail(self, recording: Recording, error: Exception) -> None:
        """One recording's trouble is not another's. What has no name of its own is a fault of ours."""
        if not isinstance(error, errors.RecorderError):
            log.error("recording %s failed", recording.name, exc_info=error)
        self._finish(recording, errors.name_of(error), str(error))

    # --- the end ----------------------------------------------------------------------------------

    def _finish(self, recording: Recording, error: str = "", text: str = "", cause: str = "failed") -> None:
        """``cause``: why frames that have come are not encoded any more, if there are any."""
        for route in recording.tracks:
            self._scheduler.remove(route)
            del self._routes[route]
            self._gone.append(route)
        del self._recordings[recording.name]
        recording.abandon(cause)
        self._line.send(recording.finish(error, text))
        # Freeing takes a while, and the controller may have been woken on this core: it goes first.
        self._finished.append(recording)
        if len(self._finished) > _FINISHED_MAX:
            self._finished.popleft().close()

    def _flush_idle(self) -> None:
        """Now and then: what is late, and, when everything that came is done, what is held. Else this process was
        starved, not its recordings."""
        now = time.monotonic_ns()
        for recording in list(self._recordings.values()):
            self._hand_out(recording, now)
        busy = len(self._scheduler) or sockets.readable(self._data)
        self._idle_check_ns = now + IDLE_FLUSH_NS // (8 if busy else 2)
        if busy:
            return
        for name, route in list(self._routes.items()):
            if name in self._routes:  # as long as none of its recording failed
                self._push_waited(name, now)
            if route.frames_done > route.frames_told:
                self._tell_credit(name, route)
        for recording in list(self._recordings.values()):
            try:
                recording.idle(now)
            except Exception as error:
                self._fail(recording, error)

    def _finish_late(self, recording: Recording) -> None:
        """The deadline is over. No error where all had come, or where there is no controller to report it to."""
        if recording.ended or self._line.is_over:
            self._finish(recording, cause="deadline")
        else:
            text = "the drain did not end within its deadline; what was encoded until then is in the data"
            self._finish(recording, "UnknownError", text, cause="deadline")


def main() -> None:
    """``recsvc encode``: the process's entry."""
    given = arguments("encode", "data", "directory")
    lifeline = Lifeline(given)
    place = join(Path(given.directory))
    line = Line(given.line, messages.WORKER_REQUESTS, Complaints(log))
    try:
        worker = Worker(line, given.data, lifeline)
        started(given)
        worker.run()
    except sockets.ZMQError:
        if not line.is_over:  # else the directory of its socket went with the controller
            raise
    finally:
        if place is not None:
            place.leave(patience_s=1.0 if line.is_over else 0.0)
