"""The recordings that a service keeps: listed, looked up, renamed, deleted, commanded, by whoever comes."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from keepers import Daemon, daemon, name_of, record, recording_of_sound, sound, wait_listed
from media import DEADLINE_S, decode

import recsvc
from recsvc import errors


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
        recsvc.recording.list()


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
