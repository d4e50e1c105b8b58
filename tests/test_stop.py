"""The one way of a stop: every role halted or killed at any instant of it, and events that are missed on their way."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from fixtures_media import wait_until
from listening import ALL_IN_ORDER, record_types
from media import DEADLINE_S, SMALL_TEST, assert_accounted, assert_consecutive, decode, record_for
from services import roles

import recsvc
from recsvc import errors
from recsvc.caller import client, recordings, subscription
from recsvc.caller.subscription import Subscription
from recsvc.common.limits import DRAIN_DEADLINE_NS, IDLE_SOCKETS_MAX, S
from recsvc.common.pieces import HandedOut
from recsvc.common.service import ServiceAddress
from recsvc.controller.recovery import Recovery
from recsvc.wire import messages, sockets


@pytest.fixture
def seed() -> int:
    """Printed, so that what failed can be done again."""
    found = random.randrange(2**32)
    print(f"seed {found}")
    return found


# --- roles ----------------------------------------------------------------------------------------

INSTANTS = 4
STOP_S = 0.004  # about as long as a stop takes


@pytest.fixture
def stream(own_controller: None) -> Iterator[recsvc.MediaStream]:
    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as opened:
        yield opened


@contextlib.contextmanager
def during(delay_s: float, act: Callable[[], None]) -> Iterator[None]:
    """``act`` is done so long after the block has begun, by another thread."""
    timer = threading.Timer(delay_s, act)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def signal_all(role: str, number: int) -> None:
    for pid in roles(role):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@pytest.mark.parametrize("role", ["controller", "encode", "capture"])
def test_a_role_that_is_halted_at_any_instant_of_a_stop_only_delays_it(
    role: str, stream: recsvc.MediaStream, seed: int
) -> None:
    recorder = recsvc.MediaRecorder(stream)
    chance = random.Random(seed)
    types = record_types(recorder)
    for _ in range(INSTANTS):
        types.clear()
        recorder.start()
        recorder.wait("start", DEADLINE_S)
        time.sleep(0.2)
        with during(chance.uniform(0, STOP_S), lambda: signal_all(role, signal.SIGSTOP)):
            recorder.stop()
        assert recorder.state == "inactive"
        with during(chance.uniform(0, 0.1), lambda: signal_all(role, signal.SIGCONT)):
            recorder.wait("stop", DEADLINE_S)
        assert types == ALL_IN_ORDER
        assert recorder.recording is not None
        decoded = decode(recorder.recording)
        assert_consecutive(decoded.counters)
        assert_accounted(recorder.statistics(), decoded)


@pytest.mark.parametrize("instant", range(3))
@pytest.mark.parametrize("role", ["controller", "encode", "capture"])
def test_a_role_that_is_killed_at_any_instant_of_a_stop(
    role: str, instant: int, stream: recsvc.MediaStream, seed: int
) -> None:
    """It may have done its part already: else there is an error. What was recorded is in the file both times."""
    recorder = recsvc.MediaRecorder(stream)
    types = record_types(recorder)
    recorder.start()
    # A worker that is killed loses its newest cluster, less than a second: there is more.
    wait_until(lambda: recorder.statistics().duration > 1.2, "something that is written", DEADLINE_S)
    delay_s = (instant + random.Random(seed).random()) * STOP_S / 3
    with during(delay_s, lambda: signal_all(role, signal.SIGKILL)):
        recorder.stop()
    recorder.wait("stop", DEADLINE_S)
    assert [type for type in types if type != "error"] == ALL_IN_ORDER
    assert types.count("error") <= 1 and types.index("dataavailable") > types.count("error")
    assert recorder.recording is not None
    counters = decode(recorder.recording).counters
    assert_consecutive(counters)
    assert len(counters) > 2


def test_a_recording_waits_for_the_worker_that_can_complete_its_file() -> None:
    """Where workers die one soon after the other, the next is started after a pause."""
    done: list[Any] = []
    reports: list[messages.RecordingFinished] = []
    living: list[str] = []

    def choose() -> str:
        if not living:
            raise errors.ServiceError("they end at once")
        return living[0]

    recording: Any = SimpleNamespace(path="a.webm", mime_type="video/webm", handed_out=HandedOut(), due=None, name="a")
    recording.postponed_ns = 0
    workers: Any = SimpleNamespace(choose=choose, next_ns=time.monotonic_ns() + S)
    supervisor: Any = SimpleNamespace(ask=lambda worker, request, answer: done.append(answer), knows=lambda _: True)
    Recovery(recording, supervisor, workers, lambda _, report: reports.append(report))
    due_ns, act = recording.due
    assert due_ns == workers.next_ns and not reports
    living.append("a worker")
    act(recording)
    done[0](messages.Reply(id=1, result={"size": 7, "duration": 2.0}))
    assert [report.whole.end for report in reports] == [7]


def test_a_recording_whose_only_track_ends_before_the_service_knows_of_it(
    own_controller: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands and requests take different sockets, so the end may overtake the start."""
    original = client.Client.request

    def request(self: client.Client, message: Any, *given: Any) -> Any:
        if isinstance(message, messages.Start):
            source.write(b"\0\0" * 960)
            source.end()
            with contextlib.suppress(errors.InvalidStateError):  # the service has read what came before, then
                original(self, messages.AskEvents(recorder="nobody", recording="none", sequence=0), *given)
        return original(self, message, *given)

    source = recsvc.AudioSource(48_000, 1)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    types = record_types(recorder)
    monkeypatch.setattr(client.Client, "request", request)
    recorder.start()
    recorder.wait("stop", DEADLINE_S)
    assert types == ALL_IN_ORDER


