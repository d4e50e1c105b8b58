"""``recsvc record`` and its file: the places that a user may name, what may go wrong there, and kinds of terminals."""

import contextlib
import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command_line import RECSVC, SOURCES, Terminal, run, run_inside
from fixtures_media import wait_until
from media import DEADLINE_S, SMALL_TEST, assert_consecutive, decode
from traces import role_processes

import recsvc
from recsvc.cli import target
from recsvc.process.runtime import spool_directory

COMMAND = re.compile(r"fetch it with: recsvc (recover .*)")


def recording(*arguments, **options):
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*RECSVC, "record", *map(str, arguments)], **(given | options))


def fetch(message, cwd):
    """Does what the message says."""
    found = COMMAND.search(message)
    assert found, message
    done = run(*shlex.split(found[1]), cwd=cwd)
    assert done.returncode == 0, done.stderr


def no_roles_left():
    wait_until(lambda: not role_processes(), "the end of the roles")


# --- what cannot be delivered is kept -------------------------------------------------------------


def test_a_place_that_goes_meanwhile_costs_nothing(tmp_path, spool):
    place = tmp_path / "stick of mine"
    place.mkdir()
    with recording(*SOURCES, "--duration", 1, "-o", "stick of mine/out.webm", cwd=tmp_path) as process:
        process.stdout.readline()
        place.rmdir()
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    [kept] = spool.iterdir()
    assert len(err.splitlines()) == 1 and "No such file" in err and str(kept) in err
    place.mkdir()
    fetch(err, tmp_path)
    assert_consecutive(decode(place / "out.webm").counters)
    assert list(spool.iterdir()) == []


def test_a_full_device_costs_nothing(tmp_path, spool):
    done = run("record", "--video", SMALL_TEST, "--duration", 0.3, "-o", "/dev/full")
    assert done.returncode == 1 and "/dev/full: No space left" in done.stderr
    [kept] = spool.iterdir()
    fetch(done.stderr, tmp_path)
    assert_consecutive(decode(tmp_path / "recording.webm").counters)
    assert not kept.exists()


def test_who_reads_standard_output_goes_and_the_recording_stays(tmp_path, spool):
    with recording("--video", SMALL_TEST, "--duration", 20, "-o", "-", text=False) as process:
        assert process.stdout.read(100)
        process.stdout.close()
        process.wait(DEADLINE_S)
        err = process.stderr.read().decode()
    assert process.returncode == 1 and "standard output" in err
    fetch(err, tmp_path)
    [fetched] = tmp_path.glob("*.webm")
    decoded = decode(fetched)
    assert_consecutive(decoded.counters)
    assert decoded.duration_s < 15, "nobody wants the rest"


@pytest.mark.parametrize("directory", ["/proc", "gone"])
def test_the_place_of_a_file_without_a_name_is_looked_at_before(tmp_path, directory):
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f"cd {directory} && {{ rmdir {gone}; exec {shlex.join([*RECSVC, 'record', *SOURCES, '--duration', '1'])}; }}"
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "current directory: No such file" in done.stderr


