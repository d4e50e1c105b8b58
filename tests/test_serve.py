"""``recsvc serve`` as a process: where it is found, who may run beside it, how it ends, what it logs."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ebml
import pytest
from daemons import Daemon, daemon, refused
from fixtures_media import wait_until
from listening import ALL_IN_ORDER, record_events, types_of
from media import DEADLINE_S, assert_accounted, decode, tone
from services import roles, worker_of

import recsvc
from recsvc.caller import connections
from recsvc.errors import ServiceError
from recsvc.process import services
from recsvc.serve.logs import _renderer

SMALL = {"source": "test:pattern=counter&seed=7", "width": 160, "height": 120, "frame_rate": 10}


@pytest.fixture(autouse=True)
def no_connection_stays() -> Iterator[None]:
    yield
    connections.close_all()


def begin(service: str, blocks: int = 5) -> tuple[recsvc.MediaRecorder, recsvc.AudioSource, list]:
    """A recording of pushed sound, which has that many blocks of 960 samples."""
    source = recsvc.AudioSource(48_000, 1, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]), service=service)
    events = record_events(recorder)
    recorder.start()
    at_ns = time.monotonic_ns()
    for number in range(blocks):
        assert source.write(tone(960), at_ns + number * 20_000_000)
    return recorder, source, events


def finish(recorder: recsvc.MediaRecorder, source: recsvc.AudioSource) -> recsvc.Blob:
    recorder.stop()
    recorder.wait("stop", DEADLINE_S)
    source.end()
    return recorder.recording


# --- where it is found ----------------------------------------------------------------------------


def test_the_connection_file_is_for_this_user_alone_and_goes_with_the_service(place: Path) -> None:
    with daemon(place) as one:
        status = one.file.stat()
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert stat.S_IMODE(one.file.parent.stat().st_mode) == 0o700
        assert one.connection.pid == one.process.pid and one.connection.spool == str(one.spool)
        recorder, source, _ = begin(one.service)
        assert len(decode(finish(recorder, source)).samples) == 5 * 960
        assert [path.parent for path in one.spool.glob("*.webm")] == [one.spool]
    assert sorted(one.file.parent.iterdir()) == [] and not (one.spool / ".recsvc-serve").exists()


def test_who_names_no_service_finds_the_daemon_of_this_user(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    monkeypatch.setattr(services, "SYSTEM_DIRECTORY", place / "system")
    before = roles("controller")
    asks: list[Callable[[], object]] = [
        services.default_service,
        recsvc.recording.list,
        lambda: recsvc.recording.get("x"),
        lambda: asyncio.run(recsvc.aio.recording.list()),
        lambda: asyncio.run(recsvc.aio.recording.get("x")),
    ]
    for ask in asks:
        with pytest.raises(ServiceError, match="recsvc serve"):
            ask()
    assert roles("controller") == before, "none is started for that"
    made = Daemon(place, "--directory", str(place / "recsvc"))
    made.file = place / "recsvc" / "service.json"
    try:
        made.ready()
        assert services.default_service() == str(made.file)
        assert services.address_of(services.default_service()).endpoint == f"ipc://{place}/recsvc/control"
        recorder, source, _ = begin(made.service)
        (found,) = recsvc.recording.list()
        assert recsvc.recording.get(found.id).state == "recording"
        assert [one.id for one in asyncio.run(recsvc.aio.recording.list())] == [found.id]
        assert asyncio.run(recsvc.aio.recording.get(found.id)).id == found.id
        command = [sys.executable, "-m", "recsvc", "list", "--json"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
        assert [one["recording"] for one in json.loads(listed.stdout)] == [found.id]
        finish(recorder, source)
        monkeypatch.setenv("RECSVC_SERVICE", "tcp://recorder:7700")
        assert services.default_service() == "tcp://recorder:7700"
    finally:
        assert made.end() == 0


def test_a_file_that_a_killed_daemon_left_is_known_for_what_it_is(place: Path) -> None:
    one = Daemon(place).ready()
    workers = one.workers()
    one.process.kill()
    one.process.wait()
    assert one.file.exists()

    def refusal() -> str:
        with pytest.raises(ServiceError) as refused:
            connections.connect(one.service)
        return str(refused.value)

    # A child that was just being started holds the file's lock for a moment longer.
    ended = f"process {one.process.pid}) has ended: start it again"
    wait_until(lambda: ended in refusal(), "the end of all that hold its file", DEADLINE_S)
    wait_until(lambda: not [pid for pid in workers if Path(f"/proc/{pid}/fd").exists()], "its workers' end", DEADLINE_S)
    with daemon(place) as two:
        recorder, source, _ = begin(two.service)
        assert len(decode(finish(recorder, source)).samples) == 5 * 960


def test_who_names_no_service_passes_over_a_daemon_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, machines = tmp_path / "recsvc" / "service.json", tmp_path / "system" / "service.json"
    monkeypatch.delenv("RECSVC_SERVICE", raising=False)
    monkeypatch.setattr(services, "service_directory", lambda: own.parent)
    monkeypatch.setattr(services, "SYSTEM_DIRECTORY", machines.parent)
    for path in (own, machines):
        path.parent.mkdir(mode=0o700)
    own.write_text('{"endpoint": "ipc:///own", "pid": 7}')
    with pytest.raises(ServiceError, match="process 7. has ended: start it again"):
        services.default_service()
    living = services.Published(machines, services.Connection(endpoint="ipc:///machines", pid=8))
    assert services.default_service() == str(machines)
    own.write_text("no JSON")
    assert services.default_service() == str(own), "what is wrong with it is for its user to know"
    if os.geteuid() == 0:  # nobody else can give a file away
        os.chown(own, 12345, -1)
        assert services.default_service() == str(machines), "another user's, where anybody may make one (/tmp)"
    own.unlink()
    its = services.Published(own, services.Connection(endpoint="ipc:///own", pid=7))
    assert services.default_service() == str(own)
    its.remove()
    living.remove()


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        ("{}", 0o600, "not valid"),
        ("[]", 0o600, "not valid"),
        ("no JSON", 0o600, "not valid"),
        ('{"endpoint": 7}', 0o600, "not valid"),
        ('{"endpoint": "http://x"}', 0o600, "not valid"),
        ('{"endpoint": "/etc/passwd"}', 0o600, "not valid"),
        ('{"endpoint": "tcp://x:1", "secret_key": "s"}', 0o640, "chmod 600"),
        ('{"endpoint": "tcp://x:1", "pid": 1}', 0o600, "has ended"),
    ],
)
def test_a_connection_file_of_no_use_is_refused(content: str, mode: int, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "service.json"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(ServiceError, match=expected):
        services.address_of(path)


def test_a_file_for_another_machine_is_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "studio.json"
    path.write_text(json.dumps({"endpoint": "tcp://studio:7700", "server_key": "S", "secret_key": "C", "later": 1}))
    path.chmod(0o600)
    found = services.address_of(path)
    assert (found.endpoint, found.server_key, found.secret_key) == ("tcp://studio:7700", "S", "C")
    assert found.at("tcp://studio:7701").server_key == "S"


@pytest.mark.parametrize(
    "name", ["tcp://*:1", "tcp://host", "tcp://host:0", "tcp://:1", "udp://h:1", "ipc://", " ", "a\0"]
)
def test_a_name_that_is_no_service_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="tcp://|ipc://"):
        connections.connect(name)


def test_a_directory_is_no_connection_file(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="no connection file"):
        services.address_of(tmp_path)
    with pytest.raises(ServiceError, match="no such connection file"):
        services.address_of(tmp_path / "none.json")


# --- beside others --------------------------------------------------------------------------------


def test_a_second_daemon_is_refused_and_learns_who_is_there(place: Path) -> None:
    with daemon(place) as one:
        mine = ["--directory", str(place / "e"), "--spool", str(place / "other")]
        for changed, expected in (
            (["--spool", str(one.spool)], f"process {one.process.pid} at ipc://{place}/d/control has the spool"),
            (["--connection-file", one.service], f"process {one.process.pid} has the connection file"),
            (["--endpoint", one.connection.endpoint], f"process {one.process.pid} serves at"),
        ):
            done = refused(*mine, *changed)
            lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
            assert done.returncode == 1 and len(lines) == 1 and expected in lines[0], done.stderr
        assert one.connection.pid == one.process.pid, "it goes on"
        recorder, source, _ = begin(one.service)
        finish(recorder, source)
        (place / "two").mkdir()
        with daemon(place / "two"):
            assert connections.connect(one.service).usable


def test_a_spool_that_no_client_could_be_sent_is_refused(place: Path) -> None:
    spool = os.fsdecode(os.fsencode(place) + b"/\xff")
    done = refused("--directory", str(place / "d"), "--spool", spool)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "UTF-8" in done.stderr


def test_what_is_in_the_way_is_one_line(place: Path) -> None:
    (place / "file").write_text("mine")
    (place / "open").mkdir(mode=0o755)
    (place / "open").chmod(0o755)
    for arguments, expected in (
        (["--spool", str(place / "file")], "cannot be written to the spool"),
        (["--spool", "/proc/none"], "cannot be written to the spool"),
        (["--directory", str(place / "open")], "must be this user's alone"),
        (["--directory", str(place / "file")], "must be this user's alone"),
        (["--endpoint", f"ipc://{place}/file"], "no socket"),
        (["--endpoint", f"ipc://{place}/none/x"], "none"),
        (["--connection-file", f"{place}/none/x"], "none"),
    ):
        done = refused("--directory", str(place / "d"), "--spool", str(place / "s"), *arguments)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
        assert done.returncode == 1 and len(lines) == 1 and expected in lines[0], done.stderr
    assert (place / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["with spaces and ünicode", "'quoted\" $HOME", "relative", "long/" + "l" * 30])
def test_odd_directories(name: str, place: Path) -> None:
    odd = place / name
    odd.mkdir(parents=True)
    given = ["--directory", "d", "--spool", "kept/deep/er"] if name == "relative" else []
    with daemon(odd, *given, cwd=odd) as one:
        recorder, source, _ = begin(one.service)
        assert len(decode(finish(recorder, source)).samples) == 5 * 960
        spool = odd / "kept/deep/er" if given else one.spool
        assert len(list(spool.glob("*.webm"))) == 1


# --- the end --------------------------------------------------------------------------------------


def test_sigterm_finishes_twenty_recordings(place: Path) -> None:
    """Those of pushed and of captured media; their callers get the data and the end, and no error."""
    with daemon(place, "--workers", "2") as one:
        pushed = [begin(one.service, blocks=10 + number) for number in range(15)]
        captured = []
        for _ in range(5):
            stream = recsvc.get_user_media(video=SMALL, service=one.service)
            recorder = recsvc.MediaRecorder(stream, service=one.service)
            captured.append((recorder, stream, record_events(recorder)))
            recorder.start()
        for recorder, _, _ in captured:
            wait_until(lambda of=recorder: of.statistics().duration > 0.2, "pictures", DEADLINE_S)
        one.process.send_signal(signal.SIGTERM)
        for recorder, _, events in [*pushed, *captured]:
            recorder.wait("stop", DEADLINE_S)
            assert types_of(events) == ALL_IN_ORDER and recorder.state == "inactive"
        assert one.process.wait(DEADLINE_S) == 0
    for number, (recorder, source, _) in enumerate(pushed):
        found = decode(recorder.recording)
        assert len(found.samples) > (10 + number - 5) * 960, "a message has up to 100 ms, and waits here for them"
        assert_accounted(recorder.statistics(), found)
        assert not source.write(tone(960)), "nobody records any more"
    for recorder, stream, _ in captured:
        assert len(decode(recorder.recording).pictures) >= 2
        [track] = stream.get_tracks()
        wait_until(lambda of=track: of.ready_state == "ended", "the end of what was captured", DEADLINE_S)
    [last] = one.lines(event="ended: ")
    assert last["event"] == "ended: 20 recordings were finished, 0 were cut at the limit"
    with pytest.raises(ServiceError):
        pushed[0][0].start()
    with daemon(place) as again:
        listed = recsvc.recording.list(service=again.service)
        assert [one.state for one in listed] == ["finished"] * 20


def test_what_is_not_finished_in_time_is_cut_and_plays(place: Path) -> None:
    """Its worker stands still; the other one completes the file."""
    with daemon(place, "--finish-limit", "0.2", "--workers", "2") as one:
        recorder, source, events = begin(one.service, blocks=100)
        wait_until(lambda: recorder.statistics().size_bytes > 2_000, "a first cluster in its file", DEADLINE_S)
        wait_until(lambda: len(one.workers()) == 2, "the other worker", DEADLINE_S)
        [file] = one.spool.glob("*.webm")
        worker = worker_of(file)
        os.kill(worker, signal.SIGSTOP)
        try:
            one.process.send_signal(signal.SIGTERM)
            assert one.process.wait(DEADLINE_S) == 0
        finally:
            if Path(f"/proc/{worker}").exists():
                os.kill(worker, signal.SIGCONT)
        recorder.wait("stop", DEADLINE_S)
    assert one.lines(event="0 recordings were finished, 1 were cut", level="warning")
    assert "dataavailable" in types_of(events)
    source.end()
    assert ebml.read(file.read_bytes()).duration_ms


def test_a_second_sigterm_waits_no_longer(place: Path) -> None:
    """Ten minutes were allowed. One that comes at once is the same wish, passed on twice."""
    with daemon(place, "--finish-limit", "10m") as one:
        _, source, events = begin(one.service, blocks=100)
        [worker] = one.workers()
        os.kill(worker, signal.SIGSTOP)
        try:
            one.process.send_signal(signal.SIGTERM)
            one.process.send_signal(signal.SIGTERM)
            wait_until(lambda: one.lines(event="ending: 1 recordings"), "the end's begin", DEADLINE_S)
            wait_until(lambda: one.lines(event="1 were cut") or one.process.send_signal(signal.SIGTERM), "its end", 20)
            assert one.process.wait(DEADLINE_S) == 0
        finally:
            if Path(f"/proc/{worker}").exists():
                os.kill(worker, signal.SIGCONT)
    assert one.lines(event="1 were cut")
    source.end()
    connections.close_all()
    assert types_of(events)[-1] == "stop"


def test_sigterm_twice_at_once_cuts_nothing(place: Path) -> None:
    with daemon(place) as one:
        recorder, _, events = begin(one.service, blocks=50)
        one.process.send_signal(signal.SIGTERM)
        one.process.send_signal(signal.SIGINT)
        recorder.wait("stop", DEADLINE_S)
        assert types_of(events) == ALL_IN_ORDER
        assert one.process.wait(DEADLINE_S) == 0
    assert len(decode(recorder.recording).samples) >= 49 * 960  # the last block may have waited to fill a message
    assert one.lines(event="1 recordings were finished, 0 were cut")


def test_sighup_ends_nothing(place: Path) -> None:
    with daemon(place) as one:
        recorder, source, _ = begin(one.service)
        one.process.send_signal(signal.SIGHUP)
        wait_until(lambda: one.lines(event="SIGHUP"), "that it took notice", DEADLINE_S)
        assert len(decode(finish(recorder, source)).samples) == 5 * 960


def test_killed_and_started_again_at_the_same_place(place: Path) -> None:
    """With another's sockets and locks still there. What was recorded is there, and new recordings begin."""
    one = Daemon(place).ready()
    recorder, source, events = begin(one.service, blocks=100)
    wait_until(lambda: recorder.statistics().size_bytes > 0, "a file", DEADLINE_S)
    one.process.kill()
    one.process.wait()
    recorder.wait("stop", DEADLINE_S)
    assert types_of(events) == ["start", "error", "dataavailable", "stop"]
    found = len(decode(events[2].data).samples)
    assert found >= 99 * 960
    source.end()
    with daemon(place) as two:
        assert two.connection.endpoint == f"ipc://{place}/d/control"
        again, source, _ = begin(two.service)
        assert len(decode(finish(again, source)).samples) == 5 * 960


