"""Nothing in a controller grows with what it has done: all that it keeps of clients and recordings is bounded.

The controller itself, without sockets and processes: requests are handed to it, and what stands for its roles answers.
"""

from __future__ import annotations

import gc
import logging
import os
import time
import types
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recsvc.common.descriptions import BlobDescription, RecordedTrack, RecordingOptions, RecordingStatistics
from recsvc.common.service import ServiceOptions
from recsvc.controller import callers, commands, keeping, once, outbox, permissions, recordings, server, sources
from recsvc.controller.outbox import Outbox
from recsvc.controller.recording import Recording
from recsvc.wire import messages, sockets

OPTIONS = RecordingOptions(mime_type="", audio_bits_per_second=64_000, video_bits_per_second=500_000)
SOUND = {"sample_rate": 48_000, "channel_count": 1}
PICTURES = {"width": 320, "height": 240}
KEPT, CLIENTS = 7, 24
"""What is remembered of each kind, and how many clients come and go in a round: so everything is full after one."""


class Child:
    def __init__(self, role: str, number: int) -> None:
        self.role, self.number = role, number
        self.ready, self.ending, self.is_asked_much = True, False, False
        self.ready_ns: int | None = 0
        self.reason, self.endpoints = "", ("ipc:///nowhere",)
        self.process = types.SimpleNamespace(pid=os.getpid(), returncode=0)


