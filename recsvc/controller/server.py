"""The controller: the only place that knows every recording's state.

One loop with plain sockets and a poller: callers' requests, the roles' reports, the ends of processes. Nothing
in it blocks, so a ``stop()`` passes within microseconds whatever else goes on.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from .. import errors
from ..common.limits import S
from ..common.service import CONTROL_PORT, EVENTS_PORT, ServiceOptions
from ..common.state import Input
from ..process.role import Lifeline, check_descriptors
from ..wire import messages, sockets
from ..wire.gate import open_gate
from . import journal
from .beside import Beside
from .callers import Callers
from .commands import Commands
from .ending import Ending
from .events import Events
from .host import Host
from .leases import Leases, Timed
from .pace import Pace
from .permissions import Permissions
from .recording import Recording
from .recordings import Recordings
from .requests import ANSWERED_AT_ONCE, Asked, Requests
from .sources import Sources
from .status import Status
from .subscriptions import Subscriptions
from .supervisor import Child, Supervisor
from .unattended import Unattended

log = logging.getLogger("recsvc.controller")
_BEGINS = messages.Start | messages.Record | messages.OpenSource


class Controller:
    """Owns the control socket, the event socket and the supervisor. Run it with ``run``."""

    def __init__(self, options: ServiceOptions, directory: Path, lifeline: Lifeline, host: Host | None = None) -> None:
        """``options`` name the endpoint and the spool; ``directory``: the runtime directory."""
        self._lifeline = lifeline
        self._host = host or Host()
        self._name = f"service-{uuid.uuid4().hex[:12]}"
        self._poller = sockets.Poller()
        self._gate = open_gate(options.tcp, "" if options.insecure else options.keys, options.key_file)
        self._control_socket, self.endpoints = sockets.control_server(
            options.endpoint, options.tcp_endpoint(CONTROL_PORT), self._gate.secret
        )
        self._event_socket, self._event_endpoints = sockets.event_server(
            f"ipc://{directory}/events", options.tcp_endpoint(EVENTS_PORT), self._gate.secret
        )
        if options.tcp or options.keeps:
            self._gate.guard(self._control_socket, self._event_socket)
        for source in (self._control_socket, self._event_socket, *self._gate.sources, *lifeline.descriptors):
            self._poller.register(source, sockets.POLLIN)
        self._supervisor = Supervisor(self._poller, directory, self._on_report, self._on_child_end, self._fault)
        self._sources = Sources(self._supervisor)
        self._callers = Callers(
            self._poller, lambda client: self._leases.gone(client), lambda client: self._leases.silent(client)
        )
        self._beside = Beside(self._supervisor, directory, options)
        self._events = Events(self._publish, self._beside.keeping)
        self._recordings = Recordings(
            self._supervisor, self._sources, directory, options, self._events, self._recording_ended
        )
        self._leases = Leases(self._callers, self._supervisor, self._sources, self._recordings)
        self._unattended = Unattended(self._recordings, self._sources)
        self._status = Status(self._name, options.spool, self._supervisor, self._recordings, self._gate)
        self._commands = Commands(self._supervisor, self._recordings, self._events, self._unattended)
        self._permissions = Permissions(self._recordings, self._sources, self._unattended)
        self._subscriptions = Subscriptions(self._event_socket, self._gate, self._permissions, self._subscribed)
        self._ending = Ending(self._recordings, self._supervisor, self._host, int(options.finish_limit_s * S))
        patient = self._supervisor, self._callers, self._beside.keeping, self._ending
        self._pace = Pace(self._recordings, *patient)
        self._handlers = self._all_handlers()
        self._requests = Requests(
            self._control_socket,
            self._gate,
            self._permissions,
            self._callers,
            self._do,
            self._failed,
            self._beside.keeping.with_catalog,
        )

    # --- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Until a shutdown, a SIGTERM or the parent's end, and until every recording is finished."""
        if self._lifeline.parent_gone:
            self._end()
        parts = (
            self._pace,
            self._supervisor,
            self._recordings,
            self._beside,
            self._host,
            self._callers,
            self._status,
        )
        while not self._ending.is_over():
            readable = self._pace.poll(self._poller, self._dues_ns())
            journal.guarded(self._take, readable)
            for part in parts:
                journal.guarded(part.look)
        for socket in (self._control_socket, self._event_socket, self._gate):
            socket.close()

    def _take(self, readable: dict[Any, int]) -> None:
        if self._control_socket in readable:
            self._requests.take()
        if self._event_socket in readable:
            self._subscriptions.take()
        self._gate.take()
        for descriptor in [d for d in readable if isinstance(d, int)]:
            if self._supervisor.take(descriptor) or self._callers.ended(descriptor):
                continue
            if self._lifeline.ended_by(descriptor):
                if self._lifeline.parent_gone:
                    self._poller.unregister(descriptor)  # or it is readable from now on
                self._end()
            elif self._lifeline.hung_up():
                self._host.reload()

    def _dues_ns(self) -> list[int | None]:
        """When somebody's ``look`` has something to do."""
        dues: list[int | None] = [*self._recordings.deadlines()]
        dues += [self._supervisor.next_deadline_ns(), self._callers.due_ns()]
        return [*dues, self._beside.next_ns(), self._ending.next_ns, self._host.next_ns(), self._status.next_ns]

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
        self._status.ended(child)
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

    def _do(self, one: Asked) -> None:
        request = one.request
        if isinstance(request, _BEGINS):
            if self._ending.has_begun:
                raise errors.ServiceError("the service is ending")
            check_descriptors()
            if not isinstance(request, messages.Record) and self._callers.is_gone(request.client):
                raise errors.ServiceError(f"the caller {request.client} is gone")
        if isinstance(request, Timed):
            one = one._replace(request=self._leases.in_our_time(one.identity, request))
        self._handlers[type(request)](one)
        if isinstance(request, ANSWERED_AT_ONCE):
            one.answer_with()

    def _all_handlers(self) -> dict[type, Callable[[Asked], None]]:
        """What is done about each kind of request; it raises, or answers now or later."""
        return {
            messages.Control: lambda one: self._commands.control(*one[:4]),
            messages.Start: self._start,
            messages.Record: lambda one: self._unattended.record(one.request, one.answer, one.identity, one.peer.name),
            messages.AskStatus: lambda one: self._status.ask(one.request, len(self._callers), one.answer),
            messages.AskStatistics: lambda one: self._status.ask_statistics(one.request.recording, one.answer),
            messages.AskEvents: self._ask_events,
            messages.OpenSource: lambda one: self._sources.open(one.request, one.answer, one.peer.name),
            messages.CloseTrack: lambda one: self._recordings.close_track(one.request.track, one.peer.name),
            messages.ControlRoutes: lambda one: self._recordings.control_routes(one.request),
            messages.Hello: self._hello,
            messages.Ping: lambda one: one.answer_with(self._leases.ping(one.request, one.known)),
            messages.Bye: lambda one: self._leases.leave(one.request.client, self._stop_now, one.answer_with),
            messages.Shutdown: lambda one: self._end(is_asked=True),
        }

    def _start(self, one: Asked) -> None:
        clock = self._callers.clock_of(one.request.client)
        self._recordings.start(one.request, one.answer, one.identity, one.peer.name, clock)

    def _ask_events(self, one: Asked) -> None:
        is_active = one.request.recording in self._recordings.active
        one.answer_with(self._events.since(one.request, is_active=is_active))

    def _hello(self, one: Asked) -> None:
        request, peer = one.request, one.peer
        if not peer.is_local:  # a process id from elsewhere would be that of another process here
            request = msgspec.structs.replace(request, pid=0)
        is_watched = self._callers.hello(one.identity, request, peer.name)
        tracks, permissions = self._sources.tracks_of(request.client), tuple(sorted(peer.permissions))
        catalog = self._beside.keeping.endpoints
        one.answer_with(self._status.welcome(self._event_endpoints, catalog, permissions, tracks, is_watched))

    def _stop_now(self, recording: Recording) -> None:
        self._recordings.stop(recording, time.monotonic_ns(), Input.STOP)

    def _recording_ended(self, recording: Recording, report: messages.RecordingFinished | None) -> None:
        self._unattended.ended(recording)
        self._commands.ended(recording, report)
        if report is not None:
            self._permissions.ended(recording)
        self._leases.conclude(recording.client)

    # --- events -----------------------------------------------------------------------------------

    def _publish(self, topic: str, message: messages.Message) -> None:
        self._event_socket.send_multipart([topic.encode(), messages.encode(message)])
        journal.note(message)

    def _subscribed(self, topic: str) -> None:
        """Each new subscription is answered on its own topic: from then on the subscriber misses nothing."""
        self._publish(topic, messages.Subscribed(next=self._events.snapshot(topic)))