@contextlib.contextmanager
def written(source: recsvc.AudioSource) -> Iterator[None]:
    """Sound is written in real time, by a thread that knows nothing of recordings."""
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.02):
            source.write(b"\0\0" * 960)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_capture_process_that_dies_after_its_track_was_stopped_ends_no_recording_of_others(
    own_controller: None,
) -> None:
    source = recsvc.AudioSource(48_000, 1)
    stream = recsvc.get_user_media(video=SMALL_TEST)
    [captured] = stream.get_tracks()
    with written(source):
        recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track, captured]))
        recorder.start()
        recorder.wait("start", DEADLINE_S)
        signal_all("capture", signal.SIGSTOP)
        captured.stop()
        recorder.statistics()  # the service has read the command by now
        signal_all("capture", signal.SIGKILL)
        wait_until(lambda: not roles("capture"), "the end of the capture process", DEADLINE_S)
        encoded = recorder.statistics().tracks[0].frames_encoded

        def goes_on() -> bool:
            assert recorder.state == "recording"
            return recorder.statistics().tracks[0].frames_encoded > encoded + 24_000

        wait_until(goes_on, "sound that comes later", DEADLINE_S)
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)


def test_a_pushed_track_does_not_hold_up_the_end_that_its_caller_does_not_know_of(own_controller: None) -> None:
    source = recsvc.AudioSource(48_000, 1)
    with recsvc.get_user_media(video=SMALL_TEST) as stream, written(source):
        stream.add_track(source.track)
        recorder = recsvc.MediaRecorder(stream)
        recorder.start()
        recorder.wait("start", DEADLINE_S)
        signal_all("capture", signal.SIGKILL)
        assert "capture process" in str(recorder.wait("error", DEADLINE_S).error)
        recorder.wait("stop", DEADLINE_S)
        assert recorder.recording is not None
        assert recorder.recording.duration < DRAIN_DEADLINE_NS / S


# --- events ---------------------------------------------------------------------------------------


class Controller:
    """Publishes the events of one recording and answers those who have missed some."""

    def __init__(self, place: Path, kept_from: int = 0) -> None:
        self._server, _ = sockets.event_server(f"ipc://{place}/events")
        self._endpoint = f"ipc://{place}/events"
        self._kept_from = kept_from
        self.asked: list[int] = []
        self.known = True
        self.usable = True
        self.busy = 0  # requests that it does not answer in time

    def event(self, sequence: int) -> messages.RecorderEvent:
        return messages.RecorderEvent(recorder="r", recording="a", sequence=sequence, type="pause", at_ns=0)

    def publish(self, *numbers: int) -> None:
        for number in numbers:
            self._server.send_multipart([b"c/r", messages.encode(self.event(number))])

    def publish_stop(self, number: int) -> None:
        self._server.send_multipart([b"c/r", messages.encode(msgspec.structs.replace(self.event(number), type="stop"))])

    def publish_subscribed(self, next: dict[str, int]) -> None:
        self._server.send_multipart([b"c/r", messages.encode(messages.Subscribed(next=next))])

    def subscribe(self, recorder: str) -> Any:
        socket = sockets.event_client(ServiceAddress(self._endpoint), b"c/r")
        assert self._server.poll(DEADLINE_S * 1000)
        sockets.subscription(self._server, self._server.recv()[1:], begins=True)
        return socket

    def request(self, request: messages.AskEvents, deadline_ns: int) -> Any:
        self.asked.append(request.sequence)
        if self.busy:
            self.busy -= 1
            raise errors.ServiceError("no answer")
        if not self.known:
            raise errors.InvalidStateError("nothing is known")
        numbers = range(max(request.sequence, self._kept_from), 10)
        encoded = messages.encode(messages.Reply(id=1, result=[self.event(number) for number in numbers]))
        return messages.REPLIES.decode(encoded).result

    def close(self) -> None:
        self._server.close(0)