# --- what it says ---------------------------------------------------------------------------------


def test_each_line_that_concerns_a_recording_has_its_id(place: Path) -> None:
    with daemon(place) as one:
        recorder, source, _ = begin(one.service)
        recorder.pause()
        recorder.resume()
        finish(recorder, source)
        broken, source, events = begin(one.service)
        [name] = (
            {path.stem for path in one.spool.glob("*.webm")}
            - {Path(str(line)).name for line in ()}
            - {line["recording"] for line in one.lines(event="recording finished")}
        )
        os.kill(one.workers()[0], signal.SIGKILL)
        broken.wait("stop", DEADLINE_S)
        source.end()
    lives: dict[str, list[str]] = {}
    for line in one.lines():
        assert {"timestamp", "level", "logger", "event"} <= line.keys()
        if "recording" in line:
            lives.setdefault(line["recording"], []).append(line["event"].partition(":")[0])
    assert list(lives.values())[0] == [f"recording {step}" for step in ("started", "paused", "resumed", "finished")]
    assert lives[name] == [f"recording {step}" for step in ("started", "failed", "finished")]
    [finished] = one.lines(event="recording finished", recording=next(iter(lives)))
    assert finished["duration_s"] > 0 and finished["size_bytes"] > 0 and finished["dropped"] == 0
    assert one.lines(event="encode process", level="warning"), "that the worker ended is logged"


