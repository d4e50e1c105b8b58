"""Recordings commanded by their ids: those without a caller, and those of other clients."""

from __future__ import annotations

import os
import signal
import socket
import uuid
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from fixtures_media import wait_until
from hypothesis import given
from hypothesis import strategies as st
from listening import ALL_IN_ORDER, record_events, types_of
from media import DEADLINE_S, SMALL_TEST, assert_accounted, counter_picture, decode
from services import children, service

import recsvc
from recsvc.caller.client import Client
from recsvc.caller.session import Session
from recsvc.common.descriptions import Finished, RecordingOptions, RecordingStatistics, Started
from recsvc.common.permissions import LOCAL
from recsvc.common.service import ServiceAddress
from recsvc.common.service_limits import EVENTS_WAITING_MAX, STOPS_WAITING_MAX
from recsvc.common.state import Input
from recsvc.controller.commands import Commands
from recsvc.controller.outbox import Outbox
from recsvc.controller.recording import Recording
from recsvc.errors import InvalidStateError, NotFoundError, NotSupportedError, QuotaExceededError, ServiceError
from recsvc.wire import messages

pytestmark = pytest.mark.usefixtures("own_controller")

OPTIONS = RecordingOptions(mime_type="", audio_bits_per_second=64_000, video_bits_per_second=500_000)


class Service:
    """One that runs, and a client of it that began nothing."""

    def __init__(self, endpoint: str, spool: Path, pid: int, client: Client) -> None:
        self.endpoint, self.spool, self.pid, self.client = endpoint, spool, pid, client

    def record(self, recording: str = "", **wishes: Any) -> Started:
        request = messages.Record(recording=recording or f"r-{uuid.uuid4().hex[:8]}", options=OPTIONS, **wishes)
        return msgspec.convert(self.client.request(request), Started)

    def control(self, recording: str, action: Any, **fields: Any) -> Any:
        request = messages.Control(recording=recording, action=action, client=self.client.name, **fields)
        return self.client.request(request)

    def stop(self, recording: str) -> Finished:
        return msgspec.convert(self.control(recording, "stop", wait=True), Finished)

    def statistics(self, recording: str) -> RecordingStatistics:
        return msgspec.convert(self.client.request(messages.AskStatistics(recording=recording)), RecordingStatistics)

    def events(self, recording: str) -> list[messages.RecorderEvent]:
        found = self.client.request(messages.AskEvents(recorder="", recording=recording, sequence=0))
        return msgspec.convert(found, list[messages.RecorderEvent])


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Service]:
    endpoint, spool = tmp_path / "service", tmp_path / "spool"
    with service(endpoint, "--spool", str(spool)) as process:
        client = Client(ServiceAddress(f"ipc://{endpoint}"))
        try:
            yield Service(f"ipc://{endpoint}", spool, process.pid, client)
        finally:
            client.close()


def recorded_s(there: Service, recording: str, least_s: float) -> None:
    wait_until(lambda: there.statistics(recording).duration >= least_s, "media", DEADLINE_S)


# --- without a caller -----------------------------------------------------------------------------


def test_a_recording_without_a_caller_goes_on_until_somebody_stops_it(there: Service) -> None:
    first = Client(ServiceAddress(there.endpoint))
    request = messages.Record(recording="lobby", name="The lobby", options=OPTIONS, audio={"source": SMALL_TEST})
    request.video = {"source": SMALL_TEST}
    started = msgspec.convert(first.request(request), Started)
    first.close()
    recorded_s(there, "lobby", 0.3)
    finished = there.stop("lobby")
    assert finished.whole.path == started.path == str(there.spool / "lobby.webm")
    assert finished.error == "" and finished.whole.whole
    decoded = decode(Path(started.path))
    by_kind = {track.kind: track.frames_encoded for track in finished.statistics.tracks}
    assert by_kind == {"audio": len(decoded.samples), "video": len(decoded.pictures)}
    assert [event.type for event in there.events("lobby")] == ALL_IN_ORDER
    wait_until(lambda: not children("capture", there.pid), "the end of its sources", DEADLINE_S)


def test_its_end_is_that_of_its_sources(there: Service) -> None:
    started = there.record(audio={"source": f"{SMALL_TEST}&duration=0.4"})
    wait_until(lambda: [e.type for e in there.events(started.recording)] == ALL_IN_ORDER, "its end", DEADLINE_S)
    finished = there.stop(started.recording)  # which it was a moment ago
    assert finished.error == "" and abs(finished.statistics.duration - 0.4) < 0.25
    wait_until(lambda: not children("capture", there.pid), "the end of its sources", DEADLINE_S)


