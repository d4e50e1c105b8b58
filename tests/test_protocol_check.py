"""The conformance cases: recsvc's own service passes them all, and wrong ones are found out."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import command_line
import keyed
import msgspec
import pytest

from recsvc.common.service import ServiceAddress, reachable
from recsvc.process.services import address_of
from recsvc.protocol.check import Outcome, cases, check
from recsvc.protocol.examples import EXAMPLES
from recsvc.protocol.talk import Dealer
from recsvc.wire import sockets

Answer = Callable[[dict[str, Any]], dict[str, Any] | None]


@pytest.mark.parametrize("way", ["ipc", "tcp with keys"])
def test_recsvcs_own_service_passes_every_case(way: str, place: Path) -> None:
    with keyed.daemon(place, checker=("record", "read", "admin")) as daemon:
        service = daemon.local if way == "ipc" else daemon.file("checker")
        done = command_line.run("protocol", "--check", service, "--json")
        outcomes = [Outcome(**one) for one in json.loads(done.stdout)]
        assert not [one for one in outcomes if one.problem]
        assert done.returncode == 0, done.stderr
        assert [one.name for one in outcomes] == list(cases())
        assert play(service, "the-first").startswith(EXAMPLES["fetched"].payload or b"-")
        assert not list(daemon.spool.glob("check-*.webm")) or way != "ipc"


def play(service: str, recording: str) -> bytes:
    """The first recording of docs/protocol.md, as it is shown, but with another id. Its file."""
    with contextlib.ExitStack() as stack:

        def connected(endpoints: tuple[str, ...] = ()) -> Dealer:
            address = address_of(service)
            socket = sockets.control_client(reachable(endpoints, address) if endpoints else address)
            stack.callback(socket.close, 0)
            return Dealer(socket)

        def send(to: Dealer, name: str) -> None:
            header = json.loads(
                json.dumps(EXAMPLES[name].header).replace(EXAMPLES["start"].header["recording"], recording)
            )
            payload = EXAMPLES[name].payload
            to.send(header, *([payload] if payload is not None else []))

        control = connected()
        send(control, "start")
        started = control.reply(1)[0]["result"]
        data = connected(tuple(started["routes"][0]["endpoints"]))
        send(data, "audio")
        send(data, "end")
        send(control, "stop")
        size = control.reply(2)[0]["result"]["whole"]["end"]
        catalog = connected(tuple(started["catalog"]))
        file = catalog.reply(catalog.begin("fetch", recording=recording, start=0, size=size))[1]
        assert file is not None and len(file) == size
        return file


def test_every_case_says_what_it_expects() -> None:
    assert all(case.__doc__ for case in cases().values())


WELCOME = {"service": "wrong", "version": "0", "events": []}


def right(request: dict[str, Any]) -> dict[str, Any] | None:
    """As a service answers a hello; anything else fails."""
    if request.get("kind") == "hello":
        return {"kind": "reply", "v": 2, "id": request["id"], "error": "", "text": "", "result": WELCOME}
    return {"kind": "reply", "v": 2, "id": request.get("id", 0), "error": "TypeError", "text": "no", "result": None}


def obliging(request: dict[str, Any]) -> dict[str, Any] | None:
    return {**(right(request) or {}), "error": ""}


def talkative(request: dict[str, Any]) -> dict[str, Any] | None:
    return {**(right(request) or {}), "error": "", "result": {"at_ns": 1, **WELCOME}}


@contextlib.contextmanager
def service(path: Path, answer: Answer) -> Iterator[ServiceAddress]:
    """A control socket that answers so."""
    endpoint = f"ipc://{path}/control"
    socket, _ = sockets.control_server(endpoint)
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            if socket.poll(20):
                identity, header = socket.recv_multipart()
                with contextlib.suppress(msgspec.DecodeError, AttributeError):
                    reply = answer(msgspec.msgpack.decode(header))
                    if reply is not None:
                        socket.send_multipart([identity, msgspec.msgpack.encode(reply)])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield ServiceAddress(endpoint)
    finally:
        ended.set()
        thread.join()
        socket.close(0)


@pytest.mark.parametrize(
    ("answer", "case"),
    [
        (right, "hello is answered"),  # without endpoints of events
        (right, "fields that are not known"),
        (right, "a ping is answered"),
        (right, "sound is recorded"),
        (obliging, "an unknown kind"),
        (obliging, "another version"),
        (obliging, "ids are no paths"),
        (obliging, "missing or wrong"),
        (obliging, "what cannot be recorded"),
        (obliging, "a recording that is not known"),
        (talkative, "a ping is answered"),
        (talkative, "without an id"),
        (talkative, "an id is used once"),
    ],
)
def test_a_wrong_service_is_found_out(answer: Answer, case: str, place: Path) -> None:
    with service(place, answer) as address:
        outcomes = list(check(address, case))
    assert len(outcomes) == 1
    assert outcomes[0].problem


def test_a_reply_that_does_not_come_fails_its_case(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsvc.protocol.talk.WAIT_S", 0.2)
    with service(place, lambda request: right(request) if request.get("kind") == "hello" else None) as address:
        [outcome] = check(address, "a ping is answered")
    assert "none came" in outcome.problem


def test_what_fails_is_told_and_the_exit_code_says_so(place: Path) -> None:
    with service(place, right) as address:
        done = command_line.run("protocol", "--check", address.endpoint, "--only", "ping")
    assert done.returncode == 1
    assert "FAIL  a ping is answered with the time" in done.stdout
    assert "expected no error of ping; came" in done.stdout
    assert done.stderr == "recsvc: 1 of 1 cases failed\n"
