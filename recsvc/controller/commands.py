"""What callers command recordings to do, by their ids: those that they began, and those of others."""

from __future__ import annotations

import time
from collections import deque

import msgspec

from .. import errors
from ..common.descriptions import Finished
from ..common.limits import ENDED_RECORDINGS_KEPT
from ..common.permissions import Peer
from ..common.service_limits import EVENTS_WAITING_MAX, STOPS_WAITING_MAX
from ..common.state import Input
from ..wire import messages
from .events import Events
from .recording import Recording
from .recordings import Recordings
from .supervisor import OnReply, Supervisor
from .unattended import Unattended


class Commands:
    """Not thread-safe: the controller's loop calls it."""

    def __init__(self, supervisor: Supervisor, recordings: Recordings, events: Events, unattended: Unattended) -> None:
        self._supervisor = supervisor
        self._recordings = recordings
        self._events = events
        self._unattended = unattended
        self._waiting: dict[str, deque[OnReply]] = {}  # for recordings to be finished
        self._finished: dict[str, Finished] = {}  # the newest of them

    def control(self, request: messages.Control, answer: OnReply, sender: bytes, peer: Peer) -> None:
        """``sender``: the connection that it came by."""
        if not request.at_ns:
            request = msgspec.structs.replace(request, at_ns=time.monotonic_ns())
        recording = self._recordings.active.get(request.recording)
        if request.action == "discard":
            self._discard(request, recording, sender, peer.name)
        elif recording is not None:
            self._obey(recording, request, recording.is_from(request.client, sender))
            if request.action == "stop" and request.wait:
                self._waiting.setdefault(recording.name, deque(maxlen=STOPS_WAITING_MAX)).append(answer)
                return
        elif request.action != "stop" or not self._unattended.give_up(request.recording):
            answer(self._late(request))
            return
        answer(messages.Reply(id=0))

    def _late(self, request: messages.Control) -> messages.Reply:
        """It has ended, or has never been."""
        finished = self._finished.get(request.recording)
        if finished is not None and request.action == "stop":
            return messages.Reply(id=0, result=finished if request.wait else None)
        what = "has ended" if finished is not None else "is not known"
        text = f"{request.action}: the recording {request.recording!r} {what}"
        return messages.Reply(id=0, error="InvalidStateError", text=text)

    def _discard(self, request: messages.Control, recording: Recording | None, sender: bytes, owner: str) -> None:
        """Who began it was interrupted, or waited too long for the answer."""
        if recording is not None and not recording.is_from(request.client, sender):
            raise errors.InvalidStateError("discard: only who began a recording may undo that; stop it, then delete it")
        if not self._unattended.give_up(request.recording):
            self._recordings.discard(request.recording, owner)

    def _obey(self, recording: Recording, request: messages.Control, is_own: bool) -> None:
        outbox = self._events.of(recording)
        ends = request.action in ("stop", "modified")
        if not ends and (waiting := outbox.waiting(recording.name)) >= EVENTS_WAITING_MAX:
            raise errors.QuotaExceededError(f"{request.action}: {waiting} events of {recording.name} wait already")
        if request.action in ("pause", "resume"):
            if is_own:
                recording.commands = request.number
            if request.action == "pause" and recording.happened(Input.PAUSE):
                recording.paused(request.at_ns)
            elif request.action == "resume" and recording.happened(Input.RESUME):
                recording.resumed(request.at_ns)
            else:
                return
            self._recordings.command_captures(recording, request.action, request.at_ns)
            outbox.add(recording.name, request.action, number=recording.commands)
        elif request.action == "request_data":
            recording.happened(Input.REQUEST_DATA)
            self._request_data(recording, request)
        elif request.action == "stop" and is_own:
            self._recordings.stop(recording, request.at_ns, Input.STOP)
        elif request.action == "stop":
            self._recordings.end(recording, Input.STOP, at_ns=request.at_ns)
        elif request.action == "modified" and is_own:
            recording.fail("InvalidModificationError", "a track was added to or removed from the recorded stream")
            self._recordings.stop(recording, request.at_ns, Input.FAIL)

    def _request_data(self, recording: Recording, request: messages.Control) -> None:
        """Those of others have no number, and nobody marks their place in the tracks: they give what is encoded."""
        if request.number:
            self._recordings.command_captures(recording, "mark", request.at_ns, request.number)
        self._events.of(recording).promise(recording.name)
        cut = messages.CutRecording(recording=recording.name, number=request.number)
        self._supervisor.ask(recording.worker, cut)

    def ended(self, recording: Recording, report: messages.RecordingFinished | None) -> None:
        """Who waits for it is answered. ``report``: its last; ``None``: it has not begun, or was given up."""
        waiting = self._waiting.pop(recording.name, ())
        reply = messages.Reply(id=0, error="InvalidStateError", text=f"the recording {recording.name} was given up")
        if report is not None:
            finished = Finished(
                recording=recording.name,
                whole=report.whole,
                statistics=report.statistics,
                error=report.error,
                text=report.text,
            )
            self._finished[recording.name] = finished
            if len(self._finished) > ENDED_RECORDINGS_KEPT:
                del self._finished[next(iter(self._finished))]
            reply = messages.Reply(id=0, result=finished)
        for answer in waiting:
            answer(reply)
