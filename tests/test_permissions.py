"""What a key may do at a service, and that nobody reaches what another key has made."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fixtures_media import wait_until
from keyed import Daemon, Talk, daemon
from media import DEADLINE_S

from recsvc.common.descriptions import RecordedTrack, RecordingOptions, Started, Welcome
from recsvc.common.permissions import ADMIN, ANONYMOUS, LOCAL, READ, RECORD, Peer, check, needed
from recsvc.common.service import ServiceAddress, reachable
from recsvc.errors import NotAllowedError
from recsvc.wire import curve, messages, sockets
from recsvc.wire.ring import FrameRing

OPTIONS = RecordingOptions(mime_type="audio/webm", audio_bits_per_second=64_000, video_bits_per_second=0)
PICTURES = RecordingOptions(mime_type="video/webm", audio_bits_per_second=0, video_bits_per_second=500_000)
SOUND = RecordedTrack(track="track", kind="audio", captured=False, settings={"sample_rate": 48_000, "channel_count": 1})


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    place = tmp_path_factory.mktemp("service")
    with daemon(
        place, "--workers", "1", alice=(RECORD, READ), bob=(RECORD,), eve=(READ,), boss=(ADMIN,), nil=()
    ) as one:
        yield one


class Person(Talk):
    """A client with a key of its own, or ``""``: of this machine."""

    names = iter(range(1_000_000))

    def __init__(self, service: Daemon, name: str) -> None:
        super().__init__(service.address(name) if name else ServiceAddress(service.local))
        self.client = f"client-{name}-{next(self.names)}"

    def hello(self) -> Welcome:
        reply = self.ask(messages.Hello(client=self.client))
        assert not reply.error, reply
        return msgspec.convert(reply.result, Welcome)

    def start(self, **changed: Any) -> messages.Reply:
        number = next(self.names)
        fields = {
            "client": self.client,
            "recorder": f"recorder-{number}",
            "recording": f"recording-{number}",
            "tracks": (SOUND,),
            "options": OPTIONS,
            "at_ns": time.monotonic_ns(),
        }
        return self.ask(messages.Start(**{**fields, **changed}))

    def started(self, **changed: Any) -> Started:
        reply = self.start(**changed)
        assert not reply.error, reply
        return msgspec.convert(reply.result, Started)

    def control(self, recording: str, action: Any, **more: Any) -> messages.Reply:
        return self.ask(messages.Control(recording=recording, action=action, at_ns=time.monotonic_ns(), **more))

    def feed(self, route: messages.RouteDescription) -> Any:
        """A connection for the frames of a route."""
        return sockets.data_client(reachable(route.endpoints, self.address))

    def finish(self, recording: str) -> None:
        """Somebody else's, which feeds it no more."""
        assert not self.control(recording, "stop", wait=True).error

    def refused(self, request: messages.Request, needs: str) -> None:
        reply = self.ask(request)
        assert reply.error == NotAllowedError.name, reply
        assert repr(needs) in reply.text, reply


@pytest.fixture
def people(service: Daemon) -> Iterator[dict[str, Person]]:
    found = {name: Person(service, name) for name in ("alice", "bob", "eve", "boss", "nil", "")}
    yield found
    for person in found.values():
        person.close()


def sound(route: str, sequence: int, **more: Any) -> bytes:
    header = messages.AudioFrame(
        route=route,
        sequence=sequence,
        captured_ns=time.monotonic_ns(),
        sample_format="s16",
        sample_rate=48_000,
        channel_count=1,
        sample_count=960,
    )
    return messages.encode(msgspec.structs.replace(header, **more))


SILENCE = bytes(1920)


def answer_of(data: Any) -> Any:
    assert data.poll(DEADLINE_S * 1000)
    return messages.SENDER.decode(data.recv())


# --- what each permission is for ------------------------------------------------------------------


def test_every_kind_of_request_has_its_permission() -> None:
    """One that is new is for ``admin`` until somebody decides."""
    kinds = {kind.__struct_config__.tag for kind in (*messages.CALLER_REQUESTS.kinds, *messages.CATALOG_REQUESTS.kinds)}
    table = {kind: needed(kind) for kind in kinds}
    assert {kind for kind, permission in table.items() if permission == ADMIN} == {"shutdown", "delete"}
    assert needed("something new") == ADMIN


