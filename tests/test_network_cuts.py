"""A network that is cut, for a moment or for good, while a daemon records what a client pushes from afar."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuts import Cable, Far, Proxy, far, free_ports, why_no_cable
from fixtures_media import wait_until
from keyed import Daemon, daemon
from media import DEADLINE_S, Decoded, decode

from recsvc.common.limits import DRAIN_DEADLINE_NS, S
from recsvc.common.service_limits import LEASE_NS, SERVICE_SILENCE_NS

CUT_S = 2.0
BLOCK_S = 0.02
LOSSLESS = {"stall", "cable"}  # where TCP goes on, so that nothing is lost


class Network:
    """Between a daemon and its clients."""

    def __init__(self, kind: str, made: Daemon, thing: Any) -> None:
        self.kind = kind
        self.daemon = made
        self._thing = thing
        self.prefix = tuple(thing.client_prefix) if kind == "cable" else ()
        self.service = made.file("far", host=Cable.daemon_host if kind == "cable" else "127.0.0.2")

    def cut(self) -> None:
        getattr(self._thing, {"stall": "stall", "reset": "cut", "cable": "pull"}[self.kind])()

    def mend(self) -> None:
        getattr(self._thing, "plug" if self.kind == "cable" else "mend")()

    def cut_for(self, seconds: float) -> None:
        self.cut()
        time.sleep(seconds)  # the length of the cut is what is tried
        self.mend()

    def client(self, *arguments: str) -> Any:
        return far(self.service, *arguments, prefix=self.prefix)

    def file(self) -> Path:
        [path] = self.daemon.spool.glob("*.webm")
        return path


def network_of(kind: str, path: Path) -> Iterator[Network]:
    path.mkdir(parents=True, exist_ok=True)
    if kind == "cable" and why_no_cable():
        pytest.skip(why_no_cable())
    port = free_ports()
    thing: Any = Cable() if kind == "cable" else Proxy(port)
    prefix = thing.daemon_prefix if kind == "cable" else []
    tcp = f"tcp://{Cable.daemon_host if kind == 'cable' else '127.0.0.1'}:{port}"
    try:
        with daemon(path, "--workers", "2", tcp=tcp, prefix=prefix, far=("record", "read")) as made:
            yield Network(kind, made, thing)
            getattr(thing, "plug" if kind == "cable" else "mend")()
    finally:
        thing.close()


KINDS = ["stall", "reset", "cable"]
"""Packets are lost and come again; connections break; a cable is pulled."""


@pytest.fixture
def network(request: pytest.FixtureRequest, place: Path) -> Iterator[Network]:
    yield from network_of(request.param, place / "d")


def clicks(decoded: Decoded) -> list[int]:
    """Where they begin, in samples."""
    loud = np.abs(decoded.samples[:, 0]) > 0.2
    found: list[int] = []
    for index in np.flatnonzero(loud):
        if not found or index - found[-1] > 4800:
            found.append(int(index))
    return found


def play(client: Far, seconds: float) -> None:
    """Lets it play so much; it tells nothing of itself meanwhile."""
    time.sleep(seconds)
    assert client.process.poll() is None


def assert_whole(decoded: Decoded, figures: dict[str, Any]) -> None:
    """All that was written is there, to the sample."""
    assert len(decoded.samples) == figures["blocks"] * 960
    assert decoded.counters == list(range(figures["pictures"]))
    at = clicks(decoded)
    assert len(at) == -(-figures["blocks"] // 25)
    assert max(abs(one - number * 24_000) for number, one in enumerate(at)) <= 48  # Opus begins a click so exactly


def assert_accounted(figures: dict[str, Any]) -> None:
    tracks = figures["figures"]
    assert tracks["video"]["accepted"] == figures["pictures"]
    assert tracks["audio"]["accepted"] == figures["blocks"] * 960
    for track in tracks.values():
        assert track["accepted"] == track["encoded"] + sum(track["dropped"].values())


@pytest.mark.parametrize("network", KINDS, indirect=True)
def test_a_network_that_is_cut_for_2_s_in_a_recording(network: Network) -> None:
    with network.client("--when-full", "wait") as client:
        client.do("start")
        play(client, 1)
        network.cut_for(CUT_S)
        play(client, 2)
        client.do("stop")
        client.until(event="stop")
        decoded = decode(network.file())
        figures = client.figures()
        assert client.events == ["start", "dataavailable", "stop"]
        assert_accounted(figures)
        if network.kind in LOSSLESS:
            assert_whole(decoded, figures)
        else:
            lost = {kind: track["dropped"].get("lost", 0) for kind, track in figures["figures"].items()}
            assert set(figures["figures"]["audio"]["dropped"]) <= {"lost"}, figures
            # What is lost leaves a gap of its length; all others are where they belong.
            assert abs(len(decoded.samples) - figures["blocks"] * 960) <= 960
            at = clicks(decoded)
            assert all(abs((one + 12_000) % 24_000 - 12_000) <= 240 for one in at), at
            assert len(decoded.counters) == figures["pictures"] - sum(figures["figures"]["video"]["dropped"].values())
            assert lost["audio"] <= 48_000


@pytest.mark.parametrize(
    ("what", "network"),
    [("pause", "stall"), ("data", "reset"), ("stop", "reset"), ("stop", "cable")],
    indirect=["network"],
)
def test_a_network_that_is_cut_during_a_call(what: str, network: Network) -> None:
    """The call returns, and what it commands is done once the network is back, as of the call."""
    with network.client("--when-full", "wait") as client:
        client.do("start")
        play(client, 1)
        network.cut()
        client.do(what)
        if what == "pause":
            play(client, 0.5)
            client.do("resume")
        time.sleep(1)
        network.mend()
        if what != "stop":
            play(client, 1)
            client.do("stop")
        client.until(event="stop")
        decoded = decode(network.file())
        figures = client.figures()
        extra = {"pause": ["pause", "resume"], "data": ["dataavailable"], "stop": []}[what]
        assert client.events == ["start", *extra, "dataavailable", "stop"], client.said
        if what != "pause":  # else some of it was written into the pause
            assert_accounted(figures)
        if network.kind in LOSSLESS and what != "pause":
            assert_whole(decoded, figures)


@pytest.mark.parametrize("network", ["reset"], indirect=True)
def test_a_recording_that_is_started_while_the_network_is_cut(network: Network) -> None:
    with network.client("--when-full", "wait") as client:
        client.do("start")  # the connection is there
        client.do("stop")
        client.until(event="stop")
        network.file().unlink()
        network.cut()
        client.send("start")
        time.sleep(1.5)
        network.mend()
        client.until(done="start")
        play(client, 1)
        client.do("stop")
        client.until(event="stop")
        assert_whole(decode(network.file()), client.figures())
        assert client.events == ["start", "dataavailable", "stop"] * 2


@pytest.mark.parametrize("network", ["stall" if why_no_cable() else "cable"], indirect=True)
def test_a_network_that_is_cut_for_good(network: Network) -> None:
    """The daemon finishes the recording once the lease is over; the client is told by itself, and has what there is."""
    with network.client() as client:
        client.do("start")
        play(client, 1)
        network.cut()
        cut_s = time.monotonic()
        path = network.file()
        wait_until(lambda: "recording finished" in network.daemon.log.read_text(), "the file", 30)
        finished_s = time.monotonic() - cut_s
        assert finished_s <= (LEASE_NS + DRAIN_DEADLINE_NS) / S
        decoded = decode(path)
        assert 0.8 <= decoded.sound_s <= 1.5 and decoded.counters[:20] == list(range(20))
        client.until(event="error", limit_s=2 * SERVICE_SILENCE_NS / S)
        client.until(event="stop")
        assert time.monotonic() - cut_s <= SERVICE_SILENCE_NS / S + 10
        assert client.events[0] == "start" and client.events[1] == "error" and client.events[-1] == "stop"
        network.mend()
        client.do("halt")
        client.do("start")  # the same recorder, at the same service
        play(client, 0.5)
        client.do("stop")
        client.until(event="stop")
        assert client.events[-3:] == ["start", "dataavailable", "stop"]


@pytest.fixture
def served(place: Path) -> Iterator[Daemon]:
    with daemon(place, "--workers", "1", far=("record", "read")) as made:
        yield made


def test_a_client_that_is_killed_is_seen_within_5_s(served: Daemon) -> None:
    with far(served.file("far")) as client:
        client.do("start")
        play(client, 1)
        client.kill()
        killed_s = time.monotonic()
        wait_until(lambda: "recording finished" in served.log.read_text(), "the file", DEADLINE_S)
        assert time.monotonic() - killed_s <= LEASE_NS / S + 2
        [path] = served.spool.glob("*.webm")
        assert decode(path).sound_s >= 0.9


def test_a_client_that_stands_still_for_2_s_is_not_gone(served: Daemon) -> None:
    with far(served.file("far"), "--when-full", "wait") as client:
        client.do("start")
        play(client, 1)
        client.halt()
        time.sleep(2)
        client.go_on()
        play(client, 1)
        client.do("stop")
        client.until(event="stop")
        [path] = served.spool.glob("*.webm")
        assert_whole(decode(path), client.figures())
        assert client.events == ["start", "dataavailable", "stop"]


def test_a_daemon_that_stands_still_for_3_s_is_not_gone(served: Daemon) -> None:
    assert served.process is not None
    with far(served.file("far"), "--when-full", "wait") as client:
        client.do("start")
        play(client, 0.5)
        os.kill(served.process.pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(served.process.pid, signal.SIGCONT)
        play(client, 1)
        client.do("stop")
        client.until(event="stop")
        [path] = served.spool.glob("*.webm")
        assert_whole(decode(path), client.figures())
        assert client.events == ["start", "dataavailable", "stop"]


# --- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("offset_h", "drift_ppm"), [(3, 200.0), (-2, 0.0)])
def test_a_client_whose_clock_is_another(offset_h: int, drift_ppm: float, served: Daemon) -> None:
    shifted = ["--offset-ns", str(offset_h * 3600 * S), "--drift-ppm", str(drift_ppm)]
    with far(served.file("far"), "--when-full", "wait", *shifted) as client:
        client.do("start")
        play(client, 3)
        client.do("stop")
        client.until(event="stop")
        [path] = served.spool.glob("*.webm")
        figures, decoded = client.figures(), decode(path)
        assert_whole(decoded, figures)
        assert_accounted(figures)
        clock = figures["clock"]
        assert abs(clock["offset_ns"] + offset_h * 3600 * S) <= 20_000_000 and 0 < clock["error_ns"] < 20_000_000
        assert -0.01 <= figures["duration"] - figures["blocks"] * BLOCK_S <= 0.5  # up to the stop
        assert all(0 <= at_ns <= 10 * S for at_ns in figures["stages"].values()), figures
        pictures = [picture.at_s - number * 0.04 for number, picture in enumerate(decoded.pictures)]
        assert max(map(abs, pictures)) <= 0.003
        assert client.events == ["start", "dataavailable", "stop"]


def test_a_pause_by_another_clock(served: Daemon) -> None:
    with far(served.file("far"), "--offset-ns", str(-3600 * S), "--drift-ppm", "-200") as client:
        client.do("start")
        play(client, 1)
        begin_s = time.monotonic()
        client.do("pause")
        play(client, 1)
        client.do("resume")
        paused_s = time.monotonic() - begin_s
        play(client, 1)
        client.do("stop")
        client.until(event="stop")
        [path] = served.spool.glob("*.webm")
        figures, decoded = client.figures(), decode(path)
        assert abs(decoded.sound_s - (figures["blocks"] * BLOCK_S - paused_s)) <= 0.3
        assert abs(figures["duration"] - decoded.sound_s) <= 0.5
        at = clicks(decoded)
        assert client.events == ["start", "pause", "resume", "dataavailable", "stop"]
        assert len(at) >= 3 and at[0] <= 48
