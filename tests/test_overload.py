"""What happens when pictures come faster than they can be encoded."""

import os
import time

import media
import pytest

import recsvc

pytestmark = pytest.mark.alone

WIDTH, HEIGHT, PICTURES = 960, 720, 90
DEADLINE_S = 100


def record_noise(overload: str) -> tuple[recsvc.MediaRecorder, int]:
    """Noise is the hardest there is: VP9 takes several times as long for it as it takes to push."""
    noise = [os.urandom(WIDTH * HEIGHT * 3 // 2) for _ in range(4)]
    source = recsvc.VideoSource(WIDTH, HEIGHT)
    recorder = recsvc.MediaRecorder(
        recsvc.MediaStream([source.track]), mime_type="video/webm;codecs=vp9", overload=overload
    )
    recorder.start()
    begin_ns = time.monotonic_ns()
    taken = sum(source.write(noise[n % 4], begin_ns + n * 1_000_000_000 // 30) for n in range(PICTURES))
    recorder.stop()
    recorder.wait("stop", DEADLINE_S)
    return recorder, taken


def test_by_default_the_encoder_hurries_then_the_newest_are_dropped_and_counted() -> None:
    recorder, taken = record_noise("drop")
    [track] = recorder.statistics().tracks
    assert 0 < taken < PICTURES
    assert track.dropped_by_cause == {"queue_full": PICTURES - taken}
    assert (track.frames_accepted, track.frames_encoded) == (PICTURES, taken)
    assert track.speed_raised > 0
    assert len(media.decode(recorder.recording).pictures) == taken


def test_finish_late_drops_nothing_and_finishes_after_the_stop() -> None:
    recorder, taken = record_noise("finish-late")
    [track] = recorder.statistics().tracks
    assert taken == PICTURES
    assert (track.frames_encoded, track.frames_dropped) == (PICTURES, 0)
    assert len(media.decode(recorder.recording).pictures) == PICTURES


def test_a_writer_that_waits_is_no_overload() -> None:
    """It writes as fast as the encoder encodes: nothing is gained by a hurry that costs quality."""
    source = recsvc.VideoSource(WIDTH, HEIGHT, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    noise = os.urandom(WIDTH * HEIGHT * 3 // 2)
    recorder.start()
    assert all(source.write(noise, n * 1_000_000_000 // 30) for n in range(PICTURES))
    recorder.stop()
    recorder.wait("stop", DEADLINE_S)
    [track] = recorder.statistics().tracks
    assert (track.frames_encoded, track.speed_raised) == (PICTURES, 0)
