"""The recordings that go on: how each begins, obeys its caller, and ends, in order or not.

Nothing here waits: requests to the roles are answered by callbacks, deadlines are looked at by the controller's loop.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from .. import errors
from ..common import mime
from ..common.limits import DISCARDED_KEPT, S, drain_deadline_ns
from ..common.state import Input, Phase
from ..wire import messages
from .recording import Outbox, Recording
from .sources import Sources
from .supervisor import Child, OnReply, Supervisor
from .workers import Workers, usable_cores

log = logging.getLogger("recsvc.controller")

_RECOVERY_DEADLINE_NS = 4 * S  # usually some ms; then what the dead worker left is handed out as it is
_REPORT_DEADLINE_NS = 1 * S  # for commands of a caller who died while they were on their way
_INTERNAL_DEADLINE_NS = 1 * S  # for a recording that an error of ours ended: its caller does not know and sends on
_WORKER_GRACE_NS = 2 * S  # after the drain's deadline; then the worker is taken for hung


class Recordings:
    """Owns the recordings and the workers that they are on. Not thread-safe: the controller's loop calls it.

    ``publish(topic, event)``; ``on_end(client)`` is called after a recording of this caller has ended.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        sources: Sources,
        directory: Path,
        spool: Path,
        publish: Callable[[str, messages.Message], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._supervisor = supervisor
        self._sources = sources
        self._spool = spool
        self._publish = publish
        self._on_end = on_end
        self._outboxes: dict[str, Outbox] = {}
        self._discarded: deque[str] = deque(maxlen=DISCARDED_KEPT)
        self.active: dict[str, Recording] = {}
        self.workers = Workers(supervisor, directory, usable_cores(), self._load)

    def start(self, request: messages.Start, answer: OnReply) -> None:
        """Opens a recording; ``answer`` is called when that is done. Raises what is wrong with the request."""
        if request.recording in self._discarded:
            raise errors.InvalidStateError(f"the recording {request.recording} was given up before it began")
        format_ = mime.choose(request.options.mime_type, {track.kind for track in request.tracks})
        captures = {}
        for track in request.tracks:
            if track.captured:
                child = self._sources.child_of(track.track)
                if child is not None:
                    captures[f"{request.recording}/{track.track}"] = child
                elif not self._sources.was_closed(track.track):  # else it has ended just now
                    raise errors.NotSupportedError(f"the {track.kind} track {track.track} is not captured here")
        path = self._spool / f"{request.recording}{format_.suffix}"
        if request.recording in self.active or os.path.lexists(path):
            raise errors.InvalidStateError(f"there is a recording {path} already")
        recording = Recording(request, self.workers.choose(), captures, str(path))
        recording.mime_type = format_.mime_type
        self.active[recording.name] = recording
        outbox = self._outboxes.get(recording.recorder)
        if outbox is None:
            topic = f"{recording.client}/{recording.recorder}"
            outbox = Outbox(recording.recorder, lambda event: self._publish(topic, event))
            self._outboxes[recording.recorder] = outbox
        outbox.begin(recording.name)
        self._open(recording, request, answer)

    def _open(self, recording: Recording, request: messages.Start, answer: OnReply) -> None:
        self._supervisor.ask(
            recording.worker,
            messages.OpenRecording(
                client=recording.client,
                recorder=recording.recorder,
                recording=recording.name,
                path=recording.path,
                tracks=request.tracks,
                routes=tuple(recording.route(track.track) for track in request.tracks),
                options=request.options,
                at_ns=request.at_ns,
            ),
            lambda reply: self._opened(recording, request, reply, answer),
        )

    def _opened(self, recording: Recording, request: messages.Start, reply: messages.Reply, answer: OnReply) -> None:
        outbox = self._outboxes[recording.recorder]
        if reply.error and not self._supervisor.knows(recording.worker):
            Path(recording.path).unlink(missing_ok=True)  # a header at most, and ours: it was not there before
            if not recording.moved and not recording.discarded:
                recording.moved = True  # once, or a recording that kills workers would kill them all
                try:
                    recording.worker = self.workers.choose()
                except errors.ServiceError as error:
                    reply = msgspec.structs.replace(reply, text=str(error))
                else:
                    self._open(recording, request, answer)
                    return
        if reply.error:
            self.active.pop(recording.name, None)
            outbox.drop(recording.name)
            if outbox.idle:
                del self._outboxes[recording.recorder]
            answer(reply)
            self._on_end(recording.client)
            return
        if recording.discarded:
            answer(messages.Reply(id=0, error="InvalidStateError", text="it was given up"))
            return
        recording.happened(Input.OPENED)
        routes = recording.routes()
        disabled = tuple(recording.route(track.track) for track in request.tracks if not track.enabled)
        for child in {id(child): child for child in recording.captures.values()}.values():
            fed = tuple(route for route in routes if recording.captures.get(route.route) is child)
            begin = messages.BeginRoutes(routes=fed, from_ns=request.at_ns, disabled=disabled)
            self._supervisor.ask(child, begin, partial(self._began, recording, child))
        self._close_routes(recording, recording.unfed)  # they ended meanwhile
        outbox.add(recording.name, "start", mime_type=recording.mime_type, reports=recording.worker.reports)
        answer(messages.Reply(id=0, result={"routes": routes, "path": recording.path}))

    def _began(self, recording: Recording, child: Child, reply: messages.Reply) -> None:
        """A capture process that cannot feed it, for want of descriptors perhaps. Its end, and that of its tracks, are
        told otherwise."""
        routes = [route for route, feeder in recording.captures.items() if feeder is child]
        if reply.error and routes and self._supervisor.knows(child) and recording.name in self.active:
            recording.fail(reply.error, reply.text)
            self.stop(recording, time.monotonic_ns(), Input.FAIL)
            self._close_routes(recording, routes, reply.text)

    def control(self, request: messages.Control) -> None:
        """A command for a recording that ended meanwhile is late, not wrong: its events are on their way."""
        recording = self.active.get(request.recording)
        if request.action == "discard":
            self._discard(request.recording, recording)
            return
        if recording is None:
            return
        self._obey(recording, request)
        recording.commands += 1
        if recording.report is not None:
            self.finished(recording.report)

    def _discard(self, name: str, recording: Recording | None) -> None:
        """The caller was interrupted, or waited too long for the answer."""
        self._discarded.append(name)  # the command may have overtaken the request
        if recording is not None:
            recording.discarded = True
            self.stop(recording, time.monotonic_ns(), Input.STOP, 0)

    def _obey(self, recording: Recording, request: messages.Control) -> None:
        if request.action == "pause" and recording.happened(Input.PAUSE):
            recording.paused(request.at_ns)
            self._tell_captures(recording, "pause", request.at_ns)
            self._outboxes[recording.recorder].add(recording.name, "pause")
        elif request.action == "resume" and recording.happened(Input.RESUME):
            recording.resumed(request.at_ns)
            self._tell_captures(recording, "resume", request.at_ns)
            self._outboxes[recording.recorder].add(recording.name, "resume")
        elif request.action == "request_data":
            recording.happened(Input.REQUEST_DATA)
            recording.cuts += 1
            self._tell_captures(recording, "mark", request.at_ns)
            self._outboxes[recording.recorder].promise(recording.name)
            self._supervisor.ask(recording.worker, messages.CutRecording(recording=recording.name))
        elif request.action == "stop":
            self.stop(recording, request.at_ns, Input.STOP)
            stopping = messages.Stopping(recorder=recording.recorder, recording=recording.name)
            self._publish(f"{recording.client}/{recording.recorder}", stopping)
        elif request.action == "modified":
            recording.fail("InvalidModificationError", "a track was added to or removed from the recorded stream")
            self.stop(recording, request.at_ns, Input.FAIL)

    def _tell_captures(self, recording: Recording, action: str, at_ns: int) -> None:
        for route, child in recording.captures.items():
            command = messages.ControlRoute(route=route, action=action, at_ns=at_ns, cuts=recording.cuts)
            self._supervisor.ask(child, command)

    def stop(self, recording: Recording, at_ns: int, why: Input, wait_ns: int | None = None) -> None:
        """Nothing after ``at_ns`` belongs to it; ``wait_ns``: for the drain. Nothing when it is stopping already."""
        if not recording.happened(why):
            return
        recording.stopped_ns = at_ns
        recording.deadline_ns = time.monotonic_ns() + (
            drain_deadline_ns(recording.options.overload) if wait_ns is None else wait_ns
        )
        self._tell_captures(recording, "end", at_ns)

    def orphan(self, recording: Recording) -> None:
        """Its caller is gone: it is finished with what was sent; nobody waits for its events."""
        recording.orphaned = True
        self.stop(recording, time.monotonic_ns(), Input.STOP)
        self._close_routes(recording, recording.pushed)

    def fail(self, name: str, text: str) -> None:
        """It ends with what there is, because of an error of ours. Nothing where there is none of this name."""
        recording = self.active.get(name)
        if recording is not None:
            recording.fail("UnknownError", text)
            self.stop(recording, time.monotonic_ns(), Input.FAIL, _INTERNAL_DEADLINE_NS)

    def _close_routes(self, recording: Recording, routes: list[str], reason: str = "") -> None:
        """Nobody feeds them any more."""
        if routes:
            until_ns = recording.stopped_ns or time.monotonic_ns()
            close = messages.CloseRoutes(
                routes=tuple(routes), until_ns=until_ns, paused_ns=recording.paused_ns(until_ns), reason=reason
            )
            self._supervisor.ask(recording.worker, close)

    def close_track(self, track: str) -> None:
        """The capture process ends the track's routes."""
        for recording in self.active.values():
            recording.captures.pop(recording.route(track), None)
        self._sources.close_track(track)

    def source_gone(self, child: Child) -> None:
        """A capture process has ended."""
        for recording in [r for r in self.active.values() if child in r.feeders.values()]:
            self._source_gone(recording, child)

    def _source_gone(self, recording: Recording, child: Child) -> None:
        """Usually its ends of stream are there already; a recording must not wait for one that never comes."""
        now = time.monotonic_ns()
        routes = [route for route, feeder in recording.feeders.items() if feeder is child]
        in_order = child not in recording.captures.values() and child.process.returncode == 0
        for route in routes:
            del recording.feeders[route]
        reason = "" if in_order else "the capture process ended unexpectedly"
        if recording.phase is not Phase.STOPPING:
            if reason:
                recording.fail("UnknownError", reason)
                self.stop(recording, now, Input.FAIL)
            elif not recording.feeders and not recording.pushed:
                self.stop(recording, now, Input.TRACKS_ENDED)
        self._close_routes(recording, routes, reason)

    def hand_out(self, message: messages.DataReady) -> None:
        recording = self.active.get(message.recording)
        if recording is None:
            return
        recording.handed_out.add(message.blob, message.timecode_ms)
        fields = {"blob": message.blob, "timecode_ms": message.timecode_ms, "mime_type": recording.mime_type}
        outbox = self._outboxes[recording.recorder]
        if message.asked:
            outbox.keep_promise(recording.name, **fields)
        else:
            outbox.insert(recording.name, "dataavailable", **fields)

    def finished(self, message: messages.RecordingFinished) -> None:
        now = time.monotonic_ns()
        recording = self.active.get(message.recording)
        if recording is None:
            return
        if recording.commands < message.commands and now < (recording.report_deadline_ns or now + 1):
            # A pushed track's end takes a shorter way than what its caller said before; events keep the order.
            recording.report = message
            recording.report_deadline_ns = recording.report_deadline_ns or now + _REPORT_DEADLINE_NS
            return
        del self.active[message.recording]
        if recording.phase is not Phase.STOPPING:
            recording.happened(Input.FAIL if message.error else Input.TRACKS_ENDED)
            self._tell_captures(recording, "end", time.monotonic_ns())
        if message.error:
            recording.fail(message.error, message.text)
        self._conclude(recording, message.blob, message.timecode_ms, message.statistics, message.whole)

    def worker_gone(self, worker: Child) -> None:
        for recording in [r for r in self.active.values() if r.worker is worker and r.report is None]:
            self._lost(recording, "the encoder process ended unexpectedly")

    def _lost(self, recording: Recording, text: str) -> None:
        """The worker is gone: another one completes the file, then the events follow."""
        now = time.monotonic_ns()
        recording.fail("UnknownError", text)
        recording.happened(Input.FAIL)
        recording.deadline_ns, recording.recovery_deadline_ns = None, now + _RECOVERY_DEADLINE_NS
        self._tell_captures(recording, "drop", now)
        self._recover(recording)

    def _recover(self, recording: Recording) -> None:
        """Workers may be killed all together, and one is chosen before its end is seen: then the next is asked, as long
        as there is time. None ends by this itself, which is Python and reads headers only."""
        try:
            worker = self.workers.choose()
        except errors.ServiceError as error:
            self._recovered(recording, messages.Reply(id=0, error=error.name, text=str(error)))
            return

        def answered(reply: messages.Reply) -> None:
            if reply.error and not self._supervisor.knows(worker) and recording.name in self.active:
                self._recover(recording)
            else:
                self._recovered(recording, reply)

        self._supervisor.ask(worker, messages.RecoverFile(path=recording.path), answered)

    def _recovered(self, recording: Recording, reply: messages.Reply) -> None:
        """The file is completed, or is what the dead worker left of it."""
        if self.active.pop(recording.name, None) is None:
            return  # given up already
        if reply.error:
            log.warning("%s is handed out as it is: %s", recording.path, reply.text)
            size = os.path.getsize(recording.path) if os.path.exists(recording.path) else 0
            duration = None
        else:
            done = msgspec.convert(reply.result, messages.CompletedFile)
            size, duration = done.size, done.duration
        blob, whole, timecode_ms = recording.handed_out.rest(recording.path, recording.mime_type, size, duration)
        statistics = messages.RecordingStatistics(state="inactive", duration=whole.duration, size_bytes=size)
        self._conclude(recording, blob, timecode_ms, statistics, whole)

    def _conclude(
        self,
        recording: Recording,
        blob: messages.BlobDescription,
        timecode_ms: float,
        statistics: messages.RecordingStatistics,
        whole: messages.BlobDescription,
    ) -> None:
        outbox = self._outboxes[recording.recorder]
        if recording.discarded:
            Path(recording.path).unlink(missing_ok=True)
            outbox.drop(recording.name)
        else:
            outbox.conclude(recording, blob, timecode_ms, statistics, whole)
        recording.happened(Input.FINISHED)
        if outbox.idle:
            del self._outboxes[recording.recorder]
        self._on_end(recording.client)

    def look(self) -> None:
        """What is due by now, at every turn of the loop."""
        self.workers.start_due()
        self._end_late_drains()
        self._give_up_recoveries()
        self._release_reports()

    def deadlines(self) -> list[int]:
        """When ``look`` has something to do."""
        found = [self.workers.next_ns]
        for recording in self.active.values():
            found += [recording.deadline_ns, recording.recovery_deadline_ns, recording.report_deadline_ns]
        return [at_ns for at_ns in found if at_ns]

    def _end_late_drains(self) -> None:
        """A worker whose recording did not end in time has to finish it as it is, or is taken for hung."""
        now = time.monotonic_ns()
        for recording in self.active.values():
            if recording.deadline_ns is None or now < recording.deadline_ns:
                continue
            if not recording.late:
                recording.late, recording.deadline_ns = True, now + _WORKER_GRACE_NS
                stop = messages.StopRecording(recording=recording.name, at_ns=recording.stopped_ns)
                self._supervisor.ask(recording.worker, stop)
            else:
                log.warning("the worker of recording %s does not answer and is killed", recording.name)
                recording.deadline_ns = None
                self._supervisor.kill(recording.worker)

    def _give_up_recoveries(self) -> None:
        now = time.monotonic_ns()
        for recording in list(self.active.values()):
            if recording.recovery_deadline_ns is not None and now >= recording.recovery_deadline_ns:
                self._recovered(recording, messages.Reply(id=0, error="UnknownError", text="it took too long"))

    def _release_reports(self) -> None:
        now = time.monotonic_ns()
        for recording in [r for r in self.active.values() if r.report is not None]:
            if now >= recording.report_deadline_ns:
                self.finished(recording.report)

    def of(self, client: str) -> list[Recording]:
        """A caller's."""
        return [recording for recording in self.active.values() if recording.client == client]

    def _load(self, worker: Child) -> int:
        return sum(recording.worker is worker for recording in self.active.values())
