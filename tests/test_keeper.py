"""The catalog's knowledge of recordings, without its process: lists in parts, and what the spool shows of them."""

from __future__ import annotations

import datetime
import errno
import math
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from recsvc.catalog.database import Database, Row
from recsvc.catalog.files import Files
from recsvc.catalog.keeper import Keeper
from recsvc.catalog.retention import Bounds
from recsvc.catalog.survey import Found, Result
from recsvc.common.descriptions import RecordingInfo, RecordingStatistics
from recsvc.wire import messages

Make = Callable[[], Keeper]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Another one each time, of the same spool."""
    made: list[Database] = []

    def one() -> Keeper:
        made.append(Database(tmp_path / "catalog.sqlite"))
        return Keeper(made[-1], Files(tmp_path), Bounds())

    yield one
    for database in made:
        database.close()


def enter(keeper: Keeper, spool: Path, recording: str, **fields: object) -> None:
    (spool / f"{recording}.webm").write_bytes(b"x")
    known = {"name": "", "owner": "", "state": "finished", "mime_type": "audio/webm", "began": 1.7e9, "ended": 1.8e9}
    info = RecordingInfo(recording=recording, **{**known, **fields})  # type: ignore[arg-type]
    keeper.enter(info, f"{recording}.webm")


def pages(keeper: Keeper, limit: int) -> list[RecordingInfo]:
    found: list[RecordingInfo] = []
    while page := keeper.list(messages.ListRecordings(limit=limit, before=found[-1].began if found else 0.0)):
        found += page
    return found


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_recordings_that_began_together_are_all_in_a_list_of_parts(limit: int, make: Make, tmp_path: Path) -> None:
    """As where somebody copied files into the spool: they have one time, and are asked for before the last one's."""
    keeper = make()
    together, chance = 1_753_000_000.123456, random.Random(1)
    times = [together] * 30 + [math.nextafter(together, 0), math.nextafter(together, math.inf)] + [together + 1e-5] * 5
    chance.shuffle(times)
    for number, began in enumerate(times):
        enter(keeper, tmp_path, f"r{number}", began=began)
        enter(keeper, tmp_path, f"r{number}", began=began)  # its end: no second time is taken for that
    found = pages(keeper, limit)
    assert sorted(one.recording for one in found) == sorted(f"r{number}" for number in range(len(times)))
    assert [one.began for one in found] == sorted({one.began for one in found}, reverse=True)
    assert all(abs(one.began - together) < 1e-3 for one in found)


def test_what_a_recording_costs_to_enter_does_not_grow_with_those_that_began_together(tmp_path: Path) -> None:
    database = Database(tmp_path / "catalog.sqlite")
    asked: list[str] = []
    database._connection.set_trace_callback(asked.append)
    database._connection.execute("BEGIN")  # one transaction: the disk is not what is looked at
    info = RecordingInfo(recording="", name="", owner="", state="finished", mime_type="", began=1.7e9, ended=1.8e9)
    for number in range(1_000):
        database.enter(Row(msgspec.structs.replace(info, recording=f"r{number}"), "x"))
    database._connection.execute("COMMIT")
    assert len(asked) < 1_000 * 20
    assert max(row.info.began for row in database.all()) < 1.7e9 + 1
    database.close()


@pytest.mark.parametrize("changed_s", [-1e12, -1.0, 0.0, 1e12, 1e18])
def test_files_of_any_time_are_listed_with_one_that_calendars_know(
    changed_s: float, make: Make, tmp_path: Path
) -> None:
    keeper = make()
    noted = RecordingInfo(recording="c", name="n", owner="", state="recording", mime_type="", began=math.nan)
    for name in "abc":
        (tmp_path / f"{name}.webm").write_bytes(b"x")
    os.setxattr(tmp_path / "c.webm", "user.recsvc.info", msgspec.msgpack.encode(noted))
    found = [Found(name, f"{name}.webm", 1, changed_s, "audio/webm", 2.0) for name in "abc"]
    for _ in keeper.surveyed(Result(found, {one.file for one in found}, False), 1.9e9):
        pass
    listed = pages(keeper, 2)
    assert {one.recording for one in listed} == set("abc")
    for one in listed:
        assert one.ended > 0, "it has ended"
        for seconds in (one.began, one.ended):
            datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone()


