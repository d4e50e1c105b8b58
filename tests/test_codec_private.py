"""What packets and parameter sets say, against what FFmpeg's muxers and demuxers say of the same."""

from __future__ import annotations

import contextlib
from typing import Any

import encoded
import pytest

from recsvc.common.packet_limits import PARAMETER_SETS_BYTES_MAX
from recsvc.mux import bitstream
from recsvc.mux.codec_private import form_of
from recsvc.wire.packets import DecodeTimes

MS = 1_000_000


@pytest.mark.parametrize("name", ["h264", "h264 open", "h264 plain", "h265", "av1", "vp8", "vp9"])
@pytest.mark.parametrize("annex_b", [False, True])
def test_key_frames_are_those_that_ffmpeg_finds(name: str, annex_b: bool) -> None:
    media = encoded.pictures(name, annex_b=annex_b)
    form = form_of(media.codec, description=b"" if annex_b else media.description)
    assert [form.is_key(one.data) for one in media.packets] == [one.is_key for one in media.packets]
    assert sum(one.is_key for one in media.packets) >= 4


@pytest.mark.parametrize("name", ["h264", "h264 open", "h264 plain"])
def test_avcc_from_parameter_sets_in_band_is_what_ffmpeg_writes(name: str) -> None:
    form = form_of("h264")
    form.repack(encoded.pictures(name, annex_b=True).packets[0].data)
    assert form.private == encoded.pictures(name).description


def test_hvcc_from_parameter_sets_in_band_is_what_ffmpeg_writes() -> None:
    form = form_of("h265")
    form.repack(encoded.pictures("h265", annex_b=True).packets[0].data)
    theirs = encoded.pictures("h265").description
    assert form.private is not None
    assert form.private[:13] == theirs[:13] and form.private[15:22] == theirs[15:22]
    ours = form.private[22:]
    assert ours[0] == 3  # VPS, SPS, PPS; theirs may have an SEI unit too
    at = 1
    for kind in (32, 33, 34):
        length = int.from_bytes(ours[at + 3 : at + 5], "big")
        unit = ours[at + 5 : at + 5 + length]
        assert ours[at] & 63 == kind and int.from_bytes(ours[at + 1 : at + 3], "big") == 1
        assert unit in theirs
        at += 5 + length
    assert at == len(ours)


def test_av1c_from_the_sequence_header_says_what_ffmpegs_does() -> None:
    media = encoded.pictures("av1")
    form = form_of("av1")
    form.repack(media.packets[0].data)
    assert form.private is not None and form.private[:4] == media.description[:4]
    [sequence] = bitstream.split_obus(form.private[4:])
    assert sequence.kind == bitstream.OBU_SEQUENCE and sequence.data in media.packets[0].data


def test_the_config_of_adts_frames_is_that_of_the_same_sound_in_mp4() -> None:
    frames, theirs = encoded.sound("aac", adts=True), encoded.sound("aac")
    form = form_of("aac", 48_000, 2)
    bare = [form.repack(one.data) for one in frames.packets]
    assert form.private is not None and theirs.description.startswith(form.private)
    assert bare == [one.data for one in theirs.packets]
    with pytest.raises(ValueError, match="one frame"):
        form.repack(frames.packets[0].data + frames.packets[1].data)


def test_opus_packets_last_as_long_as_their_first_byte_says() -> None:
    assert [bitstream.opus_samples(bytes((config << 3, 0))) for config in (0, 3, 12, 13, 16, 19, 28, 31)] == [
        480, 2880, 480, 960, 120, 960, 120, 960,
    ]  # fmt: skip
    assert bitstream.opus_samples(bytes((31 << 3 | 1, 0))) == 1920
    assert bitstream.opus_samples(bytes((31 << 3 | 3, 6))) == 5760
    with pytest.raises(ValueError, match="samples"):
        bitstream.opus_samples(bytes((31 << 3 | 3, 7)))


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp8", "vp9", "opus", "aac", "pcm"])
def test_what_is_no_packet_is_known_by_its_form(codec: str) -> None:
    for junk in (b"", b"\xff" * 9 if codec != "pcm" else b"abc"):
        form = form_of(codec, 48_000, 2)
        with pytest.raises((ValueError, IndexError)):
            form.repack(junk)
            form.samples(junk) if codec in ("opus", "aac", "pcm") else form.is_key(junk)


