"""The bounds of media: in one place, the same as the core's, and held before anything is recorded."""

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from media import counter_picture, finished
from recsvc.encode._native import lib

import recsvc
from recsvc.caller.options import Bitrates, possible, split
from recsvc.common import limits, media


def test_the_bounds_are_those_of_the_core() -> None:
    assert media.FRAME_SIDE_MAX == lib.RECSVC_FRAME_SIDE_MAX
    assert (media.SAMPLE_RATE_MIN, media.SAMPLE_RATE_MAX) == (lib.RECSVC_SAMPLE_RATE_MIN, lib.RECSVC_SAMPLE_RATE_MAX)
    assert media.CHANNEL_COUNT_MAX == lib.RECSVC_CHANNEL_COUNT_MAX
    assert media.OPUS_RATE == lib.RECSVC_OPUS_SAMPLE_RATE
    assert media.OPUS_PACKET_SAMPLES == lib.RECSVC_OPUS_PACKET_SAMPLES
    assert lib.RECSVC_AUDIO_BITS_PER_SECOND_MIN <= media.AUDIO_BITS_MIN < media.AUDIO_BITS_MAX
    assert lib.RECSVC_AUDIO_BITS_PER_SECOND_MAX >= media.AUDIO_BITS_MAX
    assert lib.RECSVC_VIDEO_BITS_PER_SECOND_MIN <= media.VIDEO_BITS_MIN < media.VIDEO_BITS_MAX
    assert lib.RECSVC_VIDEO_BITS_PER_SECOND_MAX == media.VIDEO_BITS_MAX


@pytest.mark.parametrize(
    ("kind", "names"),
    [("SAMPLE", media.BYTES_PER_SAMPLE), ("PIXEL", media.PIXEL_FORMATS), ("COLOR", media.COLOR_SPACES)],
)
def test_the_formats_are_those_of_the_core(kind: str, names: Iterable[str]) -> None:
    known = {name for name in dir(lib) if name.startswith(f"RECSVC_{kind}_") and "_RATE_" not in name}
    assert known == {f"RECSVC_{kind}_{name.upper()}" for name in names}


def test_frames_have_the_size_that_the_core_takes() -> None:
    for pixel_format in media.PIXEL_FORMATS:
        for width, height in ((1, 1), (3, 5), (640, 480), (16383, 16383)):
            assert media.picture_bytes(pixel_format, width, height) == lib.recsvc_frame_bytes(
                getattr(lib, f"RECSVC_PIXEL_{pixel_format.upper()}"), width, height
            )


@pytest.mark.parametrize("bits", [0, 1, 75_000, 999_999_999, 1_000_000_000, 1_000_000_001, 2**32 - 1])
def test_any_bit_rate_becomes_one_that_the_codecs_can_do(bits: int) -> None:
    for kinds in ({"audio"}, {"video"}, {"audio", "video"}):
        rates = split(bits, kinds)
        assert "audio" not in kinds or media.AUDIO_BITS_MIN <= rates.audio <= media.AUDIO_BITS_MAX
        assert "video" not in kinds or media.VIDEO_BITS_MIN <= rates.video <= media.VIDEO_BITS_MAX
    assert possible(bits, bits) == Bitrates(
        min(max(bits, media.AUDIO_BITS_MIN), media.AUDIO_BITS_MAX),
        min(max(bits, media.VIDEO_BITS_MIN), media.VIDEO_BITS_MAX),
    )


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
def test_the_highest_bit_rate_that_can_be_asked_for_records(codec: str) -> None:
    source = recsvc.VideoSource(160, 120)
    most = 2**32 - 1
    recorder = recsvc.MediaRecorder(
        recsvc.MediaStream([source.track]), mime_type=f"video/webm;codecs={codec}", video_bits_per_second=most
    )
    with recorder:
        assert recorder.video_bits_per_second == most
        recorder.start()
        for n in range(5):
            assert source.write(counter_picture(n))
        finished(recorder)
        (track,) = recorder.statistics().tracks
        assert (track.frames_accepted, track.frames_encoded, track.frames_dropped) == (5, 5, 0)
    source.end()


def test_pictures_that_can_never_be_sent_are_refused_by_size() -> None:
    recsvc.VideoSource(8192, 8192, "rgba").end()
    assert media.picture_bytes("rgba", 8192, 8192) == limits.FRAME_BYTES_MAX
    for size in ((8192, 8193), (8193, 8192), (9000, 8000)):
        with pytest.raises(ValueError, match=f"{size[0]}x{size[1]} rgba"):
            recsvc.VideoSource(*size, "rgba")
    with pytest.raises(ValueError, match="16383x16383 i420"):
        recsvc.VideoSource(16383, 16383)


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
@pytest.mark.parametrize("size", [(4096, 1), (1, 1281), (3, 3)])
def test_thin_pictures_are_recorded_in_their_size(codec: str, size: tuple[int, int]) -> None:
    from media import opened

    source = recsvc.VideoSource(*size, "rgb24")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]), mime_type=f"video/webm;codecs={codec}")
    with recorder:
        recorder.start()
        for _ in range(3):
            assert source.write(bytes([200, 30, 60]) * (size[0] * size[1]))
        blob = finished(recorder)
    source.end()
    with opened(blob) as container:
        frames = list(container.decode(video=0))
    assert [(frame.width, frame.height) for frame in frames] == [size] * 3


def test_a_constraint_that_cannot_be_met_is_named(own_controller: None) -> None:
    for given, name in (({"width": 10_000_000}, "width"), ({"frame_rate": 1_000_000}, "frame_rate")):
        with pytest.raises(recsvc.errors.OverconstrainedError, match=f"^{name}: ") as raised:
            recsvc.get_user_media(video={"source": "test:", **given})
        assert raised.value.constraint == name
    with pytest.raises(recsvc.errors.OverconstrainedError) as raised:
        recsvc.get_user_media(video={"source": "test:width=16383", "height": 16_000})
    assert raised.value.constraint == "height"  # found by the process that opened the source


def test_constraints_of_any_kind_of_number_open_a_source(own_controller: None) -> None:
    for rate in (Fraction(30_000, 1001), Decimal("29.97"), np.float64(12.5), np.float32(12.5)):
        with recsvc.get_user_media(
            audio={"source": "test:", "sample_rate": np.int64(16_000), "channel_count": np.uint8(1)},
            video={"source": "test:", "width": np.int64(160), "height": Fraction(120), "frame_rate": rate},
        ) as stream:
            audio, video = (track.get_settings() for track in stream.get_tracks())
        assert (audio["sample_rate"], audio["channel_count"]) == (16_000, 1)
        assert (video["width"], video["height"], video["frame_rate"]) == (160, 120, float(rate))