def test_it_is_finished_when_the_service_ends(tmp_path: Path) -> None:
    endpoint, spool = tmp_path / "service", tmp_path / "spool"
    with service(endpoint, "--spool", str(spool)) as process:
        client = Client(ServiceAddress(f"ipc://{endpoint}"))
        there = Service(f"ipc://{endpoint}", spool, process.pid, client)
        started = there.record(audio={"source": SMALL_TEST})
        recorded_s(there, started.recording, 0.2)
        client.close()
    assert decode(Path(started.path)).sound_s >= 0.2


def test_a_source_that_cannot_be_opened_is_what_the_answer_says(there: Service, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        there.record(audio={"source": f"file:{tmp_path}/none.wav"})
    with pytest.raises(NotSupportedError, match="needs a source"):
        there.record()
    wait_until(lambda: not children("capture", there.pid), "the end of what nobody wants", DEADLINE_S)
    assert not list(there.spool.glob("*.webm"))


@pytest.mark.parametrize("action", ["stop", "discard"])
def test_what_is_stopped_before_its_sources_are_open_never_was(action: str, there: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as pool:
        source = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        begun = pool.submit(there.record, recording="never", video={"source": source})
        wait_until(lambda: children("capture", there.pid), "its capture process", DEADLINE_S)
        there.control("never", action)
        with pytest.raises(InvalidStateError, match="before it began"):
            begun.result()
    wait_until(lambda: not children("capture", there.pid), "the end of its source", DEADLINE_S)
    with pytest.raises(InvalidStateError, match="not known"):
        there.stop("never")
    assert not list(there.spool.glob("*.webm"))


def test_what_is_being_opened_when_the_service_ends_never_begins(tmp_path: Path) -> None:
    endpoint, spool = tmp_path / "service", tmp_path / "spool"
    with service(endpoint, "--spool", str(spool)) as process, ThreadPoolExecutor(1) as pool:
        client = Client(ServiceAddress(f"ipc://{endpoint}"))
        there = Service(f"ipc://{endpoint}", spool, process.pid, client)
        begun = pool.submit(there.record, audio={"source": SMALL_TEST})
        capture = wait_until(lambda: children("capture", process.pid), "its capture process", DEADLINE_S)[0]
        os.kill(capture, signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(ServiceError, match="is ending"):  # a request that shows that the end has begun
            there.client.request(messages.Record(recording="later", options=OPTIONS, audio={"source": SMALL_TEST}))
        os.kill(capture, signal.SIGCONT)
        with pytest.raises(ServiceError, match="is ending"):
            begun.result()
        client.close()
    assert not list(spool.glob("*.webm"))


def test_no_client_can_end_them_by_a_goodbye(there: Service) -> None:
    started = there.record(audio={"source": SMALL_TEST})
    with pytest.raises(TypeError, match="client"):
        there.client.request(messages.Bye(client="-service"))
    recorded_s(there, started.recording, 0.1)
    there.stop(started.recording)


# --- of another client ----------------------------------------------------------------------------


class Pushed:
    """Pictures that this program writes, one after the other, by their numbers."""

    def __init__(self, there: Service) -> None:
        self.source = recsvc.VideoSource(width=160, height=120)
        stream = recsvc.MediaStream([self.source.track])
        self.recorder = recsvc.MediaRecorder(stream, service=there.endpoint)
        self.events = record_events(self.recorder)
        self.recorder.start()
        session = self.recorder._session
        assert session is not None
        self.name = session.name
        self.number = 0

    def write(self, count: int) -> list[int]:
        """The numbers of the pictures."""
        numbers = list(range(self.number, self.number + count))
        for number in numbers:
            self.source.write(counter_picture(number).tobytes())
        self.number += count
        return numbers

    def reaches(self, state: str) -> None:
        wait_until(lambda: self.recorder.state == state, f"to be {state}", DEADLINE_S)

    def counters(self) -> list[int | None]:
        self.recorder.wait("stop", DEADLINE_S)
        assert self.recorder.recording is not None
        decoded = decode(self.recorder.recording)
        assert_accounted(self.recorder.statistics(), decoded)
        return decoded.counters


def test_a_pause_and_a_resume_by_another_client_reach_who_feeds_the_recording(there: Service) -> None:
    pushed = Pushed(there)
    written = pushed.write(3)
    there.control(pushed.name, "pause")
    pushed.reaches("paused")
    pushed.write(4)
    there.control(pushed.name, "resume")
    pushed.reaches("recording")
    written += pushed.write(5)
    pushed.recorder.stop()
    assert pushed.counters() == written
    assert types_of(pushed.events) == ["start", "pause", "resume", "dataavailable", "stop"]


def test_a_pause_by_another_client_is_resumed_by_the_recorder(there: Service) -> None:
    pushed = Pushed(there)
    written = pushed.write(3)
    there.control(pushed.name, "pause")
    pushed.reaches("paused")
    pushed.write(2)
    pushed.recorder.resume()
    written += pushed.write(3)
    assert pushed.recorder.state == "recording"
    pushed.recorder.stop()
    assert pushed.counters() == written


def test_of_commands_that_cross_each_other_both_sides_obey_the_same_one(there: Service) -> None:
    """Whatever the order in which they come, recorder and service agree in the end."""
    pushed = Pushed(there)
    for turn in range(40):
        (pushed.recorder.pause if turn % 3 else pushed.recorder.resume)()
        request = messages.Control(recording=pushed.name, action="pause" if turn % 2 else "resume")
        there.client.command(request)
        if turn % 4 == 0:
            (pushed.recorder.resume if turn % 8 else pushed.recorder.pause)()
    there.control(pushed.name, "request_data")
    pushed.recorder.request_data()
    events = pushed.events
    wait_until(lambda: types_of(events).count("dataavailable") == 2, "what all of both come before", DEADLINE_S)
    last = [event.type for event in events if event.type in ("pause", "resume")][-1:]
    assert pushed.recorder.state == {"pause": "paused", "resume": "recording"}[last[0]]
    pushed.recorder.stop()
    pushed.recorder.wait("stop", DEADLINE_S)


def test_a_stop_by_another_client_ends_what_is_pushed_and_is_answered_when_it_is_finished(there: Service) -> None:
    pushed = Pushed(there)
    written = pushed.write(5)
    wait_until(lambda: there.statistics(pushed.name).tracks[0].frames_encoded == 5, "the pictures", DEADLINE_S)
    finished = there.stop(pushed.name)
    assert finished.error == "" and finished.statistics.tracks[0].frames_encoded == 5
    assert pushed.counters() == written
    assert pushed.recorder.state == "inactive" and types_of(pushed.events) == ALL_IN_ORDER


def test_data_can_be_asked_for_by_another_client(there: Service) -> None:
    pushed = Pushed(there)
    pushed.write(5)
    wait_until(lambda: there.statistics(pushed.name).tracks[0].frames_encoded == 5, "the pictures", DEADLINE_S)
    there.control(pushed.name, "request_data")
    wait_until(lambda: "dataavailable" in types_of(pushed.events), "the data", DEADLINE_S)
    pushed.write(2)
    pushed.recorder.request_data()
    pushed.recorder.stop()
    assert pushed.counters() == list(range(7))
    assert types_of(pushed.events) == ["start", *["dataavailable"] * 3, "stop"]


def test_only_who_began_a_recording_can_discard_it(there: Service) -> None:
    pushed = Pushed(there)
    pushed.write(3)
    with pytest.raises(InvalidStateError, match="only who began"):
        there.control(pushed.name, "discard")
    pushed.recorder.stop()
    assert pushed.counters() == [0, 1, 2]


def test_a_command_for_what_is_not_there_says_so(there: Service) -> None:
    started = there.record(audio={"source": SMALL_TEST})
    assert there.stop(started.recording) == there.stop(started.recording)
    assert there.control(started.recording, "stop") is None
    with pytest.raises(InvalidStateError, match="has ended"):
        there.control(started.recording, "pause")
    for action in ("pause", "resume", "stop", "request_data"):
        with pytest.raises(InvalidStateError, match="'nobody' is not known"):
            there.control("nobody", action)


# --- agreement ------------------------------------------------------------------------------------


class _Sides:
    """The recorder's side and the service's, with what is on its way between them."""

    def __init__(self) -> None:
        self.session = Session("r", SimpleNamespace(name="own"), [])  # type: ignore[arg-type]
        self.session.happened(Input.OPENED)
        track = messages.RecordedTrack(track="t", kind="audio", captured=False, settings={})
        start = messages.Start(client="own", recorder="m", recording="r", tracks=(track,), options=OPTIONS, at_ns=1)
        self.recording = Recording(start, None, {}, "", "")
        self.recording.happened(Input.OPENED)
        self.to_service: deque[messages.Control] = deque()
        self.to_recorder: deque[tuple[Input, int]] = deque()
        recordings = SimpleNamespace(active={"r": self.recording}, command_captures=lambda *_: None)
        outbox = SimpleNamespace(
            waiting=lambda _: 0, add=lambda _, type, number: self.to_recorder.append((Input(type), number))
        )
        self.commands = Commands(
            None,
            recordings,
            SimpleNamespace(of=lambda _: outbox),
            None,  # type: ignore[arg-type]
        )

    def own(self, what: Input) -> None:
        if self.session.command(what, 1):
            number = self.session.commands
            self.to_service.append(messages.Control(recording="r", action=what.value, client="own", number=number))

    def foreign(self, what: Input) -> None:
        self.commands.control(
            messages.Control(recording="r", action=what.value, client="other"), lambda _: None, b"", LOCAL
        )

    def carry_command(self) -> None:
        if self.to_service:
            self.commands.control(self.to_service.popleft(), lambda _: None, b"", LOCAL)

    def carry_event(self) -> None:
        if self.to_recorder:
            self.session.obey(*self.to_recorder.popleft())


_STEPS = st.sampled_from(
    [*((who, what) for who in ("own", "foreign") for what in (Input.PAUSE, Input.RESUME)), "down", "up"]
)


@given(st.lists(_STEPS, max_size=60))
def test_both_sides_agree_once_everything_has_come_whatever_crosses(steps: list[Any]) -> None:
    sides = _Sides()
    for step in steps:
        if step == "down":
            sides.carry_command()
        elif step == "up":
            sides.carry_event()
        else:
            getattr(sides, step[0])(step[1])
    while sides.to_service or sides.to_recorder:
        sides.carry_command()
        sides.carry_event()
    assert sides.session.phase is sides.recording.phase


def test_the_stops_that_wait_for_one_file_are_bounded() -> None:
    """Who still waits for an answer asks again, by another connection perhaps, and is among the newest then."""
    recording: Any = SimpleNamespace(name="r", is_from=lambda client, sender: False)
    recordings: Any = SimpleNamespace(active={"r": recording}, end=lambda *_, **__: None)
    events: Any = SimpleNamespace(of=lambda recording: None)
    nobody: Any = SimpleNamespace()
    commands = Commands(nobody, recordings, events, nobody)
    answered: list[int] = []
    stop = messages.Control(recording="r", action="stop", at_ns=1, wait=True)
    for number in range(STOPS_WAITING_MAX + 3):
        commands.control(stop, lambda reply, number=number: answered.append(number), b"", LOCAL)  # type: ignore[misc]
    commands.ended(recording, None)
    assert answered == list(range(3, STOPS_WAITING_MAX + 3))


def test_the_requests_for_data_that_wait_are_bounded() -> None:
    asked: list[Any] = []
    outbox = Outbox("recorder", lambda event: None, lambda: 0)
    outbox.begin("r")
    recording: Any = SimpleNamespace(name="r", worker=None, is_from=lambda *_: False, happened=lambda _: True)
    recordings: Any = SimpleNamespace(active={"r": recording}, end=lambda *_, **__: asked.append("stop"))
    supervisor: Any = SimpleNamespace(ask=lambda worker, cut: asked.append(cut))
    events: Any = SimpleNamespace(of=lambda recording: outbox)
    nobody: Any = SimpleNamespace()
    commands = Commands(supervisor, recordings, events, nobody)
    request = messages.Control(recording="r", action="request_data", at_ns=1)
    for _ in range(EVENTS_WAITING_MAX):
        commands.control(request, lambda reply: None, b"", LOCAL)
    assert len(asked) == EVENTS_WAITING_MAX
    with pytest.raises(QuotaExceededError, match="request_data"):
        commands.control(request, lambda reply: None, b"", LOCAL)
    commands.control(messages.Control(recording="r", action="stop", at_ns=1), lambda reply: None, b"", LOCAL)
    assert asked[-1] == "stop"
