"""In which order packets go to a file, and what they wait for."""

import random
from collections.abc import Iterable

import pytest

from recsvc.common.limits import MS, S
from recsvc.common.media import OPUS_RATE
from recsvc.mux.packets import INTERLEAVE_MAX_MS, AudioPacket, Interleaver, Packet, VideoPacket

ORIGIN_NS = 77 * S
HOLD_NS = 100 * MS


def picture(at_ms: float, is_key_frame: bool = False) -> VideoPacket:
    return VideoPacket(b"p", ORIGIN_NS + round(at_ms * MS), 33 * MS, is_key_frame)


def sound(number: int, begin_ms: float = 0.0) -> AudioPacket:
    return AudioPacket(b"s", 960 * number, 960, 0, ORIGIN_NS + round(begin_ms * MS))


def interleaver(hold_ns: int = 0, origin_ns: int | None = ORIGIN_NS, **kinds: bool) -> Interleaver:
    return Interleaver(**({"video": True, "audio": True} | kinds), hold_ns=hold_ns, origin_ns=origin_ns)


def times(packets: Iterable[tuple[int, Packet]]) -> list[int]:
    return [ms for ms, _ in packets]


@pytest.mark.parametrize("seed", range(20))
def test_packets_that_come_in_time_leave_in_order_with_the_files_time(seed: int) -> None:
    rng = random.Random(seed)
    at_ms, pictures = rng.uniform(0, 50), []
    while at_ms < 4000:
        pictures.append(picture(at_ms))
        at_ms += rng.choice([1, 16, 40, 250])
    begin_ms = rng.uniform(0, 200)
    blocks = [sound(number, begin_ms) for number in range(190)]
    late = rng.uniform(0, INTERLEAVE_MAX_MS - 60)  # one track comes so much later than the other
    given: list[tuple[float, Packet]] = [((one.at_ns - ORIGIN_NS) / MS, one) for one in pictures]
    given += [(begin_ms + 20 * number + late, block) for number, block in enumerate(blocks)]
    waiting, out = interleaver(HOLD_NS if seed % 2 else 0), []
    for _, packet in sorted(given, key=lambda pair: pair[0]):
        waiting.add(packet)
        out += list(waiting.ready())
    last = waiting.last_picture
    assert last is not None and last.at_ns == pictures[-1].at_ns - ORIGIN_NS
    out += list(waiting.finish(5 * S))
    assert times(out) == sorted(times(out)) and len(out) == len(given)
    seen = [packet for _, packet in out if isinstance(packet, VideoPacket)]
    assert [one.at_ns for one in seen] == [one.at_ns - ORIGIN_NS for one in pictures]
    ends = [one.at_ns for one in seen[1:]] + [5 * S]
    assert [one.at_ns + one.duration_ns for one in seen] == ends
    assert [one.is_last for one in seen] == [False] * (len(seen) - 1) + [True]
    heard = [packet for _, packet in out if isinstance(packet, AudioPacket)]
    first = round(begin_ms * OPUS_RATE / 1000)
    assert [one.start_samples for one in heard] == [first + 960 * number for number in range(190)]


def test_nothing_leaves_before_time_0_is_known_and_nothing_is_before_it() -> None:
    waiting = interleaver(origin_ns=None)
    for packet in (picture(0), picture(40), sound(0, -5), sound(1, -5), sound(2, -5)):
        waiting.add(packet)
    assert list(waiting.ready()) == list(waiting.rest()) == [] and waiting.last_picture is None
    waiting.begin(ORIGIN_NS)
    assert times(waiting.ready()) == [0, 0, 20]
    assert times(waiting.rest()) == [40, 40]


def test_a_picture_waits_for_the_next_one_but_not_long_for_sound_that_is_ahead() -> None:
    waiting = interleaver()
    waiting.add(picture(0))
    for number in range(INTERLEAVE_MAX_MS // 20):
        waiting.add(sound(number))
        assert list(waiting.ready()) == []
    waiting.add(sound(INTERLEAVE_MAX_MS // 20))
    assert times(waiting.ready()) == [0, 0]
    waiting.add(picture(290))
    assert times(waiting.ready()) == list(range(20, 290, 20)), "no picture comes before the newest one"


@pytest.mark.parametrize("kinds", [{"video": False}, {"audio": False}])
def test_a_track_alone_waits_for_no_other(kinds: dict[str, bool]) -> None:
    waiting = interleaver(**kinds)
    out = []
    for number in range(10):
        waiting.add(picture(number * 40) if "audio" in kinds else sound(number))
        out += times(waiting.ready())
    assert out == ([number * 40 for number in range(9)] if "audio" in kinds else [number * 20 for number in range(10)])


def test_of_pictures_out_of_order_the_one_that_is_shown_last_lasts_to_the_end() -> None:
    waiting = interleaver(HOLD_NS)
    for order_ms, shown_ms in ((0, 80), (40, 240), (80, 160)):
        waiting.add(picture(shown_ms)._replace(order_ns=ORIGIN_NS + order_ms * MS))
    last = waiting.last_picture
    assert last is not None and last.at_ns == 240 * MS
    ended = [packet for _, packet in waiting.finish(300 * MS) if isinstance(packet, VideoPacket)]
    assert [(one.at_ns // MS, one.is_last) for one in ended] == [(80, False), (240, True), (160, False)]
    assert ended[1].duration_ns == 60 * MS


def test_pictures_after_a_stop_are_left_out_as_long_as_they_wait() -> None:
    waiting = interleaver(HOLD_NS, audio=False)
    for number in range(10):
        waiting.add(picture(number * 40))
    assert times(waiting.ready()) == [0, 40, 80, 120, 160, 200, 240]
    assert waiting.leave_out(ORIGIN_NS + 300 * MS) == (2, ORIGIN_NS + 280 * MS)
    assert waiting.leave_out(ORIGIN_NS + 250 * MS) == (1, ORIGIN_NS + 250 * MS), "none waits any more"
    assert waiting.leave_out(ORIGIN_NS) == (0, ORIGIN_NS)
    assert list(waiting.rest()) == []


def test_data_that_are_asked_for_hold_no_picture_from_after_the_call() -> None:
    waiting = interleaver(HOLD_NS)
    for packet in (picture(0), sound(0), sound(1), picture(40), picture(80), sound(2), sound(3), sound(4)):
        waiting.add(packet)
    assert times(waiting.rest(ORIGIN_NS + 50 * MS)) == [0, 0, 20, 40, 40, 60, 80]
    assert times(waiting.rest()) == [80]


@pytest.mark.parametrize(
    "packet", [VideoPacket(b"", 0, 1, True), VideoPacket(b"x", 0, -1, True), AudioPacket(b"x", 0, 960, 960)]
)
def test_packets_that_cannot_be_are_refused(packet: Packet) -> None:
    with pytest.raises(ValueError, match="packet"):
        interleaver(origin_ns=0).add(packet)
