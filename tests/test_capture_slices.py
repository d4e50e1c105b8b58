"""Pictures that libavformat hands on slice by slice become whole again."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import encoded
import pytest

from recsvc.capture.slices import Parts, whole
from recsvc.mux.bitstream import begins_picture, h264_type, h265_type, split_annex_b

START = b"\0\0\0\1"
NAMES = {"h264": "h264 sliced", "h265": "h265 sliced"}
SETS = {"h264": (7, 8), "h265": (32, 33, 34)}


def kind_of(codec: str, unit: bytes) -> int:
    return h264_type(unit) if codec == "h264" else h265_type(unit)


def is_slice(codec: str, unit: bytes) -> bool:
    return kind_of(codec, unit) in (1, 5) if codec == "h264" else kind_of(codec, unit) < 32


@functools.cache
def stream(codec: str) -> Any:
    return av.open(io.BytesIO(encoded.film(NAMES[codec], 20))).streams.video[0]


def packet_of(codec: str, units: list[bytes], pts: int | None, is_key: bool) -> av.Packet:
    made = av.Packet(b"".join(START + unit for unit in units))
    made.stream, made.time_base = stream(codec), Fraction(1, 90_000)
    made.pts, made.dts, made.is_keyframe = pts, pts, is_key
    return made


class Picture:
    """One of the film, and what a sender may make of it."""

    def __init__(self, codec: str, number: int) -> None:
        film = encoded.pictures(NAMES[codec], 20, annex_b=True)
        self._codec, self._pts, self._is_key = codec, number * 3600, film.packets[number].is_key
        self._units = split_annex_b(film.packets[number].data)
        self.slices = [unit for unit in self._units if is_slice(codec, unit)]

    def whole(self) -> av.Packet:
        return packet_of(self._codec, self._units, self._pts, self._is_key)

    def parts(self, pts: int | None = -1) -> list[av.Packet]:
        """Each slice after the first with the parameter sets before it; the first one at another time, if given."""
        sets = [unit for unit in self._units if kind_of(self._codec, unit) in SETS[self._codec]]
        at = next(at for at, unit in enumerate(self._units) if is_slice(self._codec, unit))
        begin = packet_of(self._codec, self._units[: at + 1], self._pts if pts == -1 else pts, self._is_key)
        rest = [packet_of(self._codec, [*sets, unit], self._pts, self._is_key) for unit in self.slices[1:]]
        return [begin, *rest]


def pictures(codec: str) -> list[Picture]:
    made = [Picture(codec, number) for number in range(20)]
    assert all(len(one.slices) > 1 for one in made)
    return made


def given(parts: Parts, packets: list[av.Packet]) -> list[list[av.Packet]]:
    """What comes out with each packet."""
    return [parts.add(packet) for packet in packets]


def assert_whole(codec: str, packet: av.Packet, picture: Picture) -> None:
    units = split_annex_b(bytes(packet))
    assert [unit for unit in units if is_slice(codec, unit)] == picture.slices
    # What would begin a picture stands before the slices alone.
    first = next(at for at, unit in enumerate(units) if is_slice(codec, unit))
    assert all(is_slice(codec, unit) for unit in units[first:])
    assert packet.pts == picture.whole().pts and packet.is_keyframe == picture.whole().is_keyframe
    assert not packet.is_corrupt


@pytest.mark.parametrize("codec", NAMES)
def test_a_key_frame_in_parts_is_put_together(codec: str) -> None:
    film = pictures(codec)
    packets = [part for one in film for part in (one.parts() if one.whole().is_keyframe else [one.whole()])]
    parts = Parts(codec)
    found = [packet for ready in [*given(parts, packets), parts.rest()] for packet in ready]
    for packet, picture in zip(found, film, strict=True):
        assert_whole(codec, packet, picture)
    # They can be decoded, as what they are: packets of their stream.
    decoder = av.CodecContext.create("hevc" if codec == "h265" else "h264", "r")
    assert sum(len(decoder.decode(packet)) for packet in [*found, None]) == 20


@pytest.mark.parametrize("codec", NAMES)
def test_the_first_part_may_come_without_a_time(codec: str) -> None:
    film, parts = pictures(codec), Parts(codec)
    [*held, ready] = given(parts, [*film[0].parts(None), film[1].whole()])
    assert not any(held)
    assert_whole(codec, ready[0], film[0])


def test_pictures_that_come_whole_wait_for_nothing() -> None:
    """But the first key frame: it shows how the next ones come."""
    packets = [one.whole() for one in pictures("h264")]
    first, second, *rest = given(Parts("h264"), packets)
    assert not first and second == packets[:2]
    assert rest == [[packet] for packet in packets[2:]]


@pytest.mark.parametrize("is_key", [True, False])
def test_parts_that_nobody_waited_for_are_damaged_and_the_next_are_whole(is_key: bool) -> None:
    film, parts = pictures("h264"), Parts("h264")
    given(parts, [film[0].whole(), film[1].whole()])
    first, second = (film[10], film[0]) if is_key else film[2:4]
    *_, late = given(parts, first.parts())
    assert [packet.is_corrupt for packet in late] == [True]
    *_, ready = given(parts, [*second.parts(), film[4].whole()])
    assert_whole("h264", ready[0], second)


def test_a_picture_whose_beginning_is_lost_is_damaged_and_none_of_the_one_before() -> None:
    """A stream may begin in the midst of one, too."""
    film, parts = pictures("h264"), Parts("h264")
    rests = [film[number].parts()[1] for number in (19, 1)]
    found = given(parts, [rests[0], key := film[0].whole(), rests[1], after := film[2].whole()])
    assert found == [[rests[0]], [], [key, rests[1]], [after]]
    assert all(packet.is_corrupt for packet in rests) and not key.is_corrupt


def test_a_decoder_does_not_get_the_rest_of_a_key_frame() -> None:
    film, parts = pictures("h264"), Parts("h264", is_decoded=True)
    rests = [film[number].parts()[1] for number in (10, 1)]
    found = given(parts, [rests[0], key := film[0].whole(), rests[1], after := film[2].whole()])
    assert found == [[], [], [key], [after]]


def test_the_last_picture_is_handed_on_when_the_input_ends_or_fails() -> None:
    film = pictures("h264")

    def failing() -> Iterator[Any]:
        yield from film[0].parts()
        raise OSError("gone")

    index = stream("h264").index
    found = []
    with pytest.raises(OSError, match="gone"):
        for packet in whole(failing(), {index: Parts("h264")}):
            found.append(packet)
    assert_whole("h264", found[0], film[0])
    end = av.Packet(0)
    end.stream = stream("h264")
    ended = list(whole(iter([*film[0].parts(), end]), {index: Parts("h264")}))
    assert_whole("h264", ended[0], film[0])
    assert ended[1:] == [end]


@pytest.mark.parametrize("data", [b"", b"\0\0\1", b"\0\0\0\1\x67abc", b"no start code"])
def test_what_has_no_slice_begins_nothing(data: bytes) -> None:
    assert begins_picture("h264", data) is None
