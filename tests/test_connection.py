"""Callers and a named service, each of which may be gone at any time: the other notices, and does what is promised."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ebml
import pytest
from fixtures_media import wait_until
from listening import ALL_IN_ORDER, record_events, types_of
from media import DEADLINE_S, SMALL_TEST, counter_picture, decode
from services import begin, children, place_of, service

import recsvc
from recsvc.caller import connections
from recsvc.caller.requests import Requests
from recsvc.common.permissions import LOCAL
from recsvc.common.service import ServiceAddress, ServiceOptions
from recsvc.common.service_limits import CLIENTS_PER_KEY_MAX, LEASE_NS, REQUESTS_PER_TURN, SOURCES_MAX
from recsvc.common.state import Phase
from recsvc.controller import requests, server
from recsvc.controller.callers import Callers
from recsvc.controller.commands import Commands
from recsvc.controller.leases import Leases
from recsvc.controller.recordings import Recordings
from recsvc.controller.sources import Sources
from recsvc.controller.status import Status
from recsvc.errors import QuotaExceededError, ServiceError, UnknownError
from recsvc.process import role
from recsvc.wire import messages, sockets

NOTICED_S = 5.0
PICTURES = 40


pytestmark = pytest.mark.usefixtures("own_controller")


CALLER = f"""
import os, sys, time, recsvc
sys.path.insert(0, {str(Path(__file__).parent)!r})
from media import counter_picture
stream = recsvc.get_user_media(audio="{SMALL_TEST}", service=sys.argv[1])
source = recsvc.VideoSource(160, 120, when_full="wait")
stream.add_track(source.track)
recorder = recsvc.MediaRecorder(stream, overload="finish-late")
recorder.start()
begin_ns = time.monotonic_ns()
for number in range({PICTURES}):
    assert source.write(counter_picture(number), begin_ns + number * 33_333_333)
while max(track.frames_encoded for track in recorder.statistics().tracks if track.kind == "video") < {PICTURES}:
    time.sleep(0.01)
if "fork" in sys.argv and os.fork() == 0:
    time.sleep(1000)
print("recording", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("how", ["killed", "killed with a child that lives on"])
def test_a_caller_that_is_gone(how: str, place: Path) -> None:
    """Its recording is finished with all it sent, its source is closed; another caller's recording goes on."""
    name = f"ipc://{place}/c.sock"
    kept = place_of(place / "c.sock") / "kept"
    with service(place / "c.sock") as controller:
        with recsvc.get_user_media(video=SMALL_TEST, service=name) as stream:
            mine = recsvc.MediaRecorder(stream)
            events = record_events(mine)
            mine.start()
            [own_file] = kept.glob("*.webm")
            command = [sys.executable, "-c", CALLER, name, *(["fork"] if "child" in how else [])]
            with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as caller:
                assert caller.stdout is not None and caller.stdout.readline() == b"recording\n"
                [path] = set(kept.glob("*.webm")) - {own_file}
                assert len(children("capture", controller.pid)) == 2
                caller.kill()
                caller.wait()
                try:
                    wait_until(lambda: len(children("capture", controller.pid)) == 1, "its source to close", NOTICED_S)
                    wait_until(lambda: ebml.read(path.read_bytes()).segment_size_known, "its file", NOTICED_S)
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(caller.pid, signal.SIGKILL)
            assert mine.state == "recording"
            mine.stop()
            mine.wait("stop", DEADLINE_S)
            assert types_of(events) == ALL_IN_ORDER
        decoded = decode(recsvc.recover(path))
        assert decoded.counters == list(range(PICTURES))
        connections.close_all()


@pytest.mark.parametrize("pushed", [False, True])
def test_a_named_service_that_is_killed(pushed: bool, place: Path) -> None:
    name = f"ipc://{place}/c.sock"
    controller = begin(place / "c.sock")
    source = recsvc.VideoSource(160, 120, when_full="wait")
    stream = recsvc.MediaStream([source.track]) if pushed else recsvc.get_user_media(video=SMALL_TEST, service=name)
    recorder = recsvc.MediaRecorder(stream, service=name)
    events = record_events(recorder)
    recorder.start()
    begin_ns = time.monotonic_ns()
    for number in range(PICTURES if pushed else 0):
        assert source.write(counter_picture(number), begin_ns + number * 33_333_333)
    if not pushed:
        wait_until(lambda: recorder.statistics().duration > 0.3, "a recording", DEADLINE_S)
    controller.kill()
    controller.wait()
    recorder.wait("error", NOTICED_S)
    assert recorder.state == "inactive"
    recorder.wait("stop", DEADLINE_S)
    assert types_of(events) == ["start", "error", "dataavailable", "stop"]
    assert isinstance(events[1].error, ServiceError) and name in str(events[1].error)
    if pushed:
        assert decode(recorder.recording).counters == list(range(PICTURES))
    else:
        assert stream.get_tracks()[0].ready_state == "ended" and decode(recorder.recording).pictures
    wait_until(lambda: not children("encode", controller.pid), "the orphaned roles' end", DEADLINE_S)
    with service(place / "c.sock"):
        if not pushed:
            recorder = recsvc.MediaRecorder(recsvc.get_user_media(video=SMALL_TEST, service=name), service=name)
        events = record_events(recorder)
        events.clear()
        recorder.start()
        if pushed:
            assert all(source.write(counter_picture(number)) for number in range(5))
        recorder.close()
        assert types_of(events) == ALL_IN_ORDER
        recorder.stream.close()
        connections.close_all()


def test_a_service_that_is_asked_to_end_ends_what_its_callers_push(place: Path) -> None:
    """They do not know of it, and go on."""
    endpoint = place / "service"
    source = recsvc.AudioSource(48_000, 1)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]), service=f"ipc://{endpoint}")
    events = record_events(recorder)
    with service(endpoint) as process:
        recorder.start()
        recorder.wait("start", DEADLINE_S)
        process.send_signal(signal.SIGTERM)
        while "stop" not in types_of(events):
            source.write(b"\0\0" * 960)
            time.sleep(0.02)
        assert process.wait(DEADLINE_S) == 0
    assert types_of(events) == ALL_IN_ORDER


