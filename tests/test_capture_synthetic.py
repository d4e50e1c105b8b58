"""``test:``: exact to the frame and to the sample, and readable after compression."""

import io
import time

import av
import pytest
from fixtures_media import KeepingSink, wait_until
from pattern import loudness, read_counter, tone_frequency

from recsvc.capture import synthetic
from recsvc.capture.opening import open_source
from recsvc.capture.pattern import Pattern, cells, check_byte

S = 1_000_000_000


def opened(source="test:", audio=None, video=None):
    sink = KeepingSink()
    source = open_source(source, audio, video)
    source.start({track.kind: sink for track in source.tracks})
    return source, sink


def run(parameters, audio=None, video=None):
    """A source with an end, from start to end."""
    source, sink = opened(f"test:{parameters}", audio, video)
    wait_until(lambda: len(sink.ends) == len(source.tracks), "the end of the source")
    source.close()
    return sink


def test_the_settings_are_the_defaults_or_what_was_asked_for():
    source = open_source("test:width=320&height=200", {}, {"height": 100})
    audio, video = (track.settings for track in source.tracks)
    assert audio == {"sample_rate": 48_000, "channel_count": 2, "sample_format": "s16"}
    assert video == {
        "width": 320, "height": 100, "pixel_format": "i420", "frame_rate": 30.0,
        "display_width": 320, "display_height": 100,
        "color_space": "bt601", "color_primaries": 6, "color_transfer": 6,
    }  # fmt: skip
    source.close()


