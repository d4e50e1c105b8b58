"""The command line and a service on another machine: what is recorded there comes here, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

import pytest
from command_line import RECSVC, Terminal, run, run_inside
from daemons import daemon
from fixtures_media import wait_until
from media import DEADLINE_S, SMALL_TEST, assert_consecutive, complaints, decode
from services import children

from recsvc.caller import connections
from recsvc.common.limits import RPC_DEADLINE_NS

SOURCES = ["--audio", SMALL_TEST, "--video", SMALL_TEST]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with daemon(tmp_path_factory.mktemp("s"), "--tcp", "tcp://127.0.0.1:*", "--insecure") as made:
        wait_until(lambda: children("catalog", made.process.pid), "the catalog", DEADLINE_S)
        yield made
        connections.close_all()  # of the commands that ran inside this process


@pytest.fixture
def tcp(service):
    return service.connection.tcp.replace("*", "127.0.0.1")


def recorded(tcp):
    name = run_inside("start", *SOURCES, "--service", tcp).stdout.strip()
    assert run_inside("stop", name, "--service", tcp).returncode == 0
    return name


@contextlib.contextmanager
def halted(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_record_brings_the_file_here(service, tcp, tmp_path):
    path = tmp_path / "x.webm"
    before = set(service.spool.glob("*.webm"))
    done = run("record", *SOURCES, "--duration", 0.6, "-o", path, "--service", tcp)
    assert (done.returncode, done.stderr) == (0, "")
    [kept] = set(service.spool.glob("*.webm")) - before
    assert path.read_bytes() == kept.read_bytes(), "and it stays there as well"
    assert complaints(path) == []
    assert_consecutive(decode(path).counters)
    again = tmp_path / "y.webm"
    assert run_inside("get", kept.stem, "-o", again, "--service", tcp).returncode == 0
    assert again.read_bytes() == kept.read_bytes()


def test_record_at_a_terminal_says_how_much_has_come(service, tcp, tmp_path):
    path = tmp_path / "x.webm"
    with Terminal(*RECSVC, "record", *SOURCES, "-o", path, "--service", tcp) as screen:
        screen.shows(r"recording +(0\.[5-9]|[1-9])")
        with halted(children("catalog", service.process.pid)[0]):
            screen.press("q")
            screen.shows(r"saving +\[\.+\] +0 % 0\.0 of \d+\.\d MB")
        assert screen.end() == 0
        assert "Traceback" not in screen.output
    assert complaints(path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_get_that_is_interrupted_leaves_nothing(service, tcp, tmp_path, number):
    name = recorded(tcp)
    command = [*RECSVC, "get", name, "--service", tcp]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        wait_until(lambda: process.poll() is not None or list(tmp_path.iterdir()), "the file's name", DEADLINE_S)
        if process.poll() is None:
            process.send_signal(number)
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode in (0, 130, -number), err
    assert "Traceback" not in err
    whole = (service.spool / f"{name}.webm").read_bytes()
    left = [path.read_bytes() for path in tmp_path.iterdir()]
    assert left in ([], [whole]), "it was faster, or nothing is there"


def test_get_from_a_catalog_that_stands_still_can_be_left(service, tcp, tmp_path):
    name = recorded(tcp)
    path = tmp_path / "x.webm"
    path.write_text("what was there before")
    with (
        Terminal(*RECSVC, "get", name, "-o", path, "--service", tcp) as screen,
        halted(children("catalog", service.process.pid)[0]),
    ):
        tasks = f"/proc/{screen.process.pid}/task"
        wait_until(lambda: len(os.listdir(tasks)) >= 5, "that it speaks with the service", DEADLINE_S)
        pressed_ns = time.monotonic_ns()
        screen.press("\x03")
        assert screen.end() == 130
        assert time.monotonic_ns() - pressed_ns < RPC_DEADLINE_NS / 2, "it waited for an answer"
        assert "Traceback" not in screen.output
    assert [one.name for one in tmp_path.iterdir()] == ["x.webm"]
    assert path.read_text() == "what was there before"