@pytest.fixture
def subscribed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Controller, Subscription]]:
    controller = Controller(tmp_path, getattr(request, "param", 0))
    made = Subscription(controller, "r")  # type: ignore[arg-type]
    made.follow("a")
    yield controller, made
    made.close()
    controller.close()


def take(subscription: Subscription, count: int) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []

    def enough() -> bool:
        while (event := subscription.next()) is not None:
            found.append((event.sequence, event.type))
        return len(found) >= count

    wait_until(enough, "the events", DEADLINE_S)
    return found


def test_events_that_come_twice_count_once(subscribed: tuple[Controller, Subscription]) -> None:
    controller, subscription = subscribed
    controller.publish(0, 1, 0, 1, 1, 2)
    assert take(subscription, 3) == [(0, "pause"), (1, "pause"), (2, "pause")] and controller.asked == []


def test_a_gap_in_the_numbers_is_mended_by_asking(subscribed: tuple[Controller, Subscription]) -> None:
    controller, subscription = subscribed
    controller.publish(0, 3, 4, 7)
    assert take(subscription, 8) == [(number, "pause") for number in range(8)]
    assert controller.asked == [1, 5]


@pytest.mark.parametrize("subscribed", [3], indirect=True)
def test_events_that_nobody_keeps_any_more_are_replaced_by_an_error(
    subscribed: tuple[Controller, Subscription],
) -> None:
    controller, subscription = subscribed
    controller.publish(0, 5)
    assert take(subscription, 5) == [(0, "pause"), (2, "error"), (3, "pause"), (4, "pause"), (5, "pause")]


def test_what_was_published_before_the_subscription_stood_is_asked_for(
    subscribed: tuple[Controller, Subscription],
) -> None:
    controller, subscription = subscribed
    controller.publish_subscribed({"a": 0, "another": 7})
    controller.publish_subscribed({"a": 2})
    assert take(subscription, 10) == [(number, "pause") for number in range(10)] and controller.asked == [0]
    controller.publish_subscribed({"a": 10})
    controller.publish_stop(10)
    assert take(subscription, 1) == [(10, "stop")] and controller.asked == [0]


def test_a_gap_that_nobody_can_mend_is_an_error(subscribed: tuple[Controller, Subscription]) -> None:
    controller, subscription = subscribed
    controller.known = False
    controller.publish(0, 5)
    assert take(subscription, 3) == [(0, "pause"), (4, "error"), (5, "pause")]
    with pytest.raises(errors.InvalidStateError):
        subscription.ask("a")


def test_a_gap_is_mended_later_where_the_controller_does_not_answer(
    subscribed: tuple[Controller, Subscription],
) -> None:
    controller, subscription = subscribed
    controller.busy = 2
    controller.publish(0, 5)
    assert take(subscription, 6) == [(number, "pause") for number in range(6)]
    assert controller.asked == [1, 1, 1]


def test_nothing_is_kept_of_a_recording_that_has_ended(subscribed: tuple[Controller, Subscription]) -> None:
    controller, subscription = subscribed
    controller.publish(0, 1)
    controller.publish_stop(2)
    controller.publish(0, 2)
    assert take(subscription, 3)[-1] == (2, "stop") and subscription.next() is None
    assert not subscription._expected


def test_a_missed_event_that_no_later_one_shows_is_asked_for(subscribed: tuple[Controller, Subscription]) -> None:
    controller, subscription = subscribed
    subscription.ask("a")
    assert take(subscription, 10) == [(number, "pause") for number in range(10)] and controller.asked == [0]


