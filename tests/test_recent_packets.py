"""What a recording of packets may begin with, and where packets stand whose counter jumps; on times of the test."""

from __future__ import annotations

import random

import encoded
import pytest

from recsvc.capture.limits import STAMP_BACK_NS, STAMP_FORWARD_NS
from recsvc.capture.stamps import WRAP_NS, Stamps
from recsvc.common.limits import MS, PREROLL_BYTES_MAX, PREROLL_NS, S
from recsvc.common.packet_limits import PREROLL_PACKETS_MAX
from recsvc.mux.codec_private import form_of
from recsvc.mux.parameter_sets import avcc, hvcc, sets_of
from recsvc.wire.captured_packets import Recent
from recsvc.wire.frames import Packet

FRAME_NS = 40 * MS


def picture(number: int, key: bool, size: int = 10) -> Packet:
    return Packet(number * FRAME_NS, bytes(size), key)


def add_pictures(recent: Recent, count: int, group: int, size: int = 10, first: int = 0) -> None:
    for number in range(first, first + count):
        recent.add(picture(number, number % group == 0, size))


@pytest.mark.parametrize("count", [1, 49, 50, 54, 55, 56, 99, 230])
def test_the_newest_group_is_kept_and_the_one_before_for_as_long_as_a_start_may_be_on_its_way(count: int) -> None:
    recent = Recent(10)
    add_pictures(recent, count, group=50)
    newest_ns = (count - 1) * FRAME_NS
    for from_ns in range(newest_ns - PREROLL_NS, newest_ns + 1, 10 * MS):
        if from_ns >= 0:
            begin_ns = recent.begin_ns(from_ns)
            assert begin_ns == from_ns // (50 * FRAME_NS) * 50 * FRAME_NS
            assert [one for one in recent.packets if one.captured_ns == begin_ns][0].key_frame
    assert len(recent.packets) <= 50 + PREROLL_NS // FRAME_NS + 1


@pytest.mark.parametrize("most_s", [0, 0.5, 3])
def test_a_key_frame_that_is_too_old_is_not_used(most_s: float) -> None:
    recent = Recent(most_s)
    add_pictures(recent, 76, group=50)  # the last one is 1 s after its key frame
    from_ns = 75 * FRAME_NS
    assert recent.begin_ns(from_ns) == (50 * FRAME_NS if most_s >= 1 else from_ns)
    if most_s < 1:
        assert recent.packets[0].captured_ns == from_ns - PREROLL_NS
    # A source that has stalled: its newest group is as old as its newest packet.
    late_ns = from_ns + 20 * S
    assert recent.begin_ns(late_ns) == late_ns


def test_a_stream_without_key_frames_keeps_no_more_than_raw_media_would() -> None:
    recent = Recent(10)
    for number in range(1, 3000):
        recent.add(picture(number, key=False))
        assert len(recent.packets) <= PREROLL_NS // FRAME_NS + 1
    assert recent.begin_ns(3000 * FRAME_NS) == 3000 * FRAME_NS


@pytest.mark.parametrize("bound", ["packets", "bytes"])
def test_a_group_beyond_its_bounds_is_given_up_as_a_whole(bound: str) -> None:
    size = 10 if bound == "packets" else PREROLL_BYTES_MAX // 100
    recent = Recent(10)
    for number in range(2 * PREROLL_PACKETS_MAX):
        at_ns = number * 10 * MS  # so that the time is no bound
        recent.add(Packet(at_ns, bytes(1) * size if number < 1000 else b"", number == 0))
        assert len(recent.packets) <= PREROLL_PACKETS_MAX
        assert sum(len(one.payload) for one in recent.packets) <= PREROLL_BYTES_MAX
        if number > PREROLL_PACKETS_MAX or (bound == "bytes" and number > 100):
            assert recent.begin_ns(at_ns) == at_ns
            assert len(recent.packets) <= PREROLL_NS // (10 * MS) + 1
        if bound == "bytes" and number == 300:
            return


