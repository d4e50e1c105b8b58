"""A hundred clients that record sound and eight that record pictures, all at once, started and stopped at random."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from crowd import crowd
from fixtures_media import wait_until
from media import DEADLINE_S
from services import children
from tuned import Tuned, tuned

from recsvc.common.descriptions import ServiceStatus
from recsvc.wire import messages

pytestmark = pytest.mark.usefixtures("own_controller")

SECONDS = 3.0
GROWTH_BYTES = 16_000_000
"""Of a process between two rounds: in the second one more may go on at once. Whether it stays so is seen in the rounds
of ``bench_many.py``, which take minutes."""


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def idle(there: Tuned) -> ServiceStatus:
    """Once no recording goes on."""

    def found() -> ServiceStatus | None:
        status = msgspec.convert(there.client.request(messages.AskStatus()), ServiceStatus)
        return status if not status.recordings_by_state else None

    status: ServiceStatus = wait_until(found, "no recording", DEADLINE_S)
    return status


def settled(pids: list[int]) -> dict[int, int]:
    """Their descriptors, once encoders and files are closed."""
    last: dict[int, int] = {}

    def still() -> bool:
        nonlocal last
        before, last = last, {pid: descriptors(pid) for pid in pids}
        return before == last

    wait_until(still, "descriptors that do not change", DEADLINE_S)
    return last


@pytest.mark.alone
@pytest.mark.timeout(240)
def test_a_hundred_clients_at_once(tmp_path: Path) -> None:
    with tuned(tmp_path) as there:
        endpoint = Path(there.endpoint.removeprefix("ipc://"))
        with crowd(endpoint, tmp_path / "c", 100, 8, processes=4) as everyone:
            rounds = [everyone.round(SECONDS)]
            workers = children("encode", there.process.pid)
            pids = [there.process.pid, *workers]
            idle(there)
            before, sizes = settled(pids), {pid: resident(pid) for pid in pids}
            rounds.append(everyone.round(SECONDS))
            status = idle(there)
            wait_until(lambda: settled(pids) == before, "the descriptors of before", DEADLINE_S)
            grown = {pid: resident(pid) - sizes[pid] for pid in pids}
            assert children("encode", there.process.pid) == workers, "a worker died"
            assert max(grown.values()) < GROWTH_BYTES, grown
            assert status.clients == 109
            members = [member for one in rounds for member in one]
            assert [problem for member in members for problem in member["wrong"]] == []
            assert all(member["recordings"] for member in members)
            assert everyone.check() == []
    assert not list(there.spool.iterdir())
