"""The HTTP side of a daemon: it comes and goes with it, and its end is nobody else's."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys

import pytest
from fixtures_media import wait_until
from media import DEADLINE_S
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


def command(place, *arguments):
    return [
        sys.executable, "-m", "recsvc", "serve", "--directory", str(place / "d"), "--spool", str(place / "s"),
        *map(str, arguments),
    ]  # fmt: skip


@contextlib.contextmanager
def daemon(place, *arguments):
    process = subprocess.Popen(command(place, *arguments), stderr=subprocess.DEVNULL)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()


def test_it_is_served_with_the_daemon_and_again_when_it_dies(place):
    port = free_port()
    with daemon(place, "--http-port", port) as service:
        wait_until(lambda: status_of(port, "/healthz") == 200, "the HTTP side", DEADLINE_S)
        [first] = children("http", service.pid)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: children("http", service.pid) not in ([], [first]), "another one", DEADLINE_S)
        wait_until(lambda: status_of(port, "/healthz") == 200, "that it serves again", DEADLINE_S)
    assert status_of(port, "/healthz") == 0


def test_without_a_port_there_is_none(place):
    with daemon(place) as service:
        wait_until(lambda: len(children("encode", service.pid)) >= 1, "the service", DEADLINE_S)
        wait_until(lambda: (place / "d" / "service.json").exists(), "the connection file", DEADLINE_S)
        assert children("http", service.pid) == []


def test_a_port_that_another_has_is_tried_again(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with daemon(place, "--http-port", port) as service:
            wait_until(lambda: children("http", service.pid), "the HTTP side", DEADLINE_S)
            wait_until(lambda: not children("http", service.pid), "its end", DEADLINE_S)
            taken.close()
            wait_until(lambda: status_of(port, "/healthz") == 200, "the HTTP side", DEADLINE_S)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_a_daemon_that_would_serve_other_machines_without_a_token_does_not_start(place, host):
    arguments = command(place, "--http-port", free_port(), "--http-host", host)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 2 and "token" in done.stderr and len(done.stderr.splitlines()) == 1
