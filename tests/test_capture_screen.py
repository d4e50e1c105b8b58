"""Screens, through an X server of our own."""

import time
from fractions import Fraction
from itertools import pairwise
from statistics import median

import fixtures_media
import pytest
from fixtures_media import KeepingSink, wait_until, xvfb

from recsvc.capture.grab import _captured_ns
from recsvc.capture.opening import open_source
from recsvc.errors import NotFoundError, NotReadableError, OverconstrainedError

pytestmark = pytest.mark.alone

xvfb_display = fixtures_media.xvfb_display

S = 1_000_000_000
ORANGE = bytes((0x00, 0x80, 0xFF))  # blue, green, red of #ff8000


def start(source):
    sink = KeepingSink()
    start_ns = time.monotonic_ns()
    source.start({"video": sink})
    return sink, start_ns


def test_a_screen_is_grabbed_at_its_rate_with_true_times(xvfb_display):
    source = open_source(f"screen:{xvfb_display}", None, {"frame_rate": 50})
    assert source.tracks[0].settings == {
        "width": 320, "height": 240, "pixel_format": "bgra", "frame_rate": 50.0,
        "display_width": 320, "display_height": 240,
        "color_space": "bt601", "color_primaries": 1, "color_transfer": 13,
    }  # fmt: skip
    time.sleep(0.2)  # pictures grabbed before the start are not delivered
    sink, start_ns = start(source)
    wait_until(lambda: len(sink.pictures) >= 25, "25 pictures")
    source.close()
    pictures = sink.pictures
    assert {(p.width, p.height, p.pixel_format, len(p.picture)) for p in pictures} == {
        (320, 240, "bgra", 320 * 240 * 4)
    }
    assert all(bytes(p.picture[:3]) == ORANGE and bytes(p.picture[-4:-1]) == ORANGE for p in pictures)
    assert pictures[0].captured_ns >= start_ns
    assert all(p.captured_ns <= p.given_ns for p in pictures)
    apart_ns = [b.captured_ns - a.captured_ns for a, b in pairwise(pictures)]
    assert median(apart_ns) == pytest.approx(S // 50, rel=0.1), "one may be late on a busy machine"


def test_a_flush_waits_for_a_picture_only_when_one_can_have_begun(xvfb_display):
    source = open_source(f"screen:{xvfb_display}", None, {"frame_rate": 20})
    sink, _ = start(source)
    wait_until(lambda: len(sink.pictures) >= 2, "two pictures")
    slowest_ns = 0
    for _ in range(20):
        time.sleep(0.013)
        until_ns = time.monotonic_ns()
        source.flush(until_ns)
        slowest_ns = max(slowest_ns, time.monotonic_ns() - until_ns)
        assert sink.pictures[-1].captured_ns + S // 20 * 9 // 10 > until_ns
    source.close()
    assert slowest_ns < 1.5 * S / 20 + 50_000_000


def test_a_part_of_a_screen(xvfb_display):
    source = open_source(f"screen:{xvfb_display}.0+10,20", None, {"width": 101, "height": 51})
    sink, _ = start(source)
    wait_until(lambda: sink.pictures, "a picture")
    source.close()
    assert (sink.pictures[0].width, sink.pictures[0].height) == (101, 51)
    with pytest.raises(OverconstrainedError, match="320x240"):
        open_source(f"screen:{xvfb_display}", None, {"width": 400, "height": 100})


def test_what_is_wrong_with_a_screen_is_said(xvfb_display, monkeypatch):
    with pytest.raises(ValueError, match="not an X display"):
        open_source("screen:first", None, {})
    with pytest.raises(NotFoundError, match=":4093"):
        open_source("screen::4093", None, {})
    with pytest.raises(OverconstrainedError, match="320x240"):
        open_source(f"screen:{xvfb_display}+300,0", None, {"width": 100, "height": 100})
    with pytest.raises(NotReadableError):
        open_source(f"screen:{xvfb_display}.7", None, {})
    monkeypatch.setenv("DISPLAY", xvfb_display)
    open_source("screen:", None, {}).close()


def test_a_device_s_stamp_is_carried_over_to_the_monotonic_clock():
    """Devices stamp on the wall clock or on the monotonic one; any other stamp is of no use."""

    class Packet:
        time_base = Fraction(1, 1_000_000)

        def __init__(self, pts):
            self.pts = pts

    wall_ns, now_ns = 1_800_000_000 * S, 5_000 * S
    assert _captured_ns(Packet((wall_ns - S // 50) // 1000), now_ns, wall_ns) == now_ns - S // 50
    assert _captured_ns(Packet((now_ns - S // 50) // 1000), now_ns, wall_ns) == now_ns - S // 50
    for pts in (0, (now_ns + S) // 1000, (wall_ns - 9 * S) // 1000, None):
        assert _captured_ns(Packet(pts), now_ns, wall_ns) == now_ns


def test_a_screen_that_goes_ends_the_track():
    with xvfb() as display:
        source = open_source(f"screen:{display}", None, {})
        sink, _ = start(source)
        wait_until(lambda: sink.pictures, "a picture")
    wait_until(lambda: sink.ends, "the end of the track", 5.0)
    assert isinstance(sink.ends[0][1], NotReadableError) and sink.after_end == 0
    source.close()
