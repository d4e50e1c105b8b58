"""What stands before a microphone, on a screen, in a file, on a network: recorded whole, and found in the file."""

import time
from pathlib import Path

import av
import numpy as np
import pytest
from fixtures_media import make_file, mpegts_server, play_tone, wait_until
from media import (
    DEADLINE_S,
    assert_accounted,
    assert_consecutive,
    assert_times,
    complaints,
    counter_picture,
    decode,
    finished,
    frequency_of,
    opened,
    tone,
)

import recsvc

pytestmark = pytest.mark.alone

pytest_plugins = ["fixtures_media"]


def recorded(recorder, seconds):
    """Records until so much media is there, however long the source takes to begin."""
    recorder.start()
    wait_until(lambda: recorder.statistics().duration >= seconds, f"{seconds} s of media", DEADLINE_S)
    return finished(recorder)


def colours(blob):
    """The mean red, green and blue of each picture."""
    with opened(blob) as container:
        return np.array([frame.to_ndarray(format="rgb24").mean(axis=(0, 1)) for frame in container.decode(video=0)])


def test_a_microphone_hears_the_tone(pulse_microphone, monkeypatch, own_controller, tmp_path):
    for name, value in pulse_microphone.items():
        if name not in ("XDG_RUNTIME_DIR", "HOME"):
            monkeypatch.setenv(name, value)
    with (
        play_tone(pulse_microphone, 1000),
        recsvc.get_user_media(audio={"source": "mic:", "sample_rate": 48_000, "channel_count": 1}) as stream,
    ):
        recorder = recsvc.MediaRecorder(stream)
        before_s = time.monotonic()
        blob = recorded(recorder, 1.0)
        took_s = time.monotonic() - before_s
    decoded = decode(blob)
    assert_accounted(recorder.statistics(), decoded)
    assert 0.9 < decoded.sound_s <= took_s
    assert abs(decoded.sound_s - blob.duration) <= 0.1
    # Wherever one listens, it is the tone, and it is never quiet.
    for part in np.array_split(decoded.samples[4_800:], 4):
        assert frequency_of(part) == pytest.approx(1000, abs=3)
        assert np.sqrt(np.mean(part**2)) > 0.02
    assert complaints(blob.save(tmp_path / "mic.webm")) == []


def test_a_screen_is_recorded_in_its_colour(xvfb_display, monkeypatch, own_controller):
    monkeypatch.setenv("DISPLAY", xvfb_display)
    with recsvc.get_user_media(video={"source": "screen:", "frame_rate": 20}) as stream:
        settings = stream.get_video_tracks()[0].get_settings()
        assert (settings["width"], settings["height"]) == (320, 240)
        recorder = recsvc.MediaRecorder(stream)
        blob = recorded(recorder, 0.6)
    decoded = decode(blob)
    assert_accounted(recorder.statistics(), decoded)
    assert len(decoded.pictures) >= 5
    assert np.all(np.abs(colours(blob) - [255, 128, 0]) < 25)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """One second with a counter in its pictures and a tone of 700 Hz, in FFV1 and PCM: nothing is lost in it."""
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=48_000)
        sound.layout = "mono"
        for number in range(25):
            picture = counter_picture(number).reshape(180, 160)
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts = number
            container.mux(video.encode(frame))
            part = tone(48_000, frequency=700)[number * 1920 : (number + 1) * 1920]
            block = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="s16", layout="mono")
            block.sample_rate, block.pts = 48_000, number * 1920
            container.mux(sound.encode(block))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path


def test_a_file_is_recorded_from_its_first_frame_to_its_last(film):
    """As fast as it can be read, beginning at start(): every frame and sample of it."""
    source = f"file:{film}?pace=max"
    with recsvc.get_user_media(audio=source, video=source) as stream:
        recorder = recsvc.MediaRecorder(stream)
        recorder.start()
        recorder.wait("stop", DEADLINE_S)
        with pytest.raises(TimeoutError):
            recorder.wait("error", 0)
    decoded = decode(recorder.recording)
    assert decoded.counters == list(range(25))
    assert_times(decoded.times, [n / 25 for n in range(25)])
    assert len(decoded.samples) == 48_000
    assert frequency_of(decoded.samples) == pytest.approx(700, abs=1)
    assert_accounted(recorder.statistics(), decoded)


def test_a_file_at_real_time_is_recorded_as_it_plays(film):
    source = f"file:{film}"
    with recsvc.get_user_media(audio=source, video=source) as stream:
        recorder = recsvc.MediaRecorder(stream)
        recorder.start()
        recorder.wait("stop", DEADLINE_S)
    decoded = decode(recorder.recording)
    assert_consecutive(decoded.counters)
    assert decoded.counters[-1] == 24, "to its end"
    assert frequency_of(decoded.samples) == pytest.approx(700, abs=2)
    assert_accounted(recorder.statistics(), decoded)
    # Pictures and sound belong together: both of the file's parts that were recorded are equally long.
    assert decoded.sound_s == pytest.approx(len(decoded.pictures) / 25, abs=0.1)


def test_a_network_stream_is_recorded_with_pictures_and_sound(own_controller, tmp_path):
    with (
        mpegts_server(size="320x240", rate=25, frequency=880) as (url, _),
        recsvc.get_user_media(audio=url, video=url) as stream,
    ):
        settings = stream.get_video_tracks()[0].get_settings()
        assert (settings["width"], settings["height"]) == (320, 240)
        recorder = recsvc.MediaRecorder(stream)
        blob = recorded(recorder, 1.5)
    decoded = decode(blob)
    assert_accounted(recorder.statistics(), decoded)
    assert frequency_of(decoded.samples) == pytest.approx(880, abs=2)
    steps = np.diff(decoded.times)
    assert len(steps) >= 25 and np.median(steps) == pytest.approx(0.04, abs=0.002)
    assert np.all(steps < 0.2), "no picture is missing for long"
    # It is the test picture: what the same generator draws, not grey.
    expected = make_file(tmp_path / "picture.png", "testsrc=size=320x240:rate=1:duration=1", options=("-frames:v", "1"))
    with av.open(str(expected)) as container:
        reference = next(container.decode(video=0)).to_ndarray(format="gray")[:100].astype(int)
    with opened(blob) as container:
        shown = list(container.decode(video=0))[-1].to_ndarray(format="gray")[:100].astype(int)
    assert np.corrcoef(shown.ravel(), reference.ravel())[0, 1] > 0.9
    assert complaints(blob.save(tmp_path / "network.webm")) == []


def test_a_network_stream_that_ends_ends_the_recording():
    with mpegts_server(seconds=2) as (url, _), recsvc.get_user_media(audio=url, video=url) as stream:
        recorder = recsvc.MediaRecorder(stream)
        recorder.start()
        recorder.wait("stop", DEADLINE_S)
        with pytest.raises(TimeoutError):
            recorder.wait("error", 0)
        wait_until(lambda: not stream.active, "the end of the tracks", DEADLINE_S)
    decoded = decode(recorder.recording)
    assert_accounted(recorder.statistics(), decoded)
    assert frequency_of(decoded.samples) == pytest.approx(440, abs=2)
