"""Events tell the truth, of captured tracks and where processes are late; ``behaviour`` has the rest."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from fixtures_media import wait_until
from listening import ALL_IN_ORDER, record_events, types_of
from media import (
    DEADLINE_S,
    SMALL_TEST,
    TICK_S,
    assert_accounted,
    assert_consecutive,
    counter_picture,
    decode,
    finished,
    record_for,
    sample_count_by_container,
)
from services import roles
from traces import role_processes, runtime_directories

import recsvc
from recsvc.caller import connections


@pytest.fixture
def stream():
    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as opened:
        yield opened


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
            length_s = 0 if turn % 10 == 0 else 0.2 * lengths.random() ** 2
            recorder.start()
            time.sleep(length_s)
            recorder.stop()
            recorder.wait("stop", DEADLINE_S)
            if types_of(events) != ALL_IN_ORDER:
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
                # A source that has only just been opened may have a picture before its first sound.
                end_s = (one.sound_at_s or 0) + samples / 48_000
                assert abs(end_s - recorder.recording.duration) <= 2 * TICK_S
            except AssertionError as error:
                faults.append((number, turn, length_s, error))

    runs = [threading.Thread(target=cycle, args=(number,)) for number in range(threads)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(2 * DEADLINE_S)
        assert not run.is_alive()
    assert faults == []


def test_nothing_is_recorded_of_the_time_between_stop_and_start(stream):
    recorder = recsvc.MediaRecorder(stream)
    recorder.start()
    time.sleep(0.1)
    first = finished(recorder)
    time.sleep(0.3)
    second = record_for(recorder, 0.1)
    assert decode(second).counters[0] - decode(first).counters[-1] >= 8
    assert first.size and decode(first).counters, "the first recording's data stays as it was"


def test_a_closed_stream_ends_the_recording_without_an_error():
    """Also where the capture process ends with the tracks."""
    for _ in range(4):
        with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as opened:
            recorder = recsvc.MediaRecorder(opened)
            events = record_events(recorder)
            recorder.start()
            time.sleep(0.15)
        recorder.wait("stop", DEADLINE_S)
        assert types_of(events) == ALL_IN_ORDER
        assert_consecutive(decode(recorder.recording).counters)


@pytest.mark.parametrize("how", ["stop", "track.stop", "source.end", "add_track"])
def test_events_keep_the_order_of_the_calls_however_late_the_controller_is(own_controller, how):
    """Frames and their end go straight to the encoder, commands through the controller."""
    source = recsvc.VideoSource(160, 120, when_full="wait")
    stream = recsvc.MediaStream([source.track])
    recorder = recsvc.MediaRecorder(stream)
    events = record_events(recorder)
    recorder.start()
    recorder.wait("start", DEADLINE_S)
    [controller] = roles("controller")
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


def test_a_closed_track_is_no_longer_listened_for() -> None:
    """However often a stream is opened and closed, or ends by itself, the connection keeps nothing of it."""
    known = connections.connect()._sources._handlers
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


# --- the end of the program -----------------------------------------------------------------------

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
if how == "raise":
    raise RuntimeError("on purpose")
"""


@pytest.mark.parametrize(("how", "slow_s"), [("return", 0), ("raise", 1)])
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
