"""Recordings of media that counts for itself: time stamps are positions, and the time that goes by plays no role."""

import time

import numpy as np
import pytest
from media import (
    DEADLINE_S,
    TICK_S,
    Decoded,
    S,
    assert_accounted,
    assert_times,
    counter_picture,
    decode,
    finished,
    sample_count_by_container,
    tone,
)

import recsvc
import recsvc.aio
from recsvc.caller.stamps import Stamps

RATE, BLOCK = 48_000, 960


class Simulation:
    """25 pictures and 50 blocks of a tone per second of media; ``at_ns`` moves on by what is written."""

    def __init__(self, kinds: str = "av", *, origin_ns: int = 0, **options: object) -> None:
        self.video = recsvc.VideoSource(160, 120, when_full="wait", clock="media") if "v" in kinds else None
        self.audio = recsvc.AudioSource(RATE, 1, when_full="wait", clock="media") if "a" in kinds else None
        sources = [source for source in (self.video, self.audio) if source is not None]
        self.recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track for source in sources]), **options)
        self.at_ns = origin_ns
        self.number = 0
        self.samples = tone(60 * RATE)

    def write(self, count: int, wait_s: float = 0, *, stamps: bool = True, taken: bool = True) -> None:
        """So many pictures, and the sound that belongs to each; between two the program takes so long."""
        for _ in range(count):
            time.sleep(wait_s)  # what a slow program does: nothing waits for it
            if self.video is not None:
                picture = counter_picture(self.number)
                assert self.video.write(picture, self.at_ns if stamps else None) is taken
            if self.audio is not None:
                for half in range(2):
                    block = self.samples[(2 * self.number + half) * BLOCK :][:BLOCK]
                    assert self.audio.write(block, self.at_ns + half * S // 50 if stamps else None) is taken
            self.number += 1
            self.at_ns += S // 25

    def stop(self, **expected: int | None) -> Decoded:
        blob = finished(self.recorder)
        decoded = decode(blob)
        assert_accounted(self.recorder.statistics(), decoded, **expected)
        for track in self.recorder.statistics().tracks:
            assert track.timestamps_corrected == {} and track.clock_drift_ppm == 0
        assert blob.duration == pytest.approx(decoded.duration_s, abs=TICK_S)
        assert self.recorder.statistics().duration == blob.duration
        return decoded


def assert_at_rate(decoded: Decoded, count: int) -> None:
    """So many pictures, 40 ms apart, and nothing else; the sound as long as they."""
    if decoded.pictures:
        assert_times(decoded.times, [n / 25 for n in range(count)])
    if decoded.sound_at_s is not None:
        assert len(decoded.samples) == count * 2 * BLOCK
    assert decoded.duration_s == pytest.approx(count / 25, abs=TICK_S)


@pytest.mark.parametrize("kinds", ["a", "v", "av"])
@pytest.mark.parametrize("origin_ns", [0, -5 * S, 10**18])
@pytest.mark.parametrize("stamps", [True, False])
def test_ten_seconds_written_in_no_time_are_ten_seconds(kinds: str, origin_ns: int, stamps: bool) -> None:
    simulation = Simulation(kinds, origin_ns=origin_ns)
    simulation.recorder.start()
    simulation.write(100 if kinds == "av" else 250, stamps=stamps)
    if stamps or kinds == "a":
        assert_at_rate(simulation.stop(), simulation.number)
    else:  # pictures without any position are 1/30 s apart
        decoded = simulation.stop()
        assert_times(decoded.times, [n / 30 for n in range(simulation.number)])


@pytest.mark.parametrize("kinds", ["v", "av"])
def test_a_second_that_takes_longer_to_draw_is_a_second(kinds: str) -> None:
    simulation = Simulation(kinds)
    simulation.recorder.start()
    simulation.write(1, 0.5)  # longer than anything is held for
    simulation.write(23, 0.01)
    simulation.write(1, 0.5)
    time.sleep(0.5)  # the program is done, and stops when it likes
    assert_at_rate(simulation.stop(), 25)


@pytest.mark.parametrize("kinds", ["a", "v", "av"])
@pytest.mark.parametrize("meanwhile", ["writes", "stands still", "goes on unwritten"])
def test_a_pause_cuts_between_two_writes(kinds: str, meanwhile: str) -> None:
    simulation = Simulation(kinds)
    simulation.recorder.start()
    simulation.write(10)
    for _ in range(2):
        simulation.recorder.pause()
        begin = simulation.number
        if meanwhile == "writes":
            simulation.write(13, taken=False)
        elif meanwhile == "goes on unwritten":
            simulation.at_ns += 7 * S
        time.sleep(0.1)
        simulation.recorder.resume()
        skipped = simulation.number - begin
        simulation.write(10)
    decoded = simulation.stop()
    assert_at_rate(decoded, 30)
    if "v" in kinds:
        first = range(10)
        assert decoded.counters == [*first, *(n + 10 + skipped for n in first), *(n + 20 + 2 * skipped for n in first)]
        assert [decoded.pictures[n].is_key_frame for n in (10, 20)] == [True, True]


def test_sound_and_pictures_keep_their_distance() -> None:
    """Sound that begins 130 ms after the pictures, or before them."""
    for begin_ns in (130 * S // 1000, -130 * S // 1000):
        simulation = Simulation()
        simulation.recorder.start()
        assert simulation.video is not None and simulation.audio is not None
        for number in range(25):
            simulation.video.write(counter_picture(number), 10 * S + number * S // 25)
            for half in (0, 1):
                at_ns = 10 * S + begin_ns + (2 * number + half) * S // 50
                simulation.audio.write(simulation.samples[:BLOCK], at_ns)
        decoded = simulation.stop()
        assert decoded.sound_at_s is not None
        assert decoded.sound_at_s - decoded.pictures[0].at_s == pytest.approx(begin_ns / S, abs=2 * TICK_S)
        assert decoded.duration_s == pytest.approx(1.13, abs=TICK_S)


def test_a_clock_that_drifts_against_ours_is_no_drift() -> None:
    """Two minutes of sound by a clock that is slow by 400 ppm: gaps at most, and no other pace."""
    audio = recsvc.AudioSource(8_000, 1, when_full="wait", clock="media")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([audio.track]))
    recorder.start()
    block = np.zeros(800, np.int16)
    for number in range(1200):
        assert audio.write(block, number * 100_040_000)
    decoded = decode(finished(recorder))
    [track] = recorder.statistics().tracks
    assert track.clock_drift_ppm == 0
    assert track.timestamps_corrected == {"gap": 2}
    assert len(decoded.samples) / RATE == pytest.approx(120.04, abs=0.021)


def test_timeslices_are_of_media_time() -> None:
    simulation = Simulation("v", video_key_frame_interval_count=0)
    pieces: list[recsvc.Blob] = []
    simulation.recorder.ondataavailable = lambda event: pieces.append(event.data)
    simulation.recorder.start(1000)
    simulation.write(130)
    simulation.stop()
    assert len(pieces) >= 4
    assert all(1 - TICK_S <= piece.duration <= 1.5 + TICK_S for piece in pieces[:-1])
    assert sum(piece.duration for piece in pieces) == pytest.approx(130 / 25, abs=TICK_S)
    assert decode(recsvc.Blob(pieces)).counters == list(range(130))


@pytest.mark.parametrize("sample_count", [1, 600, 700])
def test_a_header_that_was_handed_out_holds_for_the_little_sound_that_follows(sample_count: int) -> None:
    simulation = Simulation("av")
    assert simulation.video is not None and simulation.audio is not None
    pieces: list[recsvc.Blob] = []
    simulation.recorder.ondataavailable = lambda event: pieces.append(event.data)
    simulation.recorder.start()
    for number in range(5):
        simulation.video.write(counter_picture(number), number * S // 25)
    simulation.recorder.request_data()
    simulation.recorder.wait("dataavailable", DEADLINE_S)
    simulation.audio.write(simulation.samples[:sample_count], S // 10)
    whole, joined = finished(simulation.recorder), recsvc.Blob(pieces)
    assert pieces[0].size > 0
    assert sample_count_by_container(whole) == sample_count_by_container(joined) == sample_count
    assert len(decode(whole).samples) == len(decode(joined).samples)


@pytest.mark.parametrize("kinds", ["a", "av"])
@pytest.mark.parametrize("sample_count", [1, 388, 624, 625, 960])
def test_sound_of_about_a_packet_is_whole(kinds: str, sample_count: int) -> None:
    simulation = Simulation(kinds)
    simulation.recorder.start()
    assert simulation.audio is not None
    if simulation.video is not None:
        simulation.video.write(counter_picture(0), 0)
    assert simulation.audio.write(simulation.samples[:sample_count], 0)
    blob = finished(simulation.recorder)
    assert sample_count_by_container(blob) == len(decode(blob).samples) == sample_count


def test_media_beside_a_track_in_real_time_begins_at_the_start() -> None:
    video = recsvc.VideoSource(160, 120, when_full="wait", clock="media")
    audio = recsvc.AudioSource(RATE, 1, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([video.track, audio.track]))
    recorder.start()
    started_ns = time.monotonic_ns()
    for number in range(25):
        assert video.write(counter_picture(number), 500 * S + number * S // 25)
    assert audio.write(tone(RATE // 10), started_ns + S // 10)
    decoded = decode(finished(recorder))
    assert_times(decoded.times, [n / 25 for n in range(25)])
    assert decoded.sound_at_s == pytest.approx(0.1, abs=0.1)
    assert decoded.duration_s is not None and decoded.duration_s >= 1 - TICK_S


def test_one_picture_lasts_as_one_of_thirty_per_second() -> None:
    simulation = Simulation("v")
    simulation.recorder.start()
    simulation.write(1)
    assert simulation.stop().duration_s == pytest.approx(1 / 30, abs=TICK_S)


def test_nothing_written_is_nothing() -> None:
    simulation = Simulation()
    simulation.recorder.start()
    simulation.recorder.stop()
    simulation.recorder.wait("stop", DEADLINE_S)
    assert simulation.recorder.recording is not None and simulation.recorder.recording.duration == 0


@pytest.mark.parametrize("clock", ["wall", "", None, 1, b"media", "Media"])
def test_a_clock_that_is_none_is_refused(clock: object) -> None:
    for make in (lambda: recsvc.AudioSource(RATE, 1, clock=clock), lambda: recsvc.VideoSource(8, 8, clock=clock)):
        with pytest.raises(ValueError, match="clock must be"):
            make()


def test_settings_tell_the_clock_where_it_is_the_medias() -> None:
    assert recsvc.AudioSource(RATE, 1, clock="media").track.get_settings()["clock"] == "media"
    assert recsvc.VideoSource(8, 8, clock="media").track.get_settings()["clock"] == "media"
    assert recsvc.aio.AudioSource(RATE, 1, clock="media").track.get_settings()["clock"] == "media"
    assert recsvc.aio.VideoSource(8, 8, clock="media").track.get_settings()["clock"] == "media"
    assert "clock" not in recsvc.AudioSource(RATE, 1, clock="monotonic").track.get_settings()


def test_positions_that_are_not_given_follow_those_that_were() -> None:
    sound = Stamps("media", 44_100)
    assert [sound.stamp(None, 441) for _ in range(3)] == [0, 10**7, 2 * 10**7]
    assert [sound.stamp(at, 147) for at in (-S, None, None, None)] == [-S, -S + 3_333_333, -S + 6_666_666, -S + 10**7]
    pictures = Stamps("media")
    assert [pictures.stamp(at) for at in (None, None, S, S + 40, None, None, 0, None)] == [
        0, 33_333_333, S, S + 40, S + 80, S + 120, 0, 40,
    ]  # fmt: skip
    assert Stamps("media").stamp(2**62) == 2**62
    full = Stamps("media", 8_000)
    assert [full.stamp(2**62, 8_000), full.stamp(None, 1)] == [2**62, 2**62]
