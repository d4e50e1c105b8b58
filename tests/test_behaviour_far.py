"""The third face: the common behaviour against a daemon over tcp with keys, as from another machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("behaviour")

from behaviour import Behaviour, Captured  # noqa: E402
from keyed import Daemon, daemon  # noqa: E402
from test_behaviour_sync import Synchronous  # noqa: E402

from recsvc.caller import connections  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def far_daemon(nothing_left_by_the_module: None) -> Iterator[Daemon]:
    """One for the module; whatever names no service reaches it by tcp, with a key."""
    connections.close_all()
    place = Path(tempfile.mkdtemp())
    patched = pytest.MonkeyPatch()
    try:
        with daemon(place, far=("record", "read", "admin")) as made:
            patched.setenv("RECSVC_SERVICE", made.file("far"))
            yield made
            connections.close_all()
    finally:
        patched.undo()
        shutil.rmtree(place)


@pytest.fixture
def spool(far_daemon: Daemon) -> Path:
    """Where it keeps recordings."""
    return far_daemon.spool


class TestFar(Behaviour):
    face = Synchronous()

    def assert_owed(self, spool: Path, said: str) -> None:
        """The service keeps every recording, also these."""
        assert len(list(spool.glob("*.webm"))) >= 2


class TestFarCaptured(Captured):
    face = Synchronous()


def test_it_is_the_daemon_that_records(far_daemon: Daemon) -> None:
    client = connections.connect()
    assert client.welcome.lease_ms and str(client.address).startswith("tcp://")
    assert os.environ["RECSVC_SERVICE"] == str(far_daemon.path / "far.json")