def test_what_a_worker_writes_is_a_line_with_the_recordings_id(place: Path) -> None:
    """A worker whose file cannot be written any more says so by itself."""
    (place / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'encode' in sys.argv:\n"
        "    import os\n"
        "    if os.environ.get('RECSVC_ROLE_LOG'):\n"
        "        from recsvc.encode import recording\n"
        "        def broken(*_): os.write(2, b'plain words\\n'); raise KeyError('a mistake of ours')\n"
        "        recording.Recording.encode = broken\n"
    )
    with daemon(place, PYTHONPATH=str(place)) as one:
        recorder, source, events = begin(one.service)
        recorder.wait("stop", DEADLINE_S)
        source.end()
        assert types_of(events)[1] == "error"
        [line] = wait_until(lambda: one.lines(logger="recsvc.encode"), "the worker's line", DEADLINE_S)
    assert line["recording"] == one.lines(event="recording started")[0]["recording"]
    assert line["level"] == "error" and "a mistake of ours" in line["exception"]
    assert one.lines(logger="stderr", event="plain words")


def test_the_log_level_and_console_lines(place: Path) -> None:
    with daemon(place, "--log-format", "console", "--log-level", "warning") as one:
        recorder, source, _ = begin(one.service)
        finish(recorder, source)
    assert (place / "log").read_text() == ""


