"""The clients in other languages record as exactly as Python's: on the same machine, and by tcp with keys."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import keyed
import media
import numpy as np
import pytest
from fixtures_media import wait_until
from media import DEADLINE_S, TICK_S

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BLOCKS, BLOCK_S = 100, 0.02


@pytest.fixture(scope="module")
def node() -> str:
    """The command for a client in Node.js."""
    if not (EXAMPLES / "node/node_modules/zeromq").is_dir() or shutil.which("node") is None:
        pytest.skip("no Node.js with the packages of examples/node")
    return "node"


@pytest.fixture(scope="module")
def c_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client in C, compiled without a warning."""
    found = [subprocess.run(["pkg-config", "--exists", name]).returncode == 0 for name in ("libzmq", "msgpack")]
    if not all(found) and subprocess.run(["pkg-config", "--exists", "libzmq", "msgpack-c"]).returncode:
        pytest.skip("no libzmq3-dev and libmsgpack-dev")
    place = tmp_path_factory.mktemp("c") / "c"
    shutil.copytree(EXAMPLES / "c", place, ignore=shutil.ignore_patterns("record"))
    subprocess.run(["make", "-s", "-C", place, "CFLAGS=-O1 -Werror -fsanitize=address,undefined"], check=True)
    return place / "record"


@pytest.fixture(params=["node", "c"])
def client(request: pytest.FixtureRequest) -> Callable[[Path, str], list[str]]:
    """The command that records to a file, at a service by its endpoint or connection file."""
    if request.param == "node":
        program = request.getfixturevalue("node")
        return lambda output, service: [program, str(EXAMPLES / "node/record.js"), service, "-o", str(output)]
    program = str(request.getfixturevalue("c_client"))
    return lambda output, service: [program, str(output), service]


@pytest.fixture(params=["ipc", "tcp with keys"])
def service(request: pytest.FixtureRequest, place: Path) -> Iterator[str]:
    """A daemon, as a client is given it."""
    with keyed.daemon(place, client=("record",)) as daemon:
        yield daemon.local if request.param == "ipc" else daemon.file("client")


def bars(luma: av.video.plane.VideoPlane, width: int, height: int) -> int:
    """The number that a picture shows in binary, as eight bars."""
    levels = np.frombuffer(luma, np.uint8).reshape(height, luma.line_size)[height // 2, :width]
    middles = levels[width // 16 :: width // 8]
    assert all(min(abs(int(level) - 16), abs(int(level) - 235)) < 30 for level in middles), middles
    return int("".join(str(int(level > 128)) for level in middles), 2)


def pictures_of(path: Path) -> list[tuple[float, int]]:
    with media.opened(path) as container:
        return [
            (float(frame.time), bars(frame.planes[0], frame.width, frame.height)) for frame in container.decode(video=0)
        ]


def test_a_file_has_exactly_what_was_pushed_and_not_the_pause(
    client: Callable[[Path, str], list[str]], service: str, tmp_path: Path
) -> None:
    output = tmp_path / "out.webm"
    done = subprocess.run(
        client(output, service), capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    *events, counts = done.stdout.splitlines()
    types = [line.split()[2] for line in events if line.startswith("event")]
    assert types == ["start", "pause", "resume", "dataavailable", "stop"]
    pushed = json.loads(counts)
    assert (pushed["samples"], pushed["pictures"]) == (BLOCKS * 960, BLOCKS // 2)
    assert media.complaints(output) == []
    decoded = media.decode(output)
    assert len(decoded.samples) == pushed["samples"]
    assert media.frequency_of(decoded.samples) == pytest.approx(440, abs=0.5)
    loudness = np.abs(decoded.samples[4800:-4800, 0].astype(float)).reshape(-1, 480).max(axis=1)
    assert loudness.min() > loudness.max() * 0.9, "silence in it"
    times, numbers = zip(*pictures_of(output), strict=True)
    assert list(numbers) == list(range(pushed["pictures"]))
    media.assert_times(times, [number * 2 * BLOCK_S for number in range(pushed["pictures"])])
    assert decoded.duration_s == pytest.approx(BLOCKS * BLOCK_S, abs=TICK_S)


def test_a_watcher_sees_what_happens_to_others_recordings(node: str, place: Path, tmp_path: Path) -> None:
    with keyed.daemon(place, watcher=("read",)) as daemon, contextlib.ExitStack() as stack:
        log = stack.enter_context(open(tmp_path / "log", "w+"))
        watcher = subprocess.Popen([node, EXAMPLES / "node/watch.js", daemon.file("watcher")], stdout=log, stderr=log)
        stack.callback(watcher.wait)
        stack.callback(watcher.kill)

        def shown() -> list[str]:
            return Path(log.name).read_text().splitlines()

        wait_until(shown, "that it watches", DEADLINE_S)
        record = [node, EXAMPLES / "node/record.js", daemon.local, "-o", tmp_path / "out.webm", "--seconds", "0.2"]
        subprocess.run(record, check=True, capture_output=True, timeout=DEADLINE_S)

        def types() -> list[str]:
            return [line.split()[2] for line in shown()[1:]]

        wait_until(lambda: "stop" in types(), "the stop", DEADLINE_S)
        assert types() == ["start", "pause", "resume", "dataavailable", "stop"]
        assert watcher.poll() is None
        os.kill(watcher.pid, 2)
        assert watcher.wait(DEADLINE_S) == 0