def test_units_with_lengths_must_fill_their_packet() -> None:
    assert bitstream.split_lengths(b"\0\2ab\0\1c", 2) == [b"ab", b"c"]
    for torn in (b"\0\2ab\0\2c", b"\0\2ab\0", b"\0\0"):
        with pytest.raises(ValueError, match="lengths"):
            bitstream.split_lengths(torn, 2)


def test_units_between_start_codes_of_both_lengths() -> None:
    assert bitstream.split_annex_b(b"\0\0\0\1ab\0\0\1c\0\0\0\1d\0\0") == [b"ab", b"c", b"d"]
    with pytest.raises(ValueError, match="start code"):
        bitstream.split_annex_b(b"x\0\0\1ab")


def test_times_of_decoding_never_go_back_and_follow_by_the_decoders_delay() -> None:
    shown = [0, 160, 80, 40, 120, 320, 240, 200, 280, 480, 400, 360, 440]
    times = DecodeTimes()
    made = [times.time_of(at * MS) // MS for at in shown]
    assert made == sorted(made)
    assert all(decoded <= at for decoded, at in zip(made[5:], shown[5:], strict=True))
    assert made[6:] == [160, 200, 240, 280, 320, 360, 400]  # even, once the order has shown itself


def test_times_of_decoding_are_those_of_showing_where_both_orders_are_one() -> None:
    times = DecodeTimes()
    assert [times.time_of(at) for at in (5, 7, 7, 9)] == [5, 7, 7, 9]


def test_a_clock_that_starts_again_is_no_picture_out_of_order() -> None:
    times = DecodeTimes()
    hour = 3600 * 1000 * MS
    assert [times.time_of(hour + at * MS) - hour for at in (0, 40, 80)] == [0, 40 * MS, 80 * MS]
    assert [times.time_of(at * MS) for at in (0, 40, 80)] == [0, 40 * MS, 80 * MS]


@pytest.mark.parametrize("off_ns", [30_000 * MS, 7200_000 * MS])
def test_a_time_far_ahead_holds_back_no_other_and_is_decoded_when_it_is_shown(off_ns: int) -> None:
    """One that is wrong, and all from the same picture on, as after a rest."""
    shown = [number * 40 * MS for number in (0, 3, 1, 2, 6, 4, 5, 9, 7, 8)]
    for wrong in (range(7, 8), range(7, 10)):
        times = DecodeTimes()
        made = [times.time_of(at_ns + off_ns * (number in wrong)) for number, at_ns in enumerate(shown)]
        offsets = [at_ns + off_ns * (number in wrong) - made[number] for number, at_ns in enumerate(shown)]
        assert max(map(abs, offsets)) <= 120 * MS


def test_parameter_sets_without_end_take_no_memory() -> None:
    """A sequence's alone, always another one: the picture's never come."""
    form: Any = form_of("h264")
    refused = 0
    for number in range(200):
        try:
            form.repack(b"\0\0\0\1" + b"\x67" + number.to_bytes(2, "big") + b"x" * 1000)
        except ValueError:
            refused += 1
        assert sum(map(len, form._sets)) <= 16 * PARAMETER_SETS_BYTES_MAX
    assert refused and form.private is None


@pytest.mark.parametrize(("name", "kind", "head_bytes"), [("h264", 5, 1), ("h265", 20, 2)])
def test_the_rest_of_a_key_frame_is_none(name: str, kind: int, head_bytes: int) -> None:
    """Its first slice is missing, or was taken for a picture of its own."""
    units = bitstream.split_annex_b(encoded.pictures(name, annex_b=True).packets[0].data)
    type_of, is_key = (
        (bitstream.h264_type, bitstream.is_h264_key) if name == "h264" else (bitstream.h265_type, bitstream.is_h265_key)
    )
    at = next(at for at, unit in enumerate(units) if type_of(unit) == kind)
    rest = units[at][:head_bytes] + bytes((units[at][head_bytes] & 0x7F,)) + units[at][head_bytes + 1 :]
    assert is_key(units) and is_key([*units[: at + 1], rest])
    assert not is_key([*units[:at], rest])


DAMAGED = {
    "h264": (b"\0\0\1\x67\0", b"\0\0\1\x67\x64\0\x1f\0\0\1\x68\1", b"\0\0\1\x68\1"),
    "h265": (b"\0\0\1\x42\1\0", b"\0\0\1\x40\1\0\0\1\x42\1\0\0\1\x44\1"),
}


@pytest.mark.parametrize("name", ["h264", "h265"])
def test_damaged_parameter_sets_do_not_stay_once_whole_ones_come(name: str) -> None:
    made = encoded.pictures(name, annex_b=True)
    first = made.packets[0].data
    alone = form_of(name)
    alone.repack(first)
    for damaged in DAMAGED[name]:
        form: Any = form_of(name)
        with contextlib.suppress(ValueError):
            form.repack(damaged)
        assert form.private is None
        form.repack(first)
        assert form.private == alone.private, damaged


@pytest.mark.parametrize(
    ("codec", "description"),
    [
        ("opus", "4f70757348656164 01 06 0000 80bb0000 0000 00"),  # six channels, not mapped
        ("opus", "4f70757348656164 01 06 0000 80bb0000 0000 01"),  # their mapping is missing
        ("opus", "4f70757348656164 01 06 0000 80bb0000 0000 01 04 02 000909090909"),  # to streams that are not there
        ("opus", "4f70757348656164 01 00 0000 80bb0000 0000 00"),  # no channel
        ("aac", "0000"),  # of no kind
        ("aac", "16f8"),  # of a rate that is reserved
        ("aac", "1780000000 10"),  # of the rate 0
        ("h264", "01640 01fff e1 0fff 01 67"),  # a set is longer than all
        ("h265", "01" + "00" * 20 + "0301 20 0001 00ff 40"),
        ("av1", "81"),
        ("av1", "81000c00 0aff"),  # a sequence header that ends before
    ],
)
def test_a_description_that_no_decoder_would_take_is_refused(codec: str, description: str) -> None:
    with pytest.raises(ValueError):
        form_of(codec, 48_000, 2, bytes.fromhex(description.replace(" ", "")))


@pytest.mark.parametrize(("at", "mask"), [(2, 0x0C), (2, 0x40), (3, 0xC0)], ids=["rate", "profile", "channels"])
def test_a_frame_of_another_form_than_the_first_is_damaged(at: int, mask: int) -> None:
    """The file's header has one form: such a frame would be played too fast, or not at all."""
    first, other, *_ = (bytearray(packet.data) for packet in encoded.sound("aac", adts=True).packets)
    form = form_of("aac", 48_000, 2)
    form.repack(bytes(first))
    form.repack(bytes(other))
    other[at] ^= mask
    with pytest.raises(ValueError, match="than the first"):
        form.repack(bytes(other))
    form.repack(bytes(first))


@pytest.mark.parametrize("named", ["vp8", "vp9", "av1", "h264", "h265"])
def test_packets_of_another_codec_begin_no_recording(named: str) -> None:
    for name in ("vp8", "vp9", "av1", "h264", "h265"):
        made = encoded.pictures(name, annex_b=True)
        found = []
        for packet in made.packets:
            with contextlib.suppress(ValueError, IndexError):
                found.append(form_of(named).is_key(packet.data))
        assert any(found) == (name == named), name
