"""Which recordings a service deletes by itself, and which never."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest
from fixtures_media import wait_until
from keepers import Daemon, daemon, name_of, record, recording_of_sound, remote, sound, wait_listed
from media import DEADLINE_S

from recsvc.catalog import files, keeper, survey
from recsvc.catalog.database import Database
from recsvc.catalog.keeper import Keeper
from recsvc.catalog.retention import Bounds, Calendar, Kept, Used, delete_surplus
from recsvc.common.descriptions import RecordingInfo
from recsvc.common.service_limits import CLOCK_DOUBT_S, CLOCK_JUMP_S

DAY_S = 86_400.0


def deleted(kept: list[Kept], bounds: Bounds, used: Used, now: float = 10 * DAY_S, spared: str = "") -> list[str]:
    """Which ones go; those in ``spared`` cannot."""
    gone: list[str] = []

    def delete(one: Kept, why: str) -> bool:
        assert why
        if one.recording in spared:
            return False
        gone.append(one.recording)
        return True

    delete_surplus(iter(kept), bounds, used, now, delete)
    return gone


FIVE = [Kept(name, ended=number * DAY_S, size=100) for number, name in enumerate("abcde")]


@pytest.mark.parametrize(
    "bounds, used, spared, gone",
    [
        (Bounds(), Used(10**9, 0), "", ""),
        (Bounds(age_s=8 * DAY_S), Used(500, 1000), "", "ab"),
        (Bounds(age_s=8 * DAY_S), Used(500, 1000), "a", "b"),
        (Bounds(bytes_max=500), Used(500, 1000), "", ""),
        (Bounds(bytes_max=499), Used(500, 1000), "", "a"),
        (Bounds(bytes_max=250), Used(500, 1000), "", "abc"),
        (Bounds(bytes_max=250), Used(500, 1000), "b", "acd"),
        (Bounds(bytes_max=250), Used(900, 1000), "", "abcde"),
        (Bounds(free_bytes_min=1000), Used(500, 1000), "", ""),
        (Bounds(free_bytes_min=1150), Used(500, 1000), "", "ab"),
        (Bounds(free_bytes_min=1150), Used(500, 1000), "abcd", "e"),
        (Bounds(age_s=8.5 * DAY_S, bytes_max=400, free_bytes_min=1300), Used(500, 1000), "", "abc"),
    ],
)
def test_the_oldest_go_until_the_bounds_are_kept(bounds: Bounds, used: Used, spared: str, gone: str) -> None:
    assert deleted(FIVE, bounds, used, spared=spared) == list(gone)


def test_after_a_jump_of_the_clock_nothing_is_too_old_for_a_day() -> None:
    calendar = Calendar()
    assert calendar.jump(1_000.0, 5.0) == 0.0 and calendar.is_believed(5.0)
    assert calendar.jump(1_010.0 + CLOCK_JUMP_S, 15.0) == 0.0, "it is corrected a little now and then"
    assert calendar.jump(1e9, 20.0) == pytest.approx(1e9, rel=1e-3)
    assert not calendar.is_believed(20.0)
    assert calendar.jump(1e9 + 100, 120.0) == 0.0 and not calendar.is_believed(120.0)
    assert not calendar.is_believed(19.0 + CLOCK_DOUBT_S) and calendar.is_believed(20.0 + CLOCK_DOUBT_S)
    assert calendar.jump(1e9, 20.0 + CLOCK_DOUBT_S) < 0 and not calendar.is_believed(20.0 + CLOCK_DOUBT_S)


def test_a_keeper_deletes_nothing_by_age_once_the_clock_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Keeper(Database(tmp_path / "catalog"), files.Files(tmp_path), Bounds(age_s=DAY_S))
    for name in ("a", "b"):
        (tmp_path / f"{name}.webm").write_bytes(b"bytes")
    now = time.time()
    for name, ended in (("a", now - 2 * DAY_S), ("b", now)):
        info = RecordingInfo(
            recording=name, name="", owner="", state="finished", mime_type="", began=ended, ended=ended
        )
        kept.enter(info, f"{name}.webm")
    kept.retain()
    assert {path.name for path in tmp_path.glob("*.webm")} == {"b.webm"}
    monkeypatch.setattr(keeper.time, "time", lambda: now + 400 * DAY_S)
    for _ in range(2):
        kept.retain()
    assert (tmp_path / "b.webm").exists()


def test_a_file_from_the_future_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time stays when a clock that was wrong is set back."""
    (tmp_path / "a.webm").write_bytes(b"no media")
    at_s = time.time()
    assert survey.survey(tmp_path, set(), at_s).again
    monkeypatch.setattr(survey.time, "time", lambda: at_s - DAY_S)
    result = survey.survey(tmp_path, set(), at_s - DAY_S)
    assert not result.again and [found.recording for found in result.found] == ["a"]


