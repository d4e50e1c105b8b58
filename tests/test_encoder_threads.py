"""Pictures that one core cannot encode in time are encoded by several threads."""

from __future__ import annotations

import itertools
import time
from types import SimpleNamespace

import numpy as np
import pytest
from media import assert_accounted, counter_picture, decode, finished

import recsvc
from recsvc.common.descriptions import RecordedTrack, RecordingOptions
from recsvc.common.limits import MS, S
from recsvc.common.service_limits import ENCODER_THREADS_MAX
from recsvc.controller.workers import capacity
from recsvc.encode import native, tracks
from recsvc.encode.timeline import Threads
from recsvc.encode.tracks import VideoTrack
from recsvc.wire.messages import VideoFrame


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
@pytest.mark.parametrize("threads", [2, 5])
def test_what_several_threads_encode_is_as_good(codec: str, threads: int) -> None:
    """The threads share a picture, so its packet differs a little; what it shows and costs does not."""
    sizes = {}
    for count in (1, threads):
        picture = counter_picture(7, 1280, 720)
        with native.VideoEncoder(codec, 1280, 720, bits_per_second=8_000_000, threads=count) as encoder:
            packets = [
                packet
                for n in range(3)
                for packet in encoder.encode(np.roll(picture, n), "i420", 1280, 720, n * 40_000, 40_000)
            ]
        assert len(packets) == 3
        sizes[count] = sum(len(packet.data) for packet in packets)
    assert sizes[threads] == pytest.approx(sizes[1], rel=0.1)


def test_threads_that_find_no_free_cores_become_one() -> None:
    """Pictures of 3840x2160 in VP8, as they were measured: on free cores, and beside two busy programs."""
    free, taken = (30 * MS, 49 * MS), (600 * MS, 262 * MS)
    threads = Threads(2)
    assert not any(threads.took(*free) for _ in range(1000)) and threads.count == 2
    hiccup = [threads.took(*one) for one in [(500 * MS, 40 * MS), *[free] * 200]]
    assert not any(hiccup) and threads.count == 2
    assert [threads.took(*taken) for _ in range(8)].count(True) == 1 and threads.count == 1
    assert not any(Threads(1).took(*taken) for _ in range(100))


def test_a_recording_goes_on_with_one_thread_where_others_took_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"width": 640, "height": 480}
    described = RecordedTrack(track="t", kind="video", captured=False, settings=settings)
    options = RecordingOptions(mime_type="", audio_bits_per_second=1, video_bits_per_second=1_000_000)
    track = VideoTrack("vp8", described, options, threads=2)
    seconds = itertools.count()
    slow = SimpleNamespace(monotonic_ns=lambda: next(seconds) * S, process_time_ns=lambda: 0)
    monkeypatch.setattr(tracks, "time", slow)
    keys = []
    for number in range(5):
        header = VideoFrame(
            route="r", sequence=number, captured_ns=number * 40 * MS, pixel_format="i420", width=640, height=480
        )
        keys += [packet.is_key_frame for packet in track.encode(header, counter_picture(number, 640, 480))]
    assert keys == [True, False, True, False, False]
    assert track.statistics().encoder_threads == 1
    track.close()


def test_the_range_of_threads_is_checked() -> None:
    for wrong in (0, ENCODER_THREADS_MAX + 1):
        with pytest.raises(ValueError, match="threads"):
            native.VideoEncoder("vp8", 640, 480, bits_per_second=1_000_000, threads=wrong)


def test_a_recording_has_the_threads_that_its_statistics_tell() -> None:
    small, large = recsvc.VideoSource(160, 120), recsvc.VideoSource(2560, 1440)
    recorders = [
        recsvc.MediaRecorder(recsvc.MediaStream([source.track]), mime_type="video/webm;codecs=vp8")
        for source in (small, large)
    ]
    for recorder in recorders:
        recorder.start()
    at_ns = time.monotonic_ns()
    for source, size in ((small, (160, 120)), (large, (2560, 1440))):
        for number in range(3):
            source.write(counter_picture(number, *size), at_ns + number * S // 30)
    for recorder, threads in zip(recorders, (1, 2 if round(capacity()) >= 2 else 1), strict=True):
        decoded = decode(finished(recorder))
        assert [picture.counter for picture in decoded.pictures] == [0, 1, 2]
        assert_accounted(recorder.statistics(), decoded)
        assert recorder.statistics().tracks[0].encoder_threads == threads
