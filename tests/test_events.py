"""Events tell the truth: their order, their number, who hears them, and that they come whatever dies."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from fixtures_media import wait_until
from media import (
    DEADLINE_S,
    SMALL_TEST,
    TICK_S,
    S,
    assert_accounted,
    assert_consecutive,
    counter_picture,
    decode,
    finished,
    record_for,
    sample_count_by_container,
)
from traces import role_processes, runtime_directories

import recsvc
from recsvc.caller import client
from recsvc.errors import InvalidModificationError, InvalidStateError, NotSupportedError, ServiceError, UnknownError

TYPES = ("start", "stop", "dataavailable", "pause", "resume", "error")


@pytest.fixture
def stream():
    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as opened:
        yield opened


def record_events(recorder):
    """The list that every event of the recorder is appended to."""
    events = []
    for type in TYPES:
        recorder.add_event_listener(type, events.append)
    return events


def types_of(events):
    return [event.type for event in events]


# --- calls in the wrong state ---------------------------------------------------------------------


def test_calls_while_inactive_raise_and_change_nothing(stream):
    recorder = recsvc.MediaRecorder(stream, mime_type="video/webm")
    events = record_events(recorder)

    def refused():
        for call in (recorder.stop, recorder.pause, recorder.resume, recorder.request_data):
            with pytest.raises(InvalidStateError, match="inactive") as raised:
                call()
            assert raised.value.name == "InvalidStateError"
            assert (recorder.state, recorder.mime_type) == ("inactive", "video/webm")
        assert recorder.statistics().state == "inactive"

    refused()
    with pytest.raises(TimeoutError):
        recorder.wait("stop", 0.1)
    assert events == []
    blob = record_for(recorder, 0.1)
    refused()  # the same behind a recording, which stays as it is
    assert recorder.recording is blob
    recorder.start()
    recorder.stop()
    refused()  # and while the last recording's events are still to come
    recorder.wait("stop", DEADLINE_S)
    assert types_of(events) == ["start", "dataavailable", "stop"] * 2


def test_the_state_changes_in_the_call_and_each_change_has_one_event(stream):
    recorder = recsvc.MediaRecorder(stream)
    events = record_events(recorder)
    states = [recorder.state]
    calls = (recorder.start, recorder.resume, recorder.pause, recorder.pause, recorder.resume, recorder.resume)
    for call in (*calls, recorder.pause, recorder.stop):
        assert call() is None
        states.append(recorder.state)
        if call == recorder.start:
            with pytest.raises(InvalidStateError, match="recording"):
                recorder.start()
        if call == recorder.pause:
            with pytest.raises(InvalidStateError, match="paused"):
                recorder.start()
    recorder.wait("stop", DEADLINE_S)
    assert states == [
        "inactive", "recording", "recording", "paused", "paused", "recording", "recording", "paused", "inactive",
    ]  # fmt: skip
    assert types_of(events) == ["start", "pause", "resume", "pause", "dataavailable", "stop"]
    assert recorder.recording.size > 0


def test_the_mime_type_is_the_full_one_from_start_to_stop(stream):
    recorder = recsvc.MediaRecorder(stream, mime_type="video/webm")
    seen = {}
    for type in TYPES:
        recorder.add_event_listener(type, lambda event: seen.setdefault(event.type, recorder.mime_type))
    assert recorder.mime_type == "video/webm"
    recorder.start()
    recorder.wait("start", DEADLINE_S)
    assert recorder.mime_type == "video/webm;codecs=vp8,opus"
    recorder.stop()
    assert recorder.mime_type == "video/webm"
    event = recorder.wait("dataavailable", DEADLINE_S)
    recorder.wait("stop", DEADLINE_S)
    assert event.data.type == recorder.recording.type == "video/webm;codecs=vp8,opus"
    assert seen == {"start": "video/webm;codecs=vp8,opus", "dataavailable": "video/webm", "stop": "video/webm"}


# --- order ----------------------------------------------------------------------------------------


def test_two_hundred_recordings_each_with_its_events_in_order(stream):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    cycles, threads = 50, 4
    faults = []

    def cycle(number):
        lengths = random.Random(seed + number)
        recorder = recsvc.MediaRecorder(stream)
        events = record_events(recorder)
        decoded = []
        # In the listener, the data can be read to its end.
        recorder.ondataavailable = lambda event: decoded.append(decode(event.data))
        for turn in range(cycles):
            length_s = 0 if turn % 10 == 0 else 0.3 * lengths.random() ** 2
            recorder.start()
            time.sleep(length_s)
            recorder.stop()
            recorder.wait("stop", DEADLINE_S)
            if types_of(events) != ["start", "dataavailable", "stop"]:
                faults.append((number, turn, types_of(events)))
            events.clear()
            [one] = decoded
            decoded.clear()
            try:
                assert_accounted(recorder.statistics(), one)
                if length_s > 0.1:
                    assert_consecutive(one.counters)
                samples = sample_count_by_container(recorder.recording)
                assert samples == recorder.statistics().tracks[0].frames_encoded
                assert abs(samples / 48_000 - recorder.recording.duration) <= TICK_S
            except AssertionError as error:
                faults.append((number, turn, length_s, error))

    runs = [threading.Thread(target=cycle, args=(number,)) for number in range(threads)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(2 * DEADLINE_S)
        assert not run.is_alive()
    assert faults == []


def test_start_right_behind_stop_has_the_old_events_first(stream):
    recorder = recsvc.MediaRecorder(stream)
    events = record_events(recorder)
    blobs = []
    for length_s in (0.3, 0.05, 0.2):
        recorder.start()
        time.sleep(length_s)
        recorder.stop()
    wait_until(lambda: types_of(events).count("stop") == 3, "the last stop", DEADLINE_S)
    assert types_of(events) == ["start", "dataavailable", "stop"] * 3
    blobs = [decode(event.data) for event in events if event.type == "dataavailable"]
    assert_consecutive(blobs[0].counters)
    assert_consecutive(blobs[2].counters)
    numbers = [number for one in blobs for number in one.counters]
    assert numbers == sorted(set(numbers)), "a frame is in two recordings, or in the wrong one"
    assert [one.duration_s for one in blobs] == pytest.approx([0.3, 0.05, 0.2], abs=0.15)


def test_nothing_is_recorded_of_the_time_between_stop_and_start(stream):
    recorder = recsvc.MediaRecorder(stream)
    recorder.start()
    time.sleep(0.1)
    first = finished(recorder)
    time.sleep(0.3)
    second = record_for(recorder, 0.1)
    assert decode(second).counters[0] - decode(first).counters[-1] >= 8
    assert first.size and decode(first).counters, "the first recording's data stays as it was"


def test_start_in_the_stop_listener_begins_the_next_recording(stream):
    recorder = recsvc.MediaRecorder(stream)
    events = record_events(recorder)

    def again(event):
        if types_of(events).count("stop") < 3:
            recorder.start()
            recorder.stop()

    recorder.add_event_listener("stop", again)
    recorder.start()
    recorder.stop()
    wait_until(lambda: types_of(events).count("stop") == 3, "the third recording", DEADLINE_S)
    assert types_of(events) == ["start", "dataavailable", "stop"] * 3


def test_a_changed_stream_ends_the_recording_with_an_error(stream):
    recorder = recsvc.MediaRecorder(stream)
    events = record_events(recorder)
    source = recsvc.AudioSource(48_000, 1)
    recorder.start()
    time.sleep(0.2)
    stream.add_track(source.track)
    recorder.wait("stop", DEADLINE_S)
    assert types_of(events) == ["start", "error", "dataavailable", "stop"]
    assert isinstance(events[1].error, InvalidModificationError)
    assert recorder.state == "inactive"
    assert_consecutive(decode(events[2].data).counters)
    stream.remove_track(source.track)
    events.clear()
    # Not where stop() was called first.
    recorder.start()
    recorder.stop()
    stream.add_track(source.track)
    recorder.wait("stop", DEADLINE_S)
    stream.remove_track(source.track)
    assert types_of(events) == ["start", "dataavailable", "stop"]


def test_all_tracks_stopped_end_the_recording_without_an_error(stream):
    recorder = recsvc.MediaRecorder(stream)
    events = record_events(recorder)
    for _ in range(3):
        copy = stream.clone()
        recorder = recsvc.MediaRecorder(copy)
        events = record_events(recorder)
        recorder.start()
        time.sleep(0.15)
        copy.close()
        recorder.wait("stop", DEADLINE_S)
        assert types_of(events) == ["start", "dataavailable", "stop"]
        assert_consecutive(decode(recorder.recording).counters)


def test_a_closed_stream_ends_the_recording_without_an_error():
    """The same where the capture process ends with the tracks."""
    for _ in range(4):
        with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as opened:
            recorder = recsvc.MediaRecorder(opened)
            events = record_events(recorder)
            recorder.start()
            time.sleep(0.15)
        recorder.wait("stop", DEADLINE_S)
        assert types_of(events) == ["start", "dataavailable", "stop"]
        assert_consecutive(decode(recorder.recording).counters)


def test_one_of_two_tracks_ended_the_other_goes_on(stream):
    recorder = recsvc.MediaRecorder(stream)
    events = record_events(recorder)
    recorder.start()
    time.sleep(0.2)
    stream.get_audio_tracks()[0].stop()
    time.sleep(0.4)
    decoded = decode(finished(recorder))
    assert types_of(events) == ["start", "dataavailable", "stop"]
    assert_consecutive(decoded.counters)
    assert decoded.sound_s < decoded.duration_s - 0.3
    assert decoded.pictures[-1].at_s > decoded.duration_s - 0.1


# --- what cannot be started -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stop", "track.stop", "source.end", "add_track"])
def test_events_keep_the_order_of_the_calls_however_late_the_controller_is(own_controller, how):
    """Frames and their end go straight to the encoder, commands through the controller."""
    source = recsvc.VideoSource(160, 120, when_full="wait")
    stream = recsvc.MediaStream([source.track])
    recorder = recsvc.MediaRecorder(stream)
    events = record_events(recorder)
    recorder.start()
    recorder.wait("start", DEADLINE_S)
    [controller] = [pid for pid, line in role_processes().items() if " -m recsvc controller " in line]
    os.kill(controller, signal.SIGSTOP)
    try:
        for number in range(10):
            assert source.write(counter_picture(number))
        recorder.pause()
        recorder.resume()
        recorder.request_data()
        for number in range(10, 20):
            assert source.write(counter_picture(number))
        ways = {
            "stop": recorder.stop,
            "track.stop": source.track.stop,
            "source.end": source.end,
            "add_track": lambda: stream.add_track(recsvc.VideoSource(160, 120).track),
        }
        ways[how]()
        time.sleep(0.1)  # so that the encoder could be done before the commands are read
    finally:
        os.kill(controller, signal.SIGCONT)
    recorder.wait("stop", DEADLINE_S)
    error = ["error"] if how == "add_track" else []
    assert types_of(events) == ["start", "pause", "resume", "dataavailable", *error, "dataavailable", "stop"]
    pieces = [event.data for event in events if event.type == "dataavailable"]
    assert decode(recorder.recording).counters == list(range(20))
    assert recsvc.Blob(pieces).size == recorder.recording.size


def test_streams_that_cannot_be_recorded_are_refused_by_name(stream):
    audio, video = stream.get_audio_tracks()[0], stream.get_video_tracks()[0]
    source = recsvc.VideoSource(160, 120)
    source.end()
    cases = [
        (recsvc.MediaStream(), "", "no live track"),
        (recsvc.MediaStream([source.track]), "", "no live track"),
        (recsvc.MediaStream([audio, audio.clone()]), "", "audio tracks.*Test tone"),
        (recsvc.MediaStream([video, video.clone(), audio]), "", "video tracks.*Test pattern"),
        (stream, "audio/webm", "video track"),
        (stream, "audio/ogg;codecs=opus", "video track"),
        (stream, "video/webm;codecs=vp8", "audio track"),
        (recsvc.MediaStream([video]), "video/webm;codecs=opus", "video track"),
    ]
    for unfit, mime_type, text in cases:
        recorder = recsvc.MediaRecorder(unfit, mime_type=mime_type)
        events = record_events(recorder)
        with pytest.raises(NotSupportedError, match=text):
            recorder.start()
        assert (recorder.state, recorder.mime_type) == ("inactive", mime_type)
        with pytest.raises(InvalidStateError):
            recorder.stop()
        assert events == []


# --- listeners ------------------------------------------------------------------------------------


def test_a_slow_listener_delays_neither_stop_nor_other_recorders(stream):
    slow, other = recsvc.MediaRecorder(stream), recsvc.MediaRecorder(stream)
    release, entered = threading.Event(), threading.Event()

    def block(event):
        entered.set()
        assert release.wait(2 * DEADLINE_S)

    slow.onstart = block
    try:
        slow.start()
        assert entered.wait(DEADLINE_S)
        # The slow one hangs in its listener all the time.
        blob = record_for(other, 0.2)
        assert_consecutive(decode(blob).counters)
        slow.pause()
        slow.resume()
        slow.stop()
        assert slow.state == "inactive"
        with pytest.raises(TimeoutError):
            slow.wait("stop", 0.05)
    finally:
        release.set()
    slow.wait("stop", DEADLINE_S)
    assert slow.recording is not None


def test_a_closed_track_is_no_longer_listened_for() -> None:
    """However often a stream is opened and closed, or ends by itself, the connection keeps nothing of it."""
    known = client.connect()._on_track
    before = dict(known)
    for _ in range(3):
        with recsvc.get_user_media(audio=SMALL_TEST) as stream:
            [copy] = stream.clone().get_tracks()
        assert len(known) == len(before) + 1, "its clone is live"
        copy.stop()
        assert known == before
    short = recsvc.get_user_media(audio="test:duration=0.05")
    wait_until(lambda: not short.active, "the end of the source", DEADLINE_S)
    assert known == before


# --- processes that die ---------------------------------------------------------------------------


def roles(role):
    """The process ids of our roles of one kind."""
    return [pid for pid, line in role_processes().items() if f" -m recsvc {role} " in line]


def worker_of(path):
    """The encoder worker that has a spool file open."""
    for pid in roles("encode"):
        with contextlib.suppress(OSError):
            if any(os.path.samefile(f"/proc/{pid}/fd/{fd}", path) for fd in os.listdir(f"/proc/{pid}/fd")):
                return pid
    return None


def test_a_killed_encoder_costs_at_most_one_cluster(own_controller, spool):
    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as stream:
        recorder = recsvc.MediaRecorder(stream)
        events = record_events(recorder)
        recorder.start()
        time.sleep(2.0)
        [path] = spool.iterdir()
        os.kill(wait_until(lambda: worker_of(path), "the worker"), signal.SIGKILL)
        recorder.wait("stop", DEADLINE_S)
        assert recorder.state == "inactive"
        assert types_of(events) == ["start", "error", "dataavailable", "stop"]
        assert isinstance(events[1].error, UnknownError)
        decoded = decode(events[2].data)
        assert_consecutive(decoded.counters)
        assert decoded.pictures[-1].at_s > 2.0 - 1.0 - 0.3
        assert decode(recorder.recording).counters == decoded.counters
        # The same recorder goes on with another worker.
        events.clear()
        again = decode(record_for(recorder, 0.3))
        assert types_of(events) == ["start", "dataavailable", "stop"]
        assert_consecutive(again.counters)


def test_a_killed_capture_process_ends_the_recording_with_its_data(own_controller):
    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as stream:
        recorder = recsvc.MediaRecorder(stream)
        events = record_events(recorder)
        recorder.start()
        time.sleep(0.5)
        [capture] = roles("capture")
        os.kill(capture, signal.SIGKILL)
        recorder.wait("stop", DEADLINE_S)
        assert types_of(events) == ["start", "error", "dataavailable", "stop"]
        decoded = decode(recorder.recording)
        assert_consecutive(decoded.counters)
        assert decoded.pictures[-1].at_s > 0.3
        wait_until(lambda: not stream.active, "the end of the tracks", DEADLINE_S)
        with pytest.raises(NotSupportedError):
            recorder.start()
    with recsvc.get_user_media(video=SMALL_TEST) as stream:
        assert_consecutive(decode(record_for(recsvc.MediaRecorder(stream), 0.2)).counters)


def test_a_killed_controller_is_told_and_a_new_one_serves(own_controller):
    source = recsvc.VideoSource(160, 120)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    events = record_events(recorder)
    recorder.start()
    base_ns = time.monotonic_ns()
    assert all(source.write(counter_picture(number), base_ns + number * S // 30) for number in range(20))
    [controller] = roles("controller")
    os.kill(controller, signal.SIGKILL)

    wait_until(lambda: not source.write(counter_picture(99)), "a write() that says that nobody records", DEADLINE_S)
    recorder.wait("stop", DEADLINE_S)
    assert types_of(events) == ["start", "error", "dataavailable", "stop"]
    assert isinstance(events[1].error, ServiceError)
    assert recorder.state == "inactive"
    wait_until(lambda: not role_processes(), "the end of the orphaned roles", DEADLINE_S)
    wait_until(lambda: not runtime_directories(), "the end of the runtime directory", DEADLINE_S)
    # With a new controller the same recorder and source go on.
    events.clear()
    recorder.start()
    assert all(source.write(counter_picture(n), time.monotonic_ns()) for n in range(5))
    assert decode(finished(recorder)).counters == list(range(5))
    assert types_of(events) == ["start", "dataavailable", "stop"]


CALLER = f"""
import sys, time, recsvc
stream = recsvc.get_user_media(audio="{SMALL_TEST}", video="{SMALL_TEST}")
recorder = recsvc.MediaRecorder(stream)
how, path, slow_s = sys.argv[1:]