class Roles:
    """Takes the supervisor's place: every role does what it is asked for, at the next ``work``."""

    def __init__(self, _poller: Any, _directory: Path, on_report: Any, on_end: Any, _on_trouble: Any) -> None:
        self._on_report, self._on_end = on_report, on_end
        self._to_do: deque[Callable[[], None]] = deque()
        self.children: list[Child] = []

    def start(self, role: str, *_: str) -> Child:
        self.children.append(Child(role, len(self.children)))
        self._to_do.append(partial(self._on_report, self.children[-1], messages.Ready()))
        return self.children[-1]

    def knows(self, child: Child) -> bool:
        return child in self.children

    def ask(self, child: Child, request: Any, on_reply: Any = None) -> None:
        if on_reply is not None:
            self._to_do.append(lambda: on_reply(messages.Reply(id=0, result=self._result(request))))
        name = getattr(request, "recording", "")
        blob = BlobDescription(path=f"/spool/{name}", start=0, end=1_000)
        if isinstance(request, messages.CutRecording):
            piece = messages.DataReady(recording=name, blob=blob, timecode_ms=0.0, asked=True)
            self._to_do.append(partial(self._on_report, child, piece))
        elif isinstance(request, messages.StopRecording):
            load = messages.RecordingLoad(recording=name, size_bytes=1_000, sound_ns=1_000_000, channel_count=1)
            now = time.monotonic_ns()
            report = messages.Load(at_ns=now, cpu_ns=now // 10, recordings=(load,))
            finished = messages.RecordingFinished(
                recording=name, blob=blob, whole=blob, timecode_ms=0.0, statistics=RecordingStatistics(state="inactive")
            )
            self._to_do += [partial(self._on_report, child, report), partial(self._on_report, child, finished)]

    def _result(self, request: Any) -> Any:
        if isinstance(request, messages.OpenSource):
            return [{"id": request.audio["track"], "kind": "audio", "label": "", "settings": SOUND}]
        if isinstance(request, messages.AskStatistics):
            return {"state": "recording"}
        return {"cpu_ns": 0, "frames_encoded": 0} if isinstance(request, messages.AskFigures) else None

    def end(self, child: Child) -> None:
        child.ending = True
        self._to_do.append(partial(self._gone, child))

    def _gone(self, child: Child) -> None:
        if child in self.children:
            self.children.remove(child)
            self._on_end(child)

    def work(self) -> None:
        while self._to_do:
            self._to_do.popleft()()


class Service:
    """A controller, and what is sent to it."""

    def __init__(self, directory: Path) -> None:
        options = ServiceOptions(endpoint=f"ipc://{directory}/s", spool=str(directory), keeps=True, workers=1)
        lifeline = types.SimpleNamespace(descriptors=[])
        self.controller: Any = server.Controller(options, directory, lifeline)  # type: ignore[arg-type]
        self.roles = self.controller._supervisor
        self.came: deque[list[Any]] = deque()
        self.errors: list[str] = []
        self._number = 0
        self._sockets = self.controller._control_socket, self.controller._event_socket
        self.controller._requests._socket = types.SimpleNamespace(send_multipart=self._answered)
        self.controller._event_socket = types.SimpleNamespace(send_multipart=lambda parts: None)
        self.look()
        assert [child.role for child in self.roles.children] == ["encode", "catalog"]

    def _answered(self, parts: list[bytes], _flags: int) -> None:
        self.errors.append(messages.REPLIES.decode(parts[1]).error)

    def look(self) -> None:
        self.controller._beside.look()
        self.controller._recordings.look()
        self.controller._status.look()
        self.roles.work()

    def ask(self, identity: str, request: Any) -> str:
        """The name of the error that is answered."""
        self._number += 1
        request.id = self._number
        return self.send(identity, messages.encode(request))

    def send(self, identity: str, header: bytes) -> str:
        self.came.append([identity.encode(), types.SimpleNamespace(bytes=header)])
        self.errors.clear()
        self.controller._requests.take()
        self.look()
        [error] = self.errors
        return error

    def close(self) -> None:
        for socket in self._sockets:
            socket.close()


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    for module, name in (
        (callers, "GONE_CALLERS_KEPT"),
        (callers, "IDENTITIES_KEPT"),
        (commands, "ENDED_RECORDINGS_KEPT"),
        (once, "PEERS_KEPT"),
        (outbox, "ENDED_RECORDINGS_KEPT"),
        (permissions, "CLAIMS_KEPT"),
        (recordings, "DISCARDED_KEPT"),
        (sources, "CLOSED_TRACKS_KEPT"),
    ):
        monkeypatch.setattr(module, name, KEPT)
    monkeypatch.setattr(keeping, "CATALOG_WAIT_NS", 0)
    monkeypatch.setattr(server, "Supervisor", Roles)
    made = Service(tmp_path)
    monkeypatch.setattr(sockets, "readable", lambda _: bool(made.came))
    monkeypatch.setattr(sockets, "receive_frame", lambda _: made.came.popleft())
    yield made
    made.close()


def life_of_a_client(service: Service, number: int) -> None:
    """All that one may ask for, wrong things too; some take their leave, others are given up."""
    client, one, other = f"client-{number}", f"{number}-a", f"{number}-b"
    ask = service.ask
    assert ask(one, messages.Hello(client=client)) == ""
    assert ask(other, messages.Ping(client=client)) == ""
    track = f"captured-{number}"
    assert ask(one, messages.OpenSource(client=client, audio={"source": "test:", "track": track})) == ""
    tracks = (
        RecordedTrack(track=track, kind="audio", captured=True, settings=SOUND),
        RecordedTrack(track=f"pushed-{number}", kind="video", captured=False, settings=PICTURES),
    )

    def start(recorder: str, name: str, *its: RecordedTrack) -> messages.Start:
        at_ns = time.monotonic_ns()
        return messages.Start(
            client=client, recorder=recorder, recording=name, tracks=its, options=OPTIONS, at_ns=at_ns
        )

    def control(name: str, action: Any, **fields: Any) -> messages.Control:
        return messages.Control(recording=name, action=action, at_ns=time.monotonic_ns(), **fields)

    for turn, recorder in enumerate(("x", "x", "y")):
        name = f"recording-{number}-{turn}"
        assert ask(one, start(f"{recorder}-{number}", name, *tracks)) == ""
        assert ask(one, start(f"{recorder}-{number}", name, *tracks)) == "InvalidStateError"
        for action in ("pause", "resume", "request_data"):
            assert ask(one, control(name, action, client=client)) == ""
        assert ask(one, messages.ControlRoutes(routes=(f"{name}/{track}",), action="disable", at_ns=0)) == ""
        assert ask(other, messages.AskStatistics(recording=name)) == ""
        assert ask(other, messages.AskStatus()) == ""
        assert ask(other, messages.AskEvents(recorder="", recording=name, sequence=0)) == ""
        if turn < 2:
            assert ask(other, control(name, "stop", wait=True)) == ""
            assert ask(other, control(name, "stop")) == ""
    given_up = f"given-up-{number}"
    assert ask(one, start(f"z-{number}", given_up, *tracks)) == ""
    assert ask(one, control(given_up, "discard", client=client)) == ""
    assert ask(one, start(f"z-{number}", given_up, *tracks)) == "InvalidStateError"
    alone = f"alone-{number}"
    assert ask(f"{number}-c", messages.Record(recording=alone, options=OPTIONS, audio={"source": "test:"})) == ""
    assert ask(f"{number}-c", control(alone, "stop")) == ""
    assert ask(other, control("unknown", "pause")) == "InvalidStateError"
    assert service.send(other, b"nonsense") == "TypeError"
    assert ask(one, messages.CloseTrack(track=track)) == ""
    assert ask(f"{number}-d", messages.Ping(client="stays-and-connects-anew")) == ""
    if number % 2:
        assert ask(one, messages.Bye(client=client)) == ""
    else:
        service.controller._callers.give_up(client)
        service.look()
    service.look()


_OTHERS = (type, types.ModuleType, logging.Logger, Service, Child)


def held(root: object) -> int:
    """How much all that can be reached from an object holds: the entries of its containers."""
    gc.collect()
    seen, waiting, entries = {id(root)}, [root], 0
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict | list | set | deque | tuple):
            entries += len(found)
        parts = found.__closure__ or () if isinstance(found, types.FunctionType) else gc.get_referents(found)
        for part in parts:
            if id(part) not in seen and not isinstance(part, _OTHERS):
                seen.add(id(part))
                waiting.append(part)
    return entries


def test_a_controller_holds_no_more_after_more_clients_and_recordings(service: Service) -> None:
    """Once all that it remembers is full it holds as much after the next clients as before; and nothing that was theirs
    is waited for."""
    sizes = []
    for turn in range(3):
        for number in range(CLIENTS):
            life_of_a_client(service, turn * CLIENTS + number)
        sizes.append(held(service.controller))
    # What is measured once a second may have an entry more or less; what grows has one more for each client at least.
    assert sizes[2] - sizes[1] < CLIENTS, sizes
    controller = service.controller
    assert not controller._recordings.active and len(controller._callers) == 1
    assert controller._recordings.deadlines() == []


def test_what_has_ended_is_freed_at_once(service: Service) -> None:
    """Not when a collection of garbage looks at it, which is long after: the memory of a busy service would rise and
    fall with these."""
    gc.collect()
    gc.disable()
    try:
        for number in range(CLIENTS):
            life_of_a_client(service, number)
        found = [one for one in gc.get_objects() if isinstance(one, Recording | Outbox)]
    finally:
        gc.enable()
    assert found == []
