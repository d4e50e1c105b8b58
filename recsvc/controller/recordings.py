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
from ..common.clocks import ClientClock
from ..common.descriptions import RouteAction
from ..common.limits import DISCARDED_KEPT, WORKER_GRACE_NS, drain_deadline_ns
from ..common.mime import CONTAINER_OF_SUFFIX
from ..common.recorded import format_of
from ..common.service import ServiceOptions
from ..common.state import Input, Phase
from ..wire import messages
from . import journal
from .admission import Admission
from .events import Events
from .recording import SERVICE, Recording
from .recovery import Recovery, remove_file
from .sources import Sources
from .supervisor import Child, OnReply, Supervisor
from .workers import Workers, capacity

log = logging.getLogger("recsvc.controller")


class Recordings:
    """Owns the recordings and the workers that they are on. Not thread-safe: the controller's loop calls it.

    ``on_end(recording, report)`` is called after a recording has ended; ``None``: it did not begin, or was given up.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        sources: Sources,
        directory: Path,
        options: ServiceOptions,
        events: Events,
        on_end: Callable[[Recording, messages.RecordingFinished | None], None],
    ) -> None:
        self._supervisor = supervisor
        self._sources = sources
        self._spool = Path(options.spool)
        self._events = events
        self._on_end = on_end
        self._discarded: deque[tuple[str, str]] = deque(maxlen=DISCARDED_KEPT)
        self.active: dict[str, Recording] = {}
        self.admission = Admission(options, capacity(), self.fail)
        self.workers = Workers(supervisor, directory, options, self.admission.load)

    def check_new(self, name: str, owner: str) -> None:
        """``InvalidStateError`` where there is such a recording or its file already, or its key has given it up."""
        if (owner, name) in self._discarded:
            raise errors.InvalidStateError(f"the recording {name} was given up before it began")
        if name in self.active:
            raise errors.InvalidStateError(f"there is a recording {name} already")
        if any(os.path.lexists(self._spool / f"{name}{suffix}") for suffix in CONTAINER_OF_SUFFIX):  # of any type
            raise errors.InvalidStateError(f"there is a recording {name} in {self._spool} already")

    def start(
        self, request: messages.Start, answer: OnReply, peer: bytes, owner: str, clock: ClientClock | None
    ) -> None:
        """Opens one, then calls ``answer``; raises what is wrong. ``owner``: its key; ``clock``: if not ours."""
        self.check_new(request.recording, owner)
        format_ = format_of(request.options, request.tracks)
        captures = self._sources.captures(request.recording, request.tracks, owner)
        path = f"{self._spool}/{request.recording}{format_.suffix}"
        whose = owner or (request.client if request.client != SERVICE else "")
        worker, cost = self.admission.place(request, format_, whose, self.workers)
        recording = Recording(request, worker, captures, path, format_.mime_type)
        recording.sender, recording.owner, recording.whose, recording.clock = peer, owner, whose, clock
        self.active[recording.name] = recording
        self.admission.began(recording, cost)
        self._events.begin(recording)
        self._open(recording, request, answer)

    def _open(self, recording: Recording, request: messages.Start, answer: OnReply) -> None:
        self._supervisor.ask(
            recording.worker,
            recording.open_recording(request),
            lambda reply: self._opened(recording, request, reply, answer),
        )
        if recording.phase is Phase.STOPPING:  # it was stopped while the worker before died
            self._send_stop(recording)

    def _opened(self, recording: Recording, request: messages.Start, reply: messages.Reply, answer: OnReply) -> None:
        if reply.error and not self._supervisor.knows(recording.worker):
            remove_file(recording.path)  # a header at most, and ours: it was not there before
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
            self._events.drop(recording)
            self._events.end(recording)
            answer(reply)
            self._over(recording, None)
            return
        if recording.discarded:
            answer(messages.Reply(id=0, error="InvalidStateError", text="it was given up"))
            return
        recording.happened(Input.OPENED)
        routes = recording.routes()
        if recording.phase is Phase.STOPPING:
            self._close_routes(recording, sorted(recording.live), goes_on=recording.ends_unasked)
        else:
            disabled = tuple(recording.route(track.track) for track in request.tracks if not track.enabled)
            for child, fed in recording.fed().items():
                begin = messages.BeginRoutes(
                    routes=tuple(route for route in routes if route.route in fed),
                    from_ns=request.at_ns,
                    disabled=disabled,
                )
                self._supervisor.ask(child, begin, partial(self._began, recording, child))
        self._events.of(recording).add(recording.name, "start", mime_type=recording.mime_type)
        answer(messages.Reply(id=0, result=recording.started(tuple(routes))))
        self._close_routes(recording, recording.unfed)  # they ended meanwhile
        self._end_if_over(recording, time.monotonic_ns())

    def _began(self, recording: Recording, child: Child, reply: messages.Reply) -> None:
        """A capture process cannot feed it, for want of descriptors perhaps. The process's end is handled elsewhere."""
        routes = [route for route, feeder in recording.captures.items() if feeder is child]
        if reply.error and routes and self._supervisor.knows(child) and recording.name in self.active:
            self.fail(recording, reply.error, reply.text)
            self._close_routes(recording, routes, reply.text)

    def discard(self, name: str, owner: str) -> None:
        """Its caller, of this key, was interrupted, or waited too long for the answer."""
        self._discarded.append((owner, name))  # the command may have overtaken the request
        recording = self.active.get(name)
        if recording is not None:
            recording.discarded = True
            self.stop(recording, time.monotonic_ns(), Input.STOP, 0)

    def command_captures(self, recording: Recording, action: RouteAction, at_ns: int, number: int = 0) -> None:
        """To the capture processes that feed it."""
        for child, routes in recording.fed().items():
            command = messages.ControlRoutes(routes=tuple(routes), action=action, at_ns=at_ns, number=number)
            self._supervisor.ask(child, command)

    def control_routes(self, request: messages.ControlRoutes) -> None:
        """A caller's command for single tracks: ``enable`` and ``disable`` of captured ones, ``end`` of any."""
        recording = self.active.get(request.routes[0].partition("/")[0]) if request.routes else None
        if recording is None or request.action not in ("enable", "disable", "end"):
            return
        if request.action != "end":
            for route in set(request.routes) & set(recording.captures):
                self._supervisor.ask(recording.captures[route], msgspec.structs.replace(request, id=0, routes=(route,)))
            return
        recording.live.difference_update(request.routes)
        if not self._end_if_over(recording, request.at_ns):
            for route in set(request.routes) & set(recording.captures):
                end = msgspec.structs.replace(request, id=0, routes=(route,))
                self._supervisor.ask(recording.captures.pop(route), end)

    def _end_if_over(self, recording: Recording, at_ns: int) -> bool:
        """Whether all of its tracks have ended; then it is stopped."""
        if recording.live or recording.phase is Phase.OPENING:
            return False
        self.stop(recording, at_ns, Input.TRACKS_ENDED)
        return True

    def stop(self, recording: Recording, at_ns: int, why: Input, wait_ns: int | None = None) -> bool:
        """Nothing after ``at_ns`` belongs to it; ``wait_ns``: for the drain. Whether it was not stopping already."""
        if not recording.happened(why):
            return False
        recording.stopped_ns = at_ns
        if wait_ns is None:
            wait_ns = drain_deadline_ns(recording.options.overload)
        recording.due = time.monotonic_ns() + wait_ns, self._finish_late
        self.command_captures(recording, "end", at_ns)
        self._send_stop(recording)
        return True

    def end(self, recording: Recording, why: Input, wait_ns: int | None = None, at_ns: int | None = None) -> None:
        """Stops it, now or ``at_ns``. Its caller learns of that by the last events, which must not wait for what it
        pushes."""
        if self.stop(recording, time.monotonic_ns() if at_ns is None else at_ns, why, wait_ns):
            recording.ends_unasked = True
            self._close_routes(recording, sorted(recording.live.intersection(recording.pushed)), goes_on=True)

    def _send_stop(self, recording: Recording) -> None:
        at_ns = recording.stopped_ns
        self._supervisor.ask(recording.worker, messages.StopRecording(recording=recording.name, at_ns=at_ns))

    def orphan(self, recording: Recording, wait_ns: int | None = None) -> None:
        """Its caller is gone: it is finished with what was sent; nobody waits for its events."""
        recording.orphaned = True
        self.stop(recording, time.monotonic_ns(), Input.STOP, wait_ns)
        self._close_routes(recording, recording.pushed)

    def fail(self, recording: Recording, error: str, text: str) -> None:
        """It ends with what there is."""
        recording.fail(error, text)
        self.end(recording, Input.FAIL)

    def _close_routes(self, recording: Recording, routes: list[str], reason: str = "", goes_on: bool = False) -> None:
        """Nobody feeds them any more. ``goes_on``: or nobody is to."""
        if routes:
            close = recording.close_routes(routes, time.monotonic_ns(), reason, goes_on)
            self._supervisor.ask(recording.worker, close)

    def close_track(self, track: str, owner: str = "") -> None:
        """The capture process ends the track's routes."""
        for recording in list(self.active.values()):
            if recording.captures.pop(recording.route(track), None) is not None:  # what a caller feeds is another track
                recording.live.discard(recording.route(track))
                self._end_if_over(recording, time.monotonic_ns())
        self._sources.close_track(track, owner)

    def source_gone(self, child: Child) -> None:
        """A capture process has ended."""
        for recording in [r for r in self.active.values() if child in r.feeders.values()]:
            self._source_gone(recording, child)

    def _source_gone(self, recording: Recording, child: Child) -> None:
        """Usually its ends of stream are there already; a recording must not wait for one that never comes."""
        now = time.monotonic_ns()
        routes = [route for route, feeder in recording.feeders.items() if feeder is child]
        was_live = child in recording.captures.values()
        reason = "the capture process ended unexpectedly" if was_live or child.process.returncode else ""
        for route in routes:
            del recording.feeders[route]
        recording.live.difference_update(routes)
        if was_live and recording.phase is not Phase.STOPPING:
            self.fail(recording, "UnknownError", reason)
        self._end_if_over(recording, now)
        self._close_routes(recording, routes, reason)

    def hand_out(self, message: messages.DataReady) -> None:
        recording = self.active.get(message.recording)
        if recording is not None:
            recording.handed_out.add(message.blob, message.timecode_ms)
            self._events.hand_out(recording, message)

    def finished(self, message: messages.RecordingFinished) -> None:
        recording = self.active.get(message.recording)
        if recording is None:
            return
        if recording.phase is not Phase.STOPPING:  # the worker gave up, or ends
            recording.happened(Input.FAIL if message.error else Input.TRACKS_ENDED)
            self.command_captures(recording, "end", time.monotonic_ns())
        self._conclude(recording, message)

    def worker_gone(self, worker: Child) -> None:
        """Another one completes the files, then the events follow."""
        now = time.monotonic_ns()
        for recording in [r for r in self.active.values() if r.worker is worker]:
            recording.fail("UnknownError", "the encoder process ended unexpectedly")
            recording.happened(Input.FAIL)
            self.command_captures(recording, "drop", now)
            Recovery(recording, self._supervisor, self.workers, self._conclude)

    def _conclude(self, recording: Recording, report: messages.RecordingFinished) -> None:
        del self.active[recording.name]
        if recording.discarded:
            remove_file(recording.path)
            self._events.drop(recording)
        else:
            report = recording.last(report)
            self._events.of(recording).conclude(report, recording.mime_type)
        recording.happened(Input.FINISHED)
        self._events.end(recording)
        self._over(recording, None if recording.discarded else report)

    def _over(self, recording: Recording, report: messages.RecordingFinished | None) -> None:
        self.admission.ended(recording)
        self._on_end(recording, report)

    def look(self) -> None:
        """What is due by now, at every turn of the loop."""
        self.workers.start_due()
        now = time.monotonic_ns()
        for recording in list(self.active.values()):
            if recording.due is not None and now >= recording.due[0]:
                (_, act), recording.due = recording.due, None
                act(recording)

    def deadlines(self) -> list[int]:
        """When ``look`` has something to do."""
        found = [recording.due[0] for recording in self.active.values() if recording.due is not None]
        return found if self.workers.next_ns is None else [*found, self.workers.next_ns]

    def _finish_late(self, recording: Recording) -> None:
        """The drain did not end in time: the worker has to finish the file as it is."""
        recording.cut = True
        recording.due = time.monotonic_ns() + WORKER_GRACE_NS, self._kill_hung
        self._supervisor.ask(recording.worker, messages.FinishRecording(recording=recording.name))

    def _kill_hung(self, recording: Recording) -> None:
        log.warning("its worker does not answer and is killed", extra=journal.about(recording.name))
        self._supervisor.kill(recording.worker)

    def of(self, client: str) -> list[Recording]:
        """A caller's."""
        return [recording for recording in self.active.values() if recording.client == client]
