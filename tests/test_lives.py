"""The roles' lives: what they begin, what they leave behind, and that they touch nothing else."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from daemons import refused
from fixtures_media import wait_until
from listening import ALL_IN_ORDER, record_events, types_of
from media import DEADLINE_S, SMALL_TEST, decode
from services import begin, children, roles, run, service, workers_of
from traces import RUNTIME, role_processes, runtime_directories

import recsvc
from recsvc.caller import attempts, client, connections, user_media
from recsvc.common.limits import DRAIN_DEADLINE_NS, WORKER_PAUSE_MAX_NS, WORKER_PAUSE_NS, WORKER_STEADY_NS, S
from recsvc.controller.restarts import Restarts, pause_ns
from recsvc.controller.workers import _quotas, cores
from recsvc.errors import InvalidStateError, NotSupportedError, QuotaExceededError, RecorderError, ServiceError
from recsvc.process import runtime
from recsvc.wire import messages, sockets

pytestmark = pytest.mark.usefixtures("own_controller")


def tree(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


# --- what nobody waits for any more ---------------------------------------------------------------


def test_a_source_whose_caller_gave_up_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connections.connect()
    [controller] = roles("controller")
    os.kill(controller, signal.SIGSTOP)  # the request, and that it is given up, arrive together
    try:
        monkeypatch.setattr(user_media, "OPEN_SOURCE_DEADLINE_NS", 1)
        with pytest.raises(ServiceError):
            recsvc.get_user_media(audio=SMALL_TEST)
    finally:
        os.kill(controller, signal.SIGCONT)
    connection.request(messages.Hello(client=connection.name))
    wait_until(lambda: not roles("capture"), "the end of what nobody wants", DEADLINE_S)


def test_a_source_may_be_closed_before_the_request_to_open_it_comes() -> None:
    connection = connections.connect()
    track = f"audio-{uuid.uuid4().hex[:12]}"
    connection.request(messages.CloseTrack(track=track))
    with pytest.raises(InvalidStateError, match="closed before it was open"):
        connection.request(messages.OpenSource(client="c", audio={"source": SMALL_TEST, "track": track}))
    for name in ("../x", "", ".x", None, "x" * 101, "a\n"):
        with pytest.raises(ValueError, match="needs a name"):
            connection.request(messages.OpenSource(client="c", audio={"source": SMALL_TEST, "track": name}))
    assert roles("capture") == []


# --- run by hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["nothing", "a directory"])
def test_a_service_deletes_nothing_of_others(given: str, place: Path) -> None:
    work = place / "work"
    (work / "thesis").mkdir(parents=True)
    work.chmod(0o700)
    (work / "thesis" / "chapter1.tex").write_text("once")
    (work / "events").write_text("has the name of a socket")
    before = tree(work)
    directory = {"nothing": [], "a directory": ["--directory", str(work)]}
    number = {"nothing": signal.SIGTERM, "a directory": signal.SIGINT}[given]
    process = begin(work / "c.sock", *directory[given], cwd=work, named="c.sock")
    try:
        recorder = recsvc.MediaRecorder(
            recsvc.MediaStream([recsvc.AudioSource(8000, 1).track]), service=f"ipc://{work}/c.sock"
        )
        with recorder:
            recorder.start()
        connections.close_all()
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert tree(work) == before
    assert runtime_directories() == []


def test_one_service_at_an_endpoint(place: Path) -> None:
    endpoint = place / "c.sock"
    with service(endpoint):
        second = run(place / "second", "--endpoint", f"ipc://{endpoint}")
        assert second.returncode == 1 and "serves at" in second.stderr and second.stderr.count("\n") == 1
        assert connections.connect(f"ipc://{endpoint}").usable
        connections.close_all()
    (place / "file").write_text("mine")
    third = run(place / "third", "--endpoint", f"ipc://{place}/file")
    assert third.returncode == 1 and "no socket" in third.stderr
    assert (place / "file").read_text() == "mine" and tree(place) == ["file"]


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:5555", "tcp://*:1", "ipc://", "inproc://x", "/run/x", "ipc://*"])
def test_other_transports_are_refused_by_name(endpoint: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(place, "--endpoint", endpoint)
    assert done.returncode == 2 and "ipc:///" in done.stderr and done.stderr.count("\n") == 1
    if endpoint.startswith(("tcp://127.", "/")):
        return  # a client takes these
    with pytest.raises(ValueError, match="ipc:///|tcp://HOST"):
        recsvc.get_user_media(audio="test:", service=endpoint)
    monkeypatch.setenv("RECSVC_SERVICE", endpoint)
    with pytest.raises(ValueError, match="ipc:///|tcp://HOST"):
        recsvc.get_user_media(audio="test:")


# --- runtime directories --------------------------------------------------------------------------


def test_what_died_is_swept_and_what_lives_is_not(tmp_path: Path) -> None:
    living = runtime.make(RUNTIME)
    script = f"import pathlib, recsvc.process.runtime as r; print(r.make(pathlib.Path({str(RUNTIME)!r})).path)"
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    dead = Path(said.strip())
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(dead / "control"))
    bound.close()
    foreign = RUNTIME / "recsvc-notes"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    link = RUNTIME / "recsvc-link"
    link.symlink_to(living.path)
    try:
        assert dead.exists()
        connection = connections.connect()
        assert connection.usable
        assert not dead.exists()
        assert living.path.is_dir() and (foreign / "notes.txt").is_file() and link.is_symlink()
    finally:
        link.unlink()
        (foreign / "notes.txt").unlink()
        foreign.rmdir()
        living.leave()
    assert not living.path.exists()


def test_the_last_to_leave_removes_a_runtime_directory() -> None:
    first = runtime.make(RUNTIME)
    second = runtime.join(first.path)
    assert second is not None and runtime.join(RUNTIME) is None
    first.leave()
    first.leave()
    assert first.path.is_dir()
    second.leave()
    assert not first.path.exists() and runtime.join(first.path) is None


def test_a_service_that_was_killed_leaves_its_successor_alone(place: Path, spool: Path) -> None:
    endpoint = place / "c.sock"
    name = f"ipc://{endpoint}"
    first = begin(endpoint, "--directory", str(place))
    with recsvc.get_user_media(video=SMALL_TEST, service=name) as opened:
        recorder = recsvc.MediaRecorder(opened, service=name)
        recorder.start()
        orphans = children("encode", first.pid) + children("capture", first.pid)
        first.kill()
        first.wait()
        with service(endpoint, "--directory", str(place)) as second:
            recorder.wait("stop", DEADLINE_S)
            wait_until(lambda: not set(orphans) & set(role_processes()), "the end of the first's roles", DEADLINE_S)
            with recsvc.get_user_media(video=SMALL_TEST, service=name) as again:
                later = recsvc.MediaRecorder(again, service=name)
                later.start()
                time.sleep(0.3)
                later.close()
            assert second.poll() is None
            connections.close_all()
    del recorder, later
    assert tree(place) == []


# --- the working directory ------------------------------------------------------------------------


@pytest.mark.parametrize("path", [None, f"{os.pathsep}."])
def test_no_role_imports_from_the_working_directory(path: str | None, tmp_path: Path) -> None:
    for module in ("msgspec", "zmq", "queue", "av", "sounddevice", "logging", "argparse"):
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({module!r})")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = f"""if True:
        import os, recsvc
        if {path!r} is not None:
            os.environ |= {{"PYTHONPATH": {path!r}, "PYTHONSAFEPATH": ""}}
        recsvc.enumerate_devices()
        with recsvc.get_user_media(audio="test:") as stream, recsvc.MediaRecorder(stream) as recorder:
            recorder.start()
        assert recorder.recording.size
    """
    command = [sys.executable, "-P", "-c", program]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=DEADLINE_S)
    assert not (tmp_path / "ran").exists()


# --- the spool ------------------------------------------------------------------------------------


def spool_of_a_file(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "file").touch()
    return {"RECSVC_SPOOL": str(tmp_path / "file")}


SPOOLS = {
    "a file": spool_of_a_file,
    "below a file": lambda tmp_path: {"RECSVC_SPOOL": spool_of_a_file(tmp_path)["RECSVC_SPOOL"] + "/spool"},
    "not writable": lambda tmp_path: {"RECSVC_SPOOL": "/proc/self/task"},
    "no home": lambda tmp_path: {"RECSVC_SPOOL": "", "XDG_STATE_HOME": "", "HOME": ""},
}


@pytest.mark.parametrize("kind", SPOOLS)
def test_a_spool_that_cannot_be_written_is_told_at_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = SPOOLS[kind](tmp_path)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    where = given["RECSVC_SPOOL"] or "~/.local/state/recsvc/spool"
    with pytest.raises(RecorderError, match="RECSVC_SPOOL") as raised:
        recsvc.get_user_media(audio="test:")
    assert where in str(raised.value)
    assert not Path("/.local").exists()
    done = refused("--directory", str(tmp_path / "d"))
    assert done.returncode in (1, 2) and where.replace("/spool", "") in done.stderr and done.stderr.count("\n") == 1
    assert not Path("/.local").exists()


# --- descriptors ----------------------------------------------------------------------------------


def test_roles_raise_their_limit_of_descriptors_and_leave_the_callers() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with recsvc.get_user_media(audio=SMALL_TEST):
            for role in ("controller", "encode", "capture"):
                assert [resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] for pid in roles(role)[:1]] == [hard]
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 512
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_recording_that_its_source_cannot_feed_ends_at_once_and_says_why() -> None:
    with recsvc.get_user_media(audio=SMALL_TEST) as stream:
        [capture] = roles("capture")
        limits = resource.prlimit(capture, resource.RLIMIT_NOFILE)
        looks: list[set[int]] = []

        def settled() -> bool:
            """Its caller has connected: libzmq aborts where it cannot accept a connection."""
            looks.append({int(name) for name in os.listdir(f"/proc/{capture}/fd")})
            return len(looks) > 50 and all(look == looks[-1] for look in looks[-50:])

        wait_until(settled, "the caller's connection", DEADLINE_S)
        taken = looks[-1]
        lowest_free = next(number for number in range(len(taken) + 1) if number not in taken)
        recorder = recsvc.MediaRecorder(stream)
        resource.prlimit(capture, resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        try:
            recorder.start()
            error = recorder.wait("error", 5).error  # before any stop() and its drain
            recorder.wait("stop", 5)
        finally:
            resource.prlimit(capture, resource.RLIMIT_NOFILE, limits)
        assert isinstance(error, QuotaExceededError) and "ulimit -n" in str(error)
        assert recorder.state == "inactive"
        recorder.start()
        wait_until(lambda: recorder.statistics().tracks[0].frames_encoded, "sound", DEADLINE_S)
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)


def test_where_nobody_answers_connecting_ends_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "ATTEMPTS_NS", 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for endpoint in (f"ipc://{tmp_path}/nobody", f"tcp://127.0.0.1:{port}"):
        with pytest.raises(ServiceError, match="nobody answers at .*: does a recsvc service run there"):
            connections.connect(endpoint)


def test_a_connection_that_fails_leaves_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "READY_DEADLINE_NS", 1)
    counts = []
    for _ in range(4):
        with pytest.raises(ServiceError, match="does a recsvc service run there"):
            connections.connect(f"ipc://{tmp_path}/nobody")
        counts.append(0)
        wait_until(lambda: _settled(counts), "descriptors to be closed", DEADLINE_S)
    assert counts[-1] <= counts[1]


def _settled(counts: list[int]) -> bool:
    """Counts descriptors; whether it is the same count as just before: ZeroMQ closes on a thread of its own."""
    before, counts[-1] = counts[-1], len(os.listdir("/proc/self/fd"))
    time.sleep(0.01)
    return before == counts[-1]


# --- workers --------------------------------------------------------------------------------------


def test_a_burst_of_recordings_is_spread_over_all_workers(spool: Path) -> None:
    sources = [recsvc.AudioSource(8000, 1) for _ in range(16)]
    recorders = [recsvc.MediaRecorder(recsvc.MediaStream([source.track])) for source in sources]
    wait_until(lambda: _all_workers_take(recorders[0], recorders[1], spool), "workers that are ready", DEADLINE_S)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda recorder: recorder.start(), recorders))
    found = list(workers_of(list(spool.iterdir())).values())
    assert len(found) == 16
    counts = [found.count(worker) for worker in set(found)]
    assert len(counts) == len(os.sched_getaffinity(0)) and max(counts) - min(counts) <= 1
    for recorder in recorders:
        recorder.stop()
    for recorder in recorders:
        recorder.wait("stop", DEADLINE_S)


def _all_workers_take(one: recsvc.MediaRecorder, other: recsvc.MediaRecorder, spool: Path) -> bool:
    """Whether two recordings get two workers: while the second one starts, the first gets both."""
    for recorder in (one, other):
        recorder.start()
    workers = set(workers_of(list(spool.iterdir())).values())
    for recorder in (one, other):
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)
    return len(workers) == min(2, len(os.sched_getaffinity(0)))


def test_workers_that_cannot_start_are_not_started_over_and_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"""if True:
        import sys
        if "encode" in sys.orig_argv:
            open({str(tmp_path / "tries")!r}, "a").write("x")
            sys.exit("no encoder today")
    """)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([recsvc.AudioSource(8000, 1).track]))
    begin_s = time.monotonic()
    tries = tmp_path / "tries"
    while time.monotonic() - begin_s < 1.2:
        with pytest.raises(ServiceError, match="no encoder today"):
            recorder.start()
        assert recorder.state == "inactive"
    assert 2 <= len(tries.read_text()) <= 6
    (tmp_path / "sitecustomize.py").unlink()
    wait_until(lambda: _starts(recorder), "a worker that can", DEADLINE_S)
    recorder.stop()
    recorder.wait("stop", DEADLINE_S)


def _starts(recorder: recsvc.MediaRecorder) -> bool:
    try:
        recorder.start()
    except ServiceError:
        time.sleep(0.1)
        return False
    return True


def test_pauses_between_workers_that_end_grow_up_to_a_bound() -> None:
    pauses = [pause_ns(failures) for failures in (0, 1, 2, 3, 4, 1000)]
    assert pauses == [0, 0, WORKER_PAUSE_NS, 2 * WORKER_PAUSE_NS, 4 * WORKER_PAUSE_NS, WORKER_PAUSE_MAX_NS]


def test_what_ended_is_started_again_at_once_and_not_over_and_over() -> None:
    restarts = Restarts(5)
    assert not restarts.take(4) and restarts.take(5) and not restarts.take(6)
    restarts.ended(10, None)
    assert restarts.take(10), "the first time"
    restarts.ended(20, 19)
    restarts.hurry(20)
    assert not restarts.take(20) and restarts.take(20 + WORKER_PAUSE_NS)
    restarts.ended(WORKER_STEADY_NS + 30, 30)
    assert restarts.take(WORKER_STEADY_NS + 30), "it worked in general"
    restarts.end()
    restarts.ended(WORKER_STEADY_NS + 40, None)
    assert restarts.due_ns is None, "the controller ends"


def test_cores_are_counted_by_what_may_be_used(tmp_path: Path) -> None:
    assert [cores(8, [quota]) for quota in ("max 100000", "200000 100000", "150000 100000", "1000 100000")] == [
        8,
        2,
        2,
        1,
    ]
    assert (cores(8, []), cores(2, ["400000 100000"]), cores(8, ["", "x y", "-1\n 100000\n", "5 0"])) == (8, 2, 8)
    assert cores(8, ["max 100000", "300000 100000", "400000 100000"]) == 3
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "cpu,cpuacct" / "c").mkdir(parents=True)
    (tmp_path / "a" / "cpu.max").write_text("200000 100000\n")
    (tmp_path / "a" / "b" / "cpu.max").write_text("max 100000\n")
    (tmp_path / "cpu,cpuacct" / "c" / "cpu.cfs_quota_us").write_text("300000\n")
    (tmp_path / "cpu,cpuacct" / "c" / "cpu.cfs_period_us").write_text("100000\n")
    own = tmp_path / "cgroup"
    own.write_text("0::/a/b\n4:cpu,cpuacct:/c\n3:memory:/d\n")
    assert cores(8, _quotas(tmp_path, own)) == 2
    own.write_text("4:cpu,cpuacct:/c\n")
    assert cores(8, _quotas(tmp_path, own)) == 3
    assert cores(8, _quotas(tmp_path, tmp_path / "missing")) == 8


# --- sources that end early -----------------------------------------------------------------------


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    """This caller hears of no track's end."""
    monkeypatch.setattr(connections.connect()._sources, "_over", lambda event: None)


