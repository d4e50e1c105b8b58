"""Pictures that one core cannot encode in time are encoded by several threads."""

from __future__ import annotations

import time

import numpy as np
import pytest
from media import assert_accounted, counter_picture, decode, finished

import recsvc
from recsvc.common.limits import S
from recsvc.common.service_limits import ENCODER_THREADS_MAX
from recsvc.controller.workers import capacity
from recsvc.encode import native


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
