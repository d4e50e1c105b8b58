"""What is captured is in the file: every frame once, every sample, from the start to the stop and nothing more.

Real processes throughout: a private controller, its encoder workers, capture processes.
"""

import math
import random
import threading
import time
from pathlib import Path

import ebml
import numpy as np
import pytest
import zmq
from fixtures_media import wait_until
from media import (
    DEADLINE_S,
    SMALL,
    SMALL_TEST,
    TICK_S,
    S,
    assert_accounted,
    assert_consecutive,
    assert_rising,
    complaints,
    counter_picture,
    decode,
    decoded_after_seek,
    finished,
    frames_counted_by_ffprobe,
    frequency_of,
    opened,
    record_for,
    sample_count_by_container,
    tone,
)

import recsvc
from recsvc.caller.stream import track_of
from recsvc.wire import messages

FRAME_S = 1 / 30
VIDEO_TYPES = ("video/webm;codecs=vp8,opus", "video/webm;codecs=vp9,opus", "video/x-matroska;codecs=vp8,opus")


@pytest.fixture
def seed() -> int:
    value = random.SystemRandom().randrange(2**32)
    print(f"seed {value}")
    return value


def test_stream(source=SMALL_TEST):
    return recsvc.get_user_media(audio=source, video=source)


test_stream.__test__ = False


