"""The recordings that a service keeps: listed, looked up, renamed, deleted, commanded, by whoever comes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import keyed
import msgspec
import pytest
from fixtures_media import wait_until
from keepers import Daemon, daemon, name_of, record, recording_of_sound, sound, wait_listed
from media import DEADLINE_S, decode
from services import children

import recsvc
from recsvc import errors
from recsvc.caller import at_service, connections
from recsvc.caller.asking import ask, catalog_of
from recsvc.wire import messages, sockets


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Daemon]:
    with daemon(tmp_path) as running:
        yield running


def test_what_a_service_keeps_is_listed_looked_up_renamed_and_deleted(kept: Daemon) -> None:
    assert kept.list() == []
    before = datetime.datetime.now(datetime.UTC)
    blobs = [record(kept, seconds) for seconds in (0.1, 0.25)]
    listed = wait_listed(kept, "finished")
    assert [one.id for one in listed] == [name_of(blob) for blob in reversed(blobs)], "the newest first"
    newest = kept.get(listed[0].id)
    assert (newest.state, newest.name, newest.owner, newest.error) == ("finished", "", "", "")
    assert newest.mime_type == "audio/webm;codecs=opus"
    assert before < newest.began < newest.ended < datetime.datetime.now(datetime.UTC)
    assert newest.size == blobs[1].size
    assert newest.duration == pytest.approx(0.25)
    assert newest.statistics is not None
    assert newest.statistics.tracks[0].frames_encoded == 12_000
    assert newest.blob.bytes() == blobs[1].bytes()
    assert decode(newest.blob).sound_s == pytest.approx(0.25)
    newest.rename("Grüße ✓ ../../etc")
    assert newest.name == kept.get(newest.id).name == kept.list(limit=1)[0].name == "Grüße ✓ ../../etc"
    newest.delete()
    assert [one.id for one in kept.list()] == [listed[1].id]
    assert kept.files() == {listed[1].id}
    with pytest.raises(errors.NotFoundError, match=newest.id):
        kept.get(newest.id)
    with pytest.raises(errors.NotFoundError):
        newest.delete()
    with pytest.raises(errors.NotFoundError):
        newest.rename("x")
    with pytest.raises(errors.NotReadableError):
        blobs[1].bytes()


def test_a_recording_that_goes_on_is_commanded_by_its_id(kept: Daemon) -> None:
    with recording_of_sound(kept) as (recorder, source):
        (other,) = kept.list()
        assert (other.state, other.ended, other.statistics) == ("recording", None, None)
        with pytest.raises(errors.InvalidStateError, match="goes on"):
            other.delete()
        other.pause()
        assert other.state == "paused"
        recorder.wait("pause", DEADLINE_S)
        other.resume()
        assert other.state == "recording"
        recorder.wait("resume", DEADLINE_S)
        source.write(sound(0.1))
        other.stop()
        assert other.state == "finished", other.error
        recorder.wait("stop", DEADLINE_S)
        for command in (other.stop, other.pause, other.resume):
            with pytest.raises(errors.InvalidStateError, match="has ended"):
                command()


def test_blobs_of_kept_recordings_delete_nothing(kept: Daemon, tmp_path: Path) -> None:
    blob = record(kept)
    content = blob.bytes()
    saved = blob.save(tmp_path / "saved.webm", move=True)
    assert saved.read_bytes() == content
    (name,) = kept.files()
    del blob
    assert kept.get(name).blob.bytes() == content


def test_the_face_for_asyncio(kept: Daemon) -> None:
    record(kept)
    wait_listed(kept, "finished")

    async def use() -> None:
        (found,) = await recsvc.aio.recording.list(service=kept.address)
        await found.rename("one")
        assert (await recsvc.aio.recording.get(found.id, service=kept.address)).name == "one"
        assert found.blob.size == found.size
        await found.update()
        with pytest.raises(errors.InvalidStateError):
            await found.stop()
        with pytest.raises(errors.InvalidStateError):
            await found.pause()
        with pytest.raises(errors.InvalidStateError):
            await found.resume()
        await found.delete()
        with pytest.raises(errors.NotFoundError):
            await recsvc.aio.recording.get(found.id, service=kept.address)

    asyncio.run(use())


def test_a_service_that_keeps_nothing_says_so() -> None:
    with pytest.raises(errors.NotSupportedError, match="recsvc serve"):
        ask(connections.connect(), messages.ListRecordings())


def test_recordings_that_run_when_the_service_ends_are_kept_with_all_that_is_known_of_them(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                _, source = stack.enter_context(recording_of_sound(running))
                source.write(sound(0.1))
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(DEADLINE_S) == 0
            connections.close_all()
        running.begin()
        listed = running.list()
        assert [one.state for one in listed] == ["finished"] * 5
        assert all(one.statistics is not None and one.duration > 0 for one in listed)


def test_long_lists_come_in_parts_of_a_replys_size(kept: Daemon) -> None:
    names = ["é" * 190 + str(number) for number in range(40)]
    for name in names:
        record(kept, 0.02)
        kept.list(limit=1)[0].rename(name)
    page = ask(kept.client, messages.ListRecordings())
    assert 0 < len(page) <= 40
    assert [one.name for one in kept.list()] == list(reversed(names))
    assert [one.name for one in kept.list(limit=7)] == list(reversed(names))[:7]
    assert len({one.id for one in kept.list(limit=None)}) == 40


def test_what_cannot_be_read_is_answered_and_the_others_do_not_notice(kept: Daemon) -> None:
    socket = sockets.control_client(catalog_of(kept.client))
    bad = [
        b"",
        b"\xff" * 100,
        messages.encode(messages.GetRecording(id=5, recording="x"))[:-3],
        msgspec.msgpack.encode({"v": 1, "kind": "get", "id": 6, "recording": "x"}),
        msgspec.msgpack.encode({"v": messages.VERSION, "kind": "start", "id": 7}),
        msgspec.msgpack.encode({"v": messages.VERSION, "kind": "rename", "id": 8, "recording": "x", "name": "n" * 201}),
        msgspec.msgpack.encode({"v": messages.VERSION, "kind": "list", "id": 9, "limit": 10**9}),
        msgspec.msgpack.encode({"v": messages.VERSION, "kind": "get", "id": 10, "recording": "x" * 100_000}),
    ]
    for one in bad:
        socket.send(one)
    replies = []
    for _ in bad:
        assert socket.poll(int(DEADLINE_S * 1000))
        replies.append(messages.REPLIES.decode(socket.recv()))
    assert {reply.error for reply in replies} == {"TypeError"}
    assert [reply.id for reply in replies][3:] == [6, 7, 8, 9, 10]
    assert kept.list() == []
    assert len(kept.log.read_text().split("was refused")) == 2, "one line, then a count"
    socket.close(linger=0)
    assert at_service.status(kept.client).refused == {"TypeError": len(bad)}
    before = kept.catalog
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: children("catalog", kept.process.pid) not in ([], [before]), "the next catalog", DEADLINE_S)
    with pytest.raises(errors.NotFoundError):
        kept.get("unknown")
    assert at_service.status(kept.client).refused == {"TypeError": len(bad), "NotFoundError": 1}, "none goes back"


def test_keys_may_do_what_their_permissions_say(tmp_path: Path) -> None:
    with keyed.daemon(tmp_path, maker=("record",), reader=("read",), chief=("admin",)) as secured:
        address = {name: secured.file(name) for name in ("maker", "reader", "chief")}
        source = recsvc.AudioSource(48_000, 1)
        with recsvc.MediaRecorder(recsvc.MediaStream([source.track]), service=address["maker"]) as recorder:
            recorder.start()
            source.write(sound(0.1))
        own = recorder.recording
        assert own is not None
        name = name_of(own)
        content = (secured.spool / f"{name}.webm").read_bytes()
        assert own.bytes() == content
        assert recsvc.recording.get(name, service=address["maker"]).blob.bytes() == content
        assert recsvc.recording.get(name, service=address["reader"]).blob.bytes() == content
        (listed,) = recsvc.recording.list(service=address["reader"])
        assert listed.owner == "maker"
        for forbidden in (
            lambda: recsvc.recording.list(service=address["maker"]),
            lambda: recsvc.recording.get("x", service=address["maker"]),
            lambda: listed.rename("x"),
            listed.delete,
            recsvc.recording.get(name, service=address["maker"]).delete,
        ):
            with pytest.raises(errors.NotAllowedError):
                forbidden()
        recsvc.recording.get(name, service=address["maker"]).rename("mine")
        chief = recsvc.recording.get(name, service=address["chief"])
        assert chief.name == "mine"
        chief.delete()
        assert recsvc.recording.list(service=address["reader"]) == []
        connections.close_all()


def test_wrong_arguments(kept: Daemon) -> None:
    with pytest.raises(TypeError, match="limit"):
        kept.list(limit="3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="-1"):
        kept.list(limit=-1)
    assert kept.list(limit=0) == []
    with pytest.raises(TypeError, match="id"):
        kept.get(3)  # type: ignore[arg-type]
    for name in ("../kept/catalog", "catalog", "", "/etc/passwd", "x" * 5000, "\0"):
        with pytest.raises(errors.NotFoundError):
            kept.get(name)