def test_what_others_name_does_nothing_to_the_terminal_that_shows_the_log() -> None:
    render = _renderer(True, False)
    fields = {"event": "name\n2026 [info] \x1b[31mred\x07\u202e", "recording": "a\rb", "exception": "one\ntwo\x1b[2J"}
    text = render({"timestamp": "now", "level": "info", "logger": "recsvc", **fields})
    assert not set(text) & set("\r\x1b\x07\u202e"), text
    assert [line for line in text.splitlines() if "2026" in line] == [text.splitlines()[0]]
    assert "\ntwo" in text


def test_a_log_that_nobody_reads_holds_up_nothing(place: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    filled = b"x" * 4096
    try:
        while True:
            os.write(writing, filled)
    except BlockingIOError:
        os.set_blocking(writing, True)
    log = place / "log"
    log.symlink_to(f"/proc/{os.getpid()}/fd/{writing}")
    try:
        with daemon(place) as one:
            for _ in range(3):
                recorder, source, _ = begin(one.service)
                assert len(decode(finish(recorder, source)).samples) == 5 * 960
    finally:
        os.close(reading)
        os.close(writing)


# --- the init system ------------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_the_init_system_is_notified(abstract: bool, place: Path) -> None:
    name = f"@recsvc-test-{os.getpid()}" if abstract else str(place / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as init:
        init.bind(name.replace("@", "\0"))
        init.settimeout(DEADLINE_S)
        watched = {"WATCHDOG_USEC": "200000"}
        with daemon(place, NOTIFY_SOCKET=name, **watched) as one:
            first = init.recv(4096).decode().splitlines()
            assert first == ["READY=1", f"STATUS=serving at {one.connection.endpoint}"]
            assert [init.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            recorder, source, _ = begin(one.service)
            for pid in one.workers():
                assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()
            one.process.send_signal(signal.SIGTERM)
            left = []
            while "STOPPING=1" not in left:
                left = init.recv(4096).decode().splitlines()
            assert left == ["STOPPING=1", "STATUS=finishing 1 recordings, within 10 s"]
            recorder.wait("stop", DEADLINE_S)
            source.end()


@pytest.mark.parametrize("name", ["/nowhere/notify", "@", "x" * 200, "vsock:2:1"])
def test_a_notification_socket_of_no_use_is_no_reason_not_to_serve(name: str, place: Path) -> None:
    with daemon(place, NOTIFY_SOCKET=name) as one:
        recorder, source, _ = begin(one.service)
        finish(recorder, source)


# --- how soon -------------------------------------------------------------------------------------


@pytest.mark.alone
def test_it_is_ready_hardly_later_than_a_private_controller(place: Path) -> None:
    """It reads settings, and writes a file; both start a worker. The fastest of a few of each are compared."""
    private, shared = [], []
    for number in range(3):
        began = time.perf_counter()
        recsvc.get_user_media(audio="test:").close()
        private.append(time.perf_counter() - began)
        connections.close_all()
        (place / str(number)).mkdir()
        began = time.perf_counter()
        with daemon(place / str(number)):
            shared.append(time.perf_counter() - began)
    assert min(shared) < 4 * min(private), (shared, private)
