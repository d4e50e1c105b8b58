"""What a client may leave out: a route is its sender's from the first message on, and credits follow the sender."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from worker_bench import Bench

from recsvc.common.limits import AUDIO_CREDIT_FRAMES, QUEUE_BYTES_MAX
from recsvc.common.service import ServiceAddress
from recsvc.wire import messages, sockets

pytest_plugins = ["worker_bench"]

BLOCK = 960
ROUTE = "a/audio"


class Sender:
    """A DEALER that speaks to the bench's worker; the worker takes what came when it is asked for an answer."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._socket = sockets.data_client(ServiceAddress(bench.worker.intake.endpoints[0]))

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close(0)

    def send(self, header: dict[str, Any], *payload: bytes) -> None:
        self._socket.send_multipart([msgspec.msgpack.encode({"v": messages.VERSION, **header}), *payload])

    def sound(self, sequence: int, **more: Any) -> None:
        form = {"sample_format": "s16", "sample_rate": 48_000, "channel_count": 1, "sample_count": BLOCK}
        at = {"sequence": sequence, "captured_ns": time.monotonic_ns()}
        self.send({"kind": "audio", "route": ROUTE, **at, **form, **more}, bytes(2 * BLOCK))

    def taken(self) -> None:
        """The worker takes the next message that was sent."""
        intake = self._bench.worker.intake
        poller = sockets.Poller()
        poller.register(intake.socket, sockets.POLLIN)
        assert poller.poll(10_000)
        intake.take()

    def answers(self) -> list[dict[str, Any]]:
        found = []
        self._bench.work()
        for _ in range(2):  # the second time nothing has come since
            self._bench.worker.intake.settle(time.monotonic_ns())
        poller = sockets.Poller()
        poller.register(self._socket, sockets.POLLIN)
        while poller.poll(2_000 if not found else 50):
            found.append(msgspec.msgpack.decode(self._socket.recv()))
        return found


def test_the_first_frame_of_a_route_attaches_its_sender(bench: Bench) -> None:
    bench.open("a", "audio")
    with Sender(bench) as sender:
        sender.sound(0)
        sender.taken()
        [credit] = sender.answers()
    assert credit["kind"] == "credit" and credit["route"] == ROUTE
    assert credit["frames"] == AUDIO_CREDIT_FRAMES + 1
    assert credit["bytes"] == QUEUE_BYTES_MAX + 2 * BLOCK


def test_credits_follow_a_sender_that_has_connected_anew(bench: Bench) -> None:
    bench.open("a", "audio")
    with Sender(bench) as before:
        before.sound(0)
        before.taken()
        assert len(before.answers()) == 1
        with Sender(bench) as after:
            after.sound(1)
            after.taken()
            assert [credit["frames"] for credit in after.answers()] == [AUDIO_CREDIT_FRAMES + 2]


def test_an_attach_is_answered_with_the_credit_that_there_is(bench: Bench) -> None:
    """So a sender whose credits were lost with its connection goes on."""
    bench.open("a", "audio")
    with Sender(bench) as before:
        before.sound(0)
        before.taken()
        before.answers()
    with Sender(bench) as sender:
        sender.send({"kind": "attach", "route": ROUTE})
        sender.taken()
        assert [credit["frames"] for credit in sender.answers()] == [AUDIO_CREDIT_FRAMES + 1]


@pytest.mark.parametrize("wrong", [{"kind": "audio"}, {"sample_count": BLOCK + 1}])
def test_a_refused_message_attaches_nobody(wrong: dict[str, Any], bench: Bench) -> None:
    bench.open("a", "audio")
    with Sender(bench) as good, Sender(bench) as bad:
        good.sound(0)
        good.taken()
        good.answers()
        if "sample_count" in wrong:
            bad.sound(1, **wrong)
        else:
            bad.send({"route": ROUTE, **wrong})
        bad.taken()
        good.sound(1)
        good.taken()
        assert [answer["kind"] for answer in bad.answers()] == ["refused"]
        assert "credit" in [answer["kind"] for answer in good.answers()]


def test_fields_that_a_service_does_not_know_are_skipped(bench: Bench) -> None:
    bench.open("a", "audio")
    with Sender(bench) as sender:
        sender.sound(0, colour="blue", nested={"a": [1, 2]})
        sender.taken()
        assert [answer["kind"] for answer in sender.answers()] == ["credit"]
