"""What others send to a service, by mistake or on purpose: refused with a reason, while a recording goes on
unharmed."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import socket as network
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from fixtures_media import wait_until
from keyed import Daemon, Talk, daemon, descriptors
from media import DEADLINE_S
from test_permissions import OPTIONS, SILENCE, SOUND, Person, answer_of, sound

from recsvc.caller import attempts, connections
from recsvc.common.descriptions import RecordingOptions, Started
from recsvc.common.limits import AUDIO_CREDIT_FRAMES, CONTROL_BYTES_MAX, HEADER_BYTES_MAX, S
from recsvc.common.permissions import READ, RECORD
from recsvc.common.service import ServiceAddress, reachable
from recsvc.common.service_limits import (
    CAUSES_MAX,
    RECONNECT_REMOTE_MS,
    REMOTE_HIGH_WATER_MARK,
    SUBSCRIPTION_BYTES_MAX,
    SUBSCRIPTIONS_MAX,
    TOPIC_CHARACTERS_MAX,
    TOTAL_MAX,
)
from recsvc.errors import NotAllowedError, SecurityError, ServiceError
from recsvc.wire import curve, messages, sockets

CONNECTIONS = 1000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    place = tmp_path_factory.mktemp("service")
    with daemon(place, "--workers", "1", alice=(RECORD, READ), bob=(RECORD,)) as one:
        yield one


@contextlib.contextmanager
def undisturbed(service: Daemon) -> Iterator[Person]:
    """A recording of sound and pictures goes on meanwhile, and nothing of it is missing. Gives who began it."""
    person = Person(service, "")
    name = f"undisturbed-{time.monotonic_ns()}"
    options = RecordingOptions(mime_type="video/webm", audio_bits_per_second=64_000, video_bits_per_second=300_000)
    record = messages.Record(
        recording=name,
        options=options,
        audio={"source": "test:"},
        video={"source": "test:", "width": 160, "height": 120, "frame_rate": 30},
    )
    assert not (reply := person.ask(record)).error, reply
    began = time.monotonic()
    try:
        yield person
        left_s = 0.3 - (time.monotonic() - began)
        if left_s > 0:
            time.sleep(left_s)  # so much is recorded at least
        reply = person.control(name, "stop", wait=True)
        assert not reply.error and not reply.result["error"], reply
        statistics = msgspec.convert(reply.result["statistics"], messages.RecordingStatistics)
        assert [track.frames_dropped for track in statistics.tracks] == [0, 0], statistics
        assert statistics.duration > 0.2
    finally:
        person.close()


def logged(service: Daemon, text: str) -> list[str]:
    return wait_until(
        lambda: [line for line in service.log.read_text().splitlines() if text in line], repr(text), DEADLINE_S
    )


# --- who comes ------------------------------------------------------------------------------------


def test_whoever_has_no_key_or_a_wrong_one_is_not_answered(service: Daemon) -> None:
    stranger, server = curve.make_keys(), service.server.public
    right = service.address("alice")
    addresses = {
        "no key": ServiceAddress(right.endpoint),
        "a key that is not authorized": ServiceAddress(right.endpoint, server, stranger.public, stranger.secret),
        "the key of another service": ServiceAddress(
            right.endpoint, stranger.public, right.public_key, right.secret_key
        ),
        "a secret key that does not fit": ServiceAddress(right.endpoint, server, right.public_key, stranger.secret),
    }
    with undisturbed(service):
        talks = [Talk(address) for address in addresses.values()]
        for talk in talks:
            talk.socket.send(messages.encode(messages.Hello(id=1, client="stranger")))
        garbage = network.create_connection(("127.0.0.1", service.port))
        garbage.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)) * 20)
        logged(service, stranger.public)
        logged(service, "it has no key, or not the one of this service")
        assert not Talk(right).ask(messages.Hello(client="alices-own")).error
        assert not any(talk.socket.poll(0) for talk in talks)
        garbage.settimeout(DEADLINE_S)
        with contextlib.suppress(ConnectionResetError):
            while garbage.recv(4096):  # ZeroMQ's greeting, then the end
                pass
        garbage.close()
        for talk in talks:
            talk.close()
    assert len(logged(service, stranger.public)) == 1


def test_a_client_whose_keys_do_not_fit_learns_it_at_once(service: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "HANDSHAKES_NS", 0)
    stranger, right = curve.make_keys(), service.address("alice")

    def connected(**keys: str) -> None:
        path = service.path / "stranger.json"
        path.write_text(json.dumps({"endpoint": right.endpoint, **keys}))
        path.chmod(0o600)
        connections.connect(path)

    own = {"public_key": stranger.public, "secret_key": stranger.secret}
    with pytest.raises(NotAllowedError, match=re.escape(stranger.public)):
        connected(server_key=service.server.public, **own)
    with pytest.raises(SecurityError, match="its own key is not the server_key"):
        connected(server_key=stranger.public, **own)
    with pytest.raises(SecurityError, match="it asks for a key"):
        connected()
    refused = ServiceAddress(right.endpoint, stranger.public, stranger.public, stranger.secret)
    socket, monitor = sockets.watched_client(refused)
    attempts_made, until = 0, time.monotonic() + 8 * RECONNECT_REMOTE_MS / 1000
    while (left_s := until - time.monotonic()) > 0:
        if monitor.poll(left_s * 1000):
            attempts_made += sockets.receive_news(monitor)[0] != sockets.UNREACHED
    assert 0 < attempts_made <= 9, "each costs the service as much as one that succeeds"
    socket.disable_monitor()
    monitor.close()
    socket.close(0)
    service.add("new", READ)
    assert connections.connect(service.file("new")).welcome.permissions == (READ,), "although it looked just before"
    connections.close_all()


def test_a_connection_that_was_given_up_is_no_riddle() -> None:
    """ZeroMQ does so where a key is refused: what is sent there then waits for ever."""
    given_up = sockets._make(zmq.DEALER, 1, 0)
    with pytest.raises(ServiceError, match="takes no request any more: it may not let this key in"):
        attempts.send(given_up, ServiceAddress("tcp://127.0.0.1:1"), b"")
    given_up.close(0)


def test_a_thousand_connections_that_say_nothing(tmp_path: Path) -> None:
    """They are bounded by the descriptors that the service has, so that recordings find theirs; and they go."""
    most = 300
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(files[0], CONNECTIONS + 500)
    if files[1] != resource.RLIM_INFINITY and files[1] < wanted:
        pytest.skip(f"this process may have only {files[1]} files open")
    with contextlib.ExitStack() as undo:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, files[1]))
        undo.callback(resource.setrlimit, resource.RLIMIT_NOFILE, files)
        service = undo.enter_context(daemon(tmp_path, "--workers", "1", alice=(RECORD, READ), files=most))
        assert service.process is not None
        with undisturbed(service) as person:
            silent = [network.create_connection(("127.0.0.1", service.port)) for _ in range(CONNECTIONS)]
            undo.callback(lambda: [one.close() for one in silent])
            logged(service, "are open already")
            assert descriptors(service.process.pid) < most
            reply = person.start()
            assert not reply.error, "a recording of this machine begins"
            operator = Person(service, "")
            operator.finish(reply.result["recording"])
            operator.close()
        # Those that were taken have a few seconds to show a key.
        wait_until(lambda: descriptors(service.process.pid) < most // 2, "they are gone", DEADLINE_S)

        def is_answered() -> bool:
            """A connection that is shut down while its end is still open takes a request along: clients ask again."""
            talk = Talk(service.address("alice"))
            try:
                return not talk.ask(messages.Hello(client="later"), 2.0).error
            except AssertionError:
                return False
            finally:
                talk.close()

        wait_until(is_answered, "an answer to one more", DEADLINE_S)
        assert len(logged(service, "are open already")) < 5


def test_who_sends_and_reads_nothing_takes_no_memory_without_bound(tmp_path: Path) -> None:
    server, endpoints = sockets.control_server(f"ipc://{tmp_path}/control", "tcp://127.0.0.1:*")
    client = sockets._make(zmq.DEALER, 1, 0)
    client.connect(endpoints[1].replace("*", "127.0.0.1"))
    sent, most = 0, 3000
    while sent < most and client.poll(500, zmq.POLLOUT):
        client.send(bytes(HEADER_BYTES_MAX), zmq.NOBLOCK)
        sent += 1
    assert REMOTE_HIGH_WATER_MARK <= sent < most, "the others wait where they come from"
    publisher, endpoints = sockets.event_server(f"ipc://{tmp_path}/events")
    subscriber = sockets.event_client(ServiceAddress(endpoints[0]), b"client/")
    assert publisher.poll(DEADLINE_S * 1000)
    broken = sockets.disconnection(subscriber)
    subscriber.setsockopt(zmq.SUBSCRIBE, b"x" * SUBSCRIPTION_BYTES_MAX)
    assert broken.poll(DEADLINE_S * 1000)
    for socket in (server, client, publisher, subscriber, broken):
        socket.close(0)


# --- what they say --------------------------------------------------------------------------------


SOUND_TRACK = [
    {"track": "t", "kind": "audio", "captured": False, "settings": {"sample_rate": 48_000, "channel_count": 1}}
]


def requests_of_no_use() -> dict[str, bytes]:
    start = {
        "v": messages.VERSION,
        "kind": "start",
        "id": 7,
        "client": "someone",
        "recorder": "r",
        "recording": "name",
        "tracks": [{"track": "t", "kind": "audio", "captured": False, "settings": {}}],
        "options": {"mime_type": "audio/webm", "audio_bits_per_second": 64_000, "video_bits_per_second": 1},
        "at_ns": 0,
    }
    pack = msgspec.msgpack.encode
    whole = pack(start)
    changed: dict[str, dict[str, Any]] = {
        "a version too new": {"v": messages.VERSION + 1},
        "a version too old": {"v": 1},
        "an unknown kind": {"kind": "become_root"},
        "a path as the recording": {"recording": "../../etc/cron.d/x"},
        "a path as the client": {"client": "/tmp/x"},
        "a folder as the recording": {"recording": ".."},
        "a name with a NUL": {"recording": "a\0b"},
        "a name with a line feed": {"recording": "a\n"},
        "a name that is too long": {"recording": "a" * 101},
        "no name": {"recording": ""},
        "a path as the track": {"tracks": [{**start["tracks"][0], "track": "../x"}]},
        "text where numbers are": {"at_ns": "now"},
        "a number beyond its bound": {"at_ns": 2**63},
        "a bit rate below 0": {"options": {**start["options"], "audio_bits_per_second": -1}},
        "settings that are no map": {"tracks": [{**start["tracks"][0], "settings": [1]}]},
        "no tracks": {"tracks": []},
        **{
            f"{name} of {value}": {"tracks": SOUND_TRACK, "options": {**start["options"], name: value}}
            for name, value in (
                ("audio_bits_per_second", 0),
                ("audio_bits_per_second", 2**32),
                ("key_frame_interval_ms", float("-inf")),
                ("key_frame_interval_ms", float("nan")),
                ("key_frame_interval_count", 2**40),
                ("timeslice_ms", float("inf")),
                ("timeslice_ms", -1.0),
                ("audio_bitrate_mode", "none"),
                ("overload", ""),
            )
        },
        "sound without a rate": {},
        "settings of another world": {"tracks": [{**start["tracks"][0], "settings": {"sample_rate": {"a": []}}}]},
        "a rate beyond all bounds": {
            "tracks": [{**start["tracks"][0], "settings": {"sample_rate": 2**62, "channel_count": 1}}]
        },
        "too many channels": {
            "tracks": [{**start["tracks"][0], "settings": {"sample_rate": 48000, "channel_count": 2**40}}]
        },
        "an unknown kind of track": {"tracks": [{**start["tracks"][0], "kind": "smell"}]},
        "a type that nobody knows": {"options": {**start["options"], "mime_type": "text/html"}},
        "two tracks of one kind": {"tracks": [start["tracks"][0], {**start["tracks"][0], "track": "u"}]},
        "one track twice": {"tracks": [start["tracks"][0], start["tracks"][0]]},
        "a track that is not captured here": {"tracks": [{**start["tracks"][0], "captured": True}]},
    }
    found = {
        what: pack({**start, "recording": f"bad-{number}", **fields})
        for number, (what, fields) in enumerate(changed.items())
    }
    found |= {
        "nothing": b"",
        "no MessagePack": b"\xc1",
        "half a message": whole[: len(whole) // 2],
        "a message and more": whole + b"\0",
        "a list": pack([1, 2, 3]),
        "a map with numbers as keys": pack({1: 2}),
        "a map in a map, a thousand times": b"\x81\xa1a" * 1000 + b"\x80",
        "lists in lists": b"\x91" * 60_000 + b"\x90",
        "a length that is not there": b"\xdf\xff\xff\xff\xff",
        "text that is no text": b"\x81\xa4kind\xa2\xff\xfe",
        "a header that is too long": pack({**start, "name": "a" * HEADER_BYTES_MAX}),
    }
    return found


BAD = requests_of_no_use()


def test_a_request_of_no_use_is_answered_with_the_reason(service: Daemon) -> None:
    before = set(service.spool.iterdir())
    with undisturbed(service):
        talk = Person(service, "alice")
        for what, encoded in BAD.items():
            reply = talk.send(encoded)
            assert reply.error in ("TypeError", "ValueError", "NotSupportedError", "EncodingError"), (what, reply)
            assert reply.text, what
            assert not talk.ask(messages.Ping(client=talk.client)).error, what
        talk.close()
    assert len(logged(service, "of the key 'alice' was refused")) < 5
    names = {path.name for path in set(service.spool.iterdir()) - before}
    assert all(name.startswith(("undisturbed-", "catalog")) for name in names), names
    assert not list(service.spool.parent.glob("x*"))


def test_a_message_that_is_too_long_ends_its_connection_alone(service: Daemon) -> None:
    with undisturbed(service):
        one, other = Person(service, "alice"), Person(service, "alice")
        assert not other.ask(messages.Hello(client=other.client)).error
        broken = sockets.disconnection(one.socket)
        one.socket.send(bytes(CONTROL_BYTES_MAX + 1))
        assert broken.poll(DEADLINE_S * 1000)
        broken.close()
        assert not other.ask(messages.Ping(client=other.client)).error
        one.close()
        other.close()


@pytest.mark.parametrize(
    "wish",
    [
        {"source": {"a": 1}},
        {"source": ["test:"]},
        {"source": "test:", "sample_rate": {}},
        {"source": "test:", "sample_rate": [1] * 5000},
        {"source": "test:", "sample_rate": float("nan")},
        {"source": "test:", "channel_count": 2**62},
        {"source": "test:", "no such thing": 1},
        {"source": "test:" + "a" * 50_000},
        {"source": "concat:/etc/passwd"},
        {"source": "data:text/plain,x"},
        {"source": "\0"},
        {"source": "test:", **{f"key{n}": n for n in range(3000)}},
        {},
    ],
)
def test_constraints_of_no_use(service: Daemon, wish: dict[str, Any]) -> None:
    with undisturbed(service):
        alice = Person(service, "alice")
        reply = alice.ask(messages.OpenSource(client=alice.client, audio={**wish, "track": f"{alice.client}-track"}))
        assert reply.error and reply.error != "UnknownError", reply
        alice.close()


def test_constraints_without_a_use_in_a_recording_and_tracks_without_a_name(service: Daemon) -> None:
    with undisturbed(service):
        alice = Person(service, "alice")
        for number, request in enumerate(
            (
                messages.Record(recording=f"{alice.client}-1", options=OPTIONS, audio={"source": {}}),
                messages.Record(recording=f"{alice.client}-2", options=OPTIONS, audio={"source": "test:", "a": 1}),
                messages.OpenSource(client=alice.client, audio={"source": "test:", "track": "../track"}),
                messages.OpenSource(client=alice.client, audio={"source": "test:", "track": {}}),
                messages.OpenSource(client=alice.client, audio={"source": "test:"}),
            )
        ):
            reply = alice.ask(request)
            assert reply.error and reply.error != "UnknownError", (number, reply)
        alice.close()


def test_subscriptions_of_no_use(service: Daemon) -> None:
    with undisturbed(service) as local:
        alice = Person(service, "alice")
        events = reachable(alice.hello().events, alice.address)
        odd = [sockets.event_client(events, topic) for topic in (b"\xff\xfe", b"a" * 60_000, b"/", b"\0/\0")]
        good = sockets.event_client(events, f"{alice.client}/".encode())
        assert good.poll(DEADLINE_S * 1000)
        assert not local.ask(messages.Ping(client=local.client)).error
        for socket in (*odd, good):
            socket.close()
        alice.close()


@pytest.mark.parametrize("name", ["alice", ""])
def test_a_connection_that_subscribes_to_more_than_it_can_need_is_ended(service: Daemon, name: str) -> None:
    with undisturbed(service) as local:
        person = Person(service, name)
        events = reachable(person.hello().events, person.address)
        good = sockets.event_client(events, f"{person.client}/".encode())
        for topics in ([b"%d/" % number for number in range(SUBSCRIPTIONS_MAX)], [b"x" * TOPIC_CHARACTERS_MAX]):
            much, answered = sockets.event_client(events, b"first"), 0
            broken = sockets.disconnection(much)
            for topic in topics[1:]:
                much.setsockopt(zmq.SUBSCRIBE, topic)
            while answered < len(topics):
                assert much.poll(DEADLINE_S * 1000), "what is allowed is granted"
                answered += isinstance(messages.EVENTS.decode(sockets.receive_event(much)), messages.Subscribed)
            assert not broken.poll(0)
            much.setsockopt(zmq.SUBSCRIBE, topics[-1] + b"x")
            assert broken.poll(DEADLINE_S * 1000)
            much.close(0)
            broken.close(0)
        good_broken = sockets.disconnection(good)
        assert good.poll(DEADLINE_S * 1000) and not good_broken.poll(0), "others of the same client"
        assert not local.ask(messages.Ping(client=local.client)).error
        assert logged(service, f"that subscribed to {SUBSCRIPTIONS_MAX + 1} topics")
        for socket in (good, good_broken):
            socket.close(0)
        person.close()


# --- frames ---------------------------------------------------------------------------------------


@pytest.fixture
def fed(service: Daemon) -> Iterator[tuple[Person, Any, str]]:
    """A recording of alice's, a connection that feeds it, and its route. It is finished in the test."""
    alice = Person(service, "alice")
    (route,) = alice.started().routes
    data = alice.feed(route)
    yield alice, data, route.route
    data.close()
    alice.close()


