"""The one way of a stop: every role halted or killed at any instant of it, and events that are missed on their way."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fixtures_media import wait_until
from listening import ALL_IN_ORDER, record_types
from media import DEADLINE_S, SMALL_TEST, assert_accounted, assert_consecutive, decode, record_for
from services import roles

import recsvc
from recsvc import errors
from recsvc.caller import recordings, subscription
from recsvc.caller.subscription import Subscription
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
        wait_until(lambda: len(roles("encode")) == len(os.sched_getaffinity(0)), "all workers", DEADLINE_S)
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
    recorder.wait("start", DEADLINE_S)
    time.sleep(0.6)
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


# --- events ---------------------------------------------------------------------------------------


class Controller:
    """Publishes the events of one recording and answers those who have missed some."""

    def __init__(self, place: Path, kept_from: int = 0) -> None:
        self._server = sockets.event_server(f"ipc://{place}/events")
        self._endpoint = f"ipc://{place}/events"
        self._kept_from = kept_from
        self.asked: list[int] = []
        self.known = True

    def event(self, sequence: int) -> messages.RecorderEvent:
        return messages.RecorderEvent(recorder="r", recording="a", sequence=sequence, type="pause", at_ns=0)

    def publish(self, *numbers: int) -> None:
        for number in numbers:
            self._server.send_multipart([b"c/r", messages.encode(self.event(number))])

    def subscribe(self, recorder: str) -> Any:
        socket = sockets.event_client(self._endpoint, b"c/r")
        assert self._server.poll(DEADLINE_S * 1000)
        self._server.recv()
        return socket

    def request(self, request: messages.AskEvents, deadline_ns: int) -> Any:
        self.asked.append(request.sequence)
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


def test_a_gap_that_nobody_can_mend_is_an_error(subscribed: tuple[Controller, Subscription]) -> None:
    controller, subscription = subscribed
    controller.known = False
    controller.publish(0, 5)
    assert take(subscription, 3) == [(0, "pause"), (4, "error"), (5, "pause")]
    with pytest.raises(errors.InvalidStateError):
        subscription.ask("a")


def test_a_missed_event_that_no_later_one_shows_is_asked_for(subscribed: tuple[Controller, Subscription]) -> None:
    controller, subscription = subscribed
    subscription.ask("a")
    assert take(subscription, 10) == [(number, "pause") for number in range(10)] and controller.asked == [0]


@pytest.mark.parametrize("lost", [("start",), ("dataavailable",), ("stop",), ("start", "dataavailable", "stop")])
def test_a_recorder_that_misses_events_still_fires_all_of_them(
    lost: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = messages.EVENTS.decode

    def decode_some(header: Any) -> Any:
        event = original(header)
        return messages.Subscribed() if getattr(event, "type", "") in lost else event

    monkeypatch.setattr(subscription.messages, "EVENTS", SimpleNamespace(decode=decode_some))
    monkeypatch.setattr(recordings, "STOP_ASK_NS", 20_000_000)
    with recsvc.get_user_media(video=SMALL_TEST) as stream:
        recorder = recsvc.MediaRecorder(stream)
        types = record_types(recorder)
        assert_consecutive(decode(record_for(recorder, 0.2)).counters)
        assert types == ALL_IN_ORDER
