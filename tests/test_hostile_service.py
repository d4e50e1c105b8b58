"""A service that is broken, or means harm: its clients raise what is documented, in time, and do nothing else."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from fixtures_media import wait_until
from listening import record_events, types_of
from media import DEADLINE_S

import recsvc
from recsvc import errors
from recsvc.caller import at_service, connections
from recsvc.caller.blob import blob_of_file
from recsvc.caller.link import Link
from recsvc.caller.remote import RemoteFile
from recsvc.caller.sources import SourceEvents
from recsvc.caller.subscription import Inbox, Subscription
from recsvc.common.descriptions import RecordingInfo
from recsvc.common.limits import MS
from recsvc.common.service_limits import ANSWER_BYTES_MAX, FETCH_BYTES_MAX, REQUESTS_PER_TURN
from recsvc.process import role
from recsvc.protocol import peer as played
from recsvc.protocol.files import FILE
from recsvc.protocol.peer import Peer
from recsvc.wire import farewell, messages, sockets
from recsvc.wire.published import published
from recsvc.wire.route import Route

Say = Callable[..., None]
"""Sends parts to who has asked."""


class Hostile(Peer):
    """Answers as a service does, except where a test has it answer otherwise: ``said[kind](request, say)`` returns
    whether it did."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint, "", lambda _: None, idle_s=DEADLINE_S)
        self.said: dict[type, Callable[[Any, Say], bool]] = {}
        self.over = False

    def _answer(self, identity: bytes, request: Any, socket: Any) -> messages.Reply | None:
        return None if self.says(socket, identity, request) else super()._answer(identity, request, socket)

    def says(self, socket: Any, identity: bytes, request: Any) -> bool:
        otherwise = self.said.get(type(request))
        return otherwise is not None and otherwise(request, lambda *parts: socket.send_multipart([identity, *parts]))

    def take_catalog(self, catalog: Any, *given: Any) -> None:
        while sockets.readable(catalog):
            identity, header = catalog.recv_multipart()
            request = messages.CATALOG_REQUESTS.decode(header)
            if not self.says(catalog, identity, request):
                reply, part = messages.Reply(id=request.id), ()
                if isinstance(request, messages.Fetch):
                    part = (FILE[request.start : request.start + request.size],)
                catalog.send_multipart([identity, messages.encode(reply), *part])