def test_what_belongs_to_a_key_is_its_own() -> None:
    mine, other = Peer("a", frozenset((RECORD,))), Peer("b", frozenset((RECORD, READ)))
    for kind in ("control", "control_routes", "close_track", "rename", "bye", "ping"):
        check(mine, kind, "a")
        check(LOCAL, kind, "a")
        with pytest.raises(NotAllowedError, match="'admin'"):
            check(other, kind, "a")
    for kind in ("fetch", "get", "statistics", "ask_events"):
        check(mine, kind, "a")
        check(other, kind, "a")
        with pytest.raises(NotAllowedError, match="'read'"):
            check(mine, kind, "b")
    with pytest.raises(NotAllowedError, match="'admin'"):
        check(mine, "delete", "a")
    with pytest.raises(NotAllowedError, match="'admin'"):
        check(ANONYMOUS, "control", LOCAL.name)


def test_a_client_learns_what_it_may_do(people: dict[str, Person]) -> None:
    expected = {"alice": ("read", "record"), "bob": ("record",), "nil": (), "": ("admin", "read", "record")}
    assert {name: people[name].hello().permissions for name in expected} == expected


def test_each_request_needs_its_permission(people: dict[str, Person]) -> None:
    alice, bob, eve, boss = (people[name] for name in ("alice", "bob", "eve", "boss"))
    recording = alice.started().recording
    assert eve.start().error == NotAllowedError.name
    eve.refused(messages.Record(recording="r", options=OPTIONS, audio={"source": "test:"}), "record")
    eve.refused(messages.OpenSource(client=eve.client, audio={"source": "test:", "track": "t"}), "record")
    eve.refused(messages.Control(recording=recording, action="stop", at_ns=0), "admin")
    assert not eve.ask(messages.AskStatistics(recording=recording)).error
    bob.refused(messages.AskStatistics(recording=recording), "read")
    bob.refused(messages.AskEvents(recorder="r", recording=recording, sequence=0), "read")
    bob.refused(messages.AskStatus(), "read")
    for action in ("pause", "resume", "request_data", "stop", "modified", "discard"):
        bob.refused(messages.Control(recording=recording, action=action, at_ns=0), "admin")
    for name in ("alice", "bob", "eve", "nil"):
        people[name].refused(messages.Shutdown(), "admin")
    people["nil"].refused(messages.AskStatistics(recording=recording), "read")
    assert not alice.ask(messages.AskStatistics(recording=recording)).error, "still there"
    boss.finish(recording)


# --- whose names they are -------------------------------------------------------------------------


def test_the_names_of_a_key_are_not_another_keys(people: dict[str, Person]) -> None:
    alice, bob = people["alice"], people["bob"]
    alice.hello()
    started = alice.started()
    bob.refused(messages.Hello(client=alice.client), "admin")
    bob.refused(messages.Ping(client=alice.client), "admin")
    bob.refused(messages.Bye(client=alice.client), "admin")
    bob.refused(messages.OpenSource(client=alice.client, audio={"source": "test:", "track": "t"}), "admin")
    assert bob.ask(messages.Bye(client="-service")).error, "which is the service itself"
    assert bob.start(client=alice.client).error == NotAllowedError.name
    assert bob.start(recording=started.recording).error == "InvalidStateError"
    end = messages.ControlRoutes(routes=(started.routes[0].route,), action="end", at_ns=time.monotonic_ns())
    bob.refused(end, "admin")
    both = messages.ControlRoutes(routes=("mine/track", started.routes[0].route), action="end", at_ns=0)
    bob.refused(both, "admin")
    people[""].hello()
    bob.refused(messages.Bye(client=people[""].client), "admin")
    assert not alice.ask(messages.AskStatistics(recording=started.recording)).error
    people["boss"].finish(started.recording)


def test_a_track_is_recorded_and_closed_by_its_key_alone(people: dict[str, Person]) -> None:
    alice, bob = people["alice"], people["bob"]
    wish = {"source": "test:", "track": "alices-track"}
    assert not alice.ask(messages.OpenSource(client=alice.client, audio=wish)).error
    captured = msgspec.structs.replace(SOUND, track="alices-track", captured=True)
    assert bob.start(tracks=(captured,)).error == NotAllowedError.name
    bob.refused(messages.CloseTrack(track="alices-track"), "admin")
    started = alice.started(tracks=(captured,))
    assert not alice.control(started.recording, "stop", wait=True).error
    assert not alice.ask(messages.CloseTrack(track="alices-track")).error