def test_files_named_in_the_same_second_are_several(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    taken = []

    def take(content):
        place = target.Target(None)
        assert place.take(recsvc.Blob([content], "audio/ogg")), place.problem
        taken.append((place.saved, content))

    threads = [threading.Thread(target=take, args=(b"%d" % number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({path for path, _ in taken}) == 20 == len(list(tmp_path.iterdir()))
    assert all(path.read_bytes() == content and path.suffix == ".ogg" for path, content in taken)


def test_a_second_ctrl_c_leaves_at_once_and_the_duration_holds_with_a_stuck_worker(tmp_path, spool):
    with recording("--video", SMALL_TEST, "--duration", 2.5, "-o", tmp_path / "out.webm") as process:
        process.stdout.readline()
        workers = [pid for pid, line in role_processes().items() if " encode " in line]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            process.stdout.readline()
            time.sleep(2.5)  # the duration is over long before this
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            begin_s = time.monotonic()

            def left():
                """One that comes before the first was handled is none of its own."""
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(1)

            code = wait_until(left, "the end", DEADLINE_S)
            took_s = time.monotonic() - begin_s
        finally:
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):  # one that did not end in time was killed
                    os.kill(pid, signal.SIGCONT)
        err = process.stderr.read()
    assert code == 130 and took_s < 8, (took_s, err)
    assert "interrupted" in err
    no_roles_left()
    fetch(err, tmp_path)
    decoded = decode(tmp_path / "out.webm")
    assert decoded.duration_s == pytest.approx(2.5, abs=0.7)


def test_saving_takes_as_long_as_it_takes_and_shows_it(tmp_path):
    """A pipe that is read late stands for a slow disk; the limit of the stop is made short."""
    program = "from recsvc.cli import commands, console; console.STOP_WAIT_NS = 200_000_000; commands.main()"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", program, "record", "--video", SMALL_TEST, "--duration", "0.3", "-o", str(pipe)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("saving"):
                break
        assert re.match(r"saving +\[\.{20}\] +0 % 0\.0 of \d+\.\d MB", line)
        time.sleep(0.5)
        data = pipe.read_bytes()
        out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0 and str(pipe) in out
    (tmp_path / "out.webm").write_bytes(data)
    assert_consecutive(decode(tmp_path / "out.webm").counters)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)


# --- where to ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "mime_type", "kinds", "chosen"),
    [
        (None, "", "av", ""),
        ("-", "audio/ogg", "a", "audio/ogg"),
        ("/dev/null", "", "av", ""),
        ("plain", "", "av", ""),
        ("a.webm", "", "v", ""),
        ("a.WebM", "audio/webm", "a", "audio/webm"),
        ("a.mkv", "", "av", "video/x-matroska"),
        ("a.mka", "", "a", "video/x-matroska"),
        ("a.mkv", "video/x-matroska;codecs=vp9", "v", "video/x-matroska;codecs=vp9"),
        ("a.ogg", "", "a", "audio/ogg"),
        ("a.opus", "", "", "audio/ogg"),
        ("a.oga", "audio/ogg;codecs=opus", "a", "audio/ogg;codecs=opus"),
        ("a.webm", "", "avc", "video/webm"),
        ("a.webm", "", "ac", "audio/webm"),
        ("plain", "", "avc", ""),
        ("a.ogg", "", "av", "sound only"),
        ("a.webm", "video/x-matroska", "v", r"does not fit.*\.mkv, \.mka"),
        ("a.mkv", "video/webm", "v", r"does not fit.*\.webm"),
        ("a.ogg", "audio/webm", "a", "does not fit"),
        ("a.mp4", "", "v", r"\.mp4; known are \.webm, \.mkv"),
        ("a.txt", "video/webm", "v", r"\.txt; known"),
    ],
)
def test_the_ending_chooses_the_container(output, mime_type, kinds, chosen):
    output = output and Path(output)
    copied = kinds.endswith("c")
    wanted = {"audio" if kind == "a" else "video": {"encoded": copied} for kind in kinds.removesuffix("c")}
    if chosen == "" or "/" in chosen:
        assert target.choose_type(output, mime_type, wanted) == chosen
    else:
        with pytest.raises(target.UsageError, match=chosen):
            target.choose_type(output, mime_type, wanted)


def test_what_the_ending_says_is_what_is_in_the_file(tmp_path):
    done = run("record", "--audio", "test:", "--duration", 0.2, "-o", tmp_path / "a.ogg", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mime_type"] == "audio/ogg;codecs=opus"
    assert (tmp_path / "a.ogg").read_bytes()[:4] == b"OggS"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--video", "test:", "-o", "a.mp4"], ".mp4"),
        (["--video", "test:", "-o", "a.ogg"], "sound only"),
        (["--audio", "test:", "--width", "96"], "--width without --video"),
        (["--frame-rate", "5", "--height", "9"], "--height, --frame-rate without --video"),
        (["--video", "test:", "--channels", "1"], "--channels without --audio"),
    ],
)
def test_what_cannot_go_together_is_a_usage_error(tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    done = run_inside("record", *arguments, "--duration", 1)
    assert (done.returncode, done.stdout) == (2, "") and list(tmp_path.iterdir()) == []
    assert len(done.stderr.splitlines()) == 1 and text in done.stderr


def test_standard_output_gets_the_recording_while_it_is_made(tmp_path, spool):
    with recording(*SOURCES, "--duration", 1.5, "-o", "-", text=False) as process:
        data = os.read(process.stdout.fileno(), 65_536)
        assert process.poll() is None
        rest, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0 and len(rest) > len(data)
    (tmp_path / "out.webm").write_bytes(data + rest)
    decoded = decode(tmp_path / "out.webm")
    assert_consecutive(decoded.counters)
    assert decoded.counters[-1] - decoded.counters[0] > 20
    assert re.search(rb"^file +- \(video/webm", err, re.M) and b"size       %d bytes" % len(data + rest) in err
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize("reader", ["| head -1", ">/dev/full"])
def test_output_that_is_not_read_any_more_ends_the_printing_alone(tmp_path, reader):
    path = tmp_path / "out.webm"
    command = shlex.join([*RECSVC, "record", "--video", SMALL_TEST, "--duration", "1.8", "-o", str(path)])
    line = f"{command} {reader}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=DEADLINE_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert decode(path).duration_s == pytest.approx(1.8, abs=0.7)


def test_names_that_the_output_cannot_show(tmp_path):
    name = os.fsencode(tmp_path) + "/映".encode() + b"\xff.webm"
    command = [*RECSVC, "record", "--audio", "test:", "--duration", "0.2", "-o", name]
    env = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S)
    assert (done.returncode, done.stderr) == (0, b"") and b"\\u6620\\udcff.webm" in done.stdout
    assert os.path.getsize(name) > 100


