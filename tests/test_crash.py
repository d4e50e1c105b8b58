"""Whichever process is killed, whenever: the caller gets the error, the data, ``stop``; the data are a finished
file, at most a second short; the same recorder starts again; nothing stays behind. Real processes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

import ebml
import pytest
from fixtures_media import make_file, wait_until
from listening import ALL_IN_ORDER, record_events, types_of
from media import (
    DEADLINE_S,
    SMALL_TEST,
    TICK_S,
    Decoded,
    assert_accounted,
    assert_consecutive,
    assert_rising,
    complaints,
    counter_picture,
    decode,
    record_for,
)
from services import all_workers, roles, worker_of
from traces import role_processes, runtime_directories

import recsvc
from recsvc.caller import connections
from recsvc.errors import NotReadableError, NotSupportedError, ServiceError, UnknownError

LOST_MAX_S = 1.0
PHASES = ("right after start", "while recording", "during stop")
RECORDED_S = 1.3


@pytest.fixture(autouse=True)
def nothing_left(own_controller: None) -> Iterator[None]:
    """Each test has its own controller; what is behind it is checked there."""
    yield


def kill_at(phase: str, recorder: recsvc.MediaRecorder, find: Callable[[], list[int]], **start: float) -> float:
    """Records and kills; how long was recorded, in s. A process that is stopped first misses the ``stop()``."""
    recorder.start(**start)
    begin_s = time.monotonic()
    if phase != "right after start":
        time.sleep(RECORDED_S)
    victims = find()
    assert victims
    if phase == "during stop":
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)
        recorder.stop()
    recorded_s = time.monotonic() - begin_s
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    recorder.wait("stop", DEADLINE_S)
    return recorded_s


def check_finished(blob: recsvc.Blob, path: Path, recorded_s: float, lost_max_s: float = LOST_MAX_S) -> Decoded | None:
    """A finished file with all but the last second; ``None`` where that may be nothing."""
    blob.save(path)
    file = ebml.read(path.read_bytes())
    assert file.segment_size_known and file.duration_ms is not None
    assert len(file.cues) == sum(block.is_key_frame for block in file.of(1))
    if not file.blocks:
        assert recorded_s < lost_max_s
        return None
    assert complaints(path) == []
    decoded = decode(path)
    if decoded.pictures:
        assert_consecutive(decoded.counters)
    end_s = max(decoded.sound_s, decoded.pictures[-1].at_s if decoded.pictures else 0.0)
    assert end_s >= recorded_s - lost_max_s
    assert decoded.duration_s == pytest.approx(blob.duration, abs=TICK_S)
    assert blob.duration >= end_s - 2 * TICK_S
    return decoded


def starts_again(recorder: recsvc.MediaRecorder, events: list[recsvc.Event]) -> None:
    events.clear()
    again = decode(record_for(recorder, 0.3))
    assert types_of(events) == ALL_IN_ORDER
    assert_consecutive(again.counters)


@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_encoder(phase: str, spool: Path, tmp_path: Path) -> None:
    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as stream:
        recorder = recsvc.MediaRecorder(stream, video_key_frame_interval_count=9)
        events = record_events(recorder)
        others = len(all_workers())
        before = set(spool.iterdir())
        recorded_s = kill_at(phase, recorder, lambda: [worker_of(next(iter(set(spool.iterdir()) - before)))])
        assert types_of(events) == ["start", "error", "dataavailable", "stop"]
        assert isinstance(events[1].error, UnknownError)
        assert recorder.state == "inactive"
        assert recorder.recording.bytes() == events[2].data.bytes()
        check_finished(recorder.recording, tmp_path / "a.webm", recorded_s)
        assert recorder.statistics().duration == events[2].data.duration
        starts_again(recorder, events)
        wait_until(lambda: len(roles("encode")) == others, "another worker instead", DEADLINE_S)
        [runtime] = runtime_directories()
        wait_until(lambda: len(list(runtime.glob("encode-*"))) == others, "the dead worker's to go", DEADLINE_S)


def test_encoders_that_are_killed_all_together(spool: Path, tmp_path: Path) -> None:
    """The one that is asked to complete the file goes, too, before it has."""
    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as stream:
        recorder = recsvc.MediaRecorder(stream)
        events = record_events(recorder)
        all_workers()
        [runtime] = runtime_directories()
        before = set(spool.iterdir())
        recorder.start()
        begin_s = time.monotonic()
        time.sleep(RECORDED_S)
        first = worker_of(next(iter(set(spool.iterdir()) - before)))
        others = [pid for pid in roles("encode") if pid != first]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        sockets = set(runtime.glob("encode-*"))
        os.kill(first, signal.SIGKILL)
        recorded_s = time.monotonic() - begin_s
        wait_until(lambda: sockets - set(runtime.glob("encode-*")), "its end to be seen", DEADLINE_S)
        for pid in others:
            os.kill(pid, signal.SIGKILL)
        recorder.wait("stop", DEADLINE_S)
        assert types_of(events) == ["start", "error", "dataavailable", "stop"]
        check_finished(recorder.recording, tmp_path / "a.webm", recorded_s)
        starts_again(recorder, events)


@pytest.mark.parametrize(
    ("victims", "mime_type"), [("encoder", "video/webm"), ("both", "video/webm"), ("controller", "audio/ogg")]
)
def test_pieces_handed_out_before_are_continued(victims: str, mime_type: str, spool: Path, tmp_path: Path) -> None:
    has_video = mime_type == "video/webm"

    def find() -> list[int]:
        wait_until(lambda: sum(event.type == "dataavailable" for event in events) >= 2, "pieces", DEADLINE_S)
        [path] = spool.iterdir()
        found = [worker_of(path)] if victims != "controller" else []
        return found + (roles("controller") if victims != "encoder" else [])

    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST if has_video else False) as stream:
        recorder = recsvc.MediaRecorder(stream, mime_type=mime_type)
        events = record_events(recorder)
        recorded_s = kill_at("while recording", recorder, find, timeslice=100)
        pieces = [event for event in events if event.type == "dataavailable"]
        assert types_of(events[-3:]) == ["error", "dataavailable", "stop"]
        assert len(pieces) >= 3
        timecodes = [event.timecode for event in pieces]
        assert timecodes[0] == 0
        assert_rising(timecodes)
        whole = recorder.recording
        joined = recsvc.Blob([event.data for event in pieces])
        # The pieces have the header as it was and, for Ogg, the last page as it was.
        assert joined.size == whole.size
        assert sum(event.data.duration for event in pieces) == pytest.approx(whole.duration, abs=TICK_S)
        first, all_of_it = decode(joined), decode(whole)
        assert first.counters == all_of_it.counters and len(first.samples) == len(all_of_it.samples)
        if has_video:
            check_finished(whole, tmp_path / "a.webm", recorded_s)
        else:
            assert all_of_it.sound_s >= recorded_s - LOST_MAX_S
            assert complaints(whole.save(tmp_path / "a.ogg")) == []


@pytest.mark.parametrize(
    ("victims", "phase"), [*(("controller", phase) for phase in PHASES), ("controller and encoder", "while recording")]
)
def test_a_killed_controller(victims: str, phase: str, spool: Path, tmp_path: Path) -> None:
    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as stream:
        recorder = recsvc.MediaRecorder(stream)
        events = record_events(recorder)

        def find() -> list[int]:
            return roles("controller") + ([worker_of(next(spool.iterdir()))] if "encoder" in victims else [])

        recorded_s = kill_at(phase, recorder, find)
        assert [event.type for event in events if event.type != "start"] == ["error", "dataavailable", "stop"]
        assert isinstance([event for event in events if event.type == "error"][0].error, ServiceError)
        assert recorder.state == "inactive"
        # An encoder that lives finishes the file with all that was captured until the sources ended, too.
        check_finished(recorder.recording, tmp_path / "a.webm", recorded_s)
        wait_until(lambda: not role_processes(), "the end of the orphaned roles", DEADLINE_S)
        wait_until(lambda: not runtime_directories(), "the end of the runtime directory", DEADLINE_S)


def test_a_recorder_of_pushed_frames_goes_on_with_another_controller(tmp_path: Path) -> None:
    source = recsvc.VideoSource(160, 120, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    events = record_events(recorder)
    recorder.start()
    begin_ns = time.monotonic_ns()
    for number in range(60):
        assert source.write(counter_picture(number), begin_ns + number * 33_333_333)
    wait_until(lambda: recorder.statistics().tracks[0].frames_encoded == 60, "the encoder", DEADLINE_S)
    [controller] = roles("controller")
    os.kill(controller, signal.SIGKILL)
    numbers = itertools.count(60)
    wait_until(
        lambda: not source.write(counter_picture(next(numbers))), "a write() that says that nobody records", DEADLINE_S
    )
    taken = next(numbers) - 1
    recorder.wait("error", DEADLINE_S)
    # The new recording begins while the old one's file may still be on its way; its events come behind.
    recorder.start()
    assert all(source.write(counter_picture(number), time.monotonic_ns()) for number in range(5))
    recorder.stop()
    wait_until(lambda: types_of(events).count("stop") == 2, "both ends", DEADLINE_S)
    types = types_of(events)
    assert types == ["start", "error", "dataavailable", "stop", "start", "dataavailable", "stop"]
    decoded = check_finished(events[2].data, tmp_path / "a.webm", 2.0, 0.04)
    assert decoded is not None and decoded.counters == list(range(taken))
    assert decode(recorder.recording).counters == list(range(5))


@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_capture_process(phase: str, tmp_path: Path) -> None:
    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as stream:
        recorder = recsvc.MediaRecorder(stream)
        events = record_events(recorder)
        recorded_s = kill_at(phase, recorder, lambda: roles("capture"))
        assert types_of(events) == ["start", "error", "dataavailable", "stop"]
        assert isinstance(events[1].error, UnknownError)
        decoded = check_finished(recorder.recording, tmp_path / "a.webm", recorded_s)
        if decoded is not None:
            assert_accounted(recorder.statistics(), decoded, dropped=None)
        wait_until(lambda: not stream.active, "the end of the tracks", DEADLINE_S)
        with pytest.raises(NotSupportedError, match="no live track"):
            recorder.start()
    with recsvc.get_user_media(video=SMALL_TEST) as stream:
        assert_consecutive(decode(record_for(recsvc.MediaRecorder(stream), 0.2)).counters)


def test_a_killed_capture_process_beside_a_pushed_track(tmp_path: Path) -> None:
    source = recsvc.VideoSource(160, 120)
    with recsvc.get_user_media(audio=SMALL_TEST) as stream:
        stream.add_track(source.track)
        recorder = recsvc.MediaRecorder(stream)
        events = record_events(recorder)

        def find() -> list[int]:
            for number in range(10):
                assert source.write(counter_picture(number), begin_ns + number * 100_000_000)
            return roles("capture")

        begin_ns = time.monotonic_ns()
        recorded_s = kill_at("while recording", recorder, find)
        assert types_of(events) == ["start", "error", "dataavailable", "stop"]
        decoded = check_finished(recorder.recording, tmp_path / "a.webm", recorded_s)
        assert decoded is not None and decoded.counters == list(range(10))
        assert_accounted(recorder.statistics(), decoded)


CALLER = f"""
import time, recsvc
stream = recsvc.get_user_media(audio="{SMALL_TEST}", video="{SMALL_TEST}")
recorder = recsvc.MediaRecorder(stream)
recorder.start()
time.sleep({RECORDED_S})
print("recording", flush=True)
time.sleep(1000)
"""


def recover_command(*arguments: str) -> list[dict[str, object]]:
    command = [sys.executable, "-m", "recsvc", "recover", "--json", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE_S).stdout)


@pytest.mark.parametrize("all_at_once", [False, True])
def test_a_killed_caller(all_at_once: bool, spool: Path, tmp_path: Path) -> None:
    """Its recording is finished by those who live, and completed by ``recsvc recover`` where nobody does."""
    with subprocess.Popen([sys.executable, "-c", CALLER], stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None and caller.stdout.readline() == b"recording\n"
        [path] = spool.iterdir()
        assert [row["state"] for row in recover_command()] == ["recording"]
        if all_at_once:
            both = [worker_of(path), *roles("controller")]
            for number in (signal.SIGSTOP, signal.SIGKILL):  # so that neither sees the other's end
                for pid in both:
                    os.kill(pid, number)
        caller.kill()
    wait_until(lambda: not role_processes(), "the end of all roles", DEADLINE_S)
    assert ebml.read(path.read_bytes()).segment_size_known != all_at_once
    [row] = recover_command()
    assert (row["path"], row["state"]) == (str(path), "recovered" if all_at_once else "finished")
    wait_until(lambda: not runtime_directories(), "the end of the runtime directory", DEADLINE_S)
    recover_command(path.name, "-o", str(tmp_path / "saved.webm"))
    assert not path.exists()
    blob = recsvc.recover(tmp_path / "saved.webm")
    check_finished(blob, tmp_path / "copy.webm", RECORDED_S)


def test_a_file_that_cannot_be_recovered_is_handed_out_as_it_is(spool: Path) -> None:
    with recsvc.get_user_media(video=SMALL_TEST) as stream:
        recorder = recsvc.MediaRecorder(stream)
        events = record_events(recorder)

        def damage_and_find() -> list[int]:
            [path] = spool.iterdir()
            with open(path, "r+b") as file:
                file.write(b"what is this?")
            return [worker_of(path)]

        kill_at("while recording", recorder, damage_and_find)
        assert types_of(events) == ["start", "error", "dataavailable", "stop"]
        [data] = [event.data for event in events if event.type == "dataavailable"]
        assert data.bytes()[:13] == b"what is this?" and data.size > 1000
        with pytest.raises(NotReadableError):
            recsvc.recover(next(spool.iterdir()))
        del data
        starts_again(recorder, events)


def started_while_workers_stand(recorder: recsvc.MediaRecorder, victim: Callable[[], int]) -> None:
    """``start()`` meets workers that do not answer; ``victim`` is killed, then the others go on."""
    workers = all_workers()
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(recorder.start)
        try:
            wait_until(lambda: recorder.state == "recording", "the call", DEADLINE_S)
            with pytest.raises(FutureTimeout):
                starting.result(0.2)  # the request is at the first worker by then
            os.kill(victim(), signal.SIGKILL)
        finally:
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGCONT)
        starting.result(DEADLINE_S)


@pytest.fixture
def film(tmp_path: Path) -> str:
    """More than the buffers between two processes hold."""
    path = tmp_path / "film.mkv"
    inputs = "testsrc=size=640x480:rate=25:duration=1", "sine=700:sample_rate=48000:duration=1"
    make_file(path, *inputs, options=("-c:v", "ffv1", "-c:a", "pcm_s16le"))
    return f"file:{path}?pace=max"


@pytest.mark.parametrize("killed", [False, True])
def test_a_source_that_ends_before_its_frames_were_taken(film: str, killed: bool) -> None:
    """It stays until they are; where it cannot, the recording does not wait for ever."""
    while True:
        with recsvc.get_user_media(audio=film, video=film) as stream:
            recorder = recsvc.MediaRecorder(stream)
            events = record_events(recorder)
            workers = roles("encode")
            recorder.start()
            for worker in workers:
                os.kill(worker, signal.SIGSTOP)
            try:
                wait_until(lambda: not stream.active, "the film's end", DEADLINE_S)
                stays = roles("capture")
                if killed and stays:
                    os.kill(stays[0], signal.SIGKILL)
                    wait_until(lambda: not roles("capture"), "its end", DEADLINE_S)
            finally:
                for worker in workers:
                    os.kill(worker, signal.SIGCONT)
            recorder.wait("stop", DEADLINE_S)
        if stays:  # else all of it was taken before the workers stood still
            break
    types = ["start", "error", "dataavailable", "stop"] if killed else ALL_IN_ORDER
    assert types_of(events) == types
    if not killed:
        decoded = decode(recorder.recording)
        assert (len(decoded.pictures), len(decoded.samples)) == (25, 48_000)


def test_an_encoder_killed_before_it_opened_the_recording_is_replaced() -> None:
    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as stream:
        recorder = recsvc.MediaRecorder(stream)
        events = record_events(recorder)
        started_while_workers_stand(recorder, lambda: min(roles("encode")))
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)
        assert types_of(events) == ALL_IN_ORDER
        starts_again(recorder, events)


def test_a_capture_process_killed_before_the_recording_was_opened() -> None:
    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as stream:
        recorder = recsvc.MediaRecorder(stream)
        events = record_events(recorder)
        started_while_workers_stand(recorder, lambda: roles("capture")[0])
        recorder.wait("stop", DEADLINE_S)
        assert types_of(events) == ["start", "error", "dataavailable", "stop"]
    with recsvc.get_user_media(video=SMALL_TEST) as stream:
        recorder = recsvc.MediaRecorder(stream)
        starts_again(recorder, record_events(recorder))


def test_start_comes_first_where_the_controller_died_before_it_published_that(own_controller: None) -> None:
    """The recording is open when ``start()`` has returned, so its ``start`` is fired, whoever knows that only."""
    for _ in range(5):
        source = recsvc.AudioSource(48_000, 1)
        recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
        events = record_events(recorder)
        controller = connections.connect()._process
        assert controller is not None
        recorder.start()
        os.kill(controller.pid, signal.SIGKILL)
        recorder.wait("stop", DEADLINE_S)
        assert types_of(events) == ["start", "error", "dataavailable", "stop"]
        assert recorder.state == "inactive"