def test_sound_is_kept_as_far_back_as_the_pictures_beside_it() -> None:
    pictures = Recent(10)
    sound = Recent(10, pictures, of_pictures=False)
    for number in range(130):
        pictures.add(picture(number, number % 50 == 0))
        for half in range(2):
            sound.add(Packet(number * FRAME_NS + half * FRAME_NS // 2, b"sound"))
    begin_ns = pictures.begin_ns(129 * FRAME_NS)
    assert begin_ns == 100 * FRAME_NS
    assert sound.packets[0].captured_ns <= begin_ns
    assert len(sound.packets) <= 2 * 51
    alone = Recent(0.0, of_pictures=False)
    for one in sound.packets:
        alone.add(one)
    assert len(alone.packets) == PREROLL_NS // (FRAME_NS // 2) + 1


# --- counters that wrap or jump -------------------------------------------------------------------


def placed(stamps: Stamps, kind: str, numbers: range, offset_ns: int, lasts_ns: int) -> tuple[list[int], int]:
    found = [stamps.place(kind, number * lasts_ns + offset_ns, lasts_ns) for number in numbers]
    return [at_ns for at_ns, _ in found], sum(jumped for _, jumped in found)


@pytest.mark.parametrize("offset_ns", [0, -5000 * S, 5000 * S, -STAMP_BACK_NS - 2 * FRAME_NS, STAMP_FORWARD_NS + 2 * S])
def test_what_follows_a_jump_goes_on_for_all_tracks_alike(offset_ns: int) -> None:
    stamps = Stamps()
    before, _ = placed(stamps, "video", range(50), 0, FRAME_NS)
    placed(stamps, "audio", range(80), 0, 20 * MS)  # the other track is behind when the first jumps
    after, jumps = placed(stamps, "video", range(50, 60), offset_ns, FRAME_NS)
    assert before + after == [number * FRAME_NS for number in range(60)]
    behind, more = placed(stamps, "audio", range(80, 100), 0, 20 * MS)
    then, most = placed(stamps, "audio", range(100, 120), offset_ns, 20 * MS)
    assert behind + then == [number * 20 * MS for number in range(80, 120)]
    assert jumps + more + most == (1 if offset_ns else 0)


def test_a_long_gap_of_a_file_is_kept_unless_its_counter_may_skip() -> None:
    for may_skip in (True, False):
        stamps = Stamps(may_skip=may_skip)
        assert stamps.place("video", 0, FRAME_NS) == (0, False)
        gap = (FRAME_NS, True) if may_skip else (60 * S, False)
        assert stamps.place("video", 60 * S, FRAME_NS) == gap
        assert stamps.place("video", 0, FRAME_NS) == (gap[0] + FRAME_NS, True)


def test_what_follows_a_jump_is_shown_after_all_before_it() -> None:
    """Though pictures before it are shown long after they are decoded, and those after it at once."""
    stamps = Stamps()
    for number, offset_ns in enumerate((2, 4, 0, 2)):
        stamps.place("video", number * FRAME_NS, FRAME_NS, offset_ns * FRAME_NS)
    at_ns, jumped = stamps.place("video", 5000 * S, FRAME_NS)
    assert jumped and at_ns == 6 * FRAME_NS
    assert stamps.place("video", 5000 * S + FRAME_NS, FRAME_NS) == (7 * FRAME_NS, False)
    assert stamps.place("audio", 5000 * S, FRAME_NS) == (at_ns, False)


def test_pictures_that_come_sooner_than_supposed_are_no_jump() -> None:
    """Of a film with few pictures the rate says little of when the next one comes."""
    stamps = Stamps(may_skip=False)
    for at_ns in (0, 3 * S, 4 * S, 4 * S + FRAME_NS, 60 * S):
        assert stamps.place("video", at_ns, 3 * S) == (at_ns, False)
    assert stamps.place("video", 59 * S, 3 * S) == (63 * S, True)


def test_a_counter_of_33_bits_wraps_again_and_again_to_the_nanosecond() -> None:
    stamps, found = Stamps(), []
    for number in range(1000):
        found.append(stamps.place("video", (number * 200 * S) % WRAP_NS, 200 * S))
    assert [at_ns for at_ns, _ in found] == [number * 200 * S for number in range(1000)]
    assert sum(jumped for _, jumped in found) == 1000 * 200 * S // WRAP_NS == 2


@pytest.mark.parametrize("seed", range(5))
def test_jitter_and_pictures_out_of_order_are_no_jump(seed: int) -> None:
    random_, stamps = random.Random(seed), Stamps()
    for number in range(300):
        at_ns = number * FRAME_NS + random_.randint(-STAMP_BACK_NS // 2, STAMP_BACK_NS // 2)
        assert stamps.place("video", at_ns, FRAME_NS) == (at_ns, False)


# --- what packets say of themselves ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["h264", "h265"])
def test_the_parameter_sets_of_a_description_are_those_it_was_made_of(name: str) -> None:
    description = encoded.pictures(name).description
    length_bytes, units = sets_of(name, description)
    assert length_bytes == 4 and len(units) == (2 if name == "h264" else 3)
    assert sets_of(name, (avcc if name == "h264" else hvcc)(units))[1] == units
    for end in range(5 if name == "h264" else 22, len(description)):
        with pytest.raises((ValueError, IndexError)):
            assert sets_of(name, description[:end])[1] == units


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("1190", (1024, 48_000)),  # AAC-LC
        ("1194", (960, 48_000)),
        ("2b11880400", (1024, 24_000)),  # HE-AAC: explicit, 24 kHz doubled
        ("eb098800", (1024, 24_000)),  # the same with parametric stereo
        ("f8ee40", (512, 22_050)),  # AAC-ELD is kind 39, which stands in more bits
        ("17ffffff90", (1024, 0xFFFFFF)),
    ],
)  # fmt: skip
def test_how_long_a_packet_of_aac_lasts(config: str, expected: tuple[int, int]) -> None:
    form = form_of("aac", 48_000, 2, bytes.fromhex(config))
    assert form.samples(b"data") == expected


def test_adts_says_the_rate_of_what_is_in_the_packet() -> None:
    frame = bytearray(encoded.sound("aac", adts=True).packets[0].data)
    assert form_of("aac", 48_000, 2).samples(bytes(frame)) == (1024, 48_000)
    frame[2] = frame[2] & 0b11000011 | 6 << 2
    assert form_of("aac", 48_000, 2).samples(bytes(frame)) == (1024, 24_000)


def test_packets_that_were_captured_earlier_than_was_said_are_found_by_the_right_times() -> None:
    recent = Recent(10)
    add_pictures(recent, 76, group=25)
    recent.moved(-13 * MS)
    assert recent.begin_ns(75 * FRAME_NS) == 75 * FRAME_NS - 13 * MS
    assert recent.begin_ns(75 * FRAME_NS - 14 * MS) == 50 * FRAME_NS - 13 * MS
    add_pictures(recent, 100, group=25, first=76)
    kept = [one.captured_ns for one in recent.packets]
    assert kept == [number * FRAME_NS for number in range(150, 176)]