# --- terminals -----------------------------------------------------------------------------------


def test_a_terminal_that_goes_is_no_reason_to_lose_a_recording(tmp_path, spool):
    path = tmp_path / "out.webm"
    with Terminal(*RECSVC, "record", *SOURCES, "-o", path) as terminal:
        terminal.shows(r"recording +0\.[5-9]")
        terminal.hang_up()
        assert terminal.end() == 0
    assert_consecutive(decode(path).counters)
    no_roles_left()
    assert list(spool.iterdir()) == []


def test_who_is_to_outlive_the_terminal_does(tmp_path):
    path = tmp_path / "out.webm"
    command = ["nohup", *RECSVC, "record", *SOURCES, "--duration", "1", "-o", str(path)]
    with Terminal(*command, cwd=tmp_path) as terminal:
        terminal.shows("nohup")
        wait_until(lambda: any(" capture " in line for line in role_processes().values()), "the recording")
        terminal.hang_up()
        assert terminal.end() == 0
    assert decode(path).duration_s == pytest.approx(1, abs=0.7)


def test_in_the_background_it_records_with_plain_lines(tmp_path):
    """The shell is told to stop whoever writes to the terminal from the background."""
    path = tmp_path / "out.webm"
    record = shlex.join([*RECSVC, "record", *SOURCES, "--duration", "1.2", "-o", str(path)])
    script = f"set -m; stty tostop; {record} & wait $!; echo code=$?; fg 2>&1"
    with Terminal("bash", "-c", script) as terminal:
        shown = terminal.shows(r"code=(\d+)")
        assert "code=0" in shown and "\x1b" not in shown, shown
        assert len(re.findall("recording +[0-9]", shown)) in (1, 2, 3)
        assert f"file       {path}" in shown
        terminal.end()
    assert_consecutive(decode(path).counters)


def test_a_recording_for_standard_output_is_not_shown_at_a_terminal(tmp_path):
    with Terminal(*RECSVC, "record", *SOURCES, "-o", "-") as terminal:
        terminal.shows("standard output is a terminal")
        assert terminal.end() == 2


# --- without a home ------------------------------------------------------------------------------


def test_the_spool_is_never_beside_the_root(monkeypatch, tmp_path):
    monkeypatch.delenv("RECSVC_SPOOL")
    for name in ("XDG_STATE_HOME", "HOME"):
        monkeypatch.setenv(name, "")
    with pytest.raises(recsvc.errors.NotFoundError, match=r"HOME.*RECSVC_SPOOL"):
        spool_directory()
    for command in (["recover"], ["record", "--audio", "test:", "--duration", "1", "-o", str(tmp_path / "a.webm")]):
        done = run(*command)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "RECSVC_SPOOL" in done.stderr
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert spool_directory() == tmp_path / "recsvc" / "spool"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert spool_directory() == Path("/home/somebody/.local/state/recsvc/spool")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # nobody knows this user
    with pytest.raises(recsvc.errors.NotFoundError, match="RECSVC_SPOOL"):
        spool_directory()