def test_names_that_several_use_reach_nothing_of_another_key(people: dict[str, Person]) -> None:
    """A track is called the same, an id was used before, a topic begins as another, a process has the same number."""
    alice, bob = people["alice"], people["bob"]
    there = alice.hello()
    started = alice.started()
    bob.ask(messages.CloseTrack(track=started.routes[0].track))
    (recording,) = [
        one for one in alice.ask(messages.AskStatus()).result["recordings"] if one["recording"] == started.recording
    ]
    assert recording["state"] == "recording"
    people["boss"].finish(started.recording)
    for mime_type in ("audio/webm", "audio/ogg", "video/x-matroska"):
        options = msgspec.structs.replace(OPTIONS, mime_type=mime_type)
        assert bob.start(recording=started.recording, options=options).error == "InvalidStateError"
        record = messages.Record(recording=started.recording, options=options, audio={"source": "test:"})
        assert bob.ask(record).error == "InvalidStateError"
    for name in (f"{alice.client}/x", "/", "a\nb", "-service"):
        source = messages.OpenSource(client=name, audio={"source": "test:", "track": "t"})
        assert bob.ask(source).error in ("TypeError", NotAllowedError.name)
        assert bob.ask(messages.Control(recording="none", action="stop", client=name)).error in (
            "TypeError",
            NotAllowedError.name,
        )
    hello = messages.Hello(client=bob.client, pid=1, pid_namespace=there.pid_namespace)
    assert bob.ask(hello).result["lease_ms"], "a process of the service's machine is none of a client elsewhere"


@pytest.mark.parametrize(
    "source", ["file:/etc/passwd", "FILE:/etc/hostname", "camera:/etc/passwd", "camera:/dev/../etc"]
)
def test_files_as_sources_are_for_admin(people: dict[str, Person], source: str) -> None:
    kind = {"video": {"source": source, "track": f"track-{source[-4:]}"}}
    for name in ("alice", "bob"):
        people[name].refused(messages.OpenSource(client=people[name].client, **kind), "admin")
    people["alice"].refused(messages.Record(recording="files", options=OPTIONS, video={"source": source}), "admin")
    reply = people["boss"].ask(messages.OpenSource(client=people["boss"].client, **kind))
    assert reply.error and reply.error != NotAllowedError.name, "it is no video"


def test_a_recording_that_is_just_being_opened_has_its_owner_too(people: dict[str, Person]) -> None:
    alice, bob = people["alice"], people["bob"]
    record = messages.Record(recording="alices-own", options=OPTIONS, audio={"source": "test:"}, id=77)
    alice.socket.send(messages.encode(record))
    stop = messages.Control(recording="alices-own", action="stop", at_ns=0)
    wait_until(lambda: bob.ask(stop).error == NotAllowedError.name, "it is known", DEADLINE_S)
    reply = messages.REPLIES.decode(alice.socket.recv())
    assert (reply.id, reply.error) == (77, "")
    bob.refused(stop, "admin")
    alice.finish("alices-own")
    bob.refused(stop, "admin")


def test_nobody_keeps_names_from_others_by_giving_them_up(people: dict[str, Person]) -> None:
    """Whoever began a recording or a source may undo that before it is there; others may guess its name."""
    alice, bob = people["alice"], people["bob"]
    for person in (bob, alice):
        track = f"track-{person.client}"
        assert not bob.ask(messages.CloseTrack(track=track)).error
        wish = {"source": "test:", "track": track}
        opened = person.ask(messages.OpenSource(client=person.client, audio=wish))
        assert bool(opened.error) is (person is bob), opened
        name = f"given-up-{person.client}"
        assert not bob.control(name, "discard").error
        began = person.start(recording=name)
        assert bool(began.error) is (person is bob), began
        if person is alice:
            people["boss"].finish(name)
            assert not alice.ask(messages.CloseTrack(track=track)).error