def test_a_service_that_stands_still_is_not_gone(place: Path) -> None:
    name = f"ipc://{place}/c.sock"
    with service(place / "c.sock") as controller, recsvc.get_user_media(video=SMALL_TEST, service=name) as stream:
        recorder = recsvc.MediaRecorder(stream)
        events = record_events(recorder)
        recorder.start()
        controller.send_signal(signal.SIGSTOP)
        time.sleep(0.7)
        controller.send_signal(signal.SIGCONT)
        recorder.close()
        assert types_of(events) == ALL_IN_ORDER
        stream.close()
        connections.close_all()


def test_events_wait_for_a_caller_that_stands_still(place: Path) -> None:
    """Hours of them, in the controller: their data would be missing."""
    endpoint = f"ipc://{place}/events"
    server_socket, _ = sockets.event_server(endpoint)
    caller = sockets.event_client(ServiceAddress(endpoint), b"caller/")
    try:
        assert server_socket.poll(DEADLINE_S * 1000)
        sockets.subscription(server_socket, server_socket.recv()[1:], begins=True)
        count = 30_000
        for number in range(count):
            server_socket.send_multipart([b"caller/recorder", str(number).encode()])
        came = []
        while len(came) < count and caller.poll(2000):
            came.append(int(sockets.receive_event(caller)))
        assert came == list(range(count))
    finally:
        caller.close()
        server_socket.close(linger=0)