def finish(fed: tuple[Person, Any, str], count: int) -> messages.TrackStatistics:
    alice, data, route = fed
    data.send(messages.encode(messages.End(route=route, count=count, until_ns=time.monotonic_ns())))
    reply = alice.control(route.partition("/")[0], "stop", wait=True)
    assert not reply.error and not reply.result["error"], reply
    statistics = msgspec.convert(reply.result["statistics"], messages.RecordingStatistics)
    return statistics.tracks[0]


def test_credit_that_is_ignored(service: Daemon, fed: tuple[Person, Any, str]) -> None:
    alice, data, route = fed
    sent = 4 * AUDIO_CREDIT_FRAMES

    def counted() -> int:
        return int(alice.ask(messages.AskStatus()).result["refused"].get("data", 0))

    before = counted()
    began_ns = time.monotonic_ns()
    with undisturbed(service):
        for number in range(sent):
            data.send_multipart([sound(route, number, captured_ns=began_ns + number * S // 50), SILENCE])
        track = finish(fed, sent)
    refused = track.dropped_by_cause.get("refused", 0)
    assert 0 < refused < sent
    assert counted() == before + refused
    assert track.frames_encoded == (sent - refused) * 960 + 0, track
    came = [messages.SENDER.decode(data.recv()) for _ in range(200) if data.poll(100)]
    reasons = {one.reason for one in came if isinstance(one, messages.Refused)}
    assert any("credit" in reason for reason in reasons), reasons


def test_frames_that_are_sent_again_are_recorded_once(service: Daemon, fed: tuple[Person, Any, str]) -> None:
    _, data, route = fed
    frames = [[sound(route, number), SILENCE] for number in range(10)]
    with undisturbed(service):
        for frame in (*frames, *frames[3:7], frames[0], *frames):
            data.send_multipart(frame)
        track = finish(fed, len(frames))
    assert (track.frames_accepted, track.frames_dropped) == (9600, 0), track


def test_frames_that_are_not_what_they_say(service: Daemon, fed: tuple[Person, Any, str]) -> None:
    _, data, route = fed
    picture = messages.VideoFrame(
        route=route, sequence=1, captured_ns=0, pixel_format="i420", width=64, height=64, ring=0
    )
    replace = msgspec.structs.replace
    bad = {
        "shorter": [sound(route, 0), SILENCE[:-1]],
        "longer": [sound(route, 0), SILENCE + b"\0"],
        "empty": [sound(route, 0), b""],
        "more samples than memory": [sound(route, 0, sample_count=2**61), SILENCE],
        "an unknown format": [sound(route, 0, sample_format="s64"), SILENCE],
        "no payload": [sound(route, 0)],
        "a picture": [messages.encode(picture), bytes(64 * 64 * 3 // 2)],
        "a picture in a ring": [messages.encode(replace(picture, ring=1, offset=2**60)), b""],
        "half a header": [sound(route, 0)[:20], SILENCE],
        "another's route": [sound("undisturbed/track", 0), SILENCE],
        "a path as route": [sound("../../etc", 0), SILENCE],
        "a kind of the controller": [messages.encode(messages.Shutdown()), b""],
        "a version too new": [msgspec.msgpack.encode({"v": 3, "kind": "end", "route": route}), b""],
    }
    with undisturbed(service):
        data.send_multipart([sound(route, 0), SILENCE])
        for what, parts in bad.items():
            data.send_multipart(parts)
            came = answer_of(data)
            while not isinstance(came, messages.Refused):
                came = answer_of(data)
            assert came.reason, what
        track = finish(fed, 1)
    assert track.frames_encoded == 960, track


LEAST, MOST = -(2**62), 2**62


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": MOST},
        {"until_ns": MOST},
        {"until_ns": LEAST, "paused_ns": MOST},
        {"at_ns": MOST, "sent_ns": LEAST},
        {"dropped": {f"cause {number}": TOTAL_MAX for number in range(CAUSES_MAX)}},
        {"counted": {f"{number:0200}": TOTAL_MAX for number in range(CAUSES_MAX)}},
        {"exact": True, "until_ns": LEAST},
    ],
)
def test_a_wrong_end_of_stream_harms_its_recording_alone(
    service: Daemon, fed: tuple[Person, Any, str], wrong: dict[str, Any]
) -> None:
    alice, data, route = fed
    with undisturbed(service):
        data.send_multipart([sound(route, 0), SILENCE])
        end = messages.End(route=route, count=1, until_ns=time.monotonic_ns())
        data.send(messages.encode(msgspec.structs.replace(end, **wrong)))
        reply = alice.control(route.partition("/")[0], "stop", wait=True)
        assert reply.result["statistics"]["tracks"], "the whole report"


@pytest.mark.parametrize(
    "wrong",
    [
        {"captured_ns": MOST},
        {"captured_ns": LEAST},
        {"paused_ns": MOST},
        {"since_ns": MOST},
        {"captured_ns": LEAST, "paused_ns": MOST, "since_ns": LEAST},
        {"sequence": MOST},
    ],
)
def test_wrong_times_harm_their_recording_alone(
    service: Daemon, fed: tuple[Person, Any, str], wrong: dict[str, Any]
) -> None:
    alice, data, route = fed
    with undisturbed(service):
        for number in range(8):
            header = messages.DATA.decode(sound(route, number))
            changed = header if number % 2 else msgspec.structs.replace(header, **wrong)
            data.send_multipart([messages.encode(changed), SILENCE])
        mark = messages.Mark(route=route, number=MOST, recorded_ns=LEAST, exact=True)
        data.send(messages.encode(mark))
        data.send(messages.encode(messages.End(route=route, count=8, until_ns=time.monotonic_ns())))
        reply = alice.control(route.partition("/")[0], "stop", wait=True)
        assert reply.result["statistics"]["tracks"], "the whole report"


@pytest.mark.parametrize(
    "wrong",
    [
        {"at_ns": MOST},
        {"at_ns": LEAST},
        {"options": msgspec.structs.replace(OPTIONS, audio_bits_per_second=MOST)},
        {"options": msgspec.structs.replace(OPTIONS, timeslice_ms=float("nan"))},
        {"options": msgspec.structs.replace(OPTIONS, timeslice_ms=float("-inf"))},
        {"options": msgspec.structs.replace(OPTIONS, timeslice_ms=1e-300)},
        {"options": msgspec.structs.replace(OPTIONS, key_frame_interval_ms=float("nan"), key_frame_interval_count=0)},
        {"options": msgspec.structs.replace(OPTIONS, overload="panic", audio_bitrate_mode="all")},
        {"tracks": (msgspec.structs.replace(SOUND, settings={**SOUND.settings, "clock": []}),)},
        {"tracks": (msgspec.structs.replace(SOUND, settings={**SOUND.settings, "sample_format": {}}),)},
    ],
)
def test_a_start_that_makes_no_sense_harms_itself_alone(service: Daemon, wrong: dict[str, Any]) -> None:
    with undisturbed(service) as local:
        alice = Person(service, "alice")
        reply = alice.start(**wrong)
        if not reply.error:
            started = msgspec.convert(reply.result, Started)
            (route,) = started.routes
            data = alice.feed(route)
            for number in range(5):
                data.send_multipart([sound(route.route, number), SILENCE])
            for at_ns in (LEAST, MOST, 0):
                for action in ("pause", "resume", "request_data"):
                    alice.ask(messages.Control(recording=started.recording, action=action, at_ns=at_ns, number=MOST))
            local.ask(messages.Control(recording=started.recording, action="stop", at_ns=LEAST, wait=True))
            data.close()
        alice.close()
