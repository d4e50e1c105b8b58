"""A file read as fast as it can be stands still while nobody wants it: no picture, no sample is missing."""

import threading
from pathlib import Path

import av
import numpy as np
import pytest
from fixtures_media import wait_until
from media import DEADLINE_S, TICK_S, assert_accounted, assert_times, counter_picture, decode, frequency_of, tone

import recsvc
from recsvc.capture.sinks import Demand, HoldingSink
from recsvc.capture.source import TrackInfo, VideoFormat
from recsvc.common.limits import S
from recsvc.common.media import BT601

PICTURES, RATE = 400, 25
PART = 48_000 // RATE


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 s of numbered pictures and a tone, of which nothing is lost in the file."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    samples = tone(PICTURES * PART, frequency=700)
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=RATE)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=48_000)
        sound.layout = "mono"
        for number in range(PICTURES):
            frame = av.VideoFrame.from_ndarray(counter_picture(number).reshape(180, 160), format="yuv420p")
            frame.pts = number
            container.mux(video.encode(frame))
            part = samples[number * PART : (number + 1) * PART]
            block = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="s16", layout="mono")
            block.sample_rate, block.pts = 48_000, number * PART
            container.mux(sound.encode(block))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path


def accepted(recorder) -> dict[str, int]:
    return {track.kind: track.frames_accepted for track in recorder.statistics().tracks}


def standing(recorder) -> dict[str, int]:
    """What was accepted, once that has stopped growing."""
    before: list[dict[str, int]] = []

    def unchanged() -> bool:
        before.append(accepted(recorder))
        return len(before) > 40 and all(one == before[-1] for one in before[-40:])

    wait_until(unchanged, "a source that stands still", DEADLINE_S)
    return before[-1]


@pytest.mark.parametrize("pauses", [1, 3])
def test_a_pause_holds_the_file_and_resume_goes_on_with_the_next_picture(own_controller, film, pauses):
    source = f"file:{film}?pace=max"
    with recsvc.get_user_media(audio=source, video=source) as stream:
        recorder = recsvc.MediaRecorder(stream)
        recorder.start()
        for _ in range(pauses):
            recorder.pause()
            assert standing(recorder)["video"] < PICTURES
            recorder.resume()
        recorder.wait("stop", DEADLINE_S)
        with pytest.raises(TimeoutError):
            recorder.wait("error", 0)
    decoded = decode(recorder.recording)
    assert decoded.counters == list(range(PICTURES))
    assert_times(decoded.times, [n / RATE for n in range(PICTURES)])
    assert len(decoded.samples) == PICTURES * PART
    for part in np.array_split(decoded.samples, 16):  # one unbroken tone
        assert frequency_of(part) == pytest.approx(700, abs=2)
    assert_accounted(recorder.statistics(), decoded)


def test_data_and_stop_come_while_it_is_held_and_the_next_recording_goes_on(own_controller, film):
    source = f"file:{film}?pace=max"
    with recsvc.get_user_media(audio=source, video=source) as stream:
        recorder = recsvc.MediaRecorder(stream)
        blobs: list[recsvc.Blob] = []
        recorder.ondataavailable = lambda event: blobs.append(event.data)
        recorder.start()
        wait_until(lambda: accepted(recorder).get("video", 0) > 10, "the first pictures", DEADLINE_S)
        recorder.pause()
        held = standing(recorder)
        assert 0 < held["video"] < PICTURES
        recorder.request_data()
        wait_until(lambda: blobs, "the data asked for", DEADLINE_S)
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)
        first = decode(recsvc.Blob(blobs))
        assert first.counters == list(range(held["video"]))
        assert len(first.samples) == held["audio"]
        recorder.start()
        recorder.wait("stop", DEADLINE_S)
        second = decode(recorder.recording)
    assert second.counters == list(range(held["video"], PICTURES))
    assert held["audio"] + len(second.samples) == PICTURES * PART