# --- what is noted at the files -------------------------------------------------------------------


STATISTICS = RecordingStatistics(state="inactive", duration=2.0, size_bytes=1)


def rebuilt(make: Make, spool: Path, *, completed: bool = False) -> dict[str, RecordingInfo]:
    """By a catalog whose database is lost, of what the spool shows."""
    for path in spool.glob("catalog.sqlite*"):
        path.unlink()
    keeper = make()
    found = [Found(path.stem, path.name, 1, 1.8e9, "audio/webm", 2.0, completed) for path in spool.glob("*.webm")]
    for _ in keeper.surveyed(Result(found, {one.file for one in found}, False), 1.9e9):
        pass
    return {one.recording: msgspec.structs.replace(one, path="") for one in pages(keeper, 100)}


def test_a_database_that_is_lost_loses_no_name_owner_time_or_accounting(make: Make, tmp_path: Path) -> None:
    keeper = make()
    enter(keeper, tmp_path, "a", name="before", owner="alice", began=1.7e9, duration=2.0, size_bytes=1)
    enter(keeper, tmp_path, "b", owner="bob", began=1.7e9, statistics=STATISTICS, state="failed", error="E: why")
    keeper.rename("a", "the door")
    before = {one.recording: msgspec.structs.replace(one, path="") for one in pages(keeper, 100)}
    after = rebuilt(make, tmp_path)
    assert after["a"] == before["a"] and after["a"].name == "the door"
    assert after["b"].owner == "bob" and after["b"].began == before["b"].began
    assert rebuilt(make, tmp_path) == after, "also the next time"


def test_what_was_going_on_keeps_its_name_when_all_is_lost_but_its_file(make: Make, tmp_path: Path) -> None:
    keeper = make()
    info = RecordingInfo(recording="a", name="n", owner="o", state="recording", mime_type="", began=1.7e9)
    keeper.enter(info, "a.webm")  # it is about to be opened
    (tmp_path / "a.webm").write_bytes(b"x")
    keeper.look()
    after = rebuilt(make, tmp_path, completed=True)["a"]
    assert (after.name, after.owner, after.began, after.state) == ("n", "o", 1.7e9, "recovered")
    assert after.ended == 1.8e9 and after.duration == 2.0


def test_a_file_that_has_another_content_by_now_is_not_described_by_what_was(make: Make, tmp_path: Path) -> None:
    enter(make(), tmp_path, "a", name="n", size_bytes=100, duration=50.0, statistics=STATISTICS)
    after = rebuilt(make, tmp_path)["a"]
    assert (after.name, after.size_bytes, after.duration, after.statistics) == ("n", 1, 2.0, None)


@pytest.mark.parametrize("room", [0, 500])
def test_where_there_is_no_room_for_all_of_it_the_accounting_is_left_out(
    room: int, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.setxattr

    def full(path: Path, name: str, value: bytes, **more: bool) -> None:
        if len(value) > room:
            raise OSError(errno.ENOSPC, "full")
        write(path, name, value, **more)

    monkeypatch.setattr(os, "setxattr", full)
    enter(make(), tmp_path, "a", name="n", size_bytes=1, statistics=STATISTICS, error="e" * 1_000)
    after = rebuilt(make, tmp_path)["a"]
    assert after.name == ("n" if room else "")
    assert after.statistics is None


def test_a_note_that_cannot_be_read_is_none(make: Make, tmp_path: Path) -> None:
    enter(make(), tmp_path, "a", name="n")
    os.setxattr(tmp_path / "a.webm", "user.recsvc.info", b"\xff nonsense")
    assert rebuilt(make, tmp_path)["a"].name == ""
