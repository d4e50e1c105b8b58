"""Calls beside each other in several threads, and in forked children."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from fixtures_media import wait_until
from listening import ALL_IN_ORDER, record_types
from media import DEADLINE_S, SMALL_TEST, decode

import recsvc
import recsvc.aio
from recsvc.caller import connections
from recsvc.caller.stream import track_of
from recsvc.common.service import ServiceAddress
from recsvc.errors import InvalidStateError, NotSupportedError

RATE = 8_000
BLOCK = b"\x00\x40" * 160  # 20 ms, loud


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def beside(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


# --- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay_s", [0.0, 0.0003, 0.0006, 0.001, 0.0015, 0.002, 0.003])
def test_a_track_stopped_while_its_recording_starts_is_over(delay_s: float) -> None:
    for _ in range(4):
        source = recsvc.AudioSource(RATE, 1)
        recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))

        def stop(track: recsvc.MediaStreamTrack = source.track) -> None:
            deadline_s = time.perf_counter() + delay_s
            while time.perf_counter() < deadline_s:
                pass
            track.stop()

        thread = beside(stop)
        started = True
        try:
            recorder.start()
        except NotSupportedError:
            started = False  # it had ended before
        thread.join()
        assert not source.write(BLOCK)
        if started:
            recorder.wait("stop", DEADLINE_S)
            assert recorder.state == "inactive"


def test_a_track_disabled_while_its_recording_starts_is_silent_in_it() -> None:
    for delay in range(24):
        source = recsvc.AudioSource(RATE, 1)
        recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))

        def disable(track: recsvc.MediaStreamTrack = source.track, delay_s: float = delay * 0.00015) -> None:
            deadline_s = time.perf_counter() + delay_s
            while time.perf_counter() < deadline_s:
                pass
            track.enabled = False

        thread = beside(disable)
        recorder.start()
        thread.join()
        [route] = source._sender._routes.values()
        assert not route.enabled
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)


def test_a_captured_track_disabled_while_its_recording_starts_is_silent_in_it() -> None:
    with recsvc.get_user_media(audio="test:") as stream:
        [track] = stream.get_tracks()
        recorder = recsvc.MediaRecorder(stream)
        connection = connections.connect()
        request = connection.request

        def disabling(message: object, *given: object) -> object:
            answer = request(message, *given)  # type: ignore[arg-type]
            beside(lambda: setattr(track, "enabled", False)).join()
            return answer

        connection.request = disabling  # type: ignore[assignment, method-assign]
        try:
            recorder.start()
        finally:
            del connection.request  # type: ignore[method-assign]
        wait_until(lambda: recorder.statistics().duration > 0.3, "a recording", DEADLINE_S)
        recorder.stop()
        blob = recorder.wait("dataavailable", DEADLINE_S).data
        samples = decode(blob).samples
        assert abs(samples[len(samples) // 2 :]).max() < 0.01


def test_tracks_may_be_switched_while_others_start_and_stop(often: None) -> None:
    source = recsvc.AudioSource(RATE, 1)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    over = threading.Event()
    failures: list[BaseException] = []

    def switch() -> None:
        try:
            while not over.is_set():
                source.track.enabled = not source.track.enabled
                time.sleep(0.0001)  # one that never rests has a busy core for itself
        except BaseException as error:
            failures.append(error)

    thread = beside(switch)
    try:
        for _ in range(60):
            recorder.start()
            recorder.stop()
            recorder.wait("stop", DEADLINE_S)
    finally:
        over.set()
        thread.join()
    assert not failures


def test_tracks_and_recorders_may_come_and_go_beside_each_other(often: None) -> None:
    """Whoever looks for those who use a source, a stream or a connection does so while others join."""
    source, other = recsvc.AudioSource(RATE, 1), recsvc.VideoSource(16, 16)
    stream = recsvc.MediaStream([source.track])
    connection = connections.connect()
    failures: list[BaseException] = []
    until = time.monotonic() + 1.5

    def again_and_again(call: Callable[[], object]) -> None:
        try:
            while time.monotonic() < until:
                call()
        except BaseException as error:
            failures.append(error)

    def change() -> None:
        stream.add_track(other.track)
        stream.remove_track(other.track)

    calls: list[Callable[[], object]] = [
        lambda: source.track.clone().stop(),
        lambda: source.track.clone(),
        lambda: [connection.on_end(recsvc.MediaRecorder(stream)) for _ in range(3)],
        lambda: connection._listeners.all(),
        lambda: stream.active,
        change,
    ]
    threads = [beside(partial(again_and_again, call)) for call in calls]
    for thread in threads:
        thread.join()
    assert not failures


def test_clones_of_a_captured_track_forget_their_recordings() -> None:
    with recsvc.get_user_media(audio=SMALL_TEST) as stream, stream.clone() as clone:
        for _ in range(3):
            recorder = recsvc.MediaRecorder(clone)
            recorder.start()
            recorder.stop()
            recorder.wait("stop", DEADLINE_S)
        assert all(not track_of(track).routes for track in (*stream.get_tracks(), *clone.get_tracks()))


def test_a_service_that_is_gone_ends_its_own_recording_of_a_track_only(own_controller: None) -> None:
    source = recsvc.AudioSource(RATE, 1)
    stream = recsvc.MediaStream([source.track])
    other = connections._start_private()
    connections._clients[ServiceAddress("ipc:///other")] = other
    connections._everyone.add(other)
    here, there = recsvc.MediaRecorder(stream), recsvc.MediaRecorder(stream, service="ipc:///other")
    here.start()
    there.start()
    assert source.write(BLOCK, 0)
    assert other._process is not None
    os.kill(other._process.pid, signal.SIGKILL)
    assert str(there.wait("error", DEADLINE_S).error)
    there.wait("stop", DEADLINE_S)
    assert here.state == "recording"
    assert all(source.write(BLOCK, number * 20_000_000) for number in range(1, 10))
    here.stop()
    here.wait("stop", DEADLINE_S)
    [track] = here.statistics().tracks
    assert track.frames_accepted == track.frames_encoded == 1600
    assert not source.write(BLOCK)


# --- the stream changes ---------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["add", "remove"])
@pytest.mark.parametrize("where", ["listener", "call"])
def test_a_stop_right_after_a_change_of_the_stream_comes_first(change: str, where: str) -> None:
    source, another = recsvc.AudioSource(RATE, 1), recsvc.AudioSource(RATE, 1)
    stream = recsvc.MediaStream([source.track] if change == "add" else [source.track, another.track])
    if change == "remove":
        another.track.stop()
    recorder = recsvc.MediaRecorder(stream)
    events = record_types(recorder)

    def act(_: object) -> None:
        (stream.add_track if change == "add" else stream.remove_track)(another.track)
        recorder.stop()

    if where == "listener":
        recorder.onstart = act
        recorder.start()
    else:
        recorder.start()
        act(None)
    recorder.wait("stop", DEADLINE_S)
    assert events == ALL_IN_ORDER


def test_a_change_of_the_stream_without_a_stop_ends_the_recording_with_an_error() -> None:
    source, another = recsvc.AudioSource(RATE, 1), recsvc.AudioSource(RATE, 1)
    stream = recsvc.MediaStream([source.track])
    recorder = recsvc.MediaRecorder(stream)
    events = record_types(recorder)
    recorder.start()
    stream.add_track(another.track)
    recorder.wait("stop", DEADLINE_S)
    assert events == ["start", "error", "dataavailable", "stop"]
    assert recorder.state == "inactive"


# --- forks ----------------------------------------------------------------------------------------


def in_child(body: Callable[[], None], limit_s: float = 10.0) -> None:
    """Runs it in a forked child, which then ends as a program does; fails with its traceback, or when it hangs."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            os.write(write, traceback.format_exc().encode()[-4000:])
        os._exit(code)
    os.close(write)
    deadline_s = time.monotonic() + limit_s
    try:
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            assert time.monotonic() < deadline_s, "the child hangs"
            time.sleep(0.005)
        assert ended[1] == 0, os.read(read, 4000).decode()
    finally:
        os.close(read)
        if not ended[0]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def refused(call: Callable[[], object]) -> None:
    begin_s = time.monotonic()
    with pytest.raises(InvalidStateError, match="forked"):
        call()
    assert time.monotonic() - begin_s < 5


