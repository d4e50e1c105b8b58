"""A stop goes straight to the capture process, the report straight to the caller: sooner, and with the same result."""

import queue
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from media import DEADLINE_S, SMALL_TEST, S, assert_accounted, assert_consecutive, decode, record_for

import recsvc
from recsvc.caller import client
from recsvc.caller.client import Client
from recsvc.caller.session import Session
from recsvc.capture import process as capture
from recsvc.capture.process import CaptureProcess
from recsvc.capture.sinks import Demand
from recsvc.wire import messages, sockets

pytestmark = pytest.mark.alone

TYPES = ("start", "pause", "resume", "dataavailable", "stop", "error")


@pytest.fixture
def recorder(monkeypatch):
    """Of captured tracks, by a connection that is made when it is asked for."""
    client.close_all()
    opened = []

    def make():
        opened.append(recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST))
        made = recsvc.MediaRecorder(opened[0])
        made.heard = []
        for type in TYPES:
            made.add_event_listener(type, made.heard.append)
        return made

    yield make
    for stream in opened:
        stream.close()


@pytest.mark.parametrize("short", [True, False])
def test_the_last_data_comes_by_the_workers_report_where_that_can_be_reached(recorder, monkeypatch, short):
    if not short:  # as with a service on another machine
        monkeypatch.setattr(Client, "_connect_reports", lambda *_: None)
    concluded = []

    def conclusion(session, original=Session.conclusion):
        last = original(session)
        concluded.extend([] if last is None else [last])
        return last

    monkeypatch.setattr(Session, "conclusion", conclusion)
    made = recorder()
    for _ in range(5):
        record_for(made, 0.3)
    assert [event.type for event in made.heard] == ["start", "dataavailable", "stop"] * 5
    assert bool(concluded) == short, "usually it comes first"


@pytest.mark.parametrize("short", [True, False])
def test_a_stop_reaches_the_source_with_and_without_the_controller(recorder, monkeypatch, short):
    """The controller's commands are held back, or there are no others: the recording ends at the stop both times."""
    if short:
        later = _Later(monkeypatch, "stop")
    else:
        monkeypatch.setattr(Client, "tell", lambda *_: None)
    made = recorder()
    begin_s = time.monotonic()
    made.start()
    made.wait("start", DEADLINE_S)
    time.sleep(0.5)
    made.stop()
    lasted_s = time.monotonic() - begin_s
    if short:
        assert later.wait_for_one() == "stop"
        made.wait("dataavailable", DEADLINE_S)  # while the controller knows nothing of it
        later.release()
    made.wait("stop", DEADLINE_S)
    decoded = decode(made.recording)
    assert_consecutive(decoded.counters)
    assert_accounted(made.statistics(), decoded)
    assert made.recording.duration == pytest.approx(lasted_s, abs=0.2)
    assert [event.type for event in made.heard] == ["start", "dataavailable", "stop"]


def test_a_stop_says_what_must_come_before_it(recorder, monkeypatch):
    """Commands that may still be on the longer way: each side counts them."""
    told = []
    monkeypatch.setattr(Client, "tell", lambda client, endpoint, message: told.append(message))
    made = recorder()
    sound, picture = made.stream.get_audio_tracks()[0], made.stream.get_video_tracks()[0]
    made.start()
    made.pause()
    made.request_data()
    made.resume()
    sound.enabled = False
    made.stop()
    made.wait("stop", DEADLINE_S)
    [message] = told
    name = next(iter(message.routes)).partition("/")[0]
    assert message.routes == {f"{name}/{sound.id}": 4, f"{name}/{picture.id}": 3}
    assert (message.commands, message.cuts) == (4, 1)