def test_the_id_of_a_recording_that_did_not_begin_is_free(people: dict[str, Person]) -> None:
    """It has no events that could be asked for: so nobody keeps ids from others by what is refused."""
    alice, bob = people["alice"], people["bob"]
    bad = msgspec.structs.replace(OPTIONS, mime_type="video/none")
    cases: list[tuple[str, Any]] = [
        ("start", lambda name: bob.start(recording=name, options=bad)),
        ("tracks", lambda name: bob.start(recording=name, tracks=())),
        ("record", lambda name: bob.ask(messages.Record(recording=name, options=bad, audio={"source": "test:"}))),
        ("source", lambda name: bob.ask(messages.Record(recording=name, options=OPTIONS, audio={"source": "rtp:?"}))),
    ]
    for name, fails in cases:
        assert fails(name).error
        alice.started(recording=name)
        bob.refused(messages.AskEvents(recorder="", recording=name, sequence=0), "read")
        people["boss"].finish(name)
        assert not alice.ask(messages.AskEvents(recorder="", recording=name, sequence=0)).error
        bob.refused(messages.AskEvents(recorder="", recording=name, sequence=0), "read")


# --- events ---------------------------------------------------------------------------------------


def test_events_are_had_by_permission(people: dict[str, Person]) -> None:
    alice = people["alice"]
    there = alice.hello()
    subscribed = {}
    for name, topic in (
        ("alice", f"{alice.client}/"),
        ("bob", f"{alice.client}/"),
        ("bob", ""),
        ("bob", alice.client),
        ("bob", "-service/"),
        ("bob", "-service/2"),
        ("bob", "-service/alices/"),
        ("eve", f"{alice.client}/"),
        ("eve", ""),
        ("nil", f"{alice.client}/"),
        ("", ""),
    ):
        address = reachable(there.events, people[name].address)
        if not name:
            address = reachable(people[name].hello().events, people[name].address)
        subscribed[name, topic] = sockets.event_client(address, topic.encode())
    own = sockets.event_client(reachable(there.events, people["bob"].address), f"{people['bob'].client}/".encode())
    assert own.poll(DEADLINE_S * 1000), "its own, also before its first request"
    own.close()
    for (name, _), socket in subscribed.items():
        if name in ("alice", "eve", ""):
            assert socket.poll(DEADLINE_S * 1000), name
    recording = alice.started().recording
    people["boss"].finish(recording)
    for (name, topic), socket in subscribed.items():
        came = []
        while name in ("alice", "eve", "") and "stop" not in came:
            assert socket.poll(DEADLINE_S * 1000), (name, topic)
            event = messages.EVENTS.decode(sockets.receive_event(socket))
            if isinstance(event, messages.RecorderEvent) and event.recording == recording:
                came.append(event.type)
        assert came == ([] if name in ("bob", "nil") else ["start", "dataavailable", "stop"])
    for (name, _), socket in subscribed.items():
        assert name not in ("bob", "nil") or not socket.poll(0)
        socket.close()


# --- frames ---------------------------------------------------------------------------------------


def test_a_route_is_fed_by_its_key_alone(people: dict[str, Person]) -> None:
    alice, bob = people["alice"], people["bob"]
    started = alice.started()
    (route,) = started.routes
    mine, foreign = alice.feed(route), bob.feed(route)
    for number in range(3):
        foreign.send_multipart([sound(route.route, number), SILENCE])
        refused = answer_of(foreign)
        assert isinstance(refused, messages.Refused) and "another key" in refused.reason
    foreign.send(messages.encode(messages.Attach(route=route.route)))
    assert isinstance(answer_of(foreign), messages.Refused)
    foreign.send(messages.encode(messages.End(route=route.route, count=0, until_ns=time.monotonic_ns())))
    assert isinstance(answer_of(foreign), messages.Refused)
    for number in range(5):
        mine.send_multipart([sound(route.route, number), SILENCE])
    mine.send(messages.encode(messages.End(route=route.route, count=5, until_ns=time.monotonic_ns())))
    reply = alice.control(started.recording, "stop", wait=True)
    (track,) = reply.result["statistics"]["tracks"]
    assert (track["frames_accepted"], track["frames_dropped"], track["dropped_by_cause"]) == (4800, 0, {})
    for socket in (mine, foreign):
        socket.close()


