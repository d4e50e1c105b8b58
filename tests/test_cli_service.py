"""The command line of a service: what is begun, shown, stopped, fetched and deleted there, and how that ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import av
import encoded
import pytest
from command_line import RECSVC, Terminal, run, run_inside
from daemons import daemon
from fixtures_media import wait_until
from media import DEADLINE_S, SMALL_TEST, complaints, decode
from services import children

from recsvc.caller import connections
from recsvc.common.service_limits import COMPLETION_MS
from recsvc.process.role import Process

SOURCES = ["--audio", SMALL_TEST, "--video", SMALL_TEST]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    place = tmp_path_factory.mktemp("s")
    with daemon(place) as made:
        wait_until(lambda: children("catalog", made.process.pid), "the catalog", DEADLINE_S)
        yield made
        connections.close_all()  # of the commands that ran inside this process


@pytest.fixture
def recsvc(service, monkeypatch):
    """A command of this service. Most run inside this process, which is faster; with ``apart`` in one of their own."""

    def call(command, *arguments, code=0, apart=False, cwd=None, **options):
        given = [command, *arguments, "--service", service.service]
        if apart:
            done = run(*given, cwd=cwd, **options)
        else:
            with monkeypatch.context() as patched:
                patched.chdir(cwd or service.place)
                done = run_inside(*given)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in str(done.stderr)
        return done

    return call


@pytest.fixture
def begun(recsvc):
    """Begins recordings; those that are left are stopped and deleted."""
    ids = []

    def begin(*arguments):
        name = recsvc("start", *(arguments or SOURCES)).stdout.strip()
        ids.append(name)
        return name

    yield begin
    for name in ids:
        recsvc("stop", name)
        recsvc("rm", name)


def assert_one_line(text):
    assert len(text.strip().splitlines()) == 1 and text.startswith("recsvc: "), text


def states(recsvc):
    return {one["recording"]: one["state"] for one in json.loads(recsvc("list", "--json").stdout)}


def test_a_recording_is_begun_shown_paused_stopped_fetched_and_deleted(recsvc, tmp_path):
    done = recsvc("start", *SOURCES, "--name", "front door", apart=True)
    name = done.stdout.strip()
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{8}", name) and done.stderr == ""
    shown = recsvc("status").stdout.splitlines()
    assert shown[0].split()[:3] == ["RECORDING", "NAME", "STATE"]
    assert shown[1].startswith(f"{name}  front door  recording")
    assert any("free in" in line for line in shown) and "\x1b" not in "".join(shown)
    assert recsvc("pause", "front door").stdout == f"{name} paused\n"
    assert states(recsvc)[name] == "paused"
    recsvc("pause", name)  # as for a recorder: nothing more happens
    assert recsvc("resume", name.rpartition("-")[2][:4]).stdout == f"{name} recording\n"
    stopped = recsvc("stop", name, apart=True)
    assert stopped.stdout == f"{name} finished\n"
    [row] = [one for one in json.loads(recsvc("list", "--json").stdout) if one["recording"] == name]
    assert (row["name"], row["state"]) == ("front door", "finished") and row["duration"] > 0
    assert row["statistics"]["tracks"][0]["frames_accepted"] > 0
    got = recsvc("get", "front door", cwd=tmp_path, apart=True)
    path = tmp_path / "front door.webm"
    assert path.stat().st_size == row["size_bytes"] and str(path.name) in got.stdout
    decode(path)
    assert complaints(path) == []
    assert recsvc("rm", name).stdout == f"{name} deleted\n"
    assert name not in states(recsvc)


def test_start_copies_what_the_sources_have(recsvc, begun, tmp_path):
    source, path = tmp_path / "source.mkv", tmp_path / "x.mkv"
    encoded.put_into(str(source), encoded.film("h264 plain"), encoded.tone("pcm"))
    name = begun("--copy", "--audio", f"file:{source}", "--video", f"file:{source}", "--type", "video/x-matroska")
    recsvc("stop", name, "-o", path)
    with av.open(str(path)) as container:
        assert {stream.codec_context.codec.canonical_name for stream in container.streams} == {"h264", "pcm_s16le"}
        assert next(container.demux(video=0)).is_keyframe
    refused = recsvc("start", "--copy", "--video", f"file:{source}", "--type", "video/webm", code=1)
    assert_one_line(refused.stderr)
    assert "h264" in refused.stderr and "video/webm" in refused.stderr


def test_stop_brings_the_file(recsvc, begun, tmp_path):
    name = begun()
    path = tmp_path / "x.webm"
    done = recsvc("stop", name, "-o", path)
    assert done.stdout == f"{name} finished, saved to {path}\n"
    assert complaints(path) == []


def test_stop_without_waiting_leaves_at_once_and_the_recording_ends(recsvc, begun):
    name = begun()
    assert recsvc("stop", "--no-wait", name).stdout == f"{name} stopping\n"
    wait_until(lambda: states(recsvc)[name] == "finished", "its end")
    assert recsvc("stop", name).stdout == f"{name} finished\n", "stopping it again is no error"


def test_several_are_stopped_together_and_a_wrong_one_keeps_nobody(recsvc, begun):
    names = [begun("--audio", SMALL_TEST) for _ in range(3)]
    done = recsvc("stop", names[0], "none", *names[1:], code=3)
    assert_one_line(done.stderr)
    assert "'none'" in done.stderr
    assert done.stdout.splitlines() == [f"{name} finished" for name in names]


def test_of_one_that_goes_on_get_brings_what_is_there(recsvc, begun, tmp_path):
    name = begun()
    path = tmp_path / "so-far.webm"

    def fetched():
        recsvc("get", name, "-o", path)
        return path.stat().st_size > 20_000

    wait_until(fetched, "some of it", DEADLINE_S)
    assert decode(path).pictures, "it plays as far as it is"
    assert states(recsvc)[name] == "recording"


@pytest.mark.parametrize("command", ["get", "rm", "pause", "resume", "stop"])
def test_an_unknown_recording_is_exit_code_3(recsvc, command, tmp_path):
    done = recsvc(command, "no-such-recording", code=3, cwd=tmp_path)
    assert_one_line(done.stderr)
    assert "'no-such-recording'" in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_exit_codes_of_what_cannot_be_now(recsvc, begun):
    name = begun("--audio", SMALL_TEST)
    done = recsvc("rm", name, code=1)
    assert_one_line(done.stderr)
    recsvc("stop", name)
    for command in ("pause", "resume"):
        done = recsvc(command, name, code=1)
        assert_one_line(done.stderr)
        assert "ended" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["start"], "--audio"), (["start", "--width", 96], "--video"), (["start", "--video", "tape:"], "tape"),
        (["start", "--audio", "test:", "--type", "video/mp4"], "video/mp4"),
        (["start", "--audio", "test:", "--sample-rate", 7], "7"),
        (["stop", "a", "b", "-o", "x"], "-o"), (["stop", "a", "-o", "x", "--no-wait"], "-o"),
        (["get", ""], "empty"), (["stop"], "ID"), (["list", "-n", "x"], "-n"), (["status", "extra"], "extra"),
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(recsvc, arguments, text):
    assert text in recsvc(*arguments, code=2).stderr


def test_a_word_that_means_two_is_wrong_usage(recsvc, begun):
    names = [begun("--audio", SMALL_TEST, "--name", "twin") for _ in range(2)]
    done = recsvc("stop", "twin", code=2)
    assert all(name in done.stderr for name in names)


def test_a_source_that_fails_is_one_line(recsvc):
    done = recsvc("start", "--video", "file:/no/such/file.webm", code=1)
    assert_one_line(done.stderr)
    assert "/no/such/file.webm" in done.stderr and done.stdout == ""


def test_json_everywhere(recsvc, begun, tmp_path):
    begin = json.loads(recsvc("start", "--audio", SMALL_TEST, "--json").stdout)
    name = begin["recording"]
    status = json.loads(recsvc("status", "--json").stdout)
    assert name in [one["recording"] for one in status["recordings"]] and status["free_bytes"] > 0
    assert json.loads(recsvc("pause", name, "--json").stdout) == [{"recording": name, "state": "paused"}]
    assert json.loads(recsvc("resume", name, "--json").stdout) == [{"recording": name, "state": "recording"}]
    [stopped] = json.loads(recsvc("stop", name, "--json").stdout)
    assert (stopped["recording"], stopped["state"], stopped["file"]) == (name, "finished", None)
    path = tmp_path / "x.webm"
    got = json.loads(recsvc("get", name, "-o", path, "--json").stdout)
    assert got["file"] == str(path) and got["size_bytes"] == path.stat().st_size
    [removed] = json.loads(recsvc("rm", name, "--json").stdout)
    assert removed["recording"] == name
    done = recsvc("rm", name, "--json", code=3)
    assert json.loads(done.stdout) == [] and done.stderr


# --- where to -------------------------------------------------------------------------------------


def test_get_writes_to_a_pipe_and_one_that_closes_early_is_no_traceback(service, recsvc, begun, tmp_path):
    name = begun()
    recsvc("stop", name, "-o", tmp_path / "x.webm")
    content = (tmp_path / "x.webm").read_bytes()
    piped = recsvc("get", name, "-o", "-", apart=True, text=False).stdout
    assert piped == content
    command = " ".join([*RECSVC, "get", name, "-o", "-", "--service", service.service])
    early = subprocess.run(
        f"{command} | head -c 10", shell=True, capture_output=True, timeout=DEADLINE_S, executable="/bin/bash"
    )
    assert early.stdout == content[:10] and b"Traceback" not in early.stderr
    for quiet in ("list", "status", "list --json"):
        done = subprocess.run(
            f"{' '.join(RECSVC)} {quiet} --service {service.service} | true",
            shell=True, capture_output=True, text=True, timeout=DEADLINE_S,
        )  # fmt: skip
        assert done.stderr == ""
    full = " ".join([*RECSVC, "list", "--service", service.service, "> /dev/full"])
    done = subprocess.run(full, shell=True, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 1 and "No space left" in done.stderr
    assert_one_line(done.stderr)


def test_a_name_that_is_taken_is_not_written_over(recsvc, begun, tmp_path):
    name = begun("--audio", SMALL_TEST, "--name", "../sound")
    recsvc("stop", name)
    recsvc("get", name, cwd=tmp_path)
    recsvc("get", name, cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sound-2.webm", "sound.webm"]


@pytest.mark.parametrize("where", ["missing/x.webm", "."])
def test_a_place_that_cannot_be_written_is_one_line(recsvc, begun, tmp_path, where):
    name = begun("--audio", SMALL_TEST)
    recsvc("stop", name)
    done = recsvc("get", name, "-o", tmp_path / where, code=1)
    assert_one_line(done.stderr)
    assert list(tmp_path.iterdir()) == []


# --- which service --------------------------------------------------------------------------------


def test_without_a_service_every_command_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for command in (["status"], ["list"], ["get", "x"], ["rm", "x"], ["stop", "x"], ["start", "--audio", "test:"]):
        done = run_inside(*command)
        assert done.returncode == 1, command
        assert_one_line(done.stderr)
        assert "recsvc serve" in done.stderr and "--service" in done.stderr
    assert list(tmp_path.iterdir()) == [], "and starts none"


def test_the_environment_names_it(service):
    done = run("status", "--json", env={**os.environ, "RECSVC_SERVICE": service.service})
    assert done.returncode == 0 and json.loads(done.stdout)["workers"]


@contextlib.contextmanager
def controller(endpoint: Path, spool: Path):
    """A private controller: it keeps nothing."""
    where = ("--directory", str(endpoint.parent), "--spool", str(spool))
    process = Process("controller", "--endpoint", f"ipc://{endpoint}", *where)
    try:
        wait_until(lambda: endpoint.is_socket() or process.poll() is not None, "the controller", DEADLINE_S)
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()


def test_one_that_keeps_nothing_is_commanded_all_the_same(place, spool):
    with controller(place / "c", spool):
        where = ["--service", f"ipc://{place / 'c'}"]
        name = run_inside("start", "--audio", SMALL_TEST, *where).stdout.strip()
        assert name in run_inside("status", *where).stdout
        kept = run_inside("list", *where)
        assert kept.returncode == 1 and "keeps no recordings" in kept.stderr
        done = run_inside("stop", name, *where)
        assert (done.returncode, done.stdout) == (0, f"{name} finished\n")
        assert run_inside("stop", "other", *where).returncode == 3
        (spool / f"{name}.webm").unlink()


# --- at a terminal --------------------------------------------------------------------------------


def test_status_is_drawn_anew_until_q(service, begun):
    name = begun("--audio", SMALL_TEST, "--name", "live")
    with Terminal(*RECSVC, "status", "--service", service.service) as screen:
        screen.shows(rf"{name}.*live.*recording")
        seen = len(screen.output)
        screen.shows(r"recording +0:0\d\.\d", since=seen)
        screen.shows("dBFS", since=seen)
        screen.press("q")
        assert screen.end() == 0
        assert "Traceback" not in screen.output


def test_status_is_left_by_ctrl_c(service):
    with Terminal(*RECSVC, "status", "--service", service.service) as screen:
        screen.shows("free in")
        screen.press("\x03")
        assert screen.end() == 0
        assert "Traceback" not in screen.output and "\x1b[?25h" in screen.output, "the cursor is there again"


def test_status_once_at_a_terminal(service, begun):
    name = begun("--audio", SMALL_TEST)
    with Terminal(*RECSVC, "status", "--once", "--service", service.service) as screen:
        assert screen.end() == 0
        assert name in screen.output


def test_no_color_means_none(service, begun):
    begun("--audio", SMALL_TEST)
    with Terminal("env", "NO_COLOR=1", *RECSVC, "status", "--service", service.service) as screen:
        screen.shows("free in")
        screen.press("q")
        assert screen.end() == 0
        assert not re.search(r"\x1b\[(3|4|9|10)\d", screen.output)


def test_status_says_when_the_service_ends(place):
    with daemon(place) as made, Terminal(*RECSVC, "status", "--service", made.service) as screen:
        screen.shows("nothing is recorded")
        made.end()
        assert screen.end() == 1
        assert "Traceback" not in screen.output and "recsvc: " in screen.output


# --- completion -----------------------------------------------------------------------------------


def complete(words, **environment):
    env = {**os.environ, "_RECSVC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    began_s = time.monotonic()
    done = run(env={**env, **environment})
    return done, time.monotonic() - began_s


def test_the_shell_completes_ids_from_the_service(service, begun):
    name = begun("--audio", SMALL_TEST, "--name", "front")
    done, _ = complete(f"recsvc stop {name[:6]}", RECSVC_SERVICE=service.service)
    assert name in done.stdout.split()
    done, _ = complete(f"recsvc get --service {service.service} ")
    assert name in done.stdout.split()
    done, _ = complete("recsvc stop no-such", RECSVC_SERVICE=service.service)
    assert done.stdout.strip() == ""


def test_completion_is_silent_and_fast_where_nobody_answers(place):
    halted = place / "x"
    with socket.socket(socket.AF_UNIX) as listener:  # connects, and says nothing
        listener.bind(str(halted))
        listener.listen()
        for where in ("/no/such/file", f"ipc://{halted}", "nonsense://x", "tcp://127.0.0.1:1"):
            done, took_s = complete("recsvc stop ", RECSVC_SERVICE=where)
            assert (done.stdout.strip(), done.stderr) == ("", ""), where
            assert took_s < COMPLETION_MS / 1000 + DEADLINE_S


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_set_up(shell):
    named = "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"  # else the shell from which the tests are run is taken
    done = run("--show-completion", shell, env=os.environ | {named: "1"})
    assert done.returncode == 0 and "recsvc" in done.stdout


# --- help -----------------------------------------------------------------------------------------


def test_help_names_all_commands_in_the_order_of_their_use_and_all_exit_codes():
    shown = run("--help").stdout
    commands = re.findall(r"^  (record|start|pause|resume|stop|status|list|get|rm|recover)  ", shown, re.MULTILINE)
    assert commands == ["record", "start", "pause", "resume", "stop", "status", "list", "get", "rm", "recover"]
    text = " ".join(shown.split())
    for code in ("0 done", "1 failed", "2 wrong usage", "3 there is no such recording", "130"):
        assert code in text
    for command in commands:
        assert run_inside(command, "--help").returncode == 0


def test_ctrl_c_during_get_leaves_nothing(service, recsvc, begun, tmp_path):
    """Nobody reads, and the file is larger than what a pipe holds."""
    name = begun()
    recsvc("stop", name)
    with (service.spool / f"{name}.webm").open("ab") as file:
        file.write(bytes(1_000_000))
    command = [*RECSVC, "get", name, "-o", "-", "--service", service.service]
    read, write = os.pipe()  # which nobody reads
    import fcntl

    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    os.close(write)
    try:
        import select

        assert select.select([read], [], [], DEADLINE_S)[0]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        assert list(tmp_path.iterdir()) == []
    finally:
        os.close(read)
        process.kill()
        process.wait()


def test_ctrl_c_during_start_leaves_no_recording(service, recsvc):
    """Its source connects and brings nothing, so that it is still being opened."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(DEADLINE_S)
        source = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        command = [*RECSVC, "start", "--video", source, "--service", service.service]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with process, listener.accept()[0]:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=DEADLINE_S)
            assert (process.returncode, out) == (130, ""), err
            assert "Traceback" not in err
            wait_until(lambda: children("capture", service.process.pid) == [], "the source's end", DEADLINE_S)
    assert json.loads(recsvc("status", "--json").stdout)["recordings"] == []
