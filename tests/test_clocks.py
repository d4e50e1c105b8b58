"""Time stamps of pushed frames that are strange: whatever they are, the recording plays and everything is counted."""

import heapq
import random
import time
from types import SimpleNamespace

import numpy as np
import pytest
from listening import ALL_IN_ORDER, types_of
from media import TICK_S, Decoded, S, assert_accounted, assert_times, counter_picture, decode, finished, tone

import recsvc
from recsvc.caller import stamps

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
    assert abs(apart_s) <= (TICK_S if video_clock == audio_clock else 1.0)  # by arrival, on a busy machine
    steps = np.diff(decoded.times)
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
    times = decoded.times
    assert np.all(np.diff(times) > 0) and times[-1] == pytest.approx(11 / 25, abs=TICK_S)
    [track] = recorder.statistics().tracks
    assert track.timestamps_corrected == {"absurd": 2, "backward": 1, "repeated": 1}
    assert_accounted(recorder.statistics(), decoded)


def test_blocks_that_come_late_and_are_stamped_by_their_arrival_end_no_recording(monkeypatch) -> None:
    """As from a busy event loop or a web socket, half a minute each. Time is a fake one that jumps
    from block to block; each of these seeds once ended its recording."""
    cases = [(seed, 80) for seed in (15, 18, 26, 32)] + [(seed, 200) for seed in (18, 29, 54, 59)]
    block = tone(320, 16_000)
    sources = [recsvc.AudioSource(16_000, 1, when_full="wait") for _ in cases]
    recorders = [recsvc.MediaRecorder(recsvc.MediaStream([source.track])) for source in sources]
    for recorder in recorders:
        recorder.start()
    now = SimpleNamespace(ns=time.monotonic_ns())
    monkeypatch.setattr(stamps, "time", SimpleNamespace(monotonic_ns=lambda: now.ns))
    arrivals = []
    for which, (seed, late_ms) in enumerate(cases):
        rng, arrived_ns = random.Random(seed), 0
        for number in range(1500):
            arrived_ns = max(arrived_ns, now.ns + number * S // 50 + rng.randrange(late_ms) * S // 1000)
            arrivals.append((arrived_ns, which))
    heapq.heapify(arrivals)
    while arrivals:
        now.ns, which = heapq.heappop(arrivals)
        assert sources[which].write(block)
    for recorder in recorders:
        blob = finished(recorder)
        events = types_of(recorder.events())
        assert events == ALL_IN_ORDER
        [track] = recorder.statistics().tracks
        assert track.frames_accepted == track.frames_encoded == 1500 * 320
        assert len(decode(blob).samples) >= 1500 * 960


MINUTES_NS = 600 * S


def recorded(
    video_stamps: list[int], audio_stamps: list[int], **options: str
) -> tuple[recsvc.RecordingStatistics, Decoded]:
    """A recording of pictures, then of blocks of 20 ms of a tone, at these times after ``start()``."""
    video, audio = recsvc.VideoSource(160, 120, when_full="wait"), recsvc.AudioSource(48_000, 1, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([video.track, audio.track]), **options)
    recorder.start()
    begin_ns = time.monotonic_ns()
    sound = tone(960 * len(audio_stamps)).reshape(-1, 960)
    due = [(index * S // 25, "picture", index, stamp) for index, stamp in enumerate(video_stamps)]
    due += [(index * S // 50, "sound", index, stamp) for index, stamp in enumerate(audio_stamps)]
    for _, what, index, stamp_ns in sorted(due):
        if what == "picture":
            assert video.write(counter_picture(index), begin_ns + stamp_ns)
        else:
            assert audio.write(sound[index], begin_ns + stamp_ns)
    decoded = decode(finished(recorder))
    assert_accounted(recorder.statistics(), decoded)
    assert decoded.counters == list(range(len(video_stamps)))
    return recorder.statistics(), decoded


def at_rate(count: int, rate: int, begin_ns: int = 0) -> list[int]:
    return [begin_ns + index * S // rate for index in range(count)]


@pytest.mark.parametrize(
    ("wrong_ns", "kinds"),
    [(2 * MINUTES_NS, ["ahead"]), (-2 * MINUTES_NS, ["backward"]), (10**16, ["absurd"])],
)
def test_one_wrong_time_stamp_moves_its_own_frame_alone(wrong_ns: int, kinds: list[str]) -> None:
    video, audio = at_rate(60, 25), at_rate(120, 50)
    video[20] += wrong_ns
    audio[50] += wrong_ns
    statistics, decoded = recorded(video, audio)
    assert_times(decoded.times, at_s(60, 25))
    assert len(decoded.samples) == 120 * 960
    assert [list(track.timestamps_corrected) for track in statistics.tracks] == [kinds, kinds]


def at_s(count: int, rate: int, begin_s: float = 0) -> list[float]:
    return [begin_s + index / rate for index in range(count)]


def test_a_clock_that_starts_again_is_placed_where_the_old_one_ended() -> None:
    back_ns = -1700 * S
    statistics, decoded = recorded(
        at_rate(30, 25) + at_rate(30, 25, back_ns), at_rate(60, 50) + at_rate(60, 50, back_ns)
    )
    assert_times(decoded.times, at_s(60, 25))
    assert len(decoded.samples) == 120 * 960
    assert [track.timestamps_corrected for track in statistics.tracks] == [{"restart": 1}, {"restart": 1}]


@pytest.mark.parametrize("stale", ["a minute ago", "at 0"])
def test_a_stale_first_frame_is_moved_to_the_start(stale: str) -> None:
    video, audio = at_rate(60, 25), at_rate(120, 50)
    video[0] = audio[0] = -60 * S if stale == "a minute ago" else -time.monotonic_ns()
    statistics, decoded = recorded(video, audio)
    times = decoded.times
    # At start() where it is the recording's first, else when it came: the first interval is what is left of it.
    assert 0 <= times[0] < times[1] and [at - times[1] for at in times[1:]] == pytest.approx(at_s(59, 25), abs=TICK_S)
    assert times[-1] == pytest.approx(59 / 25, abs=0.3)
    assert decoded.duration_s is not None and decoded.duration_s < 4
    picture, sound = (track.timestamps_corrected for track in statistics.tracks)
    # On a busy machine the sound after it comes so long after start() that silence is put between.
    assert picture == {"before_start": 1} and sound in ({"before_start": 1}, {"before_start": 1, "gap": 1})


@pytest.mark.parametrize("gap_ns", [5 * S, 600 * S])
def test_a_source_that_stalls_leaves_a_gap_of_that_length(gap_ns: int) -> None:
    stamps = at_rate(10, 25) + at_rate(10, 25, gap_ns), at_rate(20, 50) + at_rate(20, 50, gap_ns)
    statistics, decoded = recorded(*stamps, overload="finish-late")  # so much silence takes a busy machine its time
    times = decoded.times
    assert times == pytest.approx(at_s(10, 25) + at_s(10, 25, gap_ns / S), abs=TICK_S)
    assert len(decoded.samples) == 48 * (gap_ns // 10**6) + 20 * 960
    assert statistics.tracks[0].timestamps_corrected == {}
    assert statistics.tracks[1].timestamps_corrected == {"gap": 1}
