"""The controller: the only place that knows every recording's state.

One loop with plain sockets and a poller: callers' requests, the roles' reports, the ends of processes. Nothing
in it blocks, so a ``stop()`` passes within microseconds whatever else goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from .. import errors, mime
from ..limits import (
    CLOSE_DEADLINE_NS,
    DISCARDED_KEPT,
    DRAIN_DEADLINE_NS,
    SHUTDOWN_DEADLINE_NS,
    S,
    drain_deadline_ns,
)
from ..role import Lifeline, arguments
from ..state import Input, Phase
from ..wire import messages, sockets
from .recording import Outbox, Recording
from .sources import Sources
from .supervisor import Child, Supervisor

log = logging.getLogger("recsvc.controller")

_ORPHAN_DEADLINE_NS = 1 * S  # senders whose process is gone will never say that they have ended
_RECOVERY_DEADLINE_NS = 4 * S  # usually some ms; then what the dead worker left is handed out as it is
_REPORT_DEADLINE_NS = 1 * S  # for commands of a caller who died while they were on their way
_WORKER_GRACE_NS = 2 * S  # behind the drain's deadline; then the worker is taken for hung


class Controller:
    """Owns the callers' socket, the events' socket and the supervisor. Run it with ``run``."""

    def __init__(self, endpoint: str, directory: Path, spool: Path, lifeline: Lifeline) -> None:
        self._directory = directory
        self._spool = spool
        self._lifeline = lifeline
        self._poller = sockets.Poller()
        self._callers = sockets.control_server(endpoint)
        self._events_endpoint = f"ipc://{directory}/events"
        self._events = sockets.event_server(self._events_endpoint)
        for source in (self._callers, self._events, *lifeline.descriptors):
            self._poller.register(source, sockets.POLLIN)
        self._supervisor = Supervisor(f"ipc://{directory}/roles", self._poller, self._on_report, self._on_child_end)
        self._workers: list[Child] = []
        self._sources = Sources(self._supervisor, directory)
        self._recordings: dict[str, Recording] = {}
        self._outboxes: dict[str, Outbox] = {}
        self._discarded: deque[str] = deque(maxlen=DISCARDED_KEPT)
        self._ending_ns: int | None = None
        self._start_worker()

    # --- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Until a shutdown, a SIGTERM or the parent's end, and until every recording is finished."""
        if self._lifeline.parent_gone:
            self._end()
        while not self._over():
            readable = dict(self._poller.poll(self._timeout_ms()))
            if self._callers in readable:
                self._take_requests()
            if self._supervisor.socket in readable:
                self._supervisor.take()
            if self._events in readable:
                self._take_subscriptions()
            for descriptor in [d for d in readable if isinstance(d, int)]:
                if not self._supervisor.ended(descriptor) and self._lifeline.ended_by(descriptor):
                    self._poller.unregister(descriptor)
                    self._end()
            self._supervisor.kill_late()
            self._end_late_drains()
            self._give_up_recoveries()
            self._release_reports()
        for socket in (self._callers, self._events, self._supervisor.socket):
            socket.close()

    def _timeout_ms(self) -> int:
        deadlines = [r.deadline_ns for r in self._recordings.values() if r.deadline_ns]
        deadlines += [r.recovery_deadline_ns for r in self._recordings.values() if r.recovery_deadline_ns]
        deadlines += [r.report_deadline_ns for r in self._recordings.values() if r.report_deadline_ns]
        if self._ending_ns is not None:
            deadlines.append(self._ending_ns)
        next_ns = self._supervisor.next_deadline_ns()
        if next_ns is not None:
            deadlines.append(next_ns)
        if not deadlines:
            return 60_000
        return max(0, (min(deadlines) - time.monotonic_ns()) // 1_000_000 + 1)

    def _over(self) -> bool:
        """Ending, in order: recordings are finished, then the roles are asked to end, then they are gone."""
        if self._ending_ns is None:
            return False
        if self._recordings and time.monotonic_ns() < self._ending_ns:
            return False
        for child in self._supervisor.children:
            self._supervisor.end(child)
        return not self._supervisor.children

    def _end(self) -> None:
        if self._ending_ns is not None:
            return
        now = time.monotonic_ns()
        self._ending_ns = now + CLOSE_DEADLINE_NS - SHUTDOWN_DEADLINE_NS
        wait_ns = _ORPHAN_DEADLINE_NS if self._lifeline.parent_gone else DRAIN_DEADLINE_NS
        for recording in list(self._recordings.values()):
            self._stop(recording, now, Input.STOP, wait_ns)

    # --- roles ------------------------------------------------------------------------------------

    def _start_worker(self) -> Child:
        number = len(self._workers)
        endpoint = f"ipc://{self._directory}/encode-{number}-{uuid.uuid4().hex[:6]}"
        child = self._supervisor.start("encode", "--data", endpoint, "--reports", f"{endpoint}-reports")
        self._workers.append(child)
        return child

    def _choose_worker(self) -> Child:
        """The ready worker with the fewest recordings; the first one where none is ready yet."""
        load = {id(worker): 0 for worker in self._workers}
        for recording in self._recordings.values():
            if id(recording.worker) in load:
                load[id(recording.worker)] += 1
        living = [worker for worker in self._workers if worker in self._supervisor.children and not worker.ending]
        ready = [worker for worker in living if worker.ready]
        if ready:
            return min(ready, key=lambda worker: load[id(worker)])
        return living[0] if living else self._start_worker()

    def _on_report(self, child: Child, message: Any) -> None:
        if isinstance(message, messages.Ready):
            # One worker per core; the others start behind the first, which somebody may be waiting for.
            if child.role == "encode" and len(self._workers) < len(os.sched_getaffinity(0)) and not self._ending_ns:
                self._start_worker()
        elif isinstance(message, messages.TrackEnded):
            self._publish(
                f"{self._sources.client_of(child)}/source",
                messages.SourceEvent(track=message.track, error=message.error, text=message.text),
            )
            self._close_track(message.track)  # nobody needs a source that is over
        elif isinstance(message, messages.DataReady):
            recording = self._recordings.get(message.recording)
            if recording is not None:
                self._hand_out(recording, message)
        elif isinstance(message, messages.RecordingFinished):
            self._finished(message)

    def _on_child_end(self, child: Child) -> None:
        child.remove_sockets()
        if child.role == "encode":
            self._workers.remove(child)
            for recording in [r for r in self._recordings.values() if r.worker is child and r.report is None]:
                self._lost(recording, "the encoder process ended unexpectedly")
            few = len(self._workers) < len(os.sched_getaffinity(0))
            if self._ending_ns is None and (not self._workers or few and child.ready):  # else none can start here
                self._start_worker()
            return
        client = self._sources.client_of(child)
        for track in self._sources.gone(child):
            text = "" if child.ending else "the capture process ended unexpectedly"
            error = "UnknownError" if text else ""
            self._publish(f"{client}/source", messages.SourceEvent(track=track, error=error, text=text))
        for recording in [r for r in self._recordings.values() if child in r.sources]:
            recording.sources.discard(child)
            self._source_gone(recording, child)

    def _source_gone(self, recording: Recording, child: Child) -> None:
        """Usually its ends of stream are there already; a recording must not wait for one that never comes."""
        now = time.monotonic_ns()
        in_order = child not in recording.captures.values() and child.process.returncode == 0
        if recording.phase is Phase.STOPPING:
            if not in_order and recording.deadline_ns is not None:
                recording.deadline_ns = min(recording.deadline_ns, now + _ORPHAN_DEADLINE_NS)
        elif not in_order:
            recording.fail("UnknownError", "the capture process ended unexpectedly")
            self._stop(recording, now, Input.FAIL, _ORPHAN_DEADLINE_NS)
        elif not recording.sources and all(track.captured for track in recording.tracks):
            self._stop(recording, now, Input.TRACKS_ENDED, drain_deadline_ns(recording.options.overload))

    def _end_late_drains(self) -> None:
        """A worker whose recording did not end in time has to finish it as it is, or is taken for hung."""
        now = time.monotonic_ns()
        for recording in self._recordings.values():
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

    # --- callers ----------------------------------------------------------------------------------

    def _take_requests(self) -> None:
        while sockets.readable(self._callers):
            try:
                identity, header = self._callers.recv_multipart(sockets.NOBLOCK)[:2]
            except ValueError:
                continue  # a message of one part: there is nobody to answer
            try:
                request = messages.CALLER_REQUESTS.decode(header)
            except messages.MessageError as error:
                log.warning("a request was refused: %s", error)
                self._reply(identity, messages.Reply(id=0, error="TypeError", text=str(error)))
                continue
            try:
                self._do(identity, request)
            except Exception as error:
                log.debug("%s failed", request, exc_info=True)
                self._reply(identity, messages.Reply(id=request.id, error=errors.name_of(error), text=str(error)))

    def _reply(self, identity: bytes, reply: messages.Reply) -> None:
        with contextlib.suppress(sockets.ZMQError):  # the caller went away
            self._callers.send_multipart([identity, messages.encode(reply)], sockets.NOBLOCK)

    def _do(self, identity: bytes, request: Any) -> None:
        if isinstance(request, messages.Control):
            self._control(request)
        elif isinstance(request, messages.Start):
            self._start(identity, request)
            return
        elif isinstance(request, messages.OpenSource):
            self._sources.open(
                request, lambda reply: self._reply(identity, msgspec.structs.replace(reply, id=request.id))
            )
            return
        elif isinstance(request, messages.AskStatistics):
            recording = self._recordings.get(request.recording)
            if recording is None:
                raise errors.InvalidStateError(f"recording {request.recording!r} is not active")
            self._supervisor.ask(
                recording.worker,
                messages.AskStatistics(recording=request.recording),
                lambda reply: self._reply(identity, msgspec.structs.replace(reply, id=request.id)),
            )
            return
        elif isinstance(request, messages.ControlRoute):
            recording = self._recordings.get(request.route.partition("/")[0])
            if recording is not None and request.route in recording.captures:
                self._supervisor.ask(recording.captures[request.route], msgspec.structs.replace(request, id=0))
        elif isinstance(request, messages.CloseTrack):
            self._close_track(request.track)
        elif isinstance(request, messages.Bye):
            self._bye(request.client)
        elif isinstance(request, messages.Shutdown):
            self._end()
        result = {"events": self._events_endpoint, "pid": os.getpid()} if isinstance(request, messages.Hello) else None
        if request.id:
            self._reply(identity, messages.Reply(id=request.id, result=result))

    # --- recordings -------------------------------------------------------------------------------

    def _close_track(self, track: str) -> None:
        """The capture process ends the track's routes."""
        for recording in self._recordings.values():
            recording.captures.pop(recording.route(track), None)
        self._sources.close_track(track)

    def _bye(self, client: str) -> None:
        now = time.monotonic_ns()
        for recording in [r for r in self._recordings.values() if r.client == client]:
            self._stop(recording, now, Input.STOP, DRAIN_DEADLINE_NS)
        self._sources.close_client(client)

    def _start(self, identity: bytes, request: messages.Start) -> None:
        if self._ending_ns is not None:
            raise errors.ServiceError("the service is ending")
        if request.recording in self._discarded:
            raise errors.InvalidStateError(f"the recording {request.recording} was given up before it began")
        format_ = mime.choose(request.options.mime_type, {track.kind for track in request.tracks})
        captures = {}
        for track in request.tracks:
            if track.captured:
                child = self._sources.child_of(track.track)
                if child is None:
                    raise errors.NotSupportedError(f"the {track.kind} track {track.track} is not captured any more")
                captures[f"{request.recording}/{track.track}"] = child
        path = self._spool / f"{request.recording}{format_.suffix}"
        recording = Recording(request, self._choose_worker(), captures, str(path))
        recording.mime_type = format_.mime_type
        self._recordings[recording.name] = recording
        outbox = self._outboxes.get(recording.recorder)
        if outbox is None:
            topic = f"{recording.client}/{recording.recorder}"
            outbox = Outbox(recording.recorder, lambda event: self._publish(topic, event))
            self._outboxes[recording.recorder] = outbox
        outbox.begin(recording.name)
        self._open(identity, request, recording)

    def _open(self, identity: bytes, request: messages.Start, recording: Recording) -> None:
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
            lambda reply: self._opened(identity, request, recording, reply),
        )

    def _opened(self, identity: bytes, request: messages.Start, recording: Recording, reply: messages.Reply) -> None:
        outbox = self._outboxes[recording.recorder]
        if (
            reply.error
            and not recording.moved
            and not recording.discarded
            and recording.worker not in self._supervisor.children
        ):
            recording.moved = True  # its worker died; once, or a recording that kills workers would kill them all
            recording.worker = self._choose_worker()
            self._open(identity, request, recording)
            return
        if reply.error:
            self._recordings.pop(recording.name, None)
            Path(recording.path).unlink(missing_ok=True)  # a header at most
            outbox.drop(recording.name)
            if outbox.idle:
                del self._outboxes[recording.recorder]
            self._reply(identity, messages.Reply(id=request.id, error=reply.error, text=reply.text))
            return
        if recording.discarded:
            self._reply(identity, messages.Reply(id=request.id, error="InvalidStateError", text="it was given up"))
            return
        recording.happened(Input.OPENED)
        routes = recording.routes()
        disabled = tuple(recording.route(track.track) for track in request.tracks if not track.enabled)
        for child in {id(child): child for child in recording.captures.values()}.values():
            fed = tuple(route for route in routes if recording.captures.get(route.route) is child)
            self._supervisor.ask(child, messages.BeginRoutes(routes=fed, from_ns=request.at_ns, disabled=disabled))
        outbox.add(recording.name, "start", mime_type=recording.mime_type, reports=recording.worker.reports)
        self._reply(identity, messages.Reply(id=request.id, result={"routes": routes, "path": recording.path}))

    def _control(self, request: messages.Control) -> None:
        """A command for a recording that ended meanwhile is late, not wrong: its events are on their way."""
        recording = self._recordings.get(request.recording)
        if request.action == "discard":
            self._discard(request.recording, recording)
            return
        if recording is None:
            return
        self._obey(recording, request)
        recording.commands += 1
        if recording.report is not None:
            self._finished(recording.report)

    def _discard(self, name: str, recording: Recording | None) -> None:
        """The caller was interrupted, or waited too long for the answer."""
        self._discarded.append(name)  # the command may have overtaken the request
        if recording is not None:
            recording.discarded = True
            self._stop(recording, time.monotonic_ns(), Input.STOP, 0)

    def _obey(self, recording: Recording, request: messages.Control) -> None:
        if request.action == "pause" and recording.happened(Input.PAUSE):
            self._tell_captures(recording, "pause", request.at_ns)
            self._outboxes[recording.recorder].add(recording.name, "pause")
        elif request.action == "resume" and recording.happened(Input.RESUME):
            self._tell_captures(recording, "resume", request.at_ns)
            self._outboxes[recording.recorder].add(recording.name, "resume")
        elif request.action == "request_data":
            recording.happened(Input.REQUEST_DATA)
            recording.cuts += 1
            self._tell_captures(recording, "mark", request.at_ns)
            self._outboxes[recording.recorder].promise(recording.name)
            self._supervisor.ask(recording.worker, messages.CutRecording(recording=recording.name))
        elif request.action == "stop":
            self._stop(recording, request.at_ns, Input.STOP, drain_deadline_ns(recording.options.overload))
            stopping = messages.Stopping(recorder=recording.recorder, recording=recording.name)
            self._publish(f"{recording.client}/{recording.recorder}", stopping)
        elif request.action == "modified":
            recording.fail("InvalidModificationError", "a track was added to or removed from the recorded stream")
            self._stop(recording, request.at_ns, Input.FAIL, drain_deadline_ns(recording.options.overload))

    def _tell_captures(self, recording: Recording, action: str, at_ns: int) -> None:
        for route, child in recording.captures.items():
            command = messages.ControlRoute(route=route, action=action, at_ns=at_ns, cuts=recording.cuts)
            self._supervisor.ask(child, command)

    def _stop(self, recording: Recording, at_ns: int, why: Input, wait_ns: int) -> None:
        if not recording.happened(why):
            return
        recording.stopped_ns = at_ns
        recording.deadline_ns = time.monotonic_ns() + wait_ns
        self._tell_captures(recording, "end", at_ns)

    def _hand_out(self, recording: Recording, message: messages.DataReady) -> None:
        recording.handed_out.add(message.blob, message.timecode_ms)
        fields = {"blob": message.blob, "timecode_ms": message.timecode_ms, "mime_type": recording.mime_type}
        outbox = self._outboxes[recording.recorder]
        if message.asked:
            outbox.keep_promise(recording.name, **fields)
        else:
            outbox.insert(recording.name, "dataavailable", **fields)

    def _finished(self, message: messages.RecordingFinished) -> None:
        now = time.monotonic_ns()
        recording = self._recordings.get(message.recording)
        if recording is None:
            return
        if recording.commands < message.commands and now < (recording.report_deadline_ns or now + 1):
            # A pushed track's end takes a shorter way than what its caller said before; events keep the order.
            recording.report = message
            recording.report_deadline_ns = recording.report_deadline_ns or now + _REPORT_DEADLINE_NS
            return
        del self._recordings[message.recording]
        if recording.phase is not Phase.STOPPING:
            recording.happened(Input.FAIL if message.error else Input.TRACKS_ENDED)
            self._tell_captures(recording, "end", time.monotonic_ns())
        if message.error:
            recording.fail(message.error, message.text)
        self._conclude(recording, message.blob, message.timecode_ms, message.statistics, message.whole)

    def _release_reports(self) -> None:
        now = time.monotonic_ns()
        for recording in [r for r in self._recordings.values() if r.report is not None]:
            if now >= recording.report_deadline_ns:
                self._finished(recording.report)

    def _lost(self, recording: Recording, text: str) -> None:
        """The worker is gone: another one completes the file, then the events follow."""
        now = time.monotonic_ns()
        recording.fail("UnknownError", text)
        recording.happened(Input.FAIL)
        recording.deadline_ns, recording.recovery_deadline_ns = None, now + _RECOVERY_DEADLINE_NS
        self._tell_captures(recording, "drop", now)
        self._supervisor.ask(
            self._choose_worker(),
            messages.RecoverFile(path=recording.path),
            lambda reply: self._recovered(recording, reply),
        )

    def _give_up_recoveries(self) -> None:
        now = time.monotonic_ns()
        for recording in list(self._recordings.values()):
            if recording.recovery_deadline_ns is not None and now >= recording.recovery_deadline_ns:
                self._recovered(recording, messages.Reply(id=0, error="UnknownError", text="it took too long"))

    def _recovered(self, recording: Recording, reply: messages.Reply) -> None:
        """The file is completed, or is what the dead worker left of it."""
        if self._recordings.pop(recording.name, None) is None:
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

    # --- events -----------------------------------------------------------------------------------

    def _publish(self, topic: str, message: messages.Message) -> None:
        self._events.send_multipart([topic.encode(), messages.encode(message)])

    def _take_subscriptions(self) -> None:
        """Each new subscription is answered on its own topic: then the subscriber knows it misses nothing."""
        while sockets.readable(self._events):
            news = self._events.recv(sockets.NOBLOCK)
            if news[:1] == b"\x01":
                self._events.send_multipart([news[1:], messages.encode(messages.Subscribed())])


def main() -> None:
    """``recsvc controller``: the process's entry."""
    given = arguments("controller", "endpoint", "directory", "spool")
    logging.basicConfig(format="%(name)s: %(message)s")
    directory, spool = Path(given.directory), Path(given.spool)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    endpoint = given.endpoint or f"ipc://{directory}/control"
    try:
        Controller(endpoint, directory, spool, Lifeline(given.parent)).run()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
