"""A service may give a recording to another one: recorders follow, as far as that is safe."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cuts import free_ports
from listening import record_events
from media import DEADLINE_S

import recsvc
from recsvc import aio, errors
from recsvc.caller import connections
from recsvc.caller.redirect import target
from recsvc.caller.session import Session
from recsvc.common.service import ServiceAddress
from recsvc.common.service_limits import HOPS_MAX
from recsvc.protocol.files import FILE
from recsvc.protocol.peer import Peer
from recsvc.wire import messages

FAR, OTHER = "tcp://far:7700", "tcp://other:7700"
OPEN = ServiceAddress(FAR)
KEYED = ServiceAddress(FAR, "server", "public", "secret")
NEAR = ServiceAddress("ipc:///run/recsvc/control")
EVENTS = ["start", "pause", "resume", "dataavailable", "stop"]


def answered(endpoint: str, key: str = "") -> errors.RedirectError:
    """As a reply says it."""
    error = errors.from_name("redirect", "another machine takes it", {"endpoint": endpoint, "key": key})
    assert isinstance(error, errors.RedirectError)
    return error


@pytest.mark.parametrize(
    ("sender", "endpoint", "key", "found"),
    [
        (OPEN, OTHER, "", ServiceAddress(OTHER)),
        (KEYED, OTHER, "its own", ServiceAddress(OTHER, "its own", "public", "secret")),
        (NEAR, "ipc:///run/other", "", ServiceAddress("ipc:///run/other")),
        (NEAR, OTHER, "", ServiceAddress(OTHER)),
    ],
)
def test_the_other_service_is_reached_with_its_own_key(
    sender: ServiceAddress, endpoint: str, key: str, found: ServiceAddress
) -> None:
    assert target(answered(endpoint, key), [sender]) == found


@pytest.mark.parametrize(
    ("sender", "endpoint", "key", "why"),
    [
        (KEYED, OTHER, "", "not sent openly"),
        (OPEN, OTHER, "its own", "it wants keys"),
        (NEAR, OTHER, "its own", "it wants keys"),
        (KEYED, "ipc:///run/recsvc/control", "", "a socket of this machine"),
        (OPEN, "tcp://*:7700", "", "expected an endpoint"),
        (OPEN, "/etc/service.json", "", "expected an endpoint"),
        (OPEN, "", "", "expected an endpoint"),
        (KEYED, FAR, "its own", "in a circle"),
    ],
)
def test_what_cannot_be_followed_is_refused_and_says_why(
    sender: ServiceAddress, endpoint: str, key: str, why: str
) -> None:
    with pytest.raises(errors.RedirectError, match=why) as caught:
        target(answered(endpoint, key), [sender])
    assert str(sender) in str(caught.value)


def test_a_recording_is_not_sent_on_for_ever() -> None:
    been = [OPEN]
    for number in range(HOPS_MAX):
        been.append(target(answered(f"tcp://other-{number}:7700"), been))
    with pytest.raises(errors.RedirectError, match="too often"):
        target(answered(OTHER), been)


def test_a_reply_without_a_place_is_an_error_with_its_text() -> None:
    error = errors.from_name("redirect", "another machine takes it", "nonsense")
    assert isinstance(error, errors.ServiceError) and "without an endpoint" in str(error)


def test_what_the_service_captures_itself_is_recorded_nowhere_else() -> None:
    def request(_: messages.Request) -> None:
        raise answered(OTHER)

    client: Any = SimpleNamespace(address=OPEN, name="c", request=request)
    track: Any = SimpleNamespace(origin=SimpleNamespace(captured=True))
    options = messages.RecordingOptions(mime_type="", audio_bits_per_second=0, video_bits_per_second=0)
    start = messages.Start(client="c", recorder="r", recording="n", tracks=(), options=options, at_ns=0)
    with pytest.raises(errors.RedirectError, match="captures its tracks itself"):
        Session("n", client, [track])._begin(start, lambda *_: None)


@contextlib.contextmanager
def played(endpoint: str) -> Iterator[Peer]:
    """A service that gives its recordings to another one; both judge their client."""
    peer = Peer(endpoint, "redirect", lambda _: None, idle_s=DEADLINE_S)
    thread = threading.Thread(target=peer.run)
    thread.start()
    try:
        yield peer
    finally:
        connections.close_all()
        peer._is_over = True
        thread.join()
        peer.close()


@pytest.mark.parametrize("way", ["ipc", "tcp"])
def test_a_recorder_follows(way: str, place: Path) -> None:
    with played(f"ipc://{place}/p" if way == "ipc" else f"tcp://127.0.0.1:{free_ports()}") as peer:
        source = recsvc.VideoSource(16, 16, when_full="wait")
        recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]), service=peer.endpoint)
        events = record_events(recorder)
        recorder.start()
        assert source.write(bytes(384))
        recorder.pause()
        recorder.resume()
        assert source.write(bytes(384))
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)
        assert [event.type for event in events] == EVENTS
        assert recorder.recording is not None and recorder.recording.bytes() == FILE
    assert peer.problems == []


def test_one_of_asyncio_does_too(place: Path) -> None:
    async def record(peer: Peer) -> bytes:
        source = aio.VideoSource(16, 16)
        recorder = aio.MediaRecorder(aio.MediaStream([source.track]), service=peer.endpoint)
        await recorder.start()
        assert await source.write(bytes(384))
        await recorder.stop()
        await asyncio.wait_for(recorder.wait("stop"), DEADLINE_S)
        assert recorder.recording is not None
        return await asyncio.to_thread(recorder.recording.bytes)

    with played(f"ipc://{place}/p") as peer:
        assert asyncio.run(record(peer)) == FILE
    assert peer.problems == []


def test_who_is_sent_to_nobody_learns_who_sent_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsvc.caller.client.READY_DEADLINE_NS", 50_000_000)
    with played(f"ipc://{place}/p") as peer:
        connections.connect(peer.endpoint)
        peer.places[4] = f"ipc://{place}/nobody"
        source = recsvc.VideoSource(16, 16)
        recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]), service=peer.endpoint)
        with pytest.raises(errors.ServiceError, match="sends the recording elsewhere: no answer from .*nobody"):
            recorder.start()
        assert recorder.state == "inactive"