def miss(lost: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of these types do not come."""
    original = messages.EVENTS.decode

    def decode_some(header: Any) -> Any:
        event = original(header)
        return messages.Subscribed() if getattr(event, "type", "") in lost else event

    monkeypatch.setattr(subscription.messages, "EVENTS", SimpleNamespace(decode=decode_some))


@pytest.mark.parametrize("lost", [("start",), ("dataavailable",), ("stop",), ("start", "dataavailable", "stop")])
def test_a_recorder_that_misses_events_still_fires_all_of_them(
    lost: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    miss(lost, monkeypatch)
    monkeypatch.setattr(recordings, "STOP_ASK_NS", 20_000_000)
    with recsvc.get_user_media(video=SMALL_TEST) as stream:
        recorder = recsvc.MediaRecorder(stream)
        types = record_types(recorder)
        assert_consecutive(decode(record_for(recorder, 0.2)).counters)
        assert types == ALL_IN_ORDER


def test_a_start_that_was_missed_and_that_nobody_can_tell_any_more_is_fired_all_the_same(
    monkeypatch: pytest.MonkeyPatch, own_controller: None
) -> None:
    """The recorder knows by the reply that it has begun: no event of its recording is lost."""

    def gone(*_: object) -> None:
        raise errors.InvalidStateError("the controller has ended")

    miss(("start",), monkeypatch)
    monkeypatch.setattr(Subscription, "_missed", gone)
    with recsvc.get_user_media(video=SMALL_TEST) as stream:
        recorder = recsvc.MediaRecorder(stream)
        types = record_types(recorder)
        assert_consecutive(decode(record_for(recorder, 0.2)).counters)
        assert types == ALL_IN_ORDER


@pytest.mark.parametrize("what", ["the wake-up", "the subscription"])
def test_a_recorder_without_descriptors_says_so_and_leaves_nothing(
    what: str, own_controller: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = recsvc.AudioSource(48_000, 1)
    stream = recsvc.MediaStream([source.track])
    with recsvc.MediaRecorder(stream) as recorder:
        recorder.start()

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many") if what == "the wake-up" else errors.QuotaExceededError("too many")

    recorder = recsvc.MediaRecorder(stream)
    before = descriptors()
    with monkeypatch.context() as patched:
        if what == "the wake-up":
            patched.setattr(subscription.os, "eventfd", fail)
        else:
            patched.setattr(client.Client, "subscribe", fail)
        with pytest.raises(errors.QuotaExceededError, match="too many"):
            recorder.start()
    assert recorder.state == "inactive" and descriptors() <= before
    with recorder:
        recorder.start()
    assert recorder.recording is not None


def descriptors() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/fd")}


def test_many_requests_at_once_leave_few_descriptors(own_controller: None) -> None:
    source = recsvc.AudioSource(48_000, 1)
    with recsvc.MediaRecorder(recsvc.MediaStream([source.track])) as recorder:
        recorder.start()
        before = len(descriptors())
        threads = [threading.Thread(target=recorder.statistics) for _ in range(4 * IDLE_SOCKETS_MAX)]
        signal_all("controller", signal.SIGSTOP)
        for thread in threads:
            thread.start()
        wait_until(lambda: len(descriptors()) >= before + len(threads), "a socket for each", DEADLINE_S)
        signal_all("controller", signal.SIGCONT)
        for thread in threads:
            thread.join()
        wait_until(lambda: len(descriptors()) <= before + 2 * IDLE_SOCKETS_MAX, "few are left", DEADLINE_S)


def test_a_caller_without_descriptors_does_not_take_its_recording_for_lost(
    own_controller: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "EVENT_ASK_NS", 20_000_000)
    asked = threading.Event()

    def ask(self: Subscription, recording: str) -> None:
        asked.set()
        raise errors.QuotaExceededError("too many files open")

    source = recsvc.AudioSource(48_000, 1)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    types = record_types(recorder)
    with monkeypatch.context() as patched:
        patched.setattr(Subscription, "ask", ask)
        recorder.start()
        assert asked.wait(DEADLINE_S)
    recorder.stop()
    recorder.wait("stop", DEADLINE_S)
    assert types == ALL_IN_ORDER


def test_one_recordings_events_do_not_hide_that_anothers_are_missed(
    own_controller: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = messages.EVENTS.decode
    lost: list[str] = []

    def decode_some(header: Any) -> Any:
        event = original(header)
        if getattr(event, "type", "") == "stop" and not lost:
            lost.append(event.recording)
        return messages.Subscribed() if getattr(event, "type", "") == "stop" and event.recording in lost else event

    monkeypatch.setattr(subscription.messages, "EVENTS", SimpleNamespace(decode=decode_some))
    monkeypatch.setattr(recordings, "STOP_ASK_NS", 200_000_000)
    source = recsvc.AudioSource(48_000, 1)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    types = record_types(recorder)
    with written(source):
        recorder.start()
        recorder.stop()
        recorder.start(timeslice=0)
        wait_until(lambda: types.count("stop") == 1, "the stop that was lost", DEADLINE_S)
        recorder.stop()
        wait_until(lambda: types.count("stop") == 2, "the other one", DEADLINE_S)