def test_what_goes_by_for_one_recording_while_another_is_paused_is_cut_out_of_that_one(own_controller, film):
    source = f"file:{film}?pace=max"
    with recsvc.get_user_media(audio=source, video=source) as stream:
        whole, part = recsvc.MediaRecorder(stream), recsvc.MediaRecorder(stream)
        part.start()
        wait_until(lambda: accepted(part).get("video", 0) > 5, "the first pictures", DEADLINE_S)
        part.pause()
        held = standing(part)["video"]
        whole.start()
        wait_until(lambda: accepted(whole).get("video", 0) > 50, "what goes by", DEADLINE_S)
        part.resume()
        for recorder in (whole, part):
            recorder.wait("stop", DEADLINE_S)
    decoded = decode(part.recording)
    count = len(decoded.pictures)
    assert held < count <= PICTURES - 50
    missing = PICTURES - count
    assert decoded.counters == [*range(held), *range(held + missing, PICTURES)]
    # Sound and pictures are cut alike. The last picture before the pause may have come without its sound, or the other
    # way round; what goes by of the one then leaves a hole where the other was recorded.
    lengths = [len(decoded.samples) / 48_000, decoded.pictures[-1].at_s + 1 / RATE, decoded.duration_s]
    cut_s = PICTURES / RATE - lengths[0]
    assert (missing - 3) / RATE <= cut_s <= missing / RATE + TICK_S
    assert lengths == pytest.approx([lengths[0]] * 3, abs=2 * TICK_S)
    expected = [n / RATE - (cut_s if n >= held else 0) for n in decoded.counters]
    assert_times(decoded.times, expected, 2 * TICK_S)
    assert_accounted(part.statistics(), decoded)


@pytest.mark.parametrize(("pts", "length_s"), [([0], 0.04), ([0, 1, 2, 3, 4], 0.2), ([0, 1, 200], 8.04)])
def test_a_file_is_as_long_as_its_media_however_long_it_takes(own_controller, tmp_path, pts, length_s):
    path = tmp_path / "film.mkv"
    noise = np.random.default_rng(1).integers(0, 255, (1080, 1280), np.uint8)  # which takes longer than it plays
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=RATE)
        video.width, video.height, video.pix_fmt = 1280, 720, "yuv420p"
        for at in pts:
            frame = av.VideoFrame.from_ndarray(noise, format="yuv420p")
            frame.pts = at
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    with recsvc.get_user_media(video=f"file:{path}?pace=max") as stream:
        recorder = recsvc.MediaRecorder(stream, mime_type="video/webm;codecs=vp9")
        recorder.start()
        recorder.wait("stop", DEADLINE_S)
    assert recorder.recording.duration == pytest.approx(length_s, abs=TICK_S)
    decoded = decode(recorder.recording)
    assert_times(decoded.times, [at / RATE for at in pts])
    assert decoded.duration_s == pytest.approx(length_s, abs=TICK_S)


class Sender:
    """Takes frames while it has a route that is not paused; ``False`` where none takes one."""

    closed = recorded = paused = False

    def __init__(self) -> None:
        self.taken: list[int] = []

    def send(self, frame) -> bool:
        if self.recorded and not self.paused:
            self.taken.append(frame.captured_ns)
        return self.recorded and not self.paused


def giving(sender: Sender, demand: Demand, count: int) -> threading.Thread:
    info = TrackInfo("video", "", VideoFormat.of((16, 16), "i420", None, BT601))
    sink = HoldingSink("track", info, demand, lambda name, error: None)
    sink.sender = sender
    thread = threading.Thread(
        target=lambda: [sink.video(n * S, b"", "i420", 16, 16) for n in range(count)], daemon=True
    )
    thread.start()
    return thread


def test_a_frame_that_nobody_wants_waits_for_the_next_recording():
    sender, demand = Sender(), Demand()
    thread = giving(sender, demand, 3)
    assert not demand.wait(0.01) and sender.taken == []
    sender.recorded = True
    demand.set(True)
    thread.join(DEADLINE_S)
    assert sender.taken == [0, S, 2 * S]


def test_a_frame_goes_by_while_another_track_of_the_file_is_recorded():
    sender, demand = Sender(), Demand()
    demand.set(True)
    thread = giving(sender, demand, 3)
    thread.join(DEADLINE_S)
    assert not thread.is_alive() and sender.taken == []


def test_a_frame_of_a_paused_recording_waits_although_another_track_goes_on():
    sender, demand = Sender(), Demand()
    sender.recorded = sender.paused = True
    demand.set(True)
    thread = giving(sender, demand, 3)
    thread.join(0.01)
    assert thread.is_alive() and sender.taken == []
    sender.paused = False
    demand.set(True)
    thread.join(DEADLINE_S)
    assert sender.taken == [0, S, 2 * S]


def test_closing_ends_the_wait():
    sender, demand = Sender(), Demand()
    thread = giving(sender, demand, 3)
    demand.close()
    thread.join(DEADLINE_S)
    assert not thread.is_alive() and sender.taken == []