@pytest.mark.parametrize("gone", [False, True])
def test_a_source_that_ends_before_its_recording_began(gone: bool, unheard: None) -> None:
    for _ in range(3):
        with recsvc.get_user_media(audio="test:duration=0.001") as opened:
            recorder = recsvc.MediaRecorder(opened)
            events = record_events(recorder)
            if gone:
                wait_until(lambda: not roles("capture"), "its end", DEADLINE_S)
            begin_s = time.monotonic()
            recorder.start()
            recorder.wait("stop", DEADLINE_S)
            assert time.monotonic() - begin_s < DRAIN_DEADLINE_NS / S - 1
            assert types_of(events) == ALL_IN_ORDER


def test_one_of_two_sources_ends_before_the_recording_began(unheard: None) -> None:
    with recsvc.get_user_media(audio="test:duration=0.001", video=SMALL_TEST) as opened:
        wait_until(lambda: len(roles("capture")) == 1, "the end of the first", DEADLINE_S)
        recorder = recsvc.MediaRecorder(opened)
        recorder.start()
        wait_until(lambda: recorder.statistics().duration > 0.3, "a recording", DEADLINE_S)
        recorder.stop()
        begin_s = time.monotonic()
        recorder.wait("stop", DEADLINE_S)
        assert time.monotonic() - begin_s < DRAIN_DEADLINE_NS / S - 1
        assert len(decode(recorder.recording).pictures) > 5