def test_shared_memory_is_not_taken_over_the_network(people: dict[str, Person]) -> None:
    """Its process id would be one of the service's machine."""
    alice = people["alice"]
    size = {"width": 32, "height": 16, "frame_rate": 30}
    picture = RecordedTrack(track="track", kind="video", captured=False, settings=size)
    started = alice.started(tracks=(picture,), options=PICTURES)
    (route,) = started.routes
    data = alice.feed(route)
    ring = FrameRing(1, 32 * 16 * 3 // 2)
    assert ring.announcement(route.route).pid == os.getpid()
    data.send(messages.encode(ring.announcement(route.route)))
    refused = answer_of(data)
    assert isinstance(refused, messages.Refused) and "this machine alone" in refused.reason
    ring.close()
    data.close()
    people["boss"].finish(started.recording)


def test_what_is_refused_is_counted_and_not_logged_each_time(service: Daemon, people: dict[str, Person]) -> None:
    def counted() -> dict[str, int]:
        found: dict[str, int] = people[""].ask(messages.AskStatus()).result["refused"]
        return found

    before = counted().get(NotAllowedError.name, 0)
    for _ in range(20):
        people["nil"].refused(messages.Shutdown(), "admin")
    assert counted()[NotAllowedError.name] == before + 20
    stranger = Talk(ServiceAddress(service.address().endpoint, service.server.public, *curve.make_keys()))
    wait_until(lambda: counted().get("key"), "the refused key is counted", DEADLINE_S)
    nobody = Talk(service.address())
    wait_until(lambda: counted().get("handshake"), "the refused connection is counted", DEADLINE_S)
    for talk in (stranger, nobody):
        talk.close()
    lines = wait_until(
        lambda: [one for one in service.log.read_text().splitlines() if "'nil'" in one], "a line", DEADLINE_S
    )
    assert len([one for one in lines if "a request of" in one]) < 5, lines


# --- finished recordings --------------------------------------------------------------------------


def test_the_catalog_asks_for_permissions_too(people: dict[str, Person]) -> None:
    alice, bob, boss = people["alice"], people["bob"], people["boss"]
    started = alice.started()
    data = alice.feed(started.routes[0])
    data.send_multipart([sound(started.routes[0].route, 0), SILENCE])
    data.close()
    boss.finish(started.recording)
    asking = {name: Talk(reachable(alice.hello().catalog, people[name].address)) for name in people if name}
    name = started.recording
    requests = {
        "list": messages.ListRecordings(),
        "get": messages.GetRecording(recording=name),
        "fetch": messages.Fetch(recording=name, start=0, size=10),
        "rename": messages.RenameRecording(recording=name, name="another"),
        "delete": messages.DeleteRecording(recording=name),
    }
    allowed = {
        name: [kind for kind, request in requests.items() if not talk.ask(request).error]
        for name, talk in asking.items()
    }
    assert allowed == {
        "alice": ["list", "get", "fetch", "rename"],
        "bob": [],
        "eve": ["list", "get", "fetch"],
        "boss": ["list", "get", "fetch", "rename", "delete"],
        "nil": [],
    }
    for path in ("../../../etc/passwd", "/etc/passwd", "..", "a\0b", "", "%2e%2e/x"):
        for kind in ("get", "fetch", "rename", "delete"):
            reply = asking["boss"].ask(msgspec.structs.replace(requests[kind], recording=path))
            assert reply.error in ("NotFoundError", "TypeError"), (path, kind, reply)
    own = bob.started().recording
    boss.finish(own)
    assert not asking["bob"].ask(messages.Fetch(recording=own, start=0, size=10)).error, "its own"
    for talk in asking.values():
        talk.close()


# --- without keys ---------------------------------------------------------------------------------


def test_without_keys_everybody_may_record_but_not_command_this_machine(tmp_path: Path) -> None:
    with daemon(tmp_path, insecure=True) as service:
        local, other = Person(service, ""), Talk(service.address())
        recording = local.started().recording
        reply = other.ask(messages.Hello(client="other"))
        assert reply.result["permissions"] == ["read", "record"]
        for request in (
            messages.Control(recording=recording, action="stop", at_ns=0),
            messages.Shutdown(),
            messages.OpenSource(client="other", video={"source": "file:/etc/passwd", "track": "t"}),
        ):
            assert other.ask(request).error == NotAllowedError.name
        assert not other.ask(messages.AskStatistics(recording=recording)).error
        operator = Person(service, "")
        operator.finish(recording)
        for one in (local, other, operator):
            one.close()