def test_in_a_forked_child_every_call_is_refused_and_the_parent_records_on() -> None:
    source = recsvc.VideoSource(64, 48)
    stream = recsvc.MediaStream([source.track])
    picture = bytes(64 * 48 * 3 // 2)
    recorder = recsvc.MediaRecorder(stream)
    recorder.start()
    assert all(source.write(picture, number * 33_000_000) for number in range(5))

    def body() -> None:
        for call in (
            recorder.start, recorder.stop, recorder.pause, recorder.resume, recorder.request_data, recorder.close,
            recorder.statistics, lambda: recorder.wait("stop"), recorder.events, lambda: source.write(picture),
            source.end, stream.close, stream.clone, stream.get_tracks, source.track.stop, source.track.clone,
            lambda: setattr(source, "muted", True), lambda: setattr(source.track, "enabled", False),
            lambda: stream.add_track(source.track), lambda: stream.remove_track(source.track),
            lambda: recsvc.MediaRecorder(stream), lambda: recsvc.MediaStream([source.track]),
        ):  # fmt: skip
            refused(call)
        with stream, recorder:
            pass
        assert recorder.state == "recording" and stream.id

    in_child(body)
    assert all(source.write(picture, number * 33_000_000) for number in range(5, 10))
    recorder.stop()
    recorder.wait("stop", DEADLINE_S)
    [track] = recorder.statistics().tracks
    assert track.frames_accepted == track.frames_encoded == 10
    assert len(decode(recorder.recording).pictures) == 10  # type: ignore[arg-type]


def test_in_a_forked_child_the_calls_of_asyncio_are_refused() -> None:
    import asyncio

    source = recsvc.aio.AudioSource(RATE, 1)
    recorder = recsvc.aio.MediaRecorder(recsvc.MediaStream([source.track]))

    def body() -> None:
        async def calls() -> None:
            for call in (
                recorder.start, recorder.stop, recorder.pause, recorder.resume, recorder.request_data, recorder.close,
                recorder.statistics, lambda: recorder.wait("stop", 1), lambda: source.write(BLOCK),
            ):  # fmt: skip
                with pytest.raises(InvalidStateError, match="forked"):
                    await call()
            with pytest.raises(InvalidStateError, match="forked"):
                async for _ in recorder.events():
                    pass
            async with recorder:
                pass

        asyncio.run(calls())

    in_child(body)


def test_a_forked_child_may_record_by_itself() -> None:
    mine = recsvc.AudioSource(RATE, 1)
    outer = recsvc.MediaRecorder(recsvc.MediaStream([mine.track]))
    outer.start()
    assert mine.write(BLOCK, 0)

    def body() -> None:
        source = recsvc.AudioSource(RATE, 1)
        with recsvc.MediaRecorder(recsvc.MediaStream([source.track])) as recorder:
            recorder.start()
            assert all(source.write(BLOCK, number * 20_000_000) for number in range(10))
            recorder.stop()
            recorder.wait("stop", 20)
            [track] = recorder.statistics().tracks
            assert track.frames_encoded == 1600
        with recsvc.get_user_media(audio=SMALL_TEST) as stream:
            assert stream.active
        del recorder, source
        gc.collect()
        connections.close_all()

    in_child(body, 60)
    assert mine.write(BLOCK, 20_000_000)
    outer.stop()
    outer.wait("stop", DEADLINE_S)
    assert outer.statistics().tracks[0].frames_encoded == 320


def _leave() -> None:
    pass


def test_children_of_multiprocessing_and_of_os_fork_end_cleanly_beside_a_recording() -> None:
    source = recsvc.AudioSource(RATE, 1)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    recorder.start()
    assert source.write(BLOCK, 0)
    child = multiprocessing.get_context("fork").Process(target=_leave)
    child.start()
    child.join(10)
    assert child.exitcode == 0
    recorder.stop()
    blob = recorder.wait("dataavailable", DEADLINE_S).data
    recorder.wait("stop", DEADLINE_S)
    assert len(blob.bytes()) == blob.size
    wait_until(lambda: recorder._dispatcher is None, "the end of the thread", DEADLINE_S)


PROGRAM = """
import os, sys, recsvc
source = recsvc.AudioSource(8000, 1)
with recsvc.MediaStream([source.track]) as stream, recsvc.MediaRecorder(stream) as recorder:
    recorder.start()
    assert source.write(bytes(320), 0)
    pid = os.fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
        assert source.write(bytes(320), 20_000_000)
        recorder.stop()
        print(recorder.wait("dataavailable", 20).data.size > 0, recorder.statistics().tracks[0].frames_encoded)
"""


def test_a_child_that_leaves_the_blocks_and_ends_as_a_program_disturbs_nothing(own_controller: None) -> None:
    import subprocess

    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True 320\n", "")