@pytest.mark.parametrize("who", ["caller", "service"])
def test_the_end_of_one_in_another_pid_namespace(who: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its process id means nothing: a caller from which nothing comes has a lease; of a service the end of its
    connection is noticed."""
    monkeypatch.setattr(role, "pid_namespace", lambda: "pid:[elsewhere]")
    name = f"ipc://{place}/c.sock"
    controller = begin(place / "c.sock")
    try:
        stream = recsvc.get_user_media(video=SMALL_TEST, service=name)
        recorder = recsvc.MediaRecorder(stream)
        events = record_events(recorder)
        recorder.start()
        connection = connections.connect(name)
        assert connection._pidfd is None
        if who == "caller":
            connection.closing = True  # as if it were gone
            os.write(connection._wake_write, b"x")
            wait_until(lambda: not children("capture", controller.pid), "the source to close", NOTICED_S + 2)
            connection.closing = False
            connection.lost = ServiceError("its reader is gone")
        else:
            controller.kill()
            recorder.wait("error", NOTICED_S)
        recorder.wait("stop", DEADLINE_S)
        assert types_of(events) == ["start", "error", "dataavailable", "stop"]
        if who == "caller":  # it is there, and still has the events of its end
            assert "nothing came from its caller" in str(events[1].error)
        stream.close()
        connections.close_all()
    finally:
        controller.terminate()
        controller.wait()


def test_a_caller_that_ends_in_order_waits_for_its_recordings(place: Path) -> None:
    """With a named service as with a private one: what listeners were promised comes before the program ends."""
    program = f"""if True:
        import recsvc
        stream = recsvc.get_user_media(video="{SMALL_TEST}", service="ipc://{place}/c.sock")
        recorder = recsvc.MediaRecorder(stream)
        for type in ("start", "error", "dataavailable", "stop"):
            recorder.add_event_listener(type, lambda event: print(event.type, flush=True))
        recorder.start()
        recorder.wait("start")
    """
    with service(place / "c.sock"):
        begin_s = time.monotonic()
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=DEADLINE_S)
        assert done.stdout.split() == [b"start", b"dataavailable", b"stop"]
        assert time.monotonic() - begin_s < 10


@contextlib.contextmanager
def controller_in_a_thread(place: Path) -> Iterator[str]:
    """Its endpoint."""
    (place / "spool").mkdir()
    lifeline: Any = SimpleNamespace(descriptors=[], parent_gone=False, ended_by=lambda descriptor: False)
    endpoint = f"ipc://{place}/control"
    options = ServiceOptions(endpoint=endpoint, spool=str(place / "spool"))
    running = threading.Thread(target=server.Controller(options, place, lifeline).run)
    running.start()
    try:
        yield endpoint
    finally:
        connections.close_all()
        asking = sockets.control_client(ServiceAddress(endpoint))
        asking.send(messages.encode(messages.Shutdown()))
        running.join(DEADLINE_S)
        asking.close()


@pytest.mark.parametrize(("part", "where"), [(Commands, "_obey"), (Recordings, "hand_out")])
def test_an_error_inside_the_controller_is_logged_and_ends_its_recording(
    part: type, where: str, place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("a mistake of ours")

    monkeypatch.setattr(part, where, broken)
    with controller_in_a_thread(place) as endpoint:
        with recsvc.get_user_media(video=SMALL_TEST, service=endpoint) as stream:
            recorder = recsvc.MediaRecorder(stream, service=endpoint)
            events = record_events(recorder)
            recorder.start(timeslice=50)
            if where == "_obey":
                recorder.pause()
            recorder.wait("stop", DEADLINE_S)
        assert types_of(events) == ["start", "error", "dataavailable", "stop"]
        assert isinstance(events[1].error, UnknownError) and "a mistake of ours" in str(events[1].error)
        assert any(record.exc_info and "mistake" in str(record.exc_info[1]) for record in caplog.records)


def test_an_error_that_hits_no_recording_ends_none(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of what is due by now, and of what is to be done at a process's end."""
    broken = []

    def failing(name: str) -> Callable[..., Any]:
        def fail(*_: Any) -> None:
            broken.append(name)
            raise OSError(f"no {name}")

        return fail

    monkeypatch.setattr(Status, "_status", failing("status"))
    monkeypatch.setattr(Recordings, "source_gone", failing("end"))
    with controller_in_a_thread(place) as endpoint:
        asking = sockets.control_client(ServiceAddress(endpoint))
        with recsvc.get_user_media(video=SMALL_TEST, service=endpoint) as stream:
            recorder = recsvc.MediaRecorder(stream, service=endpoint)
            events = record_events(recorder)
            recorder.start()
            asking.send(messages.encode(messages.AskStatus(id=1)))
            recsvc.get_user_media(video=SMALL_TEST, service=endpoint).close()
            wait_until(lambda: {"status", "end"} <= set(broken), "both of them", DEADLINE_S)
            recorder.stop()
            recorder.wait("stop", DEADLINE_S)
        asking.close()
    assert types_of(events) == ["start", "dataavailable", "stop"]
    assert {str(one.exc_info[1]) for one in caplog.records if one.exc_info} == {"no status", "no end"}


def test_a_service_of_another_version_is_named_as_such(tmp_path: Path) -> None:
    """One that ran on while the package was replaced knows other words."""
    endpoint = f"ipc://{tmp_path}/old"
    server, _ = sockets.control_server(endpoint)

    def answer() -> None:
        if server.poll(DEADLINE_S * 1000):
            identity, _ = server.recv_multipart()
            reply = messages.Reply(id=1, result={"events": f"ipc://{tmp_path}/events"})
            server.send_multipart([identity, messages.encode(reply)])

    service = threading.Thread(target=answer)
    service.start()
    try:
        with pytest.raises(ServiceError, match="another version of recsvc: restart it"):
            connections.connect(endpoint)
    finally:
        service.join()
        server.close()


def test_a_caller_that_has_said_goodbye_begins_nothing_any_more() -> None:
    """Another of its threads may have been about to: nobody would ever end that recording."""
    callers = Callers(SimpleNamespace(), lambda client: None, lambda client: None)
    answers: list[str] = []
    callers.hello(b"", messages.Hello(client="c"))
    assert not callers.is_gone("c")
    callers.goodbye("c", lambda: answers.append("c"))
    assert callers.is_gone("c")
    callers.finished("c")
    assert callers.is_gone("c") and answers == ["c"]


def test_the_clients_and_sources_of_one_key_are_bounded() -> None:
    silent: list[str] = []
    callers = Callers(SimpleNamespace(), lambda client: None, silent.append)
    for number in range(CLIENTS_PER_KEY_MAX):
        callers.came(b"", messages.Ping(client=f"c{number}"), "eve")
    with pytest.raises(QuotaExceededError, match="'eve'"):
        callers.came(b"", messages.Ping(client="one-more"), "eve")
    with pytest.raises(QuotaExceededError):
        callers.hello(b"", messages.Hello(client="one-more"), "eve")
    callers.hello(b"", messages.Hello(client="c7"), "eve")
    callers.came(b"", messages.Ping(client="another"), "alice")
    callers.forget("c0")
    callers.came(b"", messages.Ping(client="one-more"), "eve")
    callers.look()
    assert not silent and callers.due_ns() is not None

    supervisor = SimpleNamespace(start=lambda role: SimpleNamespace(), ask=lambda *_: None)
    sources = Sources(supervisor)  # type: ignore[arg-type]

    def opened(owner: str, number: int) -> None:
        wish = {"source": "test:", "track": f"t-{owner}-{number}"}
        sources.open(messages.OpenSource(client="c", audio=wish), lambda reply: None, owner)

    for number in range(SOURCES_MAX // 2):
        opened("eve", number)
    with pytest.raises(QuotaExceededError, match="sources are open"):
        opened("eve", SOURCES_MAX)
    for number in range(SOURCES_MAX // 2):
        opened("", number)
    with pytest.raises(QuotaExceededError):
        opened("alice", 0)


def test_an_old_answer_of_a_worker_gives_nobody_up() -> None:
    """It says that no frame came before it was asked; meanwhile the client has given a sign of life."""
    answers: list[Any] = []
    recording = SimpleNamespace(name="r", pushed=["r/t"], phase=Phase.RECORDING, worker=None, fail=lambda *_: None)
    supervisor: Any = SimpleNamespace(ask=lambda worker, request, on_reply: answers.append(on_reply))
    recordings: Any = SimpleNamespace(of=lambda client: [recording])
    gone: list[str] = []
    callers = Callers(SimpleNamespace(), gone.append, lambda client: None)
    sources: Any = SimpleNamespace(tracks_of=lambda client: ())
    leases = Leases(callers, supervisor, sources, recordings)
    callers.hello(b"", messages.Hello(client="c"))
    silent = messages.Reply(id=1, result=LEASE_NS)
    leases.silent("c")
    callers.alive("c")
    answers.pop()(silent)
    assert not gone
    leases.silent("c")
    answers.pop()(silent)
    assert gone == ["c"]


def test_a_client_that_floods_the_controller_lets_it_look_at_others(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    ping = messages.encode(messages.Ping(client="c"))
    monkeypatch.setattr(requests.sockets, "readable", lambda socket: True)
    monkeypatch.setattr(requests.sockets, "receive_frame", lambda socket: [b"id", SimpleNamespace(bytes=ping)])
    gate: Any = SimpleNamespace(peer=lambda frame: LOCAL)
    permissions: Any = SimpleNamespace(check=lambda peer, request: None)
    callers: Any = SimpleNamespace(came=lambda identity, request, key: True)
    taking = requests.Requests(None, gate, permissions, callers, done.append, lambda *_: None, lambda result: result)
    taking.take()
    assert len(done) == REQUESTS_PER_TURN


def test_of_two_capture_processes_none_stays_when_the_second_cannot_be_started() -> None:
    started: list[str] = []
    ended: list[str] = []

    def start(role: str) -> Any:
        if started:
            raise OSError("too many files")
        started.append(role)
        return role

    supervisor: Any = SimpleNamespace(start=start, end=ended.append, ask=lambda *_: None)
    wishes = [{"source": f"test:seed={number}", "track": f"t{number}"} for number in range(2)]
    with pytest.raises(ServiceError, match="too many files"):
        Sources(supervisor).open(messages.OpenSource(audio=wishes[0], video=wishes[1]), lambda reply: None)
    assert ended == started == ["capture"]


@pytest.mark.parametrize("arguments", [["encode", "--data", "ipc://x"], ["capture", "--line", "1"], ["controller"]])
def test_a_role_that_is_started_by_hand_says_who_starts_it(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recsvc", *arguments, "--directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 2 and "recsvc serve" in done.stderr and "Traceback" not in done.stderr


class SlowClient:
    """In place of ``Client``: the one of ``SLOW`` is made as long as a service takes to answer."""

    SLOW = ServiceAddress("ipc:///slow")
    begun: threading.Semaphore
    goes_on: threading.Event

    def __init__(self, address: ServiceAddress) -> None:
        self.address = address
        self.usable = True
        if address == self.SLOW:
            SlowClient.begun.release()
            assert SlowClient.goes_on.wait(DEADLINE_S)

    def close(self) -> None:
        self.usable = False


@pytest.fixture
def slow_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "Client", SlowClient)
    monkeypatch.setattr(SlowClient, "begun", threading.Semaphore(0), raising=False)
    monkeypatch.setattr(SlowClient, "goes_on", threading.Event(), raising=False)


def connecting(address: ServiceAddress, found: list[Any]) -> threading.Thread:
    thread = threading.Thread(target=lambda: found.append(connections.connect_to(address)))
    thread.start()
    return thread


@pytest.mark.usefixtures("slow_clients")
def test_a_ready_connection_does_not_wait_for_one_that_is_being_made() -> None:
    ready = connections.connect_to(ServiceAddress("ipc:///ready"))
    found: list[Any] = []
    slow = [connecting(SlowClient.SLOW, found) for _ in range(2)]
    assert SlowClient.begun.acquire(timeout=DEADLINE_S)
    others: list[Any] = []
    for address in (ready.address, ServiceAddress("ipc:///another")):
        connecting(address, others).join(DEADLINE_S)
    assert len(others) == 2 and others[0] is ready and found == []
    SlowClient.goes_on.set()
    for thread in slow:
        thread.join(DEADLINE_S)
    assert found[0] is found[1] and not SlowClient.begun.acquire(blocking=False)


@pytest.mark.usefixtures("slow_clients")
def test_a_connection_that_is_being_made_is_closed_with_the_others() -> None:
    found: list[Any] = []
    slow = connecting(SlowClient.SLOW, found)
    assert SlowClient.begun.acquire(timeout=DEADLINE_S)
    closing = threading.Thread(target=connections.close_all)
    closing.start()
    SlowClient.goes_on.set()
    for thread in (slow, closing):
        thread.join(DEADLINE_S)
    assert not found[0].usable


def test_an_answer_that_was_sent_before_the_service_ended_is_the_answer(tmp_path: Path) -> None:
    """Whether its end or its answer is seen first."""
    address = ServiceAddress(f"ipc://{tmp_path}/service")
    answers = [messages.Reply(id=number, error="ServiceError", text="the service is ending") for number in (1, 2)]
    socket, _ = sockets.control_server(address.endpoint)
    looks = 0

    def look() -> None:
        """Before a request all is well; after it the service has answered by one look, and is gone."""
        nonlocal looks
        looks += 1
        if looks % 2 == 0:
            identity, _ = socket.recv_multipart()
            socket.send_multipart([identity, messages.encode(answers.pop(0))])
            raise ServiceError("the service ended")

    asked = Requests(address, None, look)
    try:
        for _ in range(2):
            with pytest.raises(ServiceError, match="is ending"):
                asked.ask(messages.AskStatus(), 10**10)
    finally:
        asked.close()
        socket.close(linger=0)
