"""The encoder worker: frames in from ZeroMQ, spool files out. One loop, one thread.

The loop takes every message that is there, then encodes the one frame the scheduler names, then looks again:
a command waits for at most one frame's encoding. In real time the loop wakes into cold caches, where each line costs
many times what it costs in a tight loop: the way of a frame has as few of them as it can.
"""

from __future__ import annotations

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
from ..common.descriptions import CompletedFile
from ..common.limits import DRAIN_DEADLINE_NS, IDLE_FLUSH_NS, MS, RECORDINGS_PER_WORKER_MAX
from ..mux.recover import complete
from ..process.role import Lifeline, arguments, check_descriptors, started
from ..process.runtime import joined
from ..wire import messages, sockets
from ..wire.answers import LATER, error_reply, take_requests
from ..wire.gate import Gate, open_gate
from ..wire.line import Line
from .intake import Intake
from .load import Loads, figures
from .recording import Recording
from .reports import send_last
from .route import Route
from .scheduler import Scheduler
from .unwritten import Unwritten

log = logging.getLogger("recsvc.encode")

_TURN_NS = 200_000  # frames that are encoded sooner do not end a turn: sound that makes no packet, ends of stream
_FREE_AFTER_MS = 5  # of idleness: finished recordings' encoders
_FINISHED_MAX = 8  # recordings that wait for that; then one is freed although others wait