def test_a_track_whose_end_comes_before_it_is_known_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connections.connect()
    request = connection.request

    def slow(message: messages.Request, *arguments: int) -> object:
        reply = request(message, *arguments)
        wait_until(lambda: not roles("capture"), "the end of the source", DEADLINE_S)
        connection.request = request
        wait_until(lambda: connection._sources._ended, "the news", DEADLINE_S)
        return reply

    monkeypatch.setattr(connection, "request", slow)
    with recsvc.get_user_media(audio="test:duration=0.001") as opened:
        assert [track.ready_state for track in opened.get_tracks()] == ["ended"]


# --- names and requests ---------------------------------------------------------------------------


def start_request(recording: str, track: str = "audio-x") -> messages.Start:
    settings = {"sample_rate": 8000, "channel_count": 1, "sample_format": "s16"}
    return messages.Start(
        client="caller",
        recorder="recorder",
        recording=recording,
        tracks=(messages.RecordedTrack(track=track, kind="audio", captured=False, settings=settings),),
        options=messages.RecordingOptions(mime_type="audio/ogg", audio_bits_per_second=64_000, video_bits_per_second=0),
        at_ns=time.monotonic_ns(),
    )


@pytest.mark.parametrize("name", ["victim/wedding", "../wedding", ".wedding", "", "a\0b", "x" * 300, "a/../b"])
def test_a_name_is_never_a_path(name: str, spool: Path) -> None:
    connection = connections.connect()
    with pytest.raises(TypeError):  # at once, although nothing else of the request can be read
        connection.request(start_request(name))
    with pytest.raises(TypeError):
        connection.request(start_request("recording", track=name))
    assert list(spool.iterdir()) == []


