"""The catalog's knowledge of recordings, without its process: lists in parts, and what the spool shows of them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recsvc.catalog.database import Database
from recsvc.catalog.files import Files
from recsvc.catalog.keeper import Keeper
from recsvc.catalog.retention import Bounds
from recsvc.common.descriptions import RecordingInfo
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


def enter(keeper: Keeper, spool: Path, name: str, **fields: object) -> None:
    (spool / f"{name}.webm").write_bytes(b"x")
    known = {"name": "", "owner": "", "state": "finished", "mime_type": "audio/webm", "began": 1.7e9, "ended": 1.8e9}
    info = RecordingInfo(recording=name, **{**known, **fields})  # type: ignore[arg-type]
    keeper.enter(info, f"{name}.webm")


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
