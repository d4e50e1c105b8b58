"""What the service says of itself. Figures of recordings are their workers', which are asked when somebody asks."""

from __future__ import annotations

import os
import time
from collections import Counter
from functools import partial

import msgspec

from .. import __version__
from ..common.descriptions import RecordingStatus, ServiceStatus, Welcome, WorkerStatus
from ..common.limits import MS
from ..common.service_limits import LEASE_NS, QUESTIONS_MAX, STATUS_BYTES_MAX, STATUS_WAIT_NS
from ..common.state import PUBLIC
from ..errors import InvalidStateError, QuotaExceededError
from ..process.role import clock_name, pid_namespace
from ..wire import messages
from ..wire.gate import Gate
from .recording import Recording
from .recordings import Recordings
from .supervisor import Child, OnReply, Supervisor

_RECORDINGS_ASKED_MAX = 200  # of each time; more never have room in an answer


class _Asked:
    """One request, and the workers' answers that have come."""

    def __init__(self, recordings: list[Recording], clients: int, answer: OnReply) -> None:
        self.recordings = recordings
        self.clients = clients
        self.answer = answer
        self.due_ns = time.monotonic_ns() + STATUS_WAIT_NS
        self.figures: dict[Child, messages.Figures] = {}
        self.missing: set[Child] = set()


class _Refused:
    """What all processes have refused; of those that have ended their last figures, so that no count goes back."""

    def __init__(self, own: Counter[str]) -> None:
        self._own = own
        self._ended: Counter[str] = Counter()
        self._newest: dict[Child, dict[str, int]] = {}

    def took(self, child: Child, counts: dict[str, int]) -> None:
        self._newest[child] = counts

    def ended(self, child: Child) -> None:
        self._ended.update(self._newest.pop(child, {}))

    def total(self) -> dict[str, int]:
        total = self._own + self._ended
        for counts in self._newest.values():
            total.update(counts)
        return dict(total)


