"""The service that is played: the clients in other languages do everything right, and what is wrong is found."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cuts import free_ports
from fixtures_media import wait_until
from media import DEADLINE_S

from recsvc.common.limits import S
from recsvc.common.service import ServiceAddress
from recsvc.errors import ServiceError
from recsvc.protocol.peer import SCRIPTS, Peer
from recsvc.protocol.talk import Client, Recording

NODE = Path(__file__).resolve().parents[1] / "examples/node"


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_client_in_node_does_everything_right(script: str, place: Path, tmp_path: Path) -> None:
    if not (NODE / "node_modules/zeromq").is_dir() or shutil.which("node") is None:
        pytest.skip("no Node.js with the packages of examples/node")
    endpoint = f"ipc://{place}/p"
    command = [sys.executable, "-m", "recsvc", "protocol", "--peer", endpoint, "--script", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as peer:
        try:
            wait_until(lambda: (place / "p.other").is_socket(), "the peer", DEADLINE_S)
            record = ["node", str(NODE / "record.js"), endpoint, "-o", str(tmp_path / "o"), "--seconds", "0.4"]
            done = subprocess.run(record, capture_output=True, text=True, timeout=DEADLINE_S)
            assert (done.returncode == 0) == (script not in ("busy", "restart")), done.stderr
            output = peer.communicate(timeout=DEADLINE_S)[0]
        finally:
            peer.kill()
    assert peer.returncode == 0, output
    assert "the client did everything right" in output


@contextlib.contextmanager
def played(endpoint: str, script: str = "") -> Iterator[tuple[Peer, Client]]:
    """A peer, and a client that is to do something wrong."""
    said: list[str] = []
    peer = Peer(endpoint, script, said.append, idle_s=2)
    thread = threading.Thread(target=peer.run)
    thread.start()
    client = Client(ServiceAddress(peer.endpoint))
    try:
        yield peer, client
    finally:
        client.made.clear()  # there is nothing to delete at a peer
        client.close()
        thread.join()
        peer.close()


def whole(client: Client, **more: Any) -> Recording:
    """Records, and fetches all."""
    recording = client.start(**more)
    recording.push(5)
    recording.finished()
    fetch(client, recording)
    return recording


def fetch(client: Client, recording: Recording, count: int = 3) -> None:
    catalog = client.catalog
    assert catalog is not None
    numbers = [catalog.begin("fetch", recording=recording.name, start=at * 2**20, size=2**20) for at in range(count)]
    for number in numbers:
        catalog.reply(number)


def test_a_client_that_is_right_has_no_problem(place: Path) -> None:
    with played(f"ipc://{place}/p") as (peer, client):
        whole(client)
    assert peer.problems == []


def wrong_number(recording: Recording) -> None:
    recording.frame(sequence=7)
    recording.sent[0] = 8


def beyond_the_credit(recording: Recording) -> None:
    recording.push(60)


def wrong_length(recording: Recording) -> None:
    recording.frame(payload=b"short")


def another_route(recording: Recording) -> None:
    recording.frame(route=f"{recording.name}/else")


def without_a_version(recording: Recording) -> None:
    recording.frame(v=3)


def fields_of_its_own(recording: Recording) -> None:
    recording.push(colour="blue")


def time_goes_back(recording: Recording) -> None:
    recording.at_ns -= S
    recording.push()


def pause_not_counted(recording: Recording) -> None:
    recording.control("pause")
    recording.at_ns += S
    recording.control("resume")
    recording.push()


def frames_in_the_pause(recording: Recording) -> None:
    recording.control("pause")
    recording.at_ns += S
    recording.push()
    recording.at_ns += S
    recording.paused_ns = recording.at_ns - recording.begin_ns - 5 * S // 50
    recording.control("resume")


def wrong_count(recording: Recording) -> None:
    recording.sent[0] += 1


def a_frame_after_the_end(recording: Recording) -> None:
    recording.end()
    recording.push()


WRONG = {
    wrong_number: "expected the number 5",
    beyond_the_credit: "is beyond the credit of",
    wrong_length: "payload of 5 bytes",
    another_route: "was given to nobody",
    without_a_version: "Expected `int` <= 2",
    fields_of_its_own: "fields that nobody knows: colour",
    time_goes_back: "is not after that of the frame before",
    pause_not_counted: "paused_ns is 0, but 1000000000 were paused",
    frames_in_the_pause: "captured while the recording was paused",
    wrong_count: "says 6 frames; 5 came",
    a_frame_after_the_end: "after the end of its route",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_what_is_wrong_with_frames_is_found(wrong: Callable[[Recording], None], place: Path) -> None:
    with played(f"ipc://{place}/p") as (peer, client):
        recording = client.start()
        for _ in range(5):
            recording.push()
            assert recording.data.receive() is not None  # the credit, so that all of them have come
        wrong(recording)
        recording.finished()
        fetch(client, recording)
    assert [problem for problem in peer.problems if WRONG[wrong] in problem], peer.problems


def test_what_is_left_out_is_found(place: Path) -> None:
    with played(f"ipc://{place}/p") as (peer, client):
        recording = client.start()
        recording.push()
        recording.control("stop")
    assert any("no end of" in problem for problem in peer.problems)
    assert any("not fetched as a whole" in problem for problem in peer.problems)


def test_too_many_fetches_at_once_are_found(place: Path) -> None:
    with played(f"ipc://{place}/p") as (peer, client):
        recording = client.start()
        recording.push()
        recording.finished()
        for _ in range(5):  # the peer must see them together
            fetch(client, recording, 40)
    assert any("are unanswered: at most 8" in problem for problem in peer.problems)


def test_an_event_that_is_missed_and_not_asked_for_is_found(place: Path) -> None:
    with played(f"ipc://{place}/p", "lost-events") as (peer, client):
        recording = client.start()
        recording.push(5)
        recording.control("pause")
        recording.control("resume")
        recording.finished()
        fetch(client, recording)
    assert any("were missed and not asked for" in problem for problem in peer.problems)


def test_nobody_who_comes_is_a_problem(place: Path) -> None:
    peer = Peer(f"ipc://{place}/p", "", lambda _: None, idle_s=0.02)
    assert not peer.run()
    peer.close()
    assert peer.problems == ["nothing was recorded"]


def test_what_was_recorded_is_listed(place: Path) -> None:
    with played(f"ipc://{place}/p") as (_, client):
        recording = whole(client)
        catalog = client.catalog
        assert catalog is not None
        [listed] = catalog.result("list", limit=1)
        assert listed == catalog.result("get", recording=recording.name)
        assert listed["state"] == "finished" and listed["size_bytes"] == 2_500_007


@pytest.mark.parametrize("is_counted", [False, True])
def test_a_recording_may_be_stopped_while_it_is_paused(is_counted: bool, place: Path) -> None:
    """Its end is where the pause began, or where it was stopped less the pause: the same."""
    with played(f"ipc://{place}/p") as (peer, client):
        recording = client.start()
        recording.push(5)
        recording.control("pause")
        if is_counted:
            recording.at_ns += S
            recording.paused_ns += S
        recording.end()
        recording.control("stop", recording.begin_ns + 5 * S // 50 + S)
        fetch(client, recording)
    assert peer.problems == []


def test_over_a_network_an_end_is_answered_and_a_new_service_knows_nothing() -> None:
    with played(f"tcp://127.0.0.1:{free_ports()}", "restart") as (_, client):
        first = client.start()
        first.push(5)
        first.end()
        answers = iter(first.data.receive, None)
        assert any(header["kind"] == "ended" for header, _ in answers)
        assert client.control.result("ping", client=client.name)["known"]
        second = client.start()
        second.push(15)

        def is_new() -> bool:
            """A request that comes while the service restarts is lost with its connection."""
            client.control.begin("ping", client=client.name)
            came = client.control.receive(0.3)
            return came is not None and not came[0]["result"]["known"]

        wait_until(is_new, "the restart", DEADLINE_S)
        second.push()
        answers = iter(second.data.receive, None)
        assert any(header["kind"] == "refused" and "not open" in header["reason"] for header, _ in answers)


def test_a_port_that_is_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServiceError, match=f"nothing can be served at {endpoint}"):
            Peer(endpoint)