@pytest.fixture
def make(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Hostile]]:
    """Services of this process, each in a thread of its own."""
    made: list[tuple[Hostile, threading.Thread]] = []
    monkeypatch.setattr(played, "take_requests", lambda catalog, *given: by_catalog[catalog].take_catalog(catalog))
    by_catalog: dict[Any, Hostile] = {}

    def one() -> Hostile:
        hostile = Hostile(f"ipc://{place}/{len(made)}")
        by_catalog[hostile._catalog] = hostile
        thread = threading.Thread(target=hostile.run)
        thread.start()
        made.append((hostile, thread))
        return hostile

    yield one
    connections.close_all()
    for hostile, thread in made:
        hostile._is_over = True
        thread.join()
        hostile.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long here."""
    monkeypatch.setattr("recsvc.caller.client.READY_DEADLINE_NS", 300 * MS)
    monkeypatch.setattr("recsvc.caller.client.RPC_DEADLINE_NS", 300 * MS)
    monkeypatch.setattr("recsvc.caller.client.Client.request.__defaults__", (300 * MS,))
    monkeypatch.setattr("recsvc.caller.asking.RPC_DEADLINE_NS", 300 * MS)
    monkeypatch.setattr("recsvc.caller.asking.Asking.answer.__defaults__", (300 * MS,))
    monkeypatch.setattr("recsvc.caller.user_media.OPEN_SOURCE_DEADLINE_NS", 300 * MS)
    monkeypatch.setattr("recsvc.caller.at_service.OPEN_SOURCE_DEADLINE_NS", 300 * MS)
    for module in ("recordings", "subscription"):
        monkeypatch.setattr(f"recsvc.caller.{module}.STOP_ASK_NS", 50 * MS)


@pytest.fixture(autouse=True)
def no_thread_dies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    died: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    yield
    assert not died


def reply(request: messages.Request, **fields: Any) -> bytes:
    return messages.encode(messages.Reply(id=request.id, **fields))


def once(parts: Callable[[Any], list[bytes]]) -> Callable[[Any, Say], bool]:
    def answer(request: Any, say: Say) -> bool:
        say(*parts(request))
        return True

    return answer


NONSENSE: dict[str, Callable[[Any], list[bytes]]] = {
    "nothing": lambda asked: [b""],
    "bytes": lambda asked: [b"\xff\x00nonsense"],
    "another message": lambda asked: [messages.encode(messages.Ping(id=asked.id, client="c"))],
    "half of it": lambda asked: [reply(asked, result={"a": "b" * 100})[:50]],
    "deep": lambda asked: [b"\x91" * 60_000],
    "huge": lambda asked: [bytes(ANSWER_BYTES_MAX + 1)],
    "a long header": lambda asked: [reply(asked, text="x" * 1_000_000)],
    "to others": lambda asked: [messages.encode(messages.Reply(id=asked.id + 7))],
    "no result": lambda asked: [reply(asked)],
    "a number": lambda asked: [reply(asked, result=2**62)],
    "a list": lambda asked: [reply(asked, result=[[], {}, None])],
    "wrong types": lambda asked: [
        reply(asked, result={"service": 7, "recording": {}, "events": 5, "routes": None, "began": "x"})
    ],
}


@pytest.mark.parametrize("what", NONSENSE)
def test_no_answer_is_trusted(what: str, make: Callable[[], Hostile]) -> None:
    """Each kind of request, answered with the same nonsense."""
    hostile = make()
    otherwise = once(NONSENSE[what])
    client = connections.connect(hostile.endpoint)

    def start() -> None:
        source = recsvc.VideoSource(16, 16)
        recsvc.MediaRecorder(recsvc.MediaStream([source.track]), service=hostile.endpoint).start()

    asks: dict[type, Callable[[], object]] = {
        messages.OpenSource: lambda: recsvc.get_user_media(audio="test:", service=hostile.endpoint),
        messages.Start: start,
        messages.AskStatus: lambda: at_service.status(client),
        messages.Record: lambda: at_service.begin(client, {"audio": {"source": "test:"}}),
        messages.ListRecordings: lambda: recsvc.recording.list(service=hostile.endpoint),
        messages.GetRecording: lambda: recsvc.recording.get("r", service=hostile.endpoint),
        messages.Fetch: lambda: fetched(client).bytes(),
    }
    for kind, ask in asks.items():
        hostile.said = {kind: otherwise}
        begun_s = time.monotonic()
        if what == "no result" and kind is messages.Fetch:
            continue
        with pytest.raises(errors.ServiceError):
            ask()
        assert time.monotonic() - begun_s < 5, kind
    hostile.said = {messages.Hello: otherwise}
    connections.close_all()
    with pytest.raises(errors.ServiceError):
        connections.connect(hostile.endpoint)


def fetched(client: Any, size: int = len(FILE)) -> recsvc.Blob:
    return blob_of_file(RemoteFile(client, "r"), b"", 0, size, "video/webm", 1.0)


def test_who_is_answered_all_the_time_but_never_what_was_asked_waits_no_longer(make: Callable[[], Hostile]) -> None:
    hostile = make()
    client = connections.connect(hostile.endpoint)
    flood = messages.encode(messages.Reply(id=2**40))
    over = threading.Event()

    def forever(request: Any, say: Say) -> bool:
        while not over.is_set():
            for _ in range(100):
                say(flood)
            time.sleep(0.001)
        return True

    for kind, ask in (
        (messages.AskStatus, lambda: at_service.status(client)),
        (messages.Fetch, lambda: fetched(client).bytes()),
    ):
        over.clear()
        hostile.said = {kind: forever}
        with pytest.raises(errors.ServiceError, match="no answer"):
            ask()
        over.set()


@pytest.mark.parametrize(
    "changed",
    [
        {"events": ("ipc://" + "x" * 300,)},
        {"events": ("ipc://",)},
        {"events": ("tcp://1.2.3.4:5",)},
        {"events": ()},
        {"catalog": ("ipc://" + "x" * 300,)},
        {"pid": 2**31, "pid_namespace": role.pid_namespace()},
        {"pid": 2**62},
        {"service": "x" * 1_000},
    ],
    ids=repr,
)
def test_a_welcome_that_leads_nowhere(changed: dict[str, Any], make: Callable[[], Hostile]) -> None:
    hostile = make()
    welcome = msgspec.structs.asdict(hostile._welcome("s"))
    hostile.said = {messages.Hello: once(lambda asked: [reply(asked, result=welcome | changed)])}
    with pytest.raises(errors.ServiceError):
        recsvc.recording.list(service=hostile.endpoint)


# --- the catalog ----------------------------------------------------------------------------------


def fetch(asked: messages.Fetch, data: Any) -> list[bytes]:
    return [reply(asked), bytes(data)]


RANGES: dict[str, Callable[[Any], list[bytes]]] = {
    "a byte at a time": lambda asked: fetch(asked, FILE[asked.start : asked.start + min(asked.size, 300_000)]),
    "with more parts": lambda asked: [*fetch(asked, FILE[asked.start : asked.start + asked.size]), b"more", b"x"],
}
NO_RANGES: dict[str, tuple[Callable[[Any], list[bytes]], type[Exception]]] = {
    "more": (lambda asked: fetch(asked, bytes(asked.size + 1)), errors.ServiceError),
    "none": (lambda asked: fetch(asked, b""), errors.NotReadableError),
    "no part": (lambda asked: [reply(asked)], errors.ServiceError),
    "text": (lambda asked: [reply(asked, result="x" * 100)], errors.ServiceError),
    "gone": (lambda asked: [reply(asked, error="NotFoundError", text="gone")], errors.NotReadableError),
    "odd": (lambda asked: [reply(asked, error="HarmError", text="\x1b[2J")], errors.UnknownError),
}


@pytest.mark.parametrize("what", RANGES)
def test_ranges_may_come_in_any_portion(what: str, make: Callable[[], Hostile]) -> None:
    hostile = make()
    hostile.said = {messages.Fetch: once(RANGES[what])}
    assert fetched(connections.connect(hostile.endpoint)).bytes() == FILE


@pytest.mark.parametrize("what", NO_RANGES)
@pytest.mark.parametrize("after", [0, 2 * FETCH_BYTES_MAX])
def test_what_is_no_range_of_the_file_is_refused(
    what: str, after: int, make: Callable[[], Hostile], tmp_path: Path
) -> None:
    parts, expected = NO_RANGES[what]
    hostile = make()

    def answer(request: messages.Fetch, say: Say) -> bool:
        if request.start >= after:
            say(*parts(request))
        return request.start >= after

    hostile.said = {messages.Fetch: answer}
    blob = fetched(connections.connect(hostile.endpoint))
    with pytest.raises(expected):
        blob.save(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []
    hostile.said = {}
    assert blob.bytes() == FILE, "it is asked for anew"


def test_a_file_that_is_not_as_long_as_was_announced_takes_no_memory(
    make: Callable[[], Hostile], tmp_path: Path
) -> None:
    hostile = make()
    blob = fetched(connections.connect(hostile.endpoint), 2**62)
    assert blob.slice(0, len(FILE)).bytes() == FILE
    with pytest.raises(errors.NotReadableError), blob.open() as file:
        file.seek(len(FILE))
        file.read(100)
    (tmp_path / "r.webm").write_bytes(FILE)
    info = RecordingInfo(
        recording="r",
        name="",
        owner="",
        state="finished",
        mime_type="video/webm",
        began=1.0,
        size_bytes=2**62,
        path=str(tmp_path / "r.webm"),
    )
    hostile.said = {messages.GetRecording: once(lambda asked: [reply(asked, result=info)])}
    local = recsvc.recording.get("r", service=hostile.endpoint).blob
    assert not isinstance(local._content.parts[0].source, RemoteFile)
    with pytest.raises(errors.NotReadableError, match="cut short"):
        local.bytes()
    assert local.slice(0, 2**61).open().read(len(FILE)) == FILE


@pytest.mark.parametrize("name", ["r.webm", "r", "r.key", "secret", "secret.webm", "d/../secret"])
def test_only_the_recordings_own_file_is_read_by_its_path(
    name: str, make: Callable[[], Hostile], tmp_path: Path
) -> None:
    """Who asks may read more than the service may."""
    (tmp_path / "d").mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 10)
    path = tmp_path / name
    if name == "r.webm":
        path.symlink_to(secret)
    elif not path.exists():
        path.write_bytes(b"x" * 10)
    info = RecordingInfo(
        recording="r", name="", owner="", state="finished", mime_type="", began=1.0, size_bytes=10, path=str(path)
    )
    hostile = make()
    hostile.said = {messages.GetRecording: once(lambda asked: [reply(asked, result=info)])}
    assert recsvc.recording.get("r", service=hostile.endpoint).blob.bytes() == FILE[:10]


def test_an_answer_about_another_recording_is_none(make: Callable[[], Hostile]) -> None:
    """It would be deleted, perhaps, in the place of the one that was meant."""
    row = {"recording": "other", "name": "", "owner": "", "state": "finished", "mime_type": "", "began": 1.0}
    hostile = make()
    hostile.said = {messages.GetRecording: once(lambda asked: [reply(asked, result=row)])}
    with pytest.raises(errors.ServiceError, match="answers with 'other'"):
        recsvc.recording.get("r", service=hostile.endpoint)


@pytest.mark.parametrize(
    ("listed", "began"), [(["r", "r"], 1e9), (["r"] * 101, 1e9), (["r"], 0.0), (["r"], float("nan")), (["r"], 1e300)]
)
def test_a_list_that_would_go_on_for_ever(listed: list[str], began: float, make: Callable[[], Hostile]) -> None:
    info = {"name": "", "owner": "", "state": "finished", "mime_type": "", "began": began}
    hostile = make()
    rows = [{**info, "recording": name} for name in listed]
    hostile.said = {messages.ListRecordings: once(lambda asked: [reply(asked, result=rows)])}
    with pytest.raises(errors.ServiceError):
        recsvc.recording.list(limit=None, service=hostile.endpoint)


def test_a_status_that_would_go_on_for_ever(make: Callable[[], Hostile]) -> None:
    row = {"recording": "r", "name": "", "owner": "", "state": "", "mime_type": "", "began": 1.0}
    found = {"service": "", "version": "", "began": 1.0, "recordings": [row], "more": True}
    hostile = make()
    hostile.said = {messages.AskStatus: once(lambda asked: [reply(asked, result=found)])}
    assert len(at_service.status(connections.connect(hostile.endpoint)).recordings) == 1


# --- without end ----------------------------------------------------------------------------------


class Flood:
    """A socket by which junk comes without end."""

    def __init__(self, *junk: bytes) -> None:
        self.junk = junk
        self.taken = 0

    def recv(self, *_: Any, **__: Any) -> bytes:
        self.taken += 1
        return self.junk[-1]

    def recv_multipart(self, *_: Any, **__: Any) -> list[bytes]:
        self.taken += 1
        return list(self.junk)


EVENT = messages.RecorderEvent(recorder="r", recording="other", sequence=0, type="pause", at_ns=0)


@pytest.mark.parametrize("junk", [b"\xff", messages.encode(EVENT), messages.encode(messages.Reply(id=9))])
def test_who_sends_without_end_keeps_nobody_from_anything_else(junk: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reader of a client gives up its turn: so a program ends, whatever its service does."""
    monkeypatch.setattr(sockets, "readable", lambda _: True)
    flood: Any = Flood(b"topic", junk)
    readers: dict[str, Callable[[], object]] = {
        "events": lambda: list(published(flood)),
        "of sources": SourceEvents(flood).take,
        "credits": lambda: Route.take_credits(route),
        "an end": lambda: farewell._is_over(parting, 0),
        "answers": lambda: Link.take(link),
        "of a recorder": lambda: Subscription.next(subscription),
    }
    route: Any = SimpleNamespace(socket=flood, name="r", _granted=lambda _: None)
    parting: Any = SimpleNamespace(socket=flood, until_ns=1, again_ns=1)
    link: Any = SimpleNamespace(socket=flood, _take=lambda *_: None)
    subscription: Any = SimpleNamespace(_read=deque(), _expected={}, socket=flood)
    subscription._receive = lambda: Subscription._receive(subscription)
    for name, read in readers.items():
        flood.junk = (junk,) if name in ("credits", "an end", "answers") else (b"topic", junk)
        flood.taken = 0
        read()
        assert 0 < flood.taken <= REQUESTS_PER_TURN**2, name