def test_frames_are_numbered_from_0_and_captured_at_exact_times():
    sink = run("frames=20", None, {"width": 64, "height": 48, "frame_rate": 59.94})
    assert [read_counter(p.picture, p.width, p.height) for p in sink.pictures] == list(range(20))
    start_ns = sink.pictures[0].captured_ns
    assert [p.captured_ns - start_ns for p in sink.pictures] == [n * 100 * S // 5994 for n in range(20)]
    assert all(p.given_ns >= p.captured_ns for p in sink.pictures)
    assert {len(p.picture) for p in sink.pictures} == {64 * 48 * 3 // 2}
    assert sink.ends[0][1] is None and sink.after_end == 0


def test_a_duration_ends_both_tracks_at_its_last_sample():
    sink = run("duration=0.25", {"sample_rate": 44_100, "channel_count": 1}, {"width": 64, "height": 48})
    assert len(sink.samples) == 2 * 11_025
    assert len(sink.pictures) == 8  # 0.25 s of 30 frames per second: 7.5
    assert all(ns >= sink.pictures[0].captured_ns + S // 4 for ns, _ in sink.ends)


@pytest.mark.parametrize(("rate", "channels", "size"), [(48_000, 2, 16), (44_100, 1, 32), (8_000, 8, 16)])
def test_a_flush_is_exact_to_the_sample(rate, channels, size):
    source, sink = opened("test:", {"sample_rate": rate, "channel_count": channels, "sample_size": size})
    frame = channels * size // 8
    for n in range(20):
        time.sleep(0.003 + n / 10_000)
        until_ns = time.monotonic_ns()
        source.flush(until_ns)
        start_ns, count = sink.sounds[0].captured_ns, len(sink.samples) // frame
        # The last sample was captured at or before, the next one after. A source's thread may have been
        # quicker than this line, but only with sound that was due.
        assert start_ns + count * S // rate > until_ns
        assert start_ns + (count - 1) * S // rate <= time.monotonic_ns()
        if sink.sounds[-1].captured_ns <= until_ns and len(sink.sounds[-1].samples) // frame != rate // 100:
            assert start_ns + (count - 1) * S // rate <= until_ns
    source.close()
    position = 0
    for sound in sink.sounds:  # no seam: each block begins where the one before ended
        assert sound.captured_ns == sink.sounds[0].captured_ns + position * S // rate
        position += len(sound.samples) // frame


def test_a_flush_delivers_the_frames_that_are_due_and_waits_for_nothing():
    source, sink = opened("test:", None, {"width": 320, "height": 240, "frame_rate": 200})
    took_ns = []
    for _ in range(30):
        time.sleep(0.004)
        until_ns = time.monotonic_ns()
        source.flush(until_ns)
        took_ns.append(time.monotonic_ns() - until_ns)
        start_ns = sink.pictures[0].captured_ns
        assert len(sink.pictures) * S // 200 > until_ns - start_ns
    source.close()
    assert sorted(took_ns)[15] < 50_000_000  # half of them: a busy machine may hold up any one


def test_a_source_that_falls_behind_leaves_frames_out_and_counts_them(monkeypatch):
    """A sink that takes 20 ms for each of 200 frames a second: the source stays at most its limit behind."""
    monkeypatch.setattr(synthetic, "TEST_LATE_NS", S // 10)

    class SlowSink(KeepingSink):
        def video(self, *frame):
            time.sleep(0.02)
            super().video(*frame)

    sink = SlowSink()
    source = open_source("test:", None, {"width": 64, "height": 48, "frame_rate": 200})
    source.start({"video": sink})
    wait_until(lambda: len(sink.pictures) >= 20, "20 frames")
    until_ns = time.monotonic_ns()
    source.flush(until_ns)
    took_ns = time.monotonic_ns() - until_ns
    source.close()
    assert took_ns < S  # what is at most 0.1 s late: 20 frames, and not the ones that became due meanwhile
    numbers = [read_counter(p.picture, p.width, p.height) for p in sink.pictures]
    assert numbers == sorted(set(numbers))
    # Every number that is missing was counted; so were those left out last, before a frame that never came.
    assert 0 < numbers[-1] + 1 - len(numbers) <= sink.counts["capture_late"]


def test_a_flush_into_the_future_counts_as_now():
    source, sink = opened("test:", {}, None)
    source.flush(time.monotonic_ns() + 3600 * S)
    source.close()
    assert len(sink.samples) < 48_000 * 4


def test_the_same_parameters_give_the_same_media():
    first, second = (run("frames=8&seed=7", {}, {"width": 160, "height": 120}) for _ in range(2))
    assert [p.picture for p in first.pictures] == [p.picture for p in second.pictures]
    assert first.samples == second.samples
    other = run("frames=8&seed=8", None, {"width": 160, "height": 120})
    assert other.pictures[0].picture != first.pictures[0].picture


def test_the_tone_has_its_frequency_and_is_continuous():
    sink = run("duration=0.5&frequency=997", {"channel_count": 2}, None)
    assert tone_frequency(sink.samples, 48_000, channels=2) == pytest.approx(997, abs=0.05)
    assert loudness(sink.samples, channels=2) == pytest.approx(0.5 / 2**0.5, rel=0.01)
    floats = run("duration=0.2&frequency=440&amplitude=0.25", {"channel_count": 1, "sample_size": 32}, None)
    assert tone_frequency(floats.samples, 48_000, sample_format="f32") == pytest.approx(440, abs=0.1)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (63, 47), (65, 49), (161, 121), (320, 16)])
def test_any_size_has_a_picture_of_that_size(width, height):
    picture = Pattern("counter", width, height, 1).picture(5)
    assert len(picture) == width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)
    expected = 5 if cells(width, height) else None
    assert read_counter(picture, width, height) == expected


@pytest.mark.parametrize("name", ["solid", "noise"])
def test_the_other_patterns_have_no_number(name):
    picture = Pattern(name, 160, 120, 1).picture(5)
    assert len(picture) == 160 * 120 * 3 // 2 and read_counter(picture, 160, 120) is None


def test_the_picture_moves():
    pattern = Pattern("counter", 160, 120, 1)
    assert len({pattern.picture(n)[160 * 60 : 160 * 120] for n in range(32)}) == 32


def test_the_check_byte_notices_a_picture_of_two_frames():
    """Of all neighbours, no mix of one's number and the other's check passes for a number."""
    assert all(check_byte(n) != check_byte(n + 1) for n in range(65_535))
    pattern = Pattern("counter", 64, 48, 1)
    old, new = bytearray(pattern.picture(127)), pattern.picture(128)
    old[: 64 * 16] = new[: 64 * 16]
    assert read_counter(old, 64, 48) is None


@pytest.mark.parametrize(("width", "height", "bit_rate"), [(160, 120, 100_000), (64, 48, 50_000), (640, 480, 400_000)])
def test_the_number_is_readable_after_heavy_compression(width, height, bit_rate):
    pattern = Pattern("counter", width, height, 3)
    file = io.BytesIO()
    first, count = 230, 45  # so that the low byte overflows
    with av.open(file, "w", format="webm") as out:
        stream = out.add_stream("libvpx", rate=30, options={"deadline": "realtime", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", bit_rate
        for n in range(count):
            out.mux(stream.encode(frame_of(pattern.picture(first + n), width, height, n)))
        out.mux(stream.encode(None))
    assert len(file.getvalue()) < count / 30 * bit_rate / 8 * 1.6
    file.seek(0)
    with av.open(file) as back:
        numbers = [
            read_counter(frame.planes[0], width, height, frame.planes[0].line_size) for frame in back.decode(video=0)
        ]
    # An encoder short of bits may leave frames out; what there is must be right.
    read = [n for n in numbers if n is not None]
    assert len(read) >= 0.95 * len(numbers) and len(numbers) >= 30
    assert read == sorted(set(read)) and first <= read[0] and read[-1] < first + count


def frame_of(picture, width, height, pts):
    frame = av.VideoFrame(width, height, "yuv420p")
    offset = 0
    for plane, (w, h) in zip(frame.planes, [(width, height)] + [(width // 2, height // 2)] * 2, strict=True):
        rows = bytearray(plane.buffer_size)
        for y in range(h):
            rows[y * plane.line_size : y * plane.line_size + w] = picture[offset : offset + w]
            offset += w
        plane.update(rows)
    frame.pts = pts
    return frame


def test_drawing_is_fast_enough():
    """It costs little more than to copy a picture, so that a test of many streams tests the recorder."""
    pattern = Pattern("counter", 1280, 720, 3)
    picture = pattern.picture(0)
    begin_s = time.process_time()
    for n in range(100):
        pattern.picture(n)
    drawn_s = time.process_time()
    for _ in range(100):
        bytearray(picture)
    copied_s = time.process_time()
    assert drawn_s - begin_s < 10 * (copied_s - drawn_s)


def test_closing_is_prompt_and_final():
    source, sink = opened("test:", {}, {"width": 64, "height": 48})
    wait_until(lambda: sink.pictures and sink.sounds, "the first frames")
    before_s = time.monotonic()
    source.close()
    source.close()
    assert time.monotonic() - before_s < 5
    given = len(sink.pictures), len(sink.sounds)
    source.flush(time.monotonic_ns())
    time.sleep(0.05)
    assert (len(sink.pictures), len(sink.sounds)) == given and not sink.ends