def write_pictures(source, numbers, *, base_ns=None, pixel_format="i420", step_ns=S // 30, size=(160, 120)):
    """Pushes counter pictures with times of a steady source; the numbers of those that were taken."""
    base_ns = time.monotonic_ns() if base_ns is None else base_ns
    return [
        number
        for n, number in enumerate(numbers)
        if source.write(counter_picture(number, *size, pixel_format), base_ns + n * step_ns)
    ]


def write_sound(source, samples, rate, block_sizes, *, base_ns=None):
    """Pushes samples in blocks of these sizes, the last one cut to what is there."""
    base_ns = time.monotonic_ns() if base_ns is None else base_ns
    at = 0
    for size in block_sizes:
        block = samples[at : at + size]
        if not len(block):
            return
        assert source.write(np.ascontiguousarray(block), base_ns + at * S // rate)
        at += len(block)


# --- captured -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mime_type", VIDEO_TYPES)
def test_a_captured_recording_has_every_frame_and_sample(mime_type, tmp_path):
    with test_stream(f"test:{SMALL}&frequency=523") as stream:
        recorder = recsvc.MediaRecorder(stream, mime_type=mime_type, video_key_frame_interval_count=9)
        before_start_s = time.monotonic()
        recorder.start()
        after_start_s = time.monotonic()
        time.sleep(0.8)
        before_stop_s = time.monotonic()
        recorder.stop()
        after_stop_s = time.monotonic()
        recorder.wait("stop", DEADLINE_S)
    blob = recorder.recording
    decoded = decode(blob)
    assert_consecutive(decoded.counters)
    assert_accounted(recorder.statistics(), decoded)
    # Time 0 is the first frame, the Duration runs to the stop() call.
    assert before_stop_s - after_start_s - TICK_S <= decoded.duration_s <= after_stop_s - before_start_s + TICK_S
    assert min(decoded.pictures[0].at_s, decoded.sound_at_s) == 0
    assert abs(decoded.duration_s - blob.duration) <= TICK_S
    # The last frame was captured at or before the stop, and the next one would have been behind it.
    last_s = decoded.pictures[-1].at_s
    assert last_s <= decoded.duration_s + TICK_S and last_s + FRAME_S > decoded.duration_s - TICK_S
    assert abs(decoded.sound_s - decoded.duration_s) <= TICK_S
    steps = np.diff(decoded.times)
    assert np.all(np.abs(steps - FRAME_S) <= TICK_S)
    assert frequency_of(decoded.samples) == pytest.approx(523, abs=0.5)
    # Seekable: to each key frame, and to between two.
    keys = [picture for picture in decoded.pictures if picture.is_key_frame]
    assert [decoded.pictures.index(key) for key in keys] == list(range(0, len(decoded.pictures), 10))
    for key in keys:
        assert decoded_after_seek(blob, key.at_s) == key
        assert decoded_after_seek(blob, key.at_s + FRAME_S) == key
    file = ebml.read(blob.bytes())
    assert file.segment_size_known
    assert [cue.ms for cue in file.cues] == [round(key.at_s * 1000) for key in keys]
    path = blob.save(tmp_path / ("file.mkv" if "matroska" in mime_type else "file.webm"))
    assert frames_counted_by_ffprobe(path) == len(decoded.pictures)
    assert complaints(path) == []


def test_start_and_stop_cut_the_frames_at_the_calls(seed):
    """Frame n of the source is captured at T + n / rate, with a T that is not known here. Each recording bounds it
    from both sides: its first frame is the first at or behind start(), its last the last at or before stop(). One
    frame too many or too few in any of them, and there is no T that fits all."""
    rate = 50
    earliest_s, latest_s = -float("inf"), float("inf")
    lengths = random.Random(seed)
    with test_stream(f"{SMALL_TEST}&frame_rate={rate}") as stream:
        recorder = recsvc.MediaRecorder(stream)
        for _ in range(15):
            before_start_s = time.monotonic()
            recorder.start()
            after_start_s = time.monotonic()
            time.sleep(0.05 + 0.1 * lengths.random())
            before_stop_s = time.monotonic()
            recorder.stop()
            after_stop_s = time.monotonic()
            recorder.wait("stop", DEADLINE_S)
            counters = decode(recorder.recording).counters
            assert_consecutive(counters)
            missed = recorder.statistics().tracks[0].dropped_by_cause.get("start_late", 0)  # the machine is starved
            first, last = counters[0] - missed, counters[-1]
            # T + first / rate >= start > T + (first - 1) / rate, and the same for the stop.
            earliest_s = max(earliest_s, before_start_s - first / rate, before_stop_s - (last + 1) / rate)
            latest_s = min(latest_s, after_start_s - (first - 1) / rate, after_stop_s - last / rate)
            assert earliest_s <= latest_s, (earliest_s, latest_s, counters)


# --- pushed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixel_format", ["i420", "nv12", "rgb24", "bgr24", "rgba", "bgra"])
def test_every_pushed_picture_is_in_the_file(pixel_format, tmp_path):
    source = recsvc.VideoSource(160, 120, pixel_format, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    recorder.start()
    taken = write_pictures(source, range(40), pixel_format=pixel_format)
    blob = finished(recorder)
    assert taken == list(range(40))
    decoded = decode(blob)
    assert decoded.counters == taken
    assert decoded.pictures[0].at_s == 0
    steps = np.diff(decoded.times)
    assert np.all(np.abs(steps - FRAME_S) <= TICK_S)
    assert_accounted(recorder.statistics(), decoded)
    assert frames_counted_by_ffprobe(blob.save(tmp_path / "file.webm")) == 40


def test_pictures_written_now_are_in_the_file_up_to_the_last_before_stop():
    source = recsvc.VideoSource(160, 120)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    for _ in range(5):
        recorder.start()
        taken = []
        for number in range(12):
            if source.write(counter_picture(number)):
                taken.append(number)
            time.sleep(0.005)
        blob = finished(recorder)
        decoded = decode(blob)
        assert decoded.counters == taken == list(range(12))
        assert not source.write(counter_picture(12)), "nobody records it"
        assert decoded.duration_s >= decoded.pictures[-1].at_s - TICK_S


def test_when_full_is_drop_what_was_not_taken_is_counted_and_the_rest_is_in_the_file():
    source = recsvc.VideoSource(640, 480)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]), mime_type="video/webm;codecs=vp9")
    pictures = [counter_picture(number, 640, 480) for number in range(150)]
    base_ns = time.monotonic_ns()
    recorder.start()
    taken = [n for n, picture in enumerate(pictures) if source.write(picture, base_ns + n * S // 30)]
    blob = finished(recorder)
    decoded = decode(blob)
    [track] = recorder.statistics().tracks
    assert len(taken) < 150, "the queue was never full: the test proves nothing"
    assert decoded.counters == taken
    assert_accounted(recorder.statistics(), decoded, dropped=None)
    assert (track.frames_accepted, track.dropped_by_cause) == (150, {"queue_full": 150 - len(taken)})


@pytest.mark.parametrize("count", [1, 959, 960, 961, 48_017])
@pytest.mark.parametrize(
    ("channels", "sample_format"), [(1, "s16"), (2, "s16"), (6, "s16"), (1, "f32"), (2, "f32"), (6, "f32")]
)
def test_every_pushed_sample_is_in_the_file(count, channels, sample_format, seed):
    sizes = random.Random(seed)
    source = recsvc.AudioSource(48_000, channels, sample_format, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    samples = tone(count, channels=channels, frequency=1000, dtype="int16" if sample_format == "s16" else "float32")
    recorder.start()
    write_sound(source, samples, 48_000, (sizes.randint(1, 2000) for _ in range(count)))
    blob = finished(recorder)
    decoded = decode(blob)
    assert sample_count_by_container(blob) == count
    assert len(decoded.samples) == count
    assert decoded.samples.shape[1] == min(channels, 2)
    assert decoded.sound_at_s == 0
    assert_accounted(recorder.statistics(), decoded)
    assert recorder.statistics().tracks[0].frames_accepted == count
    if count > 10_000:
        assert frequency_of(decoded.samples) == pytest.approx(1000, abs=0.5)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
def test_sound_of_other_rates_keeps_its_length_and_its_pitch(rate, tmp_path):
    count = rate + 17
    source = recsvc.AudioSource(rate, 2, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    recorder.start()
    write_sound(source, tone(count, rate, 2, 1000), rate, [rate // 100] * 200)
    blob = finished(recorder)
    decoded = decode(blob)
    assert len(decoded.samples) == int(count * 48_000 / rate + 0.5)
    assert frequency_of(decoded.samples) == pytest.approx(1000, abs=0.5)
    assert_accounted(recorder.statistics(), decoded)
    assert complaints(blob.save(tmp_path / "file.webm")) == []


def test_a_tone_stands_where_it_was_pushed():
    """A click in the middle is found at its sample: neither pre-skip nor padding moves the sound."""
    samples = np.zeros((24_000, 1), np.int16)
    samples[12_345:12_350] = 30_000
    source = recsvc.AudioSource(48_000, 1, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    recorder.start()
    write_sound(source, samples, 48_000, [480] * 50)
    decoded = decode(finished(recorder))
    assert abs(int(np.argmax(np.abs(decoded.samples[:, 0]))) - 12_347) <= 5


def test_pushed_sound_and_pictures_keep_their_offset():
    """The picture that turns white and the sound that begins with it, 200 ms behind the start of both."""
    video, audio = recsvc.VideoSource(160, 120, when_full="wait"), recsvc.AudioSource(48_000, 1, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([video.track, audio.track]))
    recorder.start()
    base_ns = time.monotonic_ns()
    samples = tone(24_000)
    samples[:9_600] = 0
    write_pictures(video, range(15), base_ns=base_ns)
    write_sound(audio, samples, 48_000, [480] * 50, base_ns=base_ns)
    decoded = decode(finished(recorder))
    assert decoded.counters == list(range(15))
    onset = int(np.argmax(np.abs(decoded.samples[:, 0]) > 0.1))
    assert abs(decoded.sound_at_s + onset / 48_000 - 0.2) < 0.005
    assert decoded.pictures[6].at_s == pytest.approx(0.2, abs=TICK_S)


def test_the_length_runs_to_the_stop_however_slow_the_pictures_come():
    """A picture that could have lasted longer ends with the recording."""
    video, audio = recsvc.VideoSource(160, 120, when_full="wait"), recsvc.AudioSource(48_000, 1, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([video.track, audio.track]))
    recorder.start()
    base_ns = time.monotonic_ns() - 96 * S // 100
    write_pictures(video, range(3), base_ns=base_ns, step_ns=4 * S // 10)
    write_sound(audio, tone(48_000 * 96 // 100), 48_000, [1_920] * 24, base_ns=base_ns)
    stopped_ns = time.monotonic_ns()
    blob = finished(recorder)
    assert blob.duration == pytest.approx((stopped_ns - base_ns) / S, abs=0.05)
    file = ebml.read(blob.bytes())
    assert file.duration_ms == pytest.approx(blob.duration * 1000)
    assert decode(blob).counters == [0, 1, 2]


# --- several at once ------------------------------------------------------------------------------


def test_two_recorders_of_one_stream_have_each_their_own_part():
    with test_stream() as stream:
        first, second = recsvc.MediaRecorder(stream), recsvc.MediaRecorder(stream, mime_type="video/x-matroska")
        first.start()
        time.sleep(0.25)
        second.start()
        time.sleep(0.25)
        early = decode(finished(first))
        time.sleep(0.25)
        late = decode(finished(second))
    for recorder, decoded in ((first, early), (second, late)):
        assert_consecutive(decoded.counters)
        assert_accounted(recorder.statistics(), decoded)
    assert early.counters[0] < late.counters[0] <= early.counters[-1] < late.counters[-1]


def test_ten_recordings_at_once_are_each_complete():
    pushed_count = 60

    def push(source, base_ns):
        for number in range(pushed_count):
            assert source.write(counter_picture(number), base_ns + number * S // 60)

    sources = [recsvc.VideoSource(160, 120, when_full="wait") for _ in range(5)]
    with test_stream() as one, test_stream(f"{SMALL_TEST}&seed=2") as other:
        captured = [recsvc.MediaRecorder(stream) for stream in (one, one, one, other, other)]
        pushed = [recsvc.MediaRecorder(recsvc.MediaStream([source.track])) for source in sources]
        for recorder in captured + pushed:
            recorder.start()
        writers = [threading.Thread(target=push, args=(source, time.monotonic_ns())) for source in sources]
        for writer in writers:
            writer.start()
        time.sleep(0.7)
        for writer in writers:
            writer.join(DEADLINE_S)
        for recorder in captured + pushed:
            recorder.stop()
        for recorder in captured + pushed:
            recorder.wait("stop", DEADLINE_S)
    for recorder in captured:
        decoded = decode(recorder.recording)
        assert_consecutive(decoded.counters)
        assert_accounted(recorder.statistics(), decoded)
        assert abs(decoded.sound_s - decoded.duration_s) <= TICK_S
    for recorder in pushed:
        decoded = decode(recorder.recording)
        assert decoded.counters == list(range(pushed_count))
        assert_accounted(recorder.statistics(), decoded)


# --- pause and resume -----------------------------------------------------------------------------


@pytest.mark.alone  # a pause acts when its command comes, which takes longer where the machine is busy
def test_paused_time_is_absent_from_both_tracks():
    with test_stream() as stream:
        recorder = recsvc.MediaRecorder(stream)
        at_s = []

        def now(call):
            before_s = time.monotonic()
            call()
            at_s.append((before_s, time.monotonic()))

        now(recorder.start)
        for call in (recorder.pause, recorder.resume, recorder.pause, recorder.resume):
            time.sleep(0.3)
            now(call)
        time.sleep(0.3)
        now(recorder.stop)
        recorder.wait("stop", DEADLINE_S)
    decoded = decode(recorder.recording)
    # Three intervals; each end is known up to how long its call took.
    least_s = sum(at_s[n + 1][0] - at_s[n][1] for n in (0, 2, 4))
    most_s = sum(at_s[n + 1][1] - at_s[n][0] for n in (0, 2, 4))
    assert least_s - 0.02 <= decoded.sound_s <= most_s + 0.02
    assert least_s - FRAME_S <= decoded.duration_s <= most_s + FRAME_S
    assert abs(decoded.sound_s + decoded.sound_at_s - decoded.duration_s) <= 0.02
    # The source counted on while nothing was recorded; no frame of it is in the file, and no gap in time.
    jumps = [n + 1 for n, step in enumerate(np.diff(decoded.counters)) if step > 1]
    steps_s = np.diff(decoded.times)
    assert len(jumps) == 2
    assert all(step > 0 for step in np.diff(decoded.counters))
    assert all(decoded.counters[n] - decoded.counters[n - 1] >= 7 for n in jumps)
    assert np.all(steps_s < 2 * FRAME_S + TICK_S)
    assert all(decoded.pictures[n].is_key_frame for n in jumps)
    assert_accounted(recorder.statistics(), decoded)


def test_pause_does_not_move_sound_against_pictures():
    """Both tracks are cut at the same instants: behind the pause a picture and the sound that was captured with
    it still stand at one time."""
    video, audio = recsvc.VideoSource(160, 120, when_full="wait"), recsvc.AudioSource(48_000, 1, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([video.track, audio.track]))
    recorder.start()
    silence, sound = np.zeros((480, 1), np.int16), tone(480, frequency=1000)

    def live(seconds, block):
        """Picture and sound as a live source brings them: when they are due."""
        base_ns = time.monotonic_ns()
        for n in range(round(seconds * 100)):
            due_ns = base_ns + n * S // 100
            while time.monotonic_ns() < due_ns:
                time.sleep(0.001)
            if n % 4 == 0:
                video.write(counter_picture(live.number), due_ns)
                live.number += 1
            audio.write(block, due_ns)

    live.number = 0
    live(0.4, silence)
    recorder.pause()
    live(0.3, silence)
    live.number = 100
    recorder.resume()
    live(0.4, sound)
    decoded = decode(finished(recorder))
    assert [number for number in decoded.counters if 10 <= number < 100] == []
    assert decoded.counters == [*range(10), *range(100, 110)]
    onset_s = decoded.sound_at_s + int(np.argmax(np.abs(decoded.samples[:, 0]) > 0.1)) / 48_000
    picture = decoded.pictures[10]
    assert picture.is_key_frame
    assert abs(onset_s - picture.at_s) <= 0.02


# --- pieces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeslice", [0, 200])
def test_the_pieces_of_a_timeslice_join_to_the_whole(timeslice):
    with test_stream() as stream:
        recorder = recsvc.MediaRecorder(stream)
        events = []
        recorder.ondataavailable = events.append
        recorder.start(timeslice)
        time.sleep(1.3)
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)
    assert len(events) >= 3
    timecodes = [event.timecode for event in events]
    assert timecodes[0] == 0
    assert_rising(timecodes)
    assert all(event.data.duration * 1000 >= timeslice for event in events[:-1])
    joined = recsvc.Blob([event.data for event in events])
    assert sum(event.data.duration for event in events) == pytest.approx(recorder.recording.duration, abs=TICK_S)
    pieces, whole = decode(joined), decode(recorder.recording)
    assert_consecutive(pieces.counters)
    assert pieces.counters == whole.counters
    assert len(pieces.samples) == len(whole.samples)
    assert_accounted(recorder.statistics(), pieces)
    key = [picture for picture in whole.pictures if picture.is_key_frame][-1]
    assert decoded_after_seek(recorder.recording, key.at_s) == key
    assert whole.duration_s == pytest.approx(recorder.recording.duration, abs=TICK_S)
    # What was handed out first plays without the rest, too.
    assert len(decode(events[0].data).samples) == 960 * len(ebml.read(events[0].data.bytes()).of(2)) - 336


@pytest.mark.parametrize(("container", "tracks"), [("webm", "both"), ("webm", "audio"), ("ogg", "audio")])
def test_request_data_gives_what_was_captured_and_the_pieces_join(container, tracks):
    with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST if tracks == "both" else False) as stream:
        recorder = recsvc.MediaRecorder(stream, mime_type="audio/ogg" if container == "ogg" else "")
        before_s = time.monotonic()
        recorder.start()
        after_s = time.monotonic()
        pieces = []
        for wait_s in (0.0, 0.05, 0.4, 0.4):
            time.sleep(wait_s)
            asked_s = time.monotonic()
            recorder.request_data()
            pieces.append(recorder.wait("dataavailable", DEADLINE_S))
            told_s = time.monotonic()  # what came meanwhile may be in it
            if wait_s:
                so_far = decode(recsvc.Blob([piece.data for piece in pieces]))
                # Time 0 is the first frame, up to one picture's length after the start.
                assert asked_s - after_s - FRAME_S - 0.03 <= so_far.sound_s <= told_s - before_s
                if tracks == "both":
                    assert asked_s - after_s - 2 * FRAME_S <= so_far.pictures[-1].at_s
        assert recorder.state == "recording"
        recorder.stop()
        pieces.append(recorder.wait("dataavailable", DEADLINE_S))
        recorder.wait("stop", DEADLINE_S)
        with pytest.raises(TimeoutError):
            recorder.wait("dataavailable", 0)
    assert all(piece.data.size for piece in pieces[1:])
    timecodes = [piece.timecode for piece in pieces]
    assert timecodes[0] == 0
    assert_rising(timecodes)
    joined, whole = decode(recsvc.Blob([piece.data for piece in pieces])), decode(recorder.recording)
    if tracks == "both":
        assert_consecutive(joined.counters)
    assert_accounted(recorder.statistics(), joined)
    assert joined.counters == whole.counters
    assert np.array_equal(joined.samples, whole.samples)


def test_requests_for_data_leave_no_trace_in_what_a_stop_cuts(seed):
    """Each request makes the sender give out sound that it would have held: none is doubled, none is lost."""
    with test_stream(f"{SMALL_TEST}&frequency=441") as stream:
        recorder = recsvc.MediaRecorder(stream)
        waits = random.Random(seed)
        for _ in range(3):
            recorder.start()
            paused = 0  # pictures that may have been captured meanwhile
            for _ in range(20):
                time.sleep(0.03 * waits.random())
                recorder.request_data()
                if waits.random() < 0.2:
                    begin_s = time.monotonic()
                    recorder.pause()
                    recorder.request_data()
                    recorder.resume()
                    paused += 1 + math.floor((time.monotonic() - begin_s) * 30)
            blob = finished(recorder)
            decoded = decode(blob)
            first, last = decoded.counters[0], decoded.counters[-1]
            assert decoded.counters == sorted(set(decoded.counters))
            assert last - first + 1 - len(decoded.counters) <= paused
            assert_accounted(recorder.statistics(), decoded)
            assert recorder.statistics().tracks[0].timestamps_corrected == {}
            assert decoded.sound_s == pytest.approx(decoded.duration_s, abs=TICK_S)


# --- what others send -----------------------------------------------------------------------------


def test_garbage_on_the_sockets_harms_nothing(spool, seed, own_controller):
    """Raw messages of every wrong kind to the worker's data socket and the controller's: the recording that goes
    on there is unaffected, and both still answer."""
    noise = random.Random(seed)
    with test_stream() as stream:
        recorder = recsvc.MediaRecorder(stream)
        recorder.start()
        connection = recorder._session.client
        directory = Path(connection.address.endpoint.removeprefix("ipc://")).parent
        endpoints = [path for path in directory.iterdir() if path.is_socket() and path.name != "events"]
        assert {path.name.split("-")[0] for path in endpoints} == {"control", "encode"}
        forged = messages.VideoFrame(
            route="no such recording/track", sequence=0, captured_ns=0, pixel_format="i420", width=64, height=48
        )
        good = messages.encode(forged)
        bad = [
            [b""],
            [b"\xc1"],
            [b"", b"", b"", b""],
            [good],  # no payload
            [good, b"short"],
            [good, b"", b"one too many"],
            [good[: len(good) // 2], b"x" * 100],
            [messages.encode(messages.Attach(route="nobody's"))],
            [messages.encode(messages.End(route="nobody's", count=1, until_ns=0))],
            [messages.encode(forged) + b"trailing", b"x"],
            [b"\x81" * 2_000],  # maps within maps
            [b"\x91" * 60_000],
            [b"\xdf\xff\xff\xff\xff"],  # a map that claims four thousand million entries
            [b"x" * 200_000],
            [messages.encode(messages.Hello(client="x" * 150, id=7))],
            *[[noise.randbytes(noise.randint(0, 300)) for _ in range(noise.randint(1, 5))] for _ in range(200)],
            *[[good[:cut], b""] for cut in range(0, len(good), 3)],
        ]
        with zmq.Context() as context:
            for path in endpoints:
                with context.socket(zmq.DEALER) as attacker:
                    attacker.linger = attacker.sndtimeo = round(DEADLINE_S * 1000)
                    attacker.connect(f"ipc://{path}")
                    for parts in bad:
                        attacker.send_multipart(parts)
        encoded_s = recorder.statistics().duration
        wait_until(lambda: recorder.statistics().duration > encoded_s + 0.3, "what was recorded since", DEADLINE_S)
        assert recorder.state == "recording"
        blob = finished(recorder)
        decoded = decode(blob)
        assert_consecutive(decoded.counters)
        assert_accounted(recorder.statistics(), decoded)
        # The service still serves.
        assert_consecutive(decode(record_for(recorder, 0.2)).counters)


def test_a_forged_frame_of_a_running_recording_is_refused_and_counted(own_controller):
    source = recsvc.VideoSource(160, 120, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    recorder.start()
    [name] = track_of(source.track).routes
    [route] = source._sender._routes.values()
    endpoint = route.socket.getsockopt_string(zmq.LAST_ENDPOINT)
    base_ns = time.monotonic_ns()
    write_pictures(source, range(10), base_ns=base_ns)
    wrong = [
        (messages.VideoFrame(route=name, sequence=9, captured_ns=0, pixel_format="i420", width=64, height=48), b"x"),
        (messages.VideoFrame(route=name, sequence=9, captured_ns=0, pixel_format="p010", width=1, height=1), b"x"),
        (
            messages.AudioFrame(
                route=name, sequence=9, captured_ns=0, sample_format="s16", sample_rate=48_000, channel_count=1,
                sample_count=1,
            ),
            b"xx",
        ),
    ]  # fmt: skip
    with zmq.Context() as context, context.socket(zmq.DEALER) as attacker:
        attacker.linger = 2_000
        attacker.connect(endpoint)
        for header, payload in wrong:
            attacker.send_multipart([messages.encode(header), payload])
            replies: list[object] = []  # a credit may come before it: what was refused counts as done
            while not any(isinstance(reply, messages.Refused) for reply in replies):
                assert attacker.poll(int(DEADLINE_S * 1000)), "nobody said that it was refused"
                replies.append(messages.SENDER.decode(attacker.recv()))
    write_pictures(source, range(10, 20), base_ns=base_ns + S // 3)
    decoded = decode(finished(recorder))
    [track] = recorder.statistics().tracks
    assert decoded.counters == list(range(20))
    assert track.frames_encoded == 20
    assert track.dropped_by_cause == {"refused": len(wrong)}
    assert track.frames_accepted == track.frames_encoded + track.frames_dropped


# --- the length and the end -----------------------------------------------------------------------


def test_a_recording_of_a_source_that_ends_stops_by_itself():
    with test_stream(f"{SMALL_TEST}&duration=0.5") as stream:
        recorder = recsvc.MediaRecorder(stream)
        recorder.start()
        recorder.wait("stop", DEADLINE_S)
        assert recorder.state == "inactive"
        with pytest.raises(TimeoutError):
            recorder.wait("error", 0)
        wait_until(lambda: not stream.active, "the end of the tracks")
        decoded = decode(recorder.recording)
        assert_consecutive(decoded.counters)
        assert decoded.counters[-1] == 14
        with pytest.raises(recsvc.errors.NotSupportedError, match="no live track"):
            recorder.start()


def test_the_first_picture_of_a_file_is_a_key_frame_and_times_begin_at_0():
    with test_stream() as stream:
        with recsvc.MediaRecorder(stream) as recorder:
            recorder.start()
            time.sleep(0.2)
        with opened(recorder.recording) as container:
            firsts = {}
            for packet in container.demux():
                if packet.pts is not None:
                    firsts.setdefault(packet.stream.type, packet)
            assert firsts["video"].is_keyframe
            assert min(max(packet.pts * packet.time_base, 0) for packet in firsts.values()) == 0