def test_who_reads_a_file_is_remembered_no_longer_than_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = files.Files(tmp_path)
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"bytes")
        assert found.read(name, 1, 2) == b"yt"
    assert found.is_read("a") and len(found._fetched_ns) == 3
    monkeypatch.setattr(files, "FETCH_PAUSE_NS", 1)
    found.read("a", 0, 1)
    assert list(found._fetched_ns) == ["a"]


def sizes(running: Daemon) -> int:
    return sum(path.stat().st_size for path in running.spool.glob("*.webm"))


def test_by_size_the_oldest_finished_go_but_none_that_goes_on_or_is_read(tmp_path: Path) -> None:
    with daemon(tmp_path, "--retention-size", "80kB") as running, recording_of_sound(running) as (recorder, source):
        source.write(sound(0.1))
        (going_on,) = running.list()
        fetched = name_of(record(running))
        remote(running, running.get(fetched)).bytes()  # it counts as being read for a while
        locked, other = (name_of(record(running, 2.0, noise=True)) for _ in range(2))
        with (running.spool / f"{locked}.webm").open("rb") as reader:
            fcntl.flock(reader, fcntl.LOCK_SH)  # as a Blob does while it is read
            newest = name_of(record(running, 2.0, noise=True))
            wait_until(lambda: other not in running.files(), "the oldest that nobody reads to go", DEADLINE_S)
            assert {going_on.id, fetched, locked, newest} == running.files()
        last = name_of(record(running, 2.0, noise=True))
        wait_until(lambda: locked not in running.files(), "the one that was read to go", DEADLINE_S)
        assert {going_on.id, fetched, newest, last} == running.files()
        assert sizes(running) <= 80_000
        assert {one.id for one in running.list()} == running.files()
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)


def test_a_blob_that_is_open_is_locked_for_that_long(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        blob = record(running)
        path = running.spool / f"{name_of(blob)}.webm"
        with path.open("rb") as other:
            with blob.open() as file:
                file.read(1)
                with pytest.raises(BlockingIOError):
                    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_by_age(tmp_path: Path) -> None:
    with daemon(tmp_path, "--retention-age", "2s") as running:
        began_s = time.monotonic()
        blob = record(running)
        wait_listed(running, "finished")
        wait_until(lambda: not running.files(), "the recording to become too old", DEADLINE_S)
        assert time.monotonic() - began_s > 2
        assert running.list() == []
        assert name_of(blob)


def test_by_free_space_all_finished_ones_go_and_none_that_goes_on(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    more = free.f_bavail * free.f_frsize * 2
    with daemon(tmp_path, "--retention-free", str(more)) as running, recording_of_sound(running) as (recorder, source):
        source.write(sound(0.1))
        (going_on,) = running.list()
        record(running)
        wait_until(lambda: running.files() == {going_on.id}, "the finished one to go", DEADLINE_S)
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)
        assert recorder.recording is not None