def test_a_recorder_looks_at_the_time_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "readable", lambda _: True)
    inbox = Inbox("r")
    flood: Any = Flood(b"topic", messages.encode(EVENT))
    subscription: Any = SimpleNamespace(_read=deque(), _expected={}, socket=flood)
    subscription._receive = lambda: Subscription._receive(subscription)
    subscription.next = lambda: Subscription.next(subscription)
    subscription.close = lambda: None
    inbox._subscriptions[None] = subscription  # type: ignore[index]
    monkeypatch.setattr(inbox, "_poller", SimpleNamespace(poll=lambda _: [(flood, 1)]))
    begun_ns = time.monotonic_ns()
    assert inbox.next(begun_ns + 10 * MS) is None
    assert time.monotonic_ns() - begun_ns < DEADLINE_S * 10**9
    inbox.close()


# --- a recording ----------------------------------------------------------------------------------


def recording(service: Hostile) -> tuple[recsvc.MediaRecorder, recsvc.VideoSource, list[Any]]:
    source = recsvc.VideoSource(16, 16, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]), service=service.endpoint)
    events = record_events(recorder)
    recorder.start()
    return recorder, source, events


def finished(recorder: recsvc.MediaRecorder, source: recsvc.VideoSource) -> None:
    assert source.write(bytes(384))
    recorder.stop()
    recorder.wait("stop", DEADLINE_S)


