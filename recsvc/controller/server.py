"""The controller: the only place that knows every recording's state.

One loop with plain sockets and a poller: callers' requests, the roles' reports, the ends of processes. Nothing
in it blocks, so a ``stop()`` passes within microseconds whatever else goes on.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec

from .. import errors
from ..common.complaints import Complaints
from ..common.limits import S
from ..common.permissions import Peer
from ..common.service import CONTROL_PORT, EVENTS_PORT, ServiceOptions
from ..common.service_limits import REQUESTS_PER_TURN
from ..common.state import Input
from ..process.role import Lifeline
from ..wire import messages, sockets
from ..wire.gate import open_gate
from . import journal
from .beside import Beside
from .commands import Commands
from .ending import Ending
from .events import Events
from .host import Host
from .leases import Leases, Timed
from .once import Once
from .permissions import Permissions
from .recording import Recording
from .recordings import Recordings
from .sources import Sources
from .status import Status
from .subscriptions import Subscriptions
from .supervisor import Child, Supervisor
from .unattended import Unattended, errors_reply

log = logging.getLogger("recsvc.controller")
complaints = Complaints(log)

_ANSWERED_AT_ONCE = messages.ControlRoutes | messages.CloseTrack | messages.Shutdown
_BEGINS = messages.Start | messages.Record | messages.OpenSource
_DONE_ONCE = _ANSWERED_AT_ONCE | _BEGINS | messages.Control | messages.Bye


class Controller:
    """Owns the callers' socket, the events' socket and the supervisor. Run it with ``run``."""

    def __init__(self, options: ServiceOptions, directory: Path, lifeline: Lifeline, host: Host | None = None) -> None:
        """``options`` name the endpoint and the spool; ``directory``: the runtime directory."""
        self._lifeline = lifeline
        self._host = host or Host()
        self._name = f"service-{uuid.uuid4().hex[:12]}"
        self._poller = sockets.Poller()
        self._gate = open_gate(options.tcp, "" if options.insecure else options.keys, options.key_file)
        self._callers, self.endpoints = sockets.control_server(
            options.endpoint, options.tcp_endpoint(CONTROL_PORT), self._gate.secret
        )
        self._events, self._events_endpoints = sockets.event_server(
            f"ipc://{directory}/events", options.tcp_endpoint(EVENTS_PORT), self._gate.secret
        )
        if options.tcp:
            self._gate.guard(self._callers, self._events)
        for source in (self._callers, self._events, *self._gate.sources, *lifeline.descriptors):
            self._poller.register(source, sockets.POLLIN)
        self._supervisor = Supervisor(self._poller, directory, self._on_report, self._on_child_end, self._fault)
        self._sources = Sources(self._supervisor)
        self._leases = Leases(self._poller, self._supervisor, self._sources)
        self._callers_there = self._leases.callers
        self._once = Once()
        self._beside = Beside(self._supervisor, directory, options)
        self._recorder_events = Events(self._publish, self._beside.keeping)
        self._recordings = Recordings(
            self._supervisor, self._sources, directory, options, self._recorder_events, self._recording_ended
        )
        self._leases.recordings = self._recordings
        self._recordings.clock_of = self._callers_there.clock_of
        self._unattended = Unattended(self._recordings, self._sources)
        self._status = Status(self._name, options.spool, self._supervisor, self._recordings, self._gate)
        self._commands = Commands(self._supervisor, self._recordings, self._recorder_events, self._unattended)
        self._permissions = Permissions(self._recordings, self._sources, self._unattended)
        self._subscriptions = Subscriptions(self._events, self._gate, self._permissions, self._subscribed)
        self._ending = Ending(self._recordings, self._supervisor, self._host, int(options.finish_limit_s * S))

    # --- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Until a shutdown, a SIGTERM or the parent's end, and until every recording is finished."""
        if self._lifeline.parent_gone:
            self._end()
        parts = self._supervisor, self._recordings, self._beside, self._host, self._callers_there, self._status
        while not self._ending.is_over():
            readable = dict(self._poller.poll(self._timeout_ms()))
            journal.guarded(self._take, readable)
            for part in parts:
                journal.guarded(part.look)
        for socket in (self._callers, self._events, self._gate):
            socket.close()

    def _take(self, readable: dict[Any, int]) -> None:
        if self._callers in readable:
            self._take_requests()
        if self._events in readable:
            self._subscriptions.take()
        self._gate.take()
        for descriptor in [d for d in readable if isinstance(d, int)]:
            if self._supervisor.take(descriptor) or self._callers_there.ended(descriptor):
                continue
            if self._lifeline.ended_by(descriptor):
                if self._lifeline.parent_gone:
                    self._poller.unregister(descriptor)  # or it is readable from now on
                self._end()
            elif self._lifeline.hung_up():
                self._host.reload()

    def _timeout_ms(self) -> int:
        deadlines = self._recordings.deadlines()
        others = [self._supervisor.next_deadline_ns(), self._callers_there.due_ns()]
        others += [self._beside.next_ns(), self._ending.next_ns, self._host.next_ns(), self._status.next_ns]
        deadlines += [at for at in others if at is not None]
        if not deadlines:
            return 60_000
        return max(0, (min(deadlines) - time.monotonic_ns()) // 1_000_000 + 1)

    def _end(self, *, is_asked: bool = False) -> None:
        """``is_asked``: by its caller, who has ended what it pushes."""
        if self._ending.has_begun:
            if self._lifeline.insists:
                self._ending.insist()
            return
        now = time.monotonic_ns()
        self._beside.end()
        self._unattended.end()
        if self._lifeline.parent_gone:
            self._ending.begin(self._recordings.orphan)
        elif is_asked:
            self._ending.begin(lambda recording, wait_ns: self._recordings.stop(recording, now, Input.STOP, wait_ns))
        else:
            self._ending.begin(lambda recording, wait_ns: self._recordings.end(recording, Input.STOP, wait_ns))

    # --- roles ------------------------------------------------------------------------------------

    def _on_report(self, child: Child, message: Any) -> None:
        if isinstance(message, messages.Ready):
            if child.role == "encode":
                self._recordings.workers.ready()
                self._beside.worker_ready()
                if not self._ending.has_begun:
                    self._host.ready()
        elif isinstance(message, messages.Load):
            self._recordings.admission.took(child, message)
        elif isinstance(message, messages.TrackEnded):
            self._publish(
                f"{self._sources.client_of(child)}/source",
                messages.SourceEvent(track=message.track, error=message.error, text=message.text),
            )
            self._recordings.close_track(message.track)  # nobody needs a source that is over
        elif isinstance(message, messages.DataReady):
            self._recordings.hand_out(message)
        elif isinstance(message, messages.RecordingFinished):
            self._recordings.finished(message)

    def _on_child_end(self, child: Child) -> None:
        if child.role == "encode":
            self._recordings.workers.ended(child)
            self._recordings.admission.worker_ended(child)
            self._recordings.worker_gone(child)
            return
        if self._beside.ended(child):
            return
        client = self._sources.client_of(child)
        for track in self._sources.gone(child):
            text = "" if child.ending else "the capture process ended unexpectedly"
            error = "UnknownError" if text else ""
            self._publish(f"{client}/source", messages.SourceEvent(track=track, error=error, text=text))
        self._recordings.source_gone(child)

    # --- callers ----------------------------------------------------------------------------------

    def _take_requests(self) -> None:
        for _ in range(REQUESTS_PER_TURN):
            if not sockets.readable(self._callers):
                return
            try:
                identity, part = sockets.receive_frame(self._callers)[:2]
            except ValueError:
                continue  # a message of one part: there is nobody to answer
            header, peer = part.bytes, self._gate.peer(part)
            try:
                request = messages.CALLER_REQUESTS.decode(header)
            except messages.MessageError as error:
                complaints.about(f"{peer}", f"a request of {peer} was refused: {error}")
                number = messages.request_id(header)
                self._reply(identity, messages.Reply(id=number, error="TypeError", text=str(error)))
                continue
            try:
                self._permissions.check(peer, request)
                known = self._callers_there.came(identity, request, peer.name)
                if request.id and isinstance(request, _DONE_ONCE):
                    new, answered = self._once.is_new(identity, request.id, header)
                    if not new:
                        self._send(identity, answered)
                        continue
                self._do(identity, peer, request, known)
            except errors.NotAllowedError as error:
                self._gate.refused[error.name] += 1
                complaints.about(f"{peer}", f"a request of {peer} was refused: {error}")
                self._send(identity, messages.encode(errors_reply(error, request.id)))
            except Exception as error:
                self._failed(request, error)
                if request.id:
                    self._reply(identity, errors_reply(error, request.id))

    def _failed(self, request: Any, error: Exception) -> None:
        """A request was wrong; or we are: then the recording that it was for ends with what there is."""
        if isinstance(error, errors.RecorderError | TypeError | ValueError | ProcessLookupError):
            level = logging.DEBUG if request.id else logging.WARNING
            log.log(level, "%s failed: %s", request, error, extra=journal.about(request))
            return
        self._fault(request, error)

    def _fault(self, message: Any, error: Exception) -> None:
        """An error of ours."""
        log.error("%s failed", message, exc_info=error, extra=journal.about(message))
        recording = self._recordings.active.get(getattr(message, "recording", ""))
        if recording is not None:
            text = f"an internal error of the controller, see its log: {error!r}"
            self._recordings.fail(recording, "UnknownError", text)

    def _reply(self, identity: bytes, reply: messages.Reply) -> None:
        if reply.error:
            self._gate.refused[reply.error] += 1
        encoded = messages.encode(reply)
        self._once.answered(identity, reply.id, encoded)
        self._send(identity, encoded)

    def _send(self, identity: bytes, encoded: bytes | None) -> None:
        if encoded is not None:
            with contextlib.suppress(sockets.ZMQError):  # the caller went away
                self._callers.send_multipart([identity, encoded], sockets.NOBLOCK)

    def _do(self, identity: bytes, peer: Peer, request: Any, known: bool) -> None:
        """``known``: whether its client was there before."""

        def answer(reply: messages.Reply) -> None:
            if request.id:
                result = self._beside.keeping.with_catalog(reply.result)
                self._reply(identity, msgspec.structs.replace(reply, id=request.id, result=result))

        if isinstance(request, _BEGINS):
            if self._ending.has_begun:
                raise errors.ServiceError("the service is ending")
            if not isinstance(request, messages.Record) and self._callers_there.is_gone(request.client):
                raise errors.ServiceError(f"the caller {request.client} is gone")
        if isinstance(request, Timed):
            request = self._leases.in_our_time(identity, request)
        if isinstance(request, messages.Control):
            self._commands.control(request, answer, identity)
        elif isinstance(request, messages.Start):
            self._recordings.start(request, answer, identity, peer.name)
        elif isinstance(request, messages.Record):
            self._unattended.record(request, answer, identity, peer.name)
        elif isinstance(request, messages.AskStatus):
            self._status.ask(request, len(self._callers_there), answer)
        elif isinstance(request, messages.OpenSource):
            self._sources.open(request, answer, peer.name)
        elif isinstance(request, messages.AskStatistics):
            self._leases.ask_statistics(request.recording, answer)
        elif isinstance(request, messages.ControlRoutes):
            self._recordings.control_routes(request)
        elif isinstance(request, messages.AskEvents):
            is_active = request.recording in self._recordings.active
            answer(messages.Reply(id=0, result=self._recorder_events.since(request, is_active=is_active)))
        elif isinstance(request, messages.CloseTrack):
            self._recordings.close_track(request.track)
        elif isinstance(request, messages.Hello):
            if not peer.is_local:  # a process id from elsewhere would be that of another process here
                request = msgspec.structs.replace(request, pid=0)
            is_watched = self._callers_there.hello(identity, request, peer.name)
            tracks, permissions = self._sources.tracks_of(request.client), tuple(sorted(peer.permissions))
            here = self._status.welcome(
                self._events_endpoints, self._beside.keeping.endpoints, permissions, tracks, is_watched
            )
            answer(messages.Reply(id=0, result=here))
        elif isinstance(request, messages.Ping):
            answer(messages.Reply(id=0, result=self._leases.ping(request, known)))
        elif isinstance(request, messages.Bye):
            self._leases.leave(request.client, self._stop_now, lambda: answer(messages.Reply(id=0)))
        else:
            self._end(is_asked=True)
        if request.id and isinstance(request, _ANSWERED_AT_ONCE):
            answer(messages.Reply(id=0))

    def _stop_now(self, recording: Recording) -> None:
        self._recordings.stop(recording, time.monotonic_ns(), Input.STOP)

    def _recording_ended(self, recording: Recording, report: messages.RecordingFinished | None) -> None:
        self._unattended.ended(recording)
        self._commands.ended(recording, report)
        self._leases.conclude(recording.client)

    # --- events -----------------------------------------------------------------------------------

    def _publish(self, topic: str, message: messages.Message) -> None:
        self._events.send_multipart([topic.encode(), messages.encode(message)])
        journal.note(message)

    def _subscribed(self, topic: str) -> None:
        """Each new subscription is answered on its own topic: from then on the subscriber misses nothing."""
        self._publish(topic, messages.Subscribed(next=self._recorder_events.snapshot(topic)))