def test_a_recording_never_takes_the_place_of_a_file(spool: Path) -> None:
    connection = connections.connect()
    (spool / "wedding.ogg").write_text("mine")
    try:
        with pytest.raises(InvalidStateError, match="already"):
            connection.request(start_request("wedding"))
        assert (spool / "wedding.ogg").read_text() == "mine"
    finally:
        (spool / "wedding.ogg").unlink()


def test_what_cannot_be_read_is_answered() -> None:
    connection = connections.connect()
    header = {"v": 1, "kind": "start", "id": 77, "nonsense": "x" * 70_000}
    answers = []
    asking = sockets.control_client(connection.address)
    try:
        for sent in (messages.encode(header), messages.encode({"v": 1, "kind": "who knows", "id": 78})):
            asking.send(sent)
            assert asking.poll(DEADLINE_S * 1000)
            answers.append(messages.REPLIES.decode(asking.recv()))
    finally:
        asking.close()
    assert [(answer.id, answer.error) for answer in answers] == [(77, "TypeError"), (78, "TypeError")]
    with pytest.raises(ValueError, match="at most"):
        connection.request(messages.OpenSource(client="c", audio={"source": "x" * 70_000, "track": "t"}))


def test_a_type_of_any_length_is_refused_at_once() -> None:
    long = "audio/webm;codecs=opus" + ";x=" + "y" * 70_000
    assert not recsvc.MediaRecorder.is_type_supported(long)
    with pytest.raises(NotSupportedError) as raised:
        recsvc.MediaRecorder(recsvc.MediaStream(), mime_type=long)
    assert len(str(raised.value)) < 1000