def save(event):
    time.sleep(float(slow_s))
    event.data.save(path)

recorder.ondataavailable = save
recorder.start()
time.sleep(1.0)
print("recording", flush=True)
if how == "wait":
    time.sleep(1000)
if how == "raise":
    raise RuntimeError("on purpose")
"""


def test_a_killed_caller_leaves_a_finished_file_and_nothing_else(own_controller, spool):
    arguments = [sys.executable, "-c", CALLER, "wait", "nowhere", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as caller:
        assert caller.stdout.readline() == b"recording\n"
        assert roles("controller") and roles("encode") and roles("capture")
        caller.kill()
    wait_until(lambda: not role_processes(), "the end of all roles", DEADLINE_S)
    assert runtime_directories() == []
    [path] = spool.iterdir()
    decoded = decode(path)
    assert_consecutive(decoded.counters)
    assert decoded.duration_s >= 0.9
    assert decoded.pictures[-1].at_s > decoded.duration_s - 0.2
    path.unlink()


@pytest.mark.parametrize(("how", "slow_s"), [("return", 0), ("raise", 0), ("return", 1)])
def test_the_end_of_the_interpreter_finishes_an_active_recording(own_controller, spool, tmp_path, how, slow_s):
    """Its listeners get the data, a slow one too, before the process ends; the roles end by themselves."""
    path = tmp_path / "saved.webm"
    arguments = [sys.executable, "-c", CALLER, how, str(path), str(slow_s)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE_S)
    assert (done.returncode, done.stdout) == (1 if how == "raise" else 0, "recording\n")
    wait_until(lambda: not role_processes(), "the end of all roles", DEADLINE_S)
    assert runtime_directories() == []
    decoded = decode(path)
    assert_consecutive(decoded.counters)
    assert decoded.duration_s >= 0.9
    assert done.stderr.count("Traceback") == (1 if how == "raise" else 0), done.stderr
    assert list(spool.iterdir()) == []
