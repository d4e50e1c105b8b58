"""What becomes of the catalog when its process, its file, the recordings' files or the daemon are lost, and that no
recording notices."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from fixtures_media import wait_until
from keepers import Daemon, daemon, name_of, record, recording_of_sound, sound, wait_listed
from media import DEADLINE_S, decode
from services import children

import recsvc
from recsvc.caller import connections
from recsvc.catalog.process import DATABASE
from recsvc.wire import messages


def kill_catalog(running: Daemon) -> None:
    """Another one has taken its place afterwards."""
    before = running.catalog
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: children("catalog", running.process.pid) not in ([], [before]), "the next catalog", DEADLINE_S)


def listed_as_on_disk(running: Daemon) -> list[recsvc.recording.Recording]:
    """Once the list and the spool agree, and nothing goes on."""

    def agree() -> list[recsvc.recording.Recording] | None:
        listed = running.list(limit=None)
        is_over = all(one.ended is not None for one in listed)
        return listed if is_over and {one.id for one in listed} == running.files() else None

    return wait_until(agree, "a list of what is on the disk", DEADLINE_S)


def test_a_catalog_that_is_killed_at_any_instant_knows_all_recordings_afterwards(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        chance = random.Random(11)
        blobs: dict[str, tuple[int, float]] = {}
        began = time.time()
        names: dict[str, str] = {}
        for turn in range(8):
            with recording_of_sound(running) as (recorder, source):
                instant = chance.choice(("begin", "going on", "end", "never"))
                if instant == "begin":
                    os.kill(running.catalog, signal.SIGKILL)
                source.write(sound(0.1))
                if turn % 4 == 0:
                    (going_on,) = [one for one in running.list() if one.ended is None]
                    going_on.rename(f"number {turn}")
                    names[going_on.id] = f"number {turn}"
                if instant == "going on":
                    os.kill(running.catalog, signal.SIGKILL)
                recorder.stop()
                if instant == "end":
                    time.sleep(chance.random() * 0.01)
                    os.kill(running.catalog, signal.SIGKILL)
                recorder.wait("stop", DEADLINE_S)
                assert recorder.recording is not None
                blobs[name_of(recorder.recording)] = recorder.recording.size, recorder.recording.duration
        listed = listed_as_on_disk(running)
        assert {one.id: (one.size, one.duration) for one in listed} == blobs
        assert {one.state for one in listed} == {"finished"}
        assert [one.id for one in reversed(listed)] == list(blobs), "in the order in which they began"
        for one in listed:
            assert began < one.began.timestamp() < one.ended.timestamp() < time.time()
            assert one.statistics.tracks[0].frames_accepted == 4800, "their accounting too"
            assert one.name == names.get(one.id, "")
        connections.close_all()


@pytest.mark.parametrize("damage", ["removed", "garbage", "torn", "another version", "no database"])
def test_a_database_that_is_lost_is_made_anew_from_the_spool(tmp_path: Path, damage: str) -> None:
    with daemon(tmp_path) as running:
        sizes = {name_of(blob): blob.size for blob in (record(running, 0.1), record(running, 0.2))}
        wait_listed(running, "finished")
        running.list()[0].rename("the newer one")
        before = running.list()
        assert all(one.statistics is not None for one in before)
    path = running.spool / DATABASE
    if damage == "removed":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(os.urandom(path.stat().st_size))
    elif damage == "torn":
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] + os.urandom(len(content) // 2))
    elif damage == "no database":
        path.write_bytes(b"")
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    running.begin()
    listed = listed_as_on_disk(running)
    assert {one.id: one.size for one in listed} == sizes
    assert {one.state for one in listed} == {"finished"}
    assert sorted(one.duration for one in listed) == [pytest.approx(0.1), pytest.approx(0.2)]
    assert {one.mime_type for one in listed} == {"audio/webm;codecs=opus"}
    for one, was in zip(listed, before, strict=True):
        assert (one.id, one.name, one.began, one.ended) == (was.id, was.name, was.began, was.ended)
        assert one.statistics == was.statistics
    record(running)
    assert len(listed_as_on_disk(running)) == 3
    running.end()


def test_a_database_that_is_removed_or_broken_while_it_is_used(tmp_path: Path) -> None:
    with daemon(tmp_path) as running, recording_of_sound(running) as (recorder, source):
        record(running)
        (finished,) = [one for one in wait_listed(running, "finished", "recording") if one.ended]
        finished.rename("kept in mind")
        path = running.spool / DATABASE
        for leftover in running.spool.glob(f"{DATABASE}*"):
            leftover.unlink()
        wait_until(path.exists, "another database", DEADLINE_S)
        assert running.get(finished.id).name == "kept in mind", "it has lost nothing"
        for leftover in running.spool.glob(f"{DATABASE}*"):
            leftover.write_bytes(b"\x5a" * 200_000)
        source.write(sound(0.1))
        record(running)
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)
        assert len(listed_as_on_disk(running)) == 3


def test_files_that_somebody_deletes_by_hand(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        blobs = [record(running) for _ in range(3)]
        wait_listed(running, "finished")
        gone = name_of(blobs[1])
        (running.spool / f"{gone}.webm").unlink()
        assert {one.id for one in running.list()} == running.files()
        with pytest.raises(recsvc.errors.NotFoundError):
            running.get(gone)
        assert len(running.list(limit=2)) == 2
        shutil.copy(running.spool / f"{name_of(blobs[0])}.webm", running.spool / "brought-here.webm")
        (running.spool / "notes.txt").write_text("no recording")
        (running.spool / "other.webm").write_text("no recording either")
        kill_catalog(running)
        wait_until(lambda: len(running.list()) == 3, "the file that was brought", DEADLINE_S)
        brought = running.get("brought-here")
        assert brought.duration == pytest.approx(0.2)
        assert (running.spool / "other.webm").exists()


def test_what_a_daemon_that_was_killed_left_is_completed_and_listed(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        finished = name_of(record(running))
        with recording_of_sound(running) as (recorder, source):
            source.write(sound(2, 500))
            (going_on,) = [one for one in running.list() if one.ended is None]
            going_on.rename("in the middle")
            path = running.spool / f"{going_on.id}.webm"
            wait_until(lambda: path.stat().st_size > 500, "a cluster in the file", DEADLINE_S)
            for worker in children("encode", running.process.pid):
                os.kill(worker, signal.SIGSTOP)  # it must not finish the file by itself
            running.process.kill()
            running.process.wait()
            for worker in children("encode", 1):
                os.kill(worker, signal.SIGKILL)
            connections.close_all()
        path.write_bytes(path.read_bytes()[: going_on.size or 600])
        running.begin()
        listed = listed_as_on_disk(running)
        assert {one.id: one.state for one in listed} == {finished: "finished", going_on.id: "recovered"}
        recovered = running.get(going_on.id)
        assert recovered.name == "in the middle"
        assert recovered.began == going_on.began < recovered.ended
        assert decode(recovered.blob).sound_s == pytest.approx(recovered.duration, abs=0.05)


def test_a_disk_that_is_full_for_the_database_stops_no_recording(tmp_path: Path) -> None:
    """Of its process alone the files may not grow, as on a full disk; recordings are of others."""
    with daemon(tmp_path) as running:
        first = name_of(record(running))
        wait_listed(running, "finished")
        catalog = running.catalog
        before = resource.prlimit(catalog, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        names = [name_of(record(running, 0.1)) for _ in range(3)]
        listed = listed_as_on_disk(running)
        assert {one.id for one in listed} == {first, *names}
        assert running.get(names[0]).statistics is not None
        resource.prlimit(catalog, resource.RLIMIT_FSIZE, before)
        wait_until(lambda: written(running) == {first, *names}, "all of it in the database", DEADLINE_S)
        assert running.catalog == catalog
        kill_catalog(running)
        assert running.get(names[0]).statistics is not None


def written(running: Daemon) -> set[str]:
    """What a catalog that begins now would find."""
    with sqlite3.connect(running.spool / DATABASE) as connection:
        found = {row[0] for row in connection.execute("SELECT recording FROM recordings")}
    connection.close()
    return found


def test_a_catalog_that_stands_still_delays_nothing_and_misses_nothing(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        catalog = running.catalog
        os.kill(catalog, signal.SIGSTOP)
        blobs = [record(running, 0.1) for _ in range(3)]
        os.kill(catalog, signal.SIGCONT)
        listed = wait_until(lambda: running.list(), "its answer", DEADLINE_S)
        assert [one.id for one in listed] == [name_of(blob) for blob in reversed(blobs)]
        os.kill(catalog, signal.SIGSTOP)
        record(running, 0.1)
        os.kill(catalog, signal.SIGKILL)
        assert len(listed_as_on_disk(running)) == 4


def test_a_catalog_that_never_answers_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "patch"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import sys\nif 'serve' in sys.argv:\n"
        "    from recsvc.common import service_limits\n    service_limits.CATALOG_ANSWER_NS = 10**9\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(place))
    with daemon(tmp_path) as running:
        catalog = running.catalog
        os.kill(catalog, signal.SIGSTOP)
        blob = record(running, 0.1)
        wait_until(lambda: running.catalog != catalog, "another catalog", DEADLINE_S)
        assert [one.id for one in listed_as_on_disk(running)] == [name_of(blob)]


def test_the_events_of_a_stop_come_before_the_catalog_learns_of_it() -> None:
    """So no stop can be slower by it: the order of the messages is what is looked at."""
    from recsvc.controller.events import Events
    from recsvc.controller.recording import Recording

    order: list[str] = []

    class Keeping:
        def began(self, recording: Recording) -> None:
            order.append("catalog: began")

        def published(self, event: messages.RecorderEvent) -> None:
            order.append(f"catalog: {event.type}")

    events = Events(lambda _, event: order.append(event.type), Keeping())  # type: ignore[arg-type]
    options = messages.RecordingOptions(mime_type="", audio_bits_per_second=0, video_bits_per_second=0)
    start = messages.Start(client="c", recorder="r", recording="n", tracks=(), options=options, at_ns=0)
    recording = Recording(start, None, {}, "/spool/n.webm", "audio/webm")
    events.begin(recording)
    events.of(recording).add("n", "start")
    whole = messages.BlobDescription(path="/spool/n.webm", start=0, end=1, whole=True)
    statistics = messages.RecordingStatistics(state="inactive")
    report = messages.RecordingFinished(recording="n", blob=whole, whole=whole, timecode_ms=0.0, statistics=statistics)
    events.of(recording).conclude(report, "audio/webm")
    assert order[0] == "catalog: began"
    seen = [one for one in order if not one.startswith("catalog")]
    assert seen == ["start", "dataavailable", "stop"]
    for one in seen:
        assert order.index(one) < order.index(f"catalog: {one}")
