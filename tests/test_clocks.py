"""Time stamps of pushed frames that are strange: whatever they are, the recording plays and everything is counted."""

import time

import numpy as np
import pytest
from media import TICK_S, S, assert_accounted, counter_picture, decode, finished, tone

import recsvc

MONOTONIC, ZERO, EPOCH = "the monotonic clock", "a clock from 0", "the time since 1970"


def base_ns(clock: str) -> int:
    return {MONOTONIC: time.monotonic_ns, ZERO: lambda: 0, EPOCH: time.time_ns}[clock]()


@pytest.mark.parametrize(
    ("video_clock", "audio_clock"),
    [(ZERO, ZERO), (EPOCH, EPOCH), (MONOTONIC, EPOCH), (EPOCH, MONOTONIC), (ZERO, EPOCH), (ZERO, MONOTONIC)],
)
def test_sources_may_have_a_clock_of_their_own(video_clock: str, audio_clock: str) -> None:
    """Tracks of one clock stay together to the millisecond; those of two are put together as they came."""
    video, audio = recsvc.VideoSource(160, 120, when_full="wait"), recsvc.AudioSource(48_000, 1, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([video.track, audio.track]))
    recorder.start()
    video_ns = base_ns(video_clock)
    audio_ns = video_ns if video_clock == audio_clock else base_ns(audio_clock)
    sound = tone(24_000)
    for number in range(15):
        assert video.write(counter_picture(number), video_ns + number * S // 30)
        part = sound[number * 1600 : (number + 1) * 1600]
        assert audio.write(np.ascontiguousarray(part), audio_ns + number * S // 30)
    decoded = decode(finished(recorder))
    assert decoded.counters == list(range(15)) and len(decoded.samples) == 24_000
    apart_s = decoded.pictures[0].at_s - decoded.sound_at_s
    assert abs(apart_s) <= (TICK_S if video_clock == audio_clock else 0.25)
    steps = np.diff([picture.at_s for picture in decoded.pictures])
    assert np.all(np.abs(steps - 1 / 30) <= TICK_S)
    assert_accounted(recorder.statistics(), decoded)


def test_absurd_time_stamps_are_counted_and_cost_no_picture() -> None:
    video = recsvc.VideoSource(160, 120, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([video.track]))
    recorder.start()
    begin_ns = time.monotonic_ns()
    stamps = [begin_ns + number * S // 25 for number in range(12)]
    stamps[3], stamps[5], stamps[7], stamps[9] = 2**61, 0, stamps[6], begin_ns + 10**6 * S
    for number, captured_ns in enumerate(stamps):
        assert video.write(counter_picture(number), captured_ns)
    decoded = decode(finished(recorder))
    assert decoded.counters == list(range(12))
    times = [picture.at_s for picture in decoded.pictures]
    assert np.all(np.diff(times) > 0) and times[-1] == pytest.approx(11 / 25, abs=TICK_S)
    [track] = recorder.statistics().tracks
    assert track.timestamps_corrected == {"absurd": 2, "backward": 1, "repeated": 1}
    assert_accounted(recorder.statistics(), decoded)
