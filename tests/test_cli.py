"""The command line as a user has it: processes, exit codes, keys at a terminal, one clear line when it fails."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from command_line import RECSVC, SOURCES, Terminal, run, run_inside
from media import DEADLINE_S, SMALL_TEST, assert_consecutive, complaints, decode
from traces import role_processes

import recsvc


def assert_one_line(text):
    """What a user sees of a failure: one line that says who speaks; no traceback."""
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("recsvc: "), text


# --- recording ------------------------------------------------------------------------------------


def test_record_writes_a_file_and_reports(tmp_path):
    path = tmp_path / "demo.webm"
    done = run("record", *SOURCES, "--duration", 0.8, "-o", path)
    assert (done.returncode, done.stderr) == (0, "")
    decoded = decode(path)
    assert_consecutive(decoded.counters)
    assert decoded.duration_s == pytest.approx(0.8, abs=0.5)
    assert complaints(path) == []
    # Plain lines, as for a log: no control sequences.
    assert "\x1b" not in done.stdout and "\r" not in done.stdout
    assert done.stdout.splitlines()[0].startswith("recording")
    report = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[-6:])
    assert list(report) == ["duration", "audio", "video", "size", "stop", "file"]
    assert report["duration"] == f"{decoded.duration_s:.3f} s"
    count = len(decoded.pictures)
    assert report["video"] == f"{count} frames captured, {count} encoded, 0 dropped"
    assert report["size"].startswith(f"{path.stat().st_size} bytes")
    assert report["file"] == f"{path} (video/webm;codecs=vp8,opus)"


def test_the_json_report_is_one_object_that_agrees_with_the_file(tmp_path):
    path = tmp_path / "demo.mkv"
    wanted = ["--type", "video/x-matroska;codecs=vp9", "--width", 96, "--height", 64, "--frame-rate", 25]
    done = run("record", "--video", "test:", *wanted, "--duration", 0.6, "-o", path, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    decoded = decode(path)
    assert set(report) == {
        "file", "mime_type", "duration", "size_bytes", "bits_per_second", "tracks", "stop_to_dataavailable_ms",
        "stop_stages_ms",
    }  # fmt: skip
    assert (report["file"], report["mime_type"]) == (str(path), "video/x-matroska;codecs=vp9")
    assert report["duration"] == pytest.approx(decoded.duration_s, abs=0.001)
    assert report["size_bytes"] == path.stat().st_size
    assert report["stop_to_dataavailable_ms"] > 0
    assert {"frames_drained", "capture_ended", "encoders_drained", "muxed"} <= set(report["stop_stages_ms"])
    [track] = report["tracks"]
    assert track["kind"] == "video" and decoded.codecs == {"video": "vp9"}
    assert track["frames_accepted"] == track["frames_encoded"] == len(decoded.pictures)
    assert (track["frames_dropped"], track["dropped_by_cause"]) == (0, {})
    assert_consecutive(decoded.counters)


def test_without_a_name_the_file_is_named_by_date_and_type(tmp_path):
    wanted = ["--type", "audio/ogg", "--channels", 1, "--sample-rate", 16_000]
    done = run("record", "--audio", "test:", *wanted, "--duration", 0.3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [path] = tmp_path.iterdir()
    assert re.fullmatch(r"recording-\d{8}-\d{6}\.ogg", path.name)
    assert decode(path).samples.shape[1] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly(tmp_path, number):
    path = tmp_path / "demo.webm"
    command = [*RECSVC, "record", *SOURCES, "-o", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if re.search(r"recording +[1-9]", line):  # a second is over
                break
        process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, "")
    assert str(path) in out
    decoded = decode(path)
    assert_consecutive(decoded.counters)
    assert decoded.duration_s >= 0.9


def test_a_source_that_ends_ends_the_recording(tmp_path):
    path = tmp_path / "demo.webm"
    done = run("record", "--video", f"{SMALL_TEST}&frames=12", "-o", path)
    assert (done.returncode, done.stderr) == (0, "")
    counters = decode(path).counters
    assert_consecutive(counters)
    assert counters[-1] == 11


# --- at a terminal --------------------------------------------------------------------------------


@pytest.fixture
def recsvc_at_terminal():
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(Terminal(*RECSVC, *arguments))


def test_keys_pause_resume_and_quit(recsvc_at_terminal, tmp_path):
    path = tmp_path / "demo.webm"
    screen = recsvc_at_terminal("record", *SOURCES, "-o", path)
    screen.shows(r"recording .*p pause/resume, q stop")
    screen.shows(r"recording +(0\.[5-9]|[1-9])")
    screen.press("x")  # means nothing
    screen.press("p")
    screen.shows(r"paused +(\d+\.\d) s")
    paused_at = float(re.search(r"paused +(\d+\.\d) s", screen.output)[1])
    time.sleep(1.0)
    seen = len(screen.output)
    screen.shows(r"paused", since=seen)
    assert float(re.search(r"paused +(\d+\.\d) s", screen.output[seen:])[1]) == paused_at, "paused time is not counted"
    seen = len(screen.output)
    screen.press("p")
    screen.shows(r"recording", since=seen)
    time.sleep(0.5)
    screen.press("q")
    assert screen.end() == 0
    assert f"file       {path}" in screen.output
    assert "Traceback" not in screen.output
    decoded = decode(path)
    numbers = decoded.counters
    jumps = [later - earlier for earlier, later in zip(numbers, numbers[1:], strict=False) if later - earlier != 1]
    assert len(jumps) == 1 and jumps[0] > 25, "one pause of a second or more"
    assert decoded.duration_s < numbers[-1] / 30 - numbers[0] / 30 - 0.8


def test_the_live_line_stays_one_line_and_the_terminal_is_as_before(recsvc_at_terminal, tmp_path):
    screen = recsvc_at_terminal("record", *SOURCES, "--duration", "1.2", "-o", tmp_path / "demo.webm")
    assert screen.end() == 0
    before_report = screen.output[: screen.output.index("duration ")]
    assert len(re.findall("recording +[0-9]", before_report)) >= 3
    assert "\x1b[2K" in before_report, "the line is drawn anew, not printed again"
    assert before_report.replace("\r\n", "").count("\n") <= 2
    assert screen.output.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in screen.output, "the cursor is shown again"
    assert re.search(r"dBFS", before_report), "the level meter"


def test_ctrl_c_at_the_terminal_stops_cleanly(recsvc_at_terminal, tmp_path):
    path = tmp_path / "demo.webm"
    screen = recsvc_at_terminal("record", *SOURCES, "-o", path)
    screen.shows(r"recording +(0\.[5-9]|[1-9])")
    screen.press("\x03")
    assert screen.end() == 0
    assert "Traceback" not in screen.output
    assert_consecutive(decode(path).counters)


# --- what fails -----------------------------------------------------------------------------------

FAILING = [
    (2, ["--video", "tape:recorder"], "tape"),
    (2, ["--video", "test:colour=red"], "colour"),
    (1, ["--video", "file:/no/such/file.webm"], "/no/such/file.webm"),
    (1, ["--video", "file:TEXT.webm"], "TEXT.webm"),
    (1, ["--video", "file:TEXT.txt"], "TEXT.txt"),
    (2, ["--video", "test:", "--width", "0"], "0"),
    (2, ["--video", "test:", "--width", "99999"], "99999"),
    (2, ["--video", "test:", "--frame-rate", "0"], "0"),
    (2, ["--audio", "test:", "--sample-rate", "7"], "7"),
    (2, ["--audio", "test:", "--channels", "99"], "99"),
    (2, ["--audio", "test:", "--audio-bitrate", "-1"], "-1"),
    (2, ["--video", "test:", "--type", "video/mp4"], "video/mp4"),
    (1, ["--video", "test:", "--type", "audio/webm"], "video track"),
    (2, ["--video", "test:", "--duration", "0"], "0"),
    (2, ["--video", "test:", "--duration", "nan"], "nan"),
    (2, ["--video", "test:", "--service", "udp://nowhere"], "nowhere"),
    (1, ["--video", "test:", "--service", "nowhere.json"], "no such connection file"),
]


@pytest.mark.parametrize(("code", "arguments", "text"), FAILING, ids=[" ".join(case[1]) for case in FAILING])
def test_each_failure_has_its_exit_code_and_one_line(code, arguments, text, tmp_path):
    for suffix in (".webm", ".txt"):
        (tmp_path / f"TEXT{suffix}").write_text("this is no film\n" * 100)
    given = [one.replace("file:TEXT", f"file:{tmp_path}/TEXT") for one in arguments]
    # Most are tried inside this process, for speed.
    call = run if arguments[1] == "tape:recorder" or arguments[-1] in ("file:TEXT.webm", "audio/webm") else run_inside
    done = call("record", *given, *([] if "--duration" in given else ["--duration", 1]), "-o", tmp_path / "never.webm")
    assert done.returncode == code, done.stderr
    assert_one_line(done.stderr)
    assert text in done.stderr
    assert done.stdout == "" and not (tmp_path / "never.webm").exists()


@pytest.mark.parametrize("arguments", [["--width", "wide"], ["--no-such-option"], ["--duration"]])
def test_what_is_no_argument_is_a_usage_error(arguments):
    done = run_inside("record", "--video", "test:", *arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr and arguments[0] in done.stderr


@pytest.fixture
def no_role_may_start():
    """Notes every role process that appears during the test."""
    seen, over, known = [], threading.Event(), set(role_processes())

    def watch():
        while not over.wait(0.05):  # a role lives longer
            seen.extend(line for pid, line in role_processes().items() if pid not in known and " record " not in line)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield seen
    over.set()
    watcher.join()


def test_a_place_that_cannot_be_written_is_found_before_anything_starts(tmp_path, no_role_may_start):
    (tmp_path / "file").touch()
    places = {tmp_path / "missing" / "demo.webm": "No such file", tmp_path: "is a directory"}
    places[tmp_path / "file" / "demo.webm"] = "Not a directory"
    for path, text in places.items():
        done = run("record", *SOURCES, "--duration", 1, "-o", path)
        assert done.returncode == 1
        assert_one_line(done.stderr)
        assert str(path) in done.stderr and text in done.stderr
    assert no_role_may_start == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_watch_for_role_processes_sees_them(tmp_path, no_role_may_start):
    """The test above means something."""
    assert run("record", *SOURCES, "--duration", 0.1, "-o", tmp_path / "demo.webm").returncode == 0
    assert any(" controller " in line for line in no_role_may_start)
    no_role_may_start.clear()


def test_without_any_source_the_message_says_what_to_try(tmp_path):
    if any(not device.device_id.startswith("screen:") for device in recsvc.enumerate_devices()):
        pytest.skip("this machine has a microphone or a camera")
    done = run("record", "-o", tmp_path / "demo.webm")
    assert done.returncode == 1
    assert_one_line(done.stderr)
    assert "--audio test: --video test:" in done.stderr


# --- the other commands ---------------------------------------------------------------------------


def test_types_lists_what_can_be_recorded():
    done = run("types")
    assert done.returncode == 0
    types = done.stdout.split()
    assert "video/webm;codecs=vp8,opus" in types and "audio/ogg;codecs=opus" in types
    assert all(recsvc.MediaRecorder.is_type_supported(one) for one in types)


def test_devices_lists_or_says_that_there_are_none():
    plain, as_json = run("devices"), run("devices", "--json")
    assert plain.returncode == as_json.returncode == 0
    found = json.loads(as_json.stdout)
    assert {"device_id", "kind", "label"} <= set.union({"device_id", "kind", "label"}, *map(set, found))
    if found:
        assert all(device["device_id"] in plain.stdout for device in found)
    else:
        assert "test:" in plain.stdout


def test_version_and_help():
    assert run("--version").stdout == f"recsvc {recsvc.__version__}\n"
    overview = run("--help")
    assert overview.returncode == 0
    assert all(command in overview.stdout for command in ("record", "devices", "types"))
    record = run("record", "--help")
    assert record.returncode == 0
    assert "Usage: recsvc record" in record.stdout and "--duration" in record.stdout
    unknown = run("rekord")
    assert unknown.returncode == 2 and "rekord" in unknown.stderr


def test_output_that_nobody_reads_is_no_traceback(tmp_path):
    """``recsvc types | head -1``."""
    done = subprocess.run(
        f"{sys.executable} -m recsvc types | true", shell=True, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert "Traceback" not in done.stderr