class Status:
    """Not thread-safe: the controller's loop calls it."""

    def __init__(self, service: str, spool: str, supervisor: Supervisor, recordings: Recordings, gate: Gate) -> None:
        self._service = service
        self._spool = spool
        self._supervisor = supervisor
        self._recordings = recordings
        self._began = time.time()
        self._asked: list[_Asked] = []
        self._refused = _Refused(gate.refused)

    def ask(self, request: messages.AskStatus, clients: int, answer: OnReply) -> None:
        """``answer`` is called when the workers have answered, or it is time."""
        names = sorted(name for name in self._recordings.active if name > request.after)[:_RECORDINGS_ASKED_MAX]
        asked = _Asked([self._recordings.active[name] for name in names], clients, answer)
        self._asked.append(asked)
        children = [child for child in self._supervisor.children if child.role in ("encode", "catalog")]
        reached = [child for child in children if child.ready and not child.is_asked_much]
        asked.missing.update(reached)
        for child in reached:
            there = tuple(one.name for one in asked.recordings if one.worker is child)
            question = messages.AskFigures(recordings=there, directory=self._spool)
            self._supervisor.ask(child, question, partial(self._answered, asked, child))
        self.look()

    def ask_statistics(self, name: str, answer: OnReply) -> None:
        """The accounting of a recording so far, with its caller's clock."""
        recording = self._recordings.active.get(name)
        if recording is None:
            raise InvalidStateError(f"recording {name!r} is not active")
        if recording.worker.is_asked_much:
            raise QuotaExceededError(f"the worker of {name!r} has not answered {QUESTIONS_MAX} questions before this")

        def answered(reply: messages.Reply) -> None:
            if not reply.error and recording.clock is not None:
                found = msgspec.convert(reply.result, messages.RecordingStatistics)
                reply = msgspec.structs.replace(reply, result=recording.with_clock(found))
            answer(reply)

        self._supervisor.ask(recording.worker, messages.AskStatistics(recording=recording.name), answered)

    def ended(self, child: Child) -> None:
        """A process is gone."""
        self._refused.ended(child)

    def welcome(
        self,
        events: tuple[str, ...],
        catalog: tuple[str, ...],
        permissions: tuple[str, ...],
        tracks: tuple[str, ...],
        is_watched: bool,
    ) -> Welcome:
        """For a client that is new here, or comes back."""
        return Welcome(
            service=self._service,
            version=__version__,
            events=events,
            catalog=catalog,
            permissions=permissions,
            lease_ms=0 if is_watched else LEASE_NS // MS,
            tracks=tracks,
            pid=os.getpid(),
            pid_namespace=pid_namespace(),
            clock=clock_name(),
        )

    def _answered(self, asked: _Asked, child: Child, reply: messages.Reply) -> None:
        asked.missing.discard(child)
        if not reply.error:
            asked.figures[child] = figures = msgspec.convert(reply.result, messages.Figures)
            self._refused.took(child, figures.refused)
        self.look()

    @property
    def next_ns(self) -> int | None:
        """When ``look`` has something to do."""
        return min((asked.due_ns for asked in self._asked), default=None)

    def look(self) -> None:
        """Answers who has waited long enough."""
        now_ns = time.monotonic_ns()
        for asked in list(self._asked):
            if not asked.missing or now_ns >= asked.due_ns:
                self._asked.remove(asked)
                asked.answer(messages.Reply(id=0, result=self._status(asked)))

    def _status(self, asked: _Asked) -> ServiceStatus:
        active = self._recordings.active
        figures = {one.recording: one for found in asked.figures.values() for one in found.recordings}
        recordings: list[RecordingStatus] = []
        room, last = STATUS_BYTES_MAX, ""
        for recording in asked.recordings:
            one = self._of_recording(recording, figures.get(recording.name))
            room -= len(messages.encode(one))
            if room < 0:
                break
            last = recording.name
            if last in active:  # else it has ended meanwhile
                recordings.append(one)
        return ServiceStatus(
            service=self._service,
            version=__version__,
            began=self._began,
            recordings=tuple(recordings),
            workers=tuple(self._of_worker(worker, asked) for worker in self._recordings.workers.pool),
            cost_max=self._recordings.admission.most,
            spool=self._spool,
            free_bytes=next((one.free_bytes for one in asked.figures.values() if one.free_bytes is not None), None),
            clients=asked.clients,
            recordings_by_state=dict(Counter(one.phase.value for one in active.values())),
            refused=self._refused.total(),
            more=any(name > last for name in active) if asked.recordings else False,
        )

    def _of_recording(self, recording: Recording, found: messages.RecordingFigures | None) -> RecordingStatus:
        return RecordingStatus(
            recording=recording.name,
            name=recording.title,
            owner=recording.owner,
            state=recording.phase.value,
            mime_type=recording.mime_type,
            began=recording.began,
            topic=recording.topic,
            worker=recording.worker.number,
            cost=self._recordings.admission.cost(recording),
            queue_frames=0 if found is None else found.queue_frames,
            queue_bytes=0 if found is None else found.queue_bytes,
            statistics=None
            if found is None
            else recording.with_clock(msgspec.structs.replace(found.statistics, state=PUBLIC[recording.phase])),
        )

    def _of_worker(self, worker: Child, asked: _Asked) -> WorkerStatus:
        found = asked.figures.get(worker)
        there = () if found is None else found.recordings
        return WorkerStatus(
            number=worker.number,
            pid=worker.process.pid,
            state="ending" if worker.ending else "ready" if worker.ready else "starting",
            recordings=sum(one.worker is worker for one in self._recordings.active.values()),
            load=self._recordings.admission.measured(worker),
            cost=self._recordings.admission.load(worker),
            queue_frames=sum(one.queue_frames for one in there),
            queue_bytes=sum(one.queue_bytes for one in there),
            frames_encoded=0 if found is None else found.frames_encoded,
            encode_ns=0 if found is None else found.cpu_ns,
        )
