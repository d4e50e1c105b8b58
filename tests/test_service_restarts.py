"""A daemon that is killed and started again, by the same address, while programs elsewhere record at it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cuts import far, free_ports
from fixtures_media import wait_until
from keyed import Daemon, daemon
from media import DEADLINE_S, decode
from traces import role_processes

from recsvc.common.limits import RECOVERY_DEADLINE_NS, S


@pytest.fixture
def restarting(place: Path) -> Iterator[Daemon]:
    tcp = f"tcp://127.0.0.1:{free_ports()}"
    with daemon(place, "--workers", "1", tcp=tcp, far=("record", "read")) as made:
        yield made


def kill(made: Daemon) -> None:
    assert made.process is not None
    made.process.kill()
    made.process.wait()
    (made.run / "service.json").unlink()


def test_a_daemon_that_is_killed_and_started_again(restarting: Daemon) -> None:
    """The recorder fires ``error``, the data from the new daemon's catalog, ``stop``; then it starts again there."""
    with far(restarting.file("far")) as client:
        client.do("start")
        time.sleep(1.5)  # so much is to be in the file
        kill(restarting)
        restarting.start("--workers", "1")
        client.until(event="error")
        data = client.until(event="dataavailable")
        client.until(event="stop")
        assert client.events == ["start", "error", "dataavailable", "stop"]
        [path] = restarting.spool.glob("*.webm")
        assert data["size"] == path.stat().st_size
        assert decode(path).sound_s >= 0.5
        client.do("halt")
        client.do("start")
        time.sleep(0.5)
        client.do("stop")
        client.until(event="stop")
        assert client.events[4:] == ["start", "dataavailable", "stop"]


def test_a_daemon_that_is_killed_for_good(restarting: Daemon) -> None:
    with far(restarting.file("far")) as client:
        client.do("start")
        time.sleep(0.5)
        kill(restarting)
        killed_s = time.monotonic()
        client.until(event="stop")
        assert time.monotonic() - killed_s <= RECOVERY_DEADLINE_NS / S + 15
        assert client.events == ["start", "error", "error", "stop"]
        assert "does not answer" in client.said[-2]["text"]
        restarting.start("--workers", "1")  # the end of the test ends it in order


def test_a_worker_that_is_killed(restarting: Daemon) -> None:
    assert restarting.process is not None
    with far(restarting.file("far")) as client:
        client.do("start")
        time.sleep(1)
        [worker] = [pid for pid, line in role_processes().items() if " -m recsvc encode " in line]
        os.kill(worker, signal.SIGKILL)
        client.until(event="error")
        client.until(event="stop")
        assert client.events == ["start", "error", "dataavailable", "stop"]
        client.do("halt")
        wait_until(lambda: any(" -m recsvc encode " in one for one in role_processes().values()), "it", DEADLINE_S)
        client.do("start")
        client.do("stop")
        client.until(event="stop")
        assert client.events[4:] == ["start", "dataavailable", "stop"]