class Worker:
    """Owns the sockets, the scheduler and the recordings of this process."""

    def __init__(
        self,
        line: Line,
        data_endpoint: str,
        lifeline: Lifeline,
        tcp: str = "",
        gate: Gate | None = None,
        sound_at_ns: int = 0,
    ) -> None:
        """``tcp``: where other machines send frames, through the ``gate``. ``sound_at_ns``: see ``messages.Credit``."""
        gate = gate or Gate()
        self._lifeline, self._line = lifeline, line
        self._scheduler: Scheduler[tuple[Any, Any]] = Scheduler()
        self.intake = Intake((data_endpoint, tcp), gate, self._scheduler, self._fail, sound_at_ns)
        self._recordings: dict[str, Recording] = {}
        self._unwritten = Unwritten(self._recordings, self._fail)
        self._finished: deque[Recording] = deque()  # whose encoders are still to be freed
        self._ending_ns: int | None = None  # until when its files are finished, once this process is to end
        self._recovering = 0
        self._idle_check_ns = 0
        self._loads = Loads()
        self._recovered: queue.SimpleQueue[messages.Reply] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = sockets.Poller()
        self._handlers: dict[Any, Callable[[], None]] = {
            line.descriptor: self._take_requests,
            self.intake.socket: self.intake.take,
            self._wake: self._send_recovered,
            **{descriptor: partial(self._on_lifeline, descriptor) for descriptor in lifeline.descriptors},
        }
        if tcp:
            gate.guard(self.intake.socket)
        self._handlers.update(dict.fromkeys(gate.sources, gate.take))
        for source in self._handlers:
            self._poller.register(source, sockets.POLLIN)
        line.send(messages.Ready(endpoints=self.intake.endpoints))

    def run(self) -> None:
        """Until a shutdown, a SIGTERM or the controller's end, and then until the files are complete."""
        while self._ending_ns is None or self._recordings or self._recovering or self._line.waits:
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
            if until_ns >= self._loads.due_ns:
                for report in self._loads.reports(list(self._recordings.values()), until_ns):
                    self._line.send(report)
            self.intake.look(until_ns)
            if self._ending_ns is not None and time.monotonic_ns() >= self._ending_ns:
                for recording in list(self._recordings.values()):
                    self._finish_late(recording)
            if self._line.waits:
                self._line.flush()
        self.intake.close_socket()

    def _timeout_ms(self) -> int:
        if len(self._scheduler):
            return 0
        if self._finished or self._line.waits:
            return _FREE_AFTER_MS
        return IDLE_FLUSH_NS // (2 * MS) if self._recordings else self._loads.wait_ms

    def _on_lifeline(self, descriptor: int) -> None:
        """SIGTERM came, perhaps."""
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
            self.intake.end_unfed(request)
            return None
        if isinstance(request, messages.AskFigures):
            asked = [self._recordings[name] for name in request.recordings if name in self._recordings]
            return figures(request, asked, self.intake)
        recording = self._recordings.get(request.recording)
        if recording is None and not isinstance(request, messages.AskStatistics | messages.AskSilence):
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
        elif isinstance(request, messages.TranslateClock):
            self.intake.translate(request)
        elif isinstance(request, messages.AskSilence):
            return time.monotonic_ns() - recording.active_ns
        else:
            return recording.statistics()
        return None

    def _open(self, request: messages.OpenRecording) -> None:
        if len(self._recordings) >= RECORDINGS_PER_WORKER_MAX:
            raise errors.QuotaExceededError(
                f"this worker has {RECORDINGS_PER_WORKER_MAX} recordings already; stop one, or start more workers"
            )
        check_descriptors(self.intake.expected(len(request.routes)))
        recording = Recording(request)
        self._recordings[recording.name] = recording
        self.intake.open(recording, request)

    def _end(self) -> None:
        """The controller ends or is gone, and so are all who send: what is in the queues is finished, then this process
        ends."""
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
            result = CompletedFile(size=done.size, duration=done.duration)
            reply = messages.Reply(id=request.id, result=result)
        except Exception as error:
            if not isinstance(error, errors.RecorderError):
                log.exception("%s failed", request, extra={"recording": Path(request.path).stem})
            reply = error_reply(error, request.id)
        self._recovered.put(reply)
        os.eventfd_write(self._wake, 1)

    def _send_recovered(self) -> None:
        for _ in range(os.eventfd_read(self._wake)):
            self._line.send(self._recovered.get())
            self._recovering -= 1

    # --- frames -----------------------------------------------------------------------------------

    def _encode_one(self) -> None:
        picked = self._scheduler.pop()
        if picked is None:
            return
        name, (message, payload) = picked
        route = self.intake.routes[name]
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
            is_sliced = recording.options.timeslice_ms is not None and not self._line.is_full
            if is_sliced and (piece := recording.due_piece()) is not None:
                self._line.send(piece)
        except Exception as error:
            self._fail(recording, error)
            return
        if not done:
            self._scheduler.again(name, (message, payload))
            return
        route.released = message.sequence + 1
        self.intake.consumed(name, route, 0 if payload is None else len(payload))
        self._unwritten.add(recording)

    def _route_ended(self, name: str, route: Route, message: messages.End) -> None:
        recording = route.recording
        if message.count > route.received:
            route.lost(message.count - route.received, message.sent_samples)
        recording.end_route(name, message)
        if recording.ended:
            recording.reached("capture_ended", message.sent_ns or None)
            recording.reached("frames_drained")
            recording.complete()
        self._hand_out(recording)

    def _hand_out(self, recording: Recording, now_ns: int = 0) -> None:
        """What was asked for and is there by now; the recording may have waited for that alone."""
        try:
            for piece in recording.asked_pieces(now_ns):
                self._line.send(piece)
        except Exception as error:
            self._fail(recording, error)
            return
        if recording.is_over or (recording.ended and self._ending_ns is not None):
            self._finish(recording, "UnknownError" if recording.incomplete else "", recording.incomplete)

    def _fail(self, recording: Recording, error: Exception) -> None:
        """One recording's trouble is not another's. What has no name of its own is a fault of ours."""
        if not isinstance(error, errors.RecorderError):
            log.error("recording %s failed", recording.name, exc_info=error, extra={"recording": recording.name})
        self._finish(recording, errors.name_of(error), str(error))

    # --- the end ----------------------------------------------------------------------------------

    def _finish(self, recording: Recording, error: str = "", text: str = "", cause: str = "failed") -> None:
        """``cause``: why frames that have come are not encoded any more, if there are any."""
        self.intake.close(recording)
        self._unwritten.forget(recording)
        del self._recordings[recording.name]
        recording.abandon(cause)
        send_last(self._line, recording.finish(error, text))
        # Freeing takes a while, and the controller may have been woken on this core: it goes first.
        self._finished.append(recording)
        if len(self._finished) > _FINISHED_MAX:
            self._finished.popleft().close()

    def _flush_idle(self) -> None:
        """Now and then: what is late, and, when everything that came is done, what is held. Else this process was
        starved, not its recordings."""
        now = time.monotonic_ns()
        self._unwritten.write()
        for recording in list(self._recordings.values()):
            self._hand_out(recording, now)
        busy = len(self._scheduler) or sockets.readable(self.intake.socket)
        self._idle_check_ns = now + IDLE_FLUSH_NS // (8 if busy else 2)
        if busy:
            return
        self.intake.settle(now)
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
    given = arguments("encode", "data", "directory", optional=("tcp", "keys", "key-file", "sound-at"), needs_line=True)
    lifeline = Lifeline(given)
    line = Line(given.line, messages.WORKER_REQUESTS, Complaints(log))
    with joined(Path(given.directory), line, (sockets.ZMQError,)):
        gate = open_gate(given.tcp, given.keys, given.key_file)
        worker = Worker(line, given.data, lifeline, given.tcp, gate, int(given.sound_at or 0))
        started(given)
        worker.run()