@pytest.mark.parametrize(
    "changed",
    [
        {"path": "/etc/passwd"},
        {"path": "../NAME"},
        {"path": "/made-up/NAME.webm\0/x"},
        {"path": "x" * 5_000},
        {"start": 2**62, "end": 2**62},
        {"start": 100, "end": 5},
        {"end": 2**62},
        {"duration": float("nan")},
        {"duration": float("inf")},
        {"mime_type": "\x1b[2J" * 1_000},
    ],
    ids=lambda changed: repr(changed)[:40],
)
def test_whatever_the_last_event_names_the_recording_ends(
    changed: dict[str, Any], make: Callable[[], Hostile], monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile, sound = make(), make()
    publish = hostile._publish

    def otherwise(one: Any, type: Any, **fields: Any) -> None:
        for name in ("blob", "whole"):
            if name in fields:
                new = {k: v.replace("NAME", one.start.recording) if k == "path" else v for k, v in changed.items()}
                fields[name] = msgspec.structs.replace(fields[name], **new)
        publish(one, type, **fields)

    monkeypatch.setattr(hostile, "_publish", otherwise)
    recorder, source, events = recording(hostile)
    other = recording(sound)
    finished(recorder, source)
    assert types_of(events)[-1] == "stop" and len(events) == 3
    if events[1].type == "dataavailable":
        size = events[1].data.size
        assert size == max(0, changed.get("end", len(FILE)) - changed.get("start", 0))
    else:
        assert isinstance(events[1].error, errors.RecorderError)
    finished(*other[:2])
    assert types_of(other[2]) == ["start", "dataavailable", "stop"], "another recording does not notice"
    assert other[0].recording is not None and other[0].recording.bytes() == FILE


@pytest.mark.parametrize("what", ["bytes", "huge", "a list", "of others", "backwards", "with gaps"])
def test_events_may_come_in_any_way_and_are_asked_for(what: str, make: Callable[[], Hostile]) -> None:
    """The first event is lost, and what is asked for then is nonsense at first."""
    hostile = make()
    asked = 0

    def answer(request: messages.AskEvents, say: Say) -> bool:
        nonlocal asked
        asked += 1
        if asked > 2:
            return False
        if what in NONSENSE:
            say(*NONSENSE[what](request))
            return True
        known = hostile._recordings[request.recording].events
        if what == "of others":
            found = [msgspec.structs.replace(event, recording="other") for event in known]
        else:
            found = list(reversed(known)) if what == "backwards" else known[1:]
        say(reply(request, result=found))
        return True

    hostile.said = {messages.AskEvents: answer}
    publish = hostile._publish
    lost = {"start"}

    def otherwise(one: Any, type: Any, **fields: Any) -> None:
        for junk in (b"", b"\xff", messages.encode(messages.Reply(id=1)), bytes(100_000)):
            hostile._events.send_multipart([f"{one.start.client}/{one.start.recorder}".encode(), junk])
        hostile._events.send_multipart([f"{one.start.client}/{one.start.recorder}".encode(), b"x", b"y"])
        publish(one, type, is_lost=type in lost, **fields)

    hostile._publish = otherwise  # type: ignore[method-assign]
    recorder, source, events = recording(hostile)
    finished(recorder, source)
    assert asked >= 1
    assert types_of(events)[-2:] == ["dataavailable", "stop"]
    assert events[-2].data.bytes() == FILE


def test_an_event_that_cannot_be_taken_at_all_ends_its_recording(
    make: Callable[[], Hostile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever nobody has thought of: the thread of the events goes on, and who waits for the end gets it."""
    hostile = make()
    recorder, source, events = recording(hostile)
    recorder.wait("start", DEADLINE_S)

    def fails(*_: object) -> None:
        raise ZeroDivisionError("nobody has thought of this")

    monkeypatch.setattr("recsvc.caller.subscription.Subscription._receive", fails)
    monkeypatch.setattr("recsvc.caller.session.recovery.wait_completed", lambda *_: None)
    recorder.wait("stop", DEADLINE_S)
    assert recorder.state == "inactive" and not source.write(bytes(384)), "nobody records it any more"
    wait_until(lambda: all(one.stopped for one in hostile._recordings.values()), "its stop there", DEADLINE_S)
    assert types_of(events)[0] == "start" and types_of(events)[-1] == "stop"
    assert any("nobody has thought of this" in str(one.error) for one in events if one.type == "error")


def test_a_connection_whose_reader_fails_is_lost_and_says_so(
    make: Callable[[], Hostile], monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = make()
    client = connections.connect(hostile.endpoint)

    def fails(*_: object) -> None:
        raise ZeroDivisionError("nobody has thought of this")

    monkeypatch.setattr("recsvc.caller.link.Link.take", fails)
    client._reader.join(DEADLINE_S)
    with pytest.raises(errors.ServiceError, match="nobody has thought of this"):
        client.request(messages.AskStatus())
    monkeypatch.undo()
    assert connections.connect(hostile.endpoint).usable, "the next one is new"