class _Later:
    """Holds back some commands of callers to their controller, and all behind them."""

    def __init__(self, monkeypatch, *actions):
        self._held = queue.SimpleQueue()
        self._actions = actions
        self._holding = False
        self._released = False
        self._lock = threading.Lock()
        self._command = Client.command
        monkeypatch.setattr(Client, "command", lambda client, message: self._take(client, message))

    def _take(self, client, message):
        with self._lock:
            action = getattr(message, "action", "")
            self._holding = not self._released and (self._holding or action in self._actions)
            if not self._holding:
                self._command(client, message)
                return
            self._held.put((client, message))

    def wait_for_one(self):
        """The action of the first that is held."""
        client, message = self._held.get(timeout=DEADLINE_S)
        self._held.put((client, message))
        return message.action

    def release(self):
        with self._lock:
            self._released, self._holding = True, False
            while not self._held.empty():
                self._command(*self._held.get())


# --- the reports' socket --------------------------------------------------------------------------


def test_a_worker_killed_while_it_reports_does_no_harm_to_its_callers(tmp_path):
    """libzmq aborts the process of a subscriber where that happens between two parts of a message."""
    for number in range(20):
        endpoint = f"ipc://{tmp_path}/{number}"
        publisher = subprocess.Popen([sys.executable, "-c", PUBLISHER, endpoint], stdout=subprocess.PIPE)
        subscriber = sockets.report_client(b"client/")
        try:
            assert publisher.stdout.readline() == b"bound\n"
            subscriber.connect(endpoint)
            for _ in range(50 + number):
                assert subscriber.poll(int(DEADLINE_S * 1000))
                assert sockets.receive_report(subscriber) == b"\0body" * 400
            publisher.kill()
            while subscriber.poll(50):
                sockets.receive_report(subscriber)
        finally:
            publisher.kill()
            publisher.communicate()
            subscriber.close()


PUBLISHER = """
import sys
from recsvc.wire import sockets
socket = sockets.report_server(sys.argv[1])
print("bound", flush=True)
while True:
    socket.send(b"client/recorder" + sockets.TOPIC_END + b"\\0body" * 400)
"""


# --- at the capture process -----------------------------------------------------------------------


class _Sender:
    def __init__(self):
        self.ended = []
        self.counts = ()

    def commanded(self, route, commands, cuts):
        self.counts = (commands, cuts)

    def end(self, route, at_ns):
        self.ended.append((route, at_ns))

    def pause(self, route, at_ns):
        pass


class _Track:
    def __init__(self):
        self.sender = _Sender()


class _Endless:
    pace_max = True


def test_a_command_that_came_too_early_or_is_unreadable_changes_nothing(tmp_path, monkeypatch):
    refused = []
    monkeypatch.setattr(capture, "complaints", SimpleNamespace(about=lambda _, text: refused.append(text)))
    endpoint = f"ipc://{tmp_path}/commands"
    process = CaptureProcess.__new__(CaptureProcess)
    process._commands = sockets.command_server(endpoint)
    process._source, process._demand, process._sinks = _Endless(), Demand(), {}
    caller = sockets.command_client(endpoint)
    try:
        track = _Track()
        process._routes, process._controls = {"a/t": track}, {"a/t": 1}
        too_early = messages.EndRoutes(routes={"a/t": 2, "b/t": 0}, at_ns=S)
        in_time = messages.EndRoutes(routes={"a/t": 1}, at_ns=2 * S, commands=3, cuts=1)
        for body in (b"", b"\xc1", messages.encode(messages.Shutdown()), messages.encode(too_early)):
            caller.send(body)
            _take_one(process)
            assert track.sender.ended == [] and set(process._routes) == {"a/t"}
        assert len(refused) == 3 and all("refused" in text for text in refused)
        caller.send(messages.encode(in_time))
        _take_one(process)
        assert track.sender.ended == [("a/t", 2 * S)] and track.sender.counts == (3, 1)
        assert not process._routes and not process._controls
    finally:
        caller.close()
        process._commands.close()


def _take_one(process):
    assert process._commands.poll(int(DEADLINE_S * 1000))
    process._take_commands()
