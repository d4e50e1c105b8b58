"""Files: every frame, in real time or as fast as possible, both tracks on one clock."""

import subprocess
import time

import pytest
from fixtures_media import KeepingSink, make_file, program, wait_until
from pattern import read_counter, tone_frequency

from recsvc.capture.opening import open_source
from recsvc.capture.pattern import Pattern
from recsvc.errors import NotFoundError, NotReadableError

S = 1_000_000_000


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """One second of numbered pictures (25 a second, lossless) and a tone of exactly 44100 samples (FLAC)."""
    directory = tmp_path_factory.mktemp("file")
    raw, path = directory / "raw.yuv", directory / "numbered.mkv"
    pattern = Pattern("counter", 162, 122, 1)  # rows that decoders pad
    raw.write_bytes(b"".join(pattern.picture(n) for n in range(25)))
    command = [program("ffmpeg"), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p"]
    command += ["-video_size", "162x122", "-framerate", "25", "-i", str(raw), "-f", "lavfi"]
    command += ["-i", "sine=frequency=440:sample_rate=44100:duration=1", "-c:v", "libx264", "-qp", "0"]
    subprocess.run([*command, "-c:a", "flac", str(path)], check=True, timeout=30)
    return path


def opened(source, audio=None, video=None, wanted=True):
    source = open_source(source, audio, video)
    sinks = {track.kind: KeepingSink(wanted) for track in source.tracks}
    start_ns = time.monotonic_ns()
    source.start(sinks)
    return source, sinks, start_ns


def ended(sinks):
    wait_until(lambda: all(sink.ends for sink in sinks.values()), "the end of the file")
    assert [sink.ends[0][1] for sink in sinks.values()] == [None] * len(sinks)
    assert not any(sink.after_end for sink in sinks.values())


def counters(sink):
    return [read_counter(p.picture, p.width, p.height) for p in sink.pictures]


def test_a_file_plays_in_real_time_with_every_frame_and_sample(numbered):
    source, sinks, start_ns = opened(f"file:{numbered}", {}, {})
    assert source.tracks[0].settings == {"sample_rate": 44_100, "channel_count": 1, "sample_format": "s16"}
    assert source.tracks[1].settings == {
        "width": 162, "height": 122, "pixel_format": "i420", "frame_rate": 25.0,
        "display_width": 162, "display_height": 122,
        "color_space": "bt601", "color_primaries": 6, "color_transfer": 6,
    }  # fmt: skip
    ended(sinks)
    source.close()
    audio, video = sinks["audio"], sinks["video"]
    assert counters(video) == list(range(25))
    assert len(audio.samples) == 2 * 44_100
    assert tone_frequency(audio.samples, 44_100) == pytest.approx(440, abs=0.5)
    first_ns = video.pictures[0].captured_ns
    assert audio.sounds[0].captured_ns == first_ns  # both begin at 0 in the file
    assert [p.captured_ns - first_ns for p in video.pictures] == [n * S // 25 for n in range(25)]
    assert all(p.given_ns >= p.captured_ns for p in video.pictures)
    assert all(ns >= start_ns + S for sink in sinks.values() for ns, _ in sink.ends)


def test_a_flush_delivers_what_is_due_at_once_and_exactly(numbered):
    source, sinks, _ = opened(f"file:{numbered}", {}, {})
    audio, video = sinks["audio"], sinks["video"]
    wait_until(lambda: video.pictures, "the first picture")
    first_ns = video.pictures[0].captured_ns
    for _ in range(20):
        time.sleep(0.0171)
        until_ns = time.monotonic_ns()
        source.flush(until_ns)
        took_ns = time.monotonic_ns() - until_ns
        count = len(audio.samples) // 2
        assert first_ns + count * S // 44_100 > until_ns
        assert first_ns + (count - 1) * S // 44_100 <= until_ns + took_ns
        assert len(video.pictures) * S // 25 > until_ns - first_ns
    ended(sinks)
    source.close()
    assert len(audio.samples) == 2 * 44_100 and counters(video) == list(range(25))


def test_with_pace_max_it_waits_for_a_recording_and_then_hurries(numbered):
    took_s = []
    while not took_s or took_s[-1] >= 0.8:  # less than it plays; a busy machine may need another try
        assert len(took_s) < 5, took_s
        source, sinks, _ = opened(f"file:{numbered}?pace=max", {}, {}, wanted=False)
        assert source.pace_max
        time.sleep(0.25)
        assert not sinks["video"].pictures and not sinks["audio"].sounds
        begin_ns = time.monotonic_ns()
        for sink in sinks.values():
            sink.wanted.set()
        ended(sinks)
        took_s.append((time.monotonic_ns() - begin_ns) / S)
    source.close()
    assert counters(sinks["video"]) == list(range(25)) and len(sinks["audio"].samples) == 2 * 44_100
    assert sinks["video"].pictures[0].captured_ns >= begin_ns
    assert sinks["video"].pictures[24].captured_ns - sinks["video"].pictures[0].captured_ns == 24 * S // 25


def test_constraints_convert(numbered):
    wish = {"sample_rate": 16_000, "channel_count": 2, "sample_size": 32}
    source, sinks, _ = opened(f"file:{numbered}?pace=max", wish, {"width": 81, "height": 61, "frame_rate": 12.5})
    ended(sinks)
    source.close()
    assert abs(len(sinks["audio"].samples) // 8 - 16_000) <= 1
    samples = sinks["audio"].samples
    assert tone_frequency(samples, 16_000, channels=2, sample_format="f32") == pytest.approx(440, abs=0.5)
    assert len(sinks["video"].pictures) == 13
    assert {(p.width, p.height, len(p.picture)) for p in sinks["video"].pictures} == {(81, 61, 81 * 61 + 2 * 41 * 31)}


@pytest.mark.parametrize(
    ("pixel_format", "expected", "bytes_per_pixel"),
    [
        ("bgr0", "bgra", 4),
        ("rgb24", "rgb24", 3),
        ("nv12", "nv12", 1.5),
        ("yuv444p", "i420", 1.5),
        ("gray", "i420", 1.5),
    ],
)
def test_pixel_formats_pass_directly_where_the_core_reads_them(tmp_path, pixel_format, expected, bytes_per_pixel):
    path = make_file(
        tmp_path / "raw.nut",
        "color=color=white:size=50x32:rate=5:duration=0.4",
        options=("-c:v", "rawvideo", "-pix_fmt", pixel_format),
    )
    source, sinks, _ = opened(f"file:{path}?pace=max", None, {})
    ended(sinks)
    source.close()
    pictures = sinks["video"].pictures
    assert [(p.pixel_format, len(p.picture)) for p in pictures] == [(expected, int(50 * 32 * bytes_per_pixel))] * 2
    assert pictures[0].picture[0] in ((235, 234) if expected in ("i420", "nv12") else (255,))


def test_full_range_pictures_become_limited_range(tmp_path):
    """JPEG's white is 255; video codecs take 235 as white."""
    path = make_file(
        tmp_path / "white.mkv", "color=color=white:size=64x48:rate=5:duration=0.2", options=("-c:v", "mjpeg")
    )
    source, sinks, _ = opened(f"file:{path}?pace=max", None, {})
    ended(sinks)
    source.close()
    assert abs(sinks["video"].pictures[0].picture[0] - 235) <= 1


def test_a_late_track_stays_late(tmp_path):
    """Sound that begins 0.3 s after the picture in the file is captured 0.3 s after it."""
    path = make_file(
        tmp_path / "late.mkv",
        "testsrc=size=64x48:rate=20:duration=0.6",
        "sine=frequency=440:sample_rate=48000:duration=0.3",
        options=("-af", "asetpts=PTS+0.3/TB", "-c:v", "libvpx", "-c:a", "pcm_s16le"),
    )
    source, sinks, _ = opened(f"file:{path}?pace=max", {}, {})
    ended(sinks)
    source.close()
    late_ns = sinks["audio"].sounds[0].captured_ns - sinks["video"].pictures[0].captured_ns
    assert late_ns == pytest.approx(0.3 * S, abs=2_000_000)


def test_what_is_no_media_is_refused_with_the_reason(tmp_path, numbered):
    text = tmp_path / "text.webm"
    text.write_text("no media")
    with pytest.raises(NotReadableError, match="no media"):
        open_source(f"file:{text}", {}, None)
    with pytest.raises(NotReadableError, match="directory"):
        open_source(f"file:{tmp_path}", {}, None)
    with pytest.raises(NotFoundError, match="does not exist"):
        open_source(f"file:{tmp_path}/none.webm", {}, None)
    sound = make_file(tmp_path / "sound.wav", "sine=duration=0.1")
    with pytest.raises(NotFoundError, match="no video track"):
        open_source(f"file:{sound}", {}, {})


def test_a_damaged_file_ends_its_tracks(numbered, tmp_path):
    path = tmp_path / "half.mkv"
    data = numbered.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    source, sinks, _ = opened(f"file:{path}?pace=max", {}, {})
    wait_until(lambda: all(sink.ends for sink in sinks.values()), "the end of the file")
    source.close()
    assert 0 < len(sinks["video"].pictures) < 25


def test_closing_in_the_middle_is_prompt_and_final(numbered):
    for pace in ("realtime", "max"):
        source, sinks, _ = opened(f"file:{numbered}?pace={pace}", {}, {}, wanted=pace == "realtime")
        time.sleep(0.05)
        before_s = time.monotonic()
        source.close()
        source.close()
        assert time.monotonic() - before_s < 5
        given = len(sinks["video"].pictures)
        time.sleep(0.05)
        assert len(sinks["video"].pictures) == given < 25 and not sinks["video"].ends
    open_source(f"file:{numbered}", {}, {}).close()  # never started
