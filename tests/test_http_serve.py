"""The HTTP side of a daemon: it comes and goes with it, and its end is nobody else's."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import time

import pytest
from command_line import run
from daemons import daemon, refused
from fixtures_media import wait_until
from media import DEADLINE_S, SMALL_TEST, complaints, decode
from prometheus_client.parser import text_string_to_metric_families
from services import children


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def status_of(port: int, path: str) -> int:
    """0: nobody serves."""
    try:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)) as connection:
            connection.request("GET", path)
            return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0


def metrics(port: int) -> dict[tuple[str, frozenset], float]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    families = text_string_to_metric_families(text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def fetched(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)) as connection:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A daemon, and its port."""
    port = free_port()
    with daemon(tmp_path_factory.mktemp("s"), "--http-port", str(port)) as made:
        wait_until(lambda: status_of(port, "/readyz") == 200, "the HTTP side", DEADLINE_S)
        wait_until(lambda: children("catalog", made.process.pid), "the catalog", DEADLINE_S)
        yield made, port


def begin(service, *sources):
    done = run("start", *(sources or ("--video", SMALL_TEST, "--audio", SMALL_TEST)), "--service", service.service)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def end(service, name):
    done = run("stop", name, "--service", service.service)
    assert done.returncode == 0, done.stderr


def test_a_recording_is_listed_downloaded_while_it_grows_and_after_and_deleted(served, tmp_path):
    service, port = served
    name = begin(service)

    def grown(least: int) -> bytes | None:
        status, body = fetched(port, f"/recordings/{name}/file")
        assert status == 200
        return body if len(body) > least else None

    first = wait_until(lambda: grown(10_000), "some of it", DEADLINE_S)
    more = wait_until(lambda: grown(len(first)), "more of it", DEADLINE_S)
    path = tmp_path / "so-far.webm"
    path.write_bytes(more)
    assert decode(path).pictures, "it plays as far as it is"
    status, rest = fetched(port, f"/recordings/{name}/file", Range=f"bytes={len(first)}-")
    assert status == 206 and len(rest) >= len(more) - len(first)
    assert rest.startswith(more[len(first) :]), "what was written stays as it is"
    assert fetched(port, f"/recordings/{name}", "DELETE")[0] == 409
    end(service, name)
    whole = (service.spool / f"{name}.webm").read_bytes()
    assert fetched(port, f"/recordings/{name}/file") == (200, whole)
    assert fetched(port, f"/recordings/{name}/file", Range="bytes=100-199") == (206, whole[100:200])
    listed = json.loads(fetched(port, "/recordings")[1])["recordings"]
    [one] = [one for one in listed if one["recording"] == name]
    assert (one["state"], one["size_bytes"]) == ("finished", len(whole))
    assert fetched(port, f"/recordings/{name}", "DELETE") == (204, b"")
    assert fetched(port, f"/recordings/{name}/file")[0] == 404
    assert not (service.spool / f"{name}.webm").exists()


def test_the_figures_are_those_of_the_recordings(served):
    service, port = served
    before = metrics(port)
    stops = ("recsvc_stop_seconds_count", frozenset({("stage", "published")}))
    video = frozenset({("kind", "video")})
    name = begin(service, "--video", f"{SMALL_TEST}&frames=40")
    running = ("recsvc_recordings", frozenset({("state", "recording")}))
    wait_until(lambda: metrics(port)[running] == 1, "it in the figures", DEADLINE_S)
    wait_until(lambda: metrics(port).get(stops, 0) > before.get(stops, 0), "its end", DEADLINE_S)
    after = wait_until(lambda: (now := metrics(port))[running] == 0 and now, "its end", DEADLINE_S)
    info = json.loads(fetched(port, f"/recordings/{name}")[1])
    [track] = info["statistics"]["tracks"]
    assert track["frames_accepted"] > 30
    for figure in ("accepted", "encoded"):
        key = (f"recsvc_frames_{figure}_total", video)
        assert after[key] - before[key] == track[f"frames_{figure}"]
    ended = ("recsvc_recordings_ended_total", frozenset({("result", "finished")}))
    assert after[ended] - before[ended] == 1
    written = ("recsvc_recorded_bytes_total", frozenset())
    assert after[written] - before[written] == pytest.approx(info["size_bytes"], abs=2_000)
    assert after["recsvc_free_bytes", frozenset()] > 0
    assert after["recsvc_encode_frames_total", frozenset({("worker", "0")})] > 30
    begin_s = after["recsvc_start_time_seconds", frozenset()]
    assert abs(time.time() - begin_s) < 600


def test_recordings_do_not_notice_that_it_is_halted_or_killed(place):
    port = free_port()
    with daemon(place, "--http-port", str(port)) as service:
        wait_until(lambda: status_of(port, "/readyz") == 200, "the HTTP side", DEADLINE_S)
        [pid] = children("http", service.process.pid)
        os.kill(pid, signal.SIGSTOP)
        name = begin(service)
        end(service, name)
        assert complaints(service.spool / f"{name}.webm") == []
        name = begin(service)
        os.kill(pid, signal.SIGKILL)
        end(service, name)
        assert complaints(service.spool / f"{name}.webm") == []
        wait_until(lambda: status_of(port, f"/recordings/{name}") == 200, "another one", DEADLINE_S)


def test_the_spool_that_is_gone_is_not_ready(place):
    port = free_port()
    with daemon(place, "--http-port", str(port)) as service:
        wait_until(lambda: status_of(port, "/readyz") == 200, "the HTTP side", DEADLINE_S)
        service.spool.rename(place / "elsewhere")
        wait_until(lambda: status_of(port, "/readyz") == 503, "that it is not ready", DEADLINE_S)
        assert status_of(port, "/healthz") == 200
        (place / "elsewhere").rename(service.spool)
        wait_until(lambda: status_of(port, "/readyz") == 200, "that it is ready", DEADLINE_S)


def test_it_is_served_with_the_daemon_and_again_when_it_dies(place):
    port = free_port()
    with daemon(place, "--http-port", str(port)) as service:
        wait_until(lambda: status_of(port, "/healthz") == 200, "the HTTP side", DEADLINE_S)
        assert service.connection.http == f"http://127.0.0.1:{port}", "by which programs of the machine find it"
        [first] = children("http", service.process.pid)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: children("http", service.process.pid) not in ([], [first]), "another one", DEADLINE_S)
        wait_until(lambda: status_of(port, "/healthz") == 200, "that it serves again", DEADLINE_S)
    assert status_of(port, "/healthz") == 0


def test_without_a_port_there_is_none(place):
    with daemon(place) as service:
        wait_until(lambda: len(children("encode", service.process.pid)) >= 1, "the service", DEADLINE_S)
        assert children("http", service.process.pid) == []


def test_a_port_that_another_has_is_tried_again(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with daemon(place, "--http-port", str(port)) as service:
            wait_until(lambda: children("http", service.process.pid), "the HTTP side", DEADLINE_S)
            wait_until(lambda: not children("http", service.process.pid), "its end", DEADLINE_S)
            taken.close()
            wait_until(lambda: status_of(port, "/healthz") == 200, "the HTTP side", DEADLINE_S)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_a_daemon_that_would_serve_other_machines_without_a_token_does_not_start(place, host):
    done = refused("--spool", str(place / "s"), "--http-port", str(free_port()), "--http-host", host)
    assert done.returncode == 2 and "token" in done.stderr and len(done.stderr.splitlines()) == 1
