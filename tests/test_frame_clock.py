"""Where frames are put by their time stamps: which jumps are believed, and what becomes of the others."""

from __future__ import annotations

import random
from collections.abc import Iterable

import hypothesis.strategies as st
import pytest
from hypothesis import given
from test_time_stamps import RANDOM, frames

from recsvc.common.limits import (
    AUDIO_STRETCH_PPM_MAX,
    FIRST_FRAME_WAIT_NS,
    GAP_MAX_NS,
    IDLE_FLUSH_NS,
    JUMP_ALONE_NS,
    MS,
    STAMP_JITTER_NS,
    S,
)
from recsvc.encode.clock import FrameClock
from recsvc.encode.media_clock import MediaClock
from recsvc.encode.timeline import TICK_NS, AudioTimeline, VideoTimeline

UP_NS = 2100 * S
"""When ``start()`` was called: on a machine that has been up for 35 minutes."""
PICTURE_NS = 40 * MS
BLOCK_NS = 20 * MS
MINUTES_NS = 600 * S


class Feed:
    """Gives a clock frames, numbered, and keeps what comes out. ``now_ns`` stands still unless told."""

    def __init__(self, kind: str = "video", *, is_media: bool = False, frame_rate: float | None = 25) -> None:
        self.clock: FrameClock[int] = (MediaClock if is_media else FrameClock)(kind, UP_NS, frame_rate=frame_rate)
        self.length_ns = BLOCK_NS if kind == "audio" else 0
        self.now_ns = UP_NS
        self.count = 0
        self.out: list[tuple[int, int]] = []

    def give(self, stamps: Iterable[int], *, live: bool = False, paused_ns: int = 0) -> Feed:
        """``live``: each comes when its stamp says."""
        for stamp_ns in stamps:
            if live:
                self.now_ns = stamp_ns
            self.out += self.clock.take(self.count, stamp_ns, paused_ns, self.length_ns, self.now_ns)
            self.count += 1
        return self

    def end(self) -> list[int]:
        """Milliseconds after ``start()`` of all frames."""
        self.out += self.clock.release()
        assert [number for number, _ in self.out] == list(range(self.count))
        return [(at_ns - UP_NS) // MS for _, at_ns in self.out]


def steady(count: int, begin_ns: int = UP_NS, step_ns: int = PICTURE_NS) -> list[int]:
    return [begin_ns + index * step_ns for index in range(count)]


def in_ms(count: int, step_ms: int = 40, begin_ms: int = 0) -> list[int]:
    return [begin_ms + index * step_ms for index in range(count)]


# ---- one wrong stamp -------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong_ns", [20 * 60 * S, 2 * S, 200 * MS, 2 * GAP_MAX_NS, 2**61])
@pytest.mark.parametrize("which", [1, 10, 29])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", ["audio", "video"])
@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("origin_ns", [UP_NS, 0])
def test_a_single_wrong_stamp_moves_its_own_frame_alone(
    kind: str, wrong_ns: int, which: int, sign: int, live: bool, origin_ns: int
) -> None:
    step_ns = PICTURE_NS if kind == "video" else BLOCK_NS
    feed = Feed(kind)
    for index, stamp_ns in enumerate(steady(30, origin_ns, step_ns)):
        feed.now_ns = UP_NS + stamp_ns - origin_ns if live else UP_NS
        feed.give([min(stamp_ns + sign * wrong_ns, 2**62) if index == which else stamp_ns])
    placed = feed.end()
    expected = in_ms(30, step_ns // MS)
    if origin_ns == 0:  # a clock of its own, which counts once
        assert feed.clock.corrected.pop("before_start") == 1
    if which == 29 and sign > 0 and wrong_ns <= JUMP_ALONE_NS:  # nothing contradicts the last one
        assert placed[:29] == expected[:29] and feed.clock.corrected == {}
    else:
        assert placed == expected
        assert sum(feed.clock.corrected.values()) == 1


def test_every_other_stamp_may_be_wrong() -> None:
    feed = Feed().give([UP_NS, UP_NS + 40 * MS, 2**61, UP_NS + 120 * MS, 2**61 + 40 * MS, UP_NS + 200 * MS])
    assert feed.end() == in_ms(6)
    assert feed.clock.corrected == {"absurd": 2}


def test_two_wrong_stamps_that_agree_are_no_confirmation() -> None:
    stamps = steady(20)
    stamps[7] += MINUTES_NS
    stamps[8] += MINUTES_NS
    feed = Feed().give(stamps)
    assert feed.end() == in_ms(20)
    assert feed.clock.corrected == {"ahead": 2}


def test_a_first_frame_from_the_future_is_wrong_when_the_next_are_not() -> None:
    for kind, step_ns in (("video", PICTURE_NS), ("audio", BLOCK_NS)):
        stamps = steady(10, step_ns=step_ns)
        feed = Feed(kind).give([stamps[0] + MINUTES_NS, *stamps[1:]])
        assert feed.end()[1:] == in_ms(10, step_ns // MS)[1:]
        assert sum(feed.clock.corrected.values()) == 1
        assert 0 <= feed.end()[0] <= step_ns // MS


# ---- real gaps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap_ns", [300 * MS, 5 * S, MINUTES_NS, GAP_MAX_NS - S])
@pytest.mark.parametrize("kind", ["audio", "video"])
@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("after", [1, 2, 10])
def test_a_source_that_stalls_and_goes_on(kind: str, gap_ns: int, live: bool, after: int) -> None:
    step_ns = PICTURE_NS if kind == "video" else BLOCK_NS
    feed = Feed(kind).give(
        [*steady(10, step_ns=step_ns), *steady(after, UP_NS + 10 * step_ns + gap_ns, step_ns)], live=live
    )
    if after == 1 and not live and gap_ns > JUMP_ALONE_NS:
        return  # nobody confirms it
    step_ms = step_ns // MS
    assert feed.end() == in_ms(10, step_ms) + in_ms(after, step_ms, 10 * step_ms + gap_ns // MS)
    assert feed.clock.corrected == {}


def test_a_gap_among_stamps_that_jitter_is_confirmed_by_blocks_that_come_before_its_first() -> None:
    jitter = [0, 50, 20, 45, 5, 60, 0, 30]
    stamps = [stamp + jitter[n % 8] * MS for n, stamp in enumerate(steady(40, step_ns=BLOCK_NS))]
    stamps = [stamp + (5 * S if n > 16 else 0) for n, stamp in enumerate(stamps)]  # that block is 50 ms late
    feed = Feed("audio").give(stamps)
    feed.end()
    assert [at for _, at in feed.out] == stamps and feed.clock.corrected == {}


def test_what_time_confirms_waits_for_nothing() -> None:
    feed = Feed().give(steady(3), live=True).give([UP_NS + 5 * 3600 * S], live=True)
    assert not feed.clock.holds
    feed = Feed("audio").give(steady(3, step_ns=BLOCK_NS), live=True).give([UP_NS + 5 * S], live=True)
    assert not feed.clock.holds


def test_pictures_in_real_time_wait_for_nothing_whatever_their_rate() -> None:
    rng = random.Random(1)
    feed, at_ns = Feed(frame_rate=None), UP_NS
    for _ in range(500):
        at_ns += rng.choice([1, 33, 40, 200, 5000]) * MS
        feed.now_ns = at_ns + rng.randrange(8) * MS
        feed.give([at_ns])
        assert not feed.clock.holds
    assert feed.clock.corrected == {}


def test_a_slide_show_pushed_at_once_keeps_its_times() -> None:
    assert Feed().give(steady(6, step_ns=20 * S)).end() == in_ms(6, 20_000)
    assert Feed().give([UP_NS, UP_NS + 7 * S]).end() == [0, 7000]


def test_a_gap_of_more_than_an_hour_is_another_clock() -> None:
    for kind in ("audio", "video"):
        step_ns = PICTURE_NS if kind == "video" else BLOCK_NS
        feed = Feed(kind).give([*steady(5, step_ns=step_ns), *steady(5, UP_NS + 2 * GAP_MAX_NS, step_ns)])
        assert feed.end() == in_ms(10, step_ns // MS)
        assert feed.clock.corrected == {"absurd": 1}


# ---- a clock that starts again ---------------------------------------------------------------------


@pytest.mark.parametrize("back_to_ns", [0, 1, UP_NS, UP_NS - 5 * S, UP_NS + 200 * MS, -S])
@pytest.mark.parametrize("kind", ["audio", "video"])
@pytest.mark.parametrize("after", [2, 3, 20])
def test_a_clock_that_starts_again_goes_on_where_the_old_one_ended(kind: str, back_to_ns: int, after: int) -> None:
    step_ns = PICTURE_NS if kind == "video" else BLOCK_NS
    feed = Feed(kind).give(steady(30, step_ns=step_ns)).give(steady(after, back_to_ns, step_ns))
    assert feed.end() == in_ms(30 + after, step_ns // MS)
    assert feed.clock.corrected == {"restart": 1}


def test_a_clock_may_start_again_many_times() -> None:
    feed = Feed()
    for _ in range(5):
        feed.give(steady(20, 0))
    assert feed.end() == in_ms(100)
    assert feed.clock.corrected == {"before_start": 1, "restart": 4}


def test_a_live_source_that_is_silent_before_it_starts_again_stays_in_time() -> None:
    """A camera that takes 30 s to boot: sound goes on meanwhile, and they stay together."""
    feed = Feed().give(steady(25), live=True)
    for index in range(5):
        feed.now_ns = UP_NS + 31 * S + index * PICTURE_NS
        feed.give([7 * S + index * PICTURE_NS])
    assert feed.end() == in_ms(25) + in_ms(5, begin_ms=31_000)


@pytest.mark.parametrize(("back_ns", "kept"), [(300 * MS, True), (S - BLOCK_NS, True), (2 * S, False)])
def test_a_device_whose_capture_times_were_late_is_put_right(back_ns: int, kept: bool) -> None:
    """Its clock was fitted to first arrivals that came late: it keeps together with the other tracks from then on."""
    feed = Feed("audio")
    feed.clock = FrameClock("audio", UP_NS, is_captured=True)
    feed.give(steady(100, step_ns=BLOCK_NS))
    later = steady(20, UP_NS + 100 * BLOCK_NS - back_ns, BLOCK_NS)
    feed.now_ns = later[0]
    feed.give(later).end()
    assert ([at for _, at in feed.out[100:]] == later) == kept
    assert feed.clock.corrected == ({} if kept else {"restart": 1})


def test_sound_and_pictures_of_one_clock_start_again_together() -> None:
    video, audio = Feed(), Feed("audio")
    for feed in (video, audio):
        feed.clock.share([video.clock, audio.clock])
    video.give(steady(10)).give(steady(5, 7 * S + 10 * MS))
    audio.give(steady(20, step_ns=BLOCK_NS)).give(steady(10, 7 * S, BLOCK_NS))
    assert video.end()[10:] == in_ms(5, 40, 400)
    assert audio.end()[20:] == in_ms(10, 20, 390)


def test_pictures_that_were_paused_with_a_clock_that_knows_nothing_of_it() -> None:
    feed = Feed().give(steady(10)).give(steady(10, UP_NS + 400 * MS), paused_ns=7 * S)
    assert [at - 7000 * (n >= 10) for n, at in enumerate(feed.end())] == in_ms(20)


@pytest.mark.parametrize("late_ms", [5, 45, 150])
def test_frames_that_a_pause_left_out_are_no_clock_to_go_by(late_ms: int) -> None:
    """A device's pictures that were captured after the pause, before the command came, are not in the recording."""
    feed = Feed().give(steady(10), live=True)
    paused_at_ns = feed.now_ns
    feed.give([paused_at_ns + late * MS for late in (5, 45, 85, 125, 145) if late <= late_ms], live=True)
    feed.clock.left_out(paused_at_ns)
    count = feed.count
    feed.now_ns += 7 * S
    feed.give([paused_at_ns + 7 * S + 3 * MS + n * PICTURE_NS for n in range(8)], paused_ns=7 * S)
    assert [at_ns - 7 * S - paused_at_ns for _, at_ns in feed.out[count:]] == [
        3 * MS + n * PICTURE_NS for n in range(8)
    ]
    assert feed.clock.corrected == {}


def test_sound_that_comes_in_bursts_is_no_clock_that_starts_again() -> None:
    """Stamped by its arrival: a second late, then all that had piled up."""
    feed, at_ns = Feed("audio"), UP_NS
    for _ in range(10):
        stamps = [at_ns + n * MS // 10 for n in range(50)]
        feed.give(stamps, live=True)
        assert not feed.clock.holds
        at_ns += S
    assert feed.clock.corrected == {}


# ---- the first frame -------------------------------------------------------------------------------


@pytest.mark.parametrize("first_ns", [0, UP_NS - 60 * S, UP_NS - 1001 * MS, -(2**62)])
@pytest.mark.parametrize("stale", [1, 3])
@pytest.mark.parametrize("kind", ["audio", "video"])
@pytest.mark.parametrize("live", [False, True])
def test_stale_first_frames_do_not_decide_for_those_after_them(
    kind: str, first_ns: int, stale: int, live: bool
) -> None:
    step_ns = PICTURE_NS if kind == "video" else BLOCK_NS
    feed = Feed(kind).give(steady(stale, first_ns, step_ns))
    feed.give(steady(20, UP_NS + stale * step_ns, step_ns), live=live)
    assert feed.end() == in_ms(20 + stale, step_ns // MS)
    assert feed.clock.corrected == {"before_start": stale}


def test_the_only_frame_of_all_is_moved_to_the_start_and_counted() -> None:
    feed = Feed().give([0])
    assert feed.end() == [0] and feed.clock.corrected == {"before_start": 1}


def test_up_to_a_second_before_the_start_is_believed() -> None:
    assert Feed().give([UP_NS - S, UP_NS]).end() == [-1000, 0]
    assert Feed().give([UP_NS - S - 1, UP_NS]).end() == [0, 0]


@pytest.mark.parametrize("begin_ns", [0, 1_700_000_000 * S, -5 * S])
@pytest.mark.parametrize("kind", ["audio", "video"])
def test_a_clock_of_its_own_is_moved_as_a_whole(kind: str, begin_ns: int) -> None:
    step_ns = PICTURE_NS if kind == "video" else BLOCK_NS
    feed = Feed(kind).give(steady(20, begin_ns, step_ns))
    assert feed.end() == in_ms(20, step_ns // MS)
    assert feed.clock.corrected == ({"before_start": 1} if begin_ns < UP_NS else {})


def test_tracks_that_share_a_clock_keep_their_distance() -> None:
    video, audio = Feed(), Feed("audio")
    for feed in (video, audio):
        feed.clock.share([video.clock, audio.clock])
    video.give(steady(5, 0))
    audio.give(steady(5, 130 * MS, BLOCK_NS))
    assert video.end() == in_ms(5) and audio.end() == in_ms(5, 20, 130)


# ---- waiting ---------------------------------------------------------------------------------------


def test_what_waits_goes_on_when_nothing_comes() -> None:
    feed = Feed().give(steady(5)).give([UP_NS + MINUTES_NS])
    assert feed.clock.overdue(feed.now_ns + IDLE_FLUSH_NS - 1) == []
    assert feed.clock.overdue(feed.now_ns + IDLE_FLUSH_NS) == [(5, UP_NS + 5 * PICTURE_NS)]


def test_frames_that_come_one_by_one_confirm_a_jump_too() -> None:
    """A simulation that takes its time with each picture: those that could wait no more are remembered."""
    feed = Feed().give(steady(5))
    for stamp_ns in steady(10, UP_NS + MINUTES_NS):
        feed.now_ns += S
        feed.give([stamp_ns])
        feed.out += feed.clock.overdue(feed.now_ns + IDLE_FLUSH_NS)
    assert feed.end()[6:] == in_ms(9, begin_ms=MINUTES_NS // MS + 40)
    assert feed.clock.corrected == {"ahead": 1}


# ---- at the bounds ---------------------------------------------------------------------------------


def begun(kind: str, count: int = 5) -> Feed:
    return Feed(kind).give(steady(count, step_ns=PICTURE_NS if kind == "video" else BLOCK_NS))


@pytest.mark.parametrize(("off_ns", "waits"), [(-1, False), (0, False), (1, True)])
def test_from_where_on_a_stamp_is_a_jump(off_ns: int, waits: bool) -> None:
    sound_ns, pictures_ns = UP_NS + 4 * BLOCK_NS, UP_NS + 4 * PICTURE_NS  # where the last one stands
    assert begun("audio").give([sound_ns + BLOCK_NS + STAMP_JITTER_NS + off_ns]).clock.holds == waits
    assert begun("audio").give([sound_ns - STAMP_JITTER_NS - off_ns]).clock.holds == waits
    assert begun("video").give([pictures_ns + 2 * PICTURE_NS + off_ns]).clock.holds == waits
    assert begun("video").give([pictures_ns - off_ns]).clock.holds == waits


@pytest.mark.parametrize(("off_ns", "waits"), [(-1, True), (0, False), (1, False)])
def test_how_much_time_confirms_a_jump(off_ns: int, waits: bool) -> None:
    for kind in ("audio", "video"):
        feed = begun(kind)
        feed.now_ns += 3 * S + off_ns
        assert feed.give([UP_NS + 4 * (PICTURE_NS if kind == "video" else BLOCK_NS) + 4 * S]).clock.holds == waits


@pytest.mark.parametrize(("off_ns", "waits"), [(-1, False), (0, False), (1, True)])
def test_time_confirms_an_hour_of_silence_and_any_time_without_pictures(off_ns: int, waits: bool) -> None:
    later_ns = GAP_MAX_NS + off_ns
    assert begun("audio").give([UP_NS + 4 * BLOCK_NS + later_ns], live=True).clock.holds == waits
    assert begun("video").give([UP_NS + 4 * PICTURE_NS + later_ns], live=True).clock.holds == 0


@pytest.mark.parametrize(("off_ns", "corrected"), [(-1, {}), (0, {}), (1, {"absurd": 1})])
def test_the_longest_gap_that_is_believed(off_ns: int, corrected: dict[str, int]) -> None:
    feed = begun("audio").give(steady(3, UP_NS + 5 * BLOCK_NS + GAP_MAX_NS + off_ns, BLOCK_NS))
    assert feed.clock.corrected == corrected and len(feed.out) == 8
    feed = begun("audio").give([UP_NS + 5 * BLOCK_NS + GAP_MAX_NS + off_ns, UP_NS + 6 * BLOCK_NS])
    assert list(feed.clock.corrected) == ["absurd" if corrected else "ahead"]


@pytest.mark.parametrize(("off_ns", "believed"), [(-1, True), (0, True), (1, False)])
def test_the_longest_jump_of_a_last_frame(off_ns: int, believed: bool) -> None:
    at_ns = UP_NS + 5 * PICTURE_NS + JUMP_ALONE_NS + off_ns
    feed = begun("video").give([at_ns])
    feed.end()
    assert (feed.out[-1][1] == at_ns) == believed and (feed.clock.corrected == {}) == believed
    feed = begun("video", 1).give([UP_NS + 20 * S], live=True)
    feed.now_ns = UP_NS
    expected_ns = UP_NS + 20 * S + 2 * PICTURE_NS
    feed.give([expected_ns + 40 * S + off_ns]).end()
    assert (feed.clock.corrected == {}) == believed


@pytest.mark.parametrize(("off_ns", "is_in"), [(-1, True), (0, True), (1, False)])
def test_from_when_on_a_first_frame_is_ahead_or_of_another_clock(off_ns: int, is_in: bool) -> None:
    assert Feed().give([UP_NS + S + off_ns]).clock.holds == (not is_in)
    feed = Feed().give([UP_NS + GAP_MAX_NS + off_ns])
    assert feed.clock.holds == is_in  # else it is moved at once
    assert is_in or feed.out == [(0, UP_NS)]


@pytest.mark.parametrize(("off_ns", "is_ours"), [(-1, True), (0, True), (1, False)])
def test_from_when_on_a_stale_first_frame_is_followed_by_ours(off_ns: int, is_ours: bool) -> None:
    early_ns, late_ns = UP_NS - S - off_ns, UP_NS + S + off_ns
    assert Feed().give([0, early_ns]).clock.holds == (not is_ours)
    assert Feed().give([0, late_ns]).clock.holds == (not is_ours)


@pytest.mark.parametrize(("off_ns", "shares"), [(-1, True), (0, True), (1, False)])
def test_how_far_apart_tracks_of_one_clock_may_begin(off_ns: int, shares: bool) -> None:
    for first_ns in (-10 * S - off_ns, GAP_MAX_NS + off_ns):
        video, audio = Feed(), Feed("audio")
        audio.clock.share([video.clock, audio.clock])
        video.give(steady(3, 10**18))
        audio.give(steady(3, 10**18 + first_ns, BLOCK_NS))
        assert (audio.end()[0] == first_ns // MS) == shares


@pytest.mark.parametrize(("apart_ns", "together"), [(-20 * MS - 1, False), (-20 * MS, True), (S, True), (S + 1, False)])
def test_how_far_apart_a_clock_may_start_again(apart_ns: int, together: bool) -> None:
    video, audio = begun("video"), begun("audio", 10)
    video.clock.share([video.clock, audio.clock])
    audio.give(steady(3, 7 * S, BLOCK_NS))  # stands at 200 ms
    video.give(steady(3, 7 * S + apart_ns))  # would at 200 ms, too
    video.end()
    assert (video.out[5][1] == UP_NS + 200 * MS + apart_ns) == together
    assert together or video.out[5][1] == UP_NS + 200 * MS


@pytest.mark.parametrize(("silent_ns", "moves"), [(S + PICTURE_NS, False), (S + PICTURE_NS + 1, True)])
@pytest.mark.parametrize(
    ("behind_ns", "is_live"), [(2 * S, True), (2 * S + 1, False), (-2 * S, True), (-2 * S - 1, False)]
)
def test_when_a_clock_that_starts_again_was_silent(silent_ns: int, moves: bool, behind_ns: int, is_live: bool) -> None:
    feed = Feed()
    for stamp_ns in steady(5, UP_NS + 4 * S):
        feed.now_ns = stamp_ns + behind_ns
        feed.give([stamp_ns])
    feed.now_ns += silent_ns
    feed.give(steady(3, 0)).end()
    later_ns = silent_ns if moves and is_live else PICTURE_NS
    assert feed.out[5][1] == feed.out[4][1] + later_ns


@pytest.mark.parametrize("origin_ns", [UP_NS, 0])
def test_a_wrong_picture_stands_between_the_right_ones(origin_ns: int) -> None:
    """Also where the next comes sooner than usual."""
    for wrong_ns in (MINUTES_NS, -MINUTES_NS):
        stamps = [0, 40, 80, wrong_ns // MS, 100, 140, 180]
        assert Feed().give([origin_ns + stamp * MS for stamp in stamps]).end() == [0, 40, 80, 90, 100, 140, 180]


@pytest.mark.parametrize("origin_ns", [UP_NS, 0])
def test_stamps_that_were_doubted_on_another_side_confirm_nothing(origin_ns: int) -> None:
    feed = Feed().give(steady(5, origin_ns))
    for wrong_ns in (-MINUTES_NS, -MINUTES_NS + PICTURE_NS, MINUTES_NS):
        feed.give([origin_ns + wrong_ns])
    assert feed.clock.holds == 1
    feed.give(steady(3, origin_ns + 8 * PICTURE_NS))
    assert feed.end() == in_ms(11)


@pytest.mark.parametrize(("apart_ns", "together"), [(-10 * MS - 1, False), (-10 * MS, True)])
def test_how_much_sound_that_starts_again_may_overlap(apart_ns: int, together: bool) -> None:
    video, audio = begun("video"), begun("audio", 10)
    audio.clock.share([video.clock, audio.clock])
    video.give(steady(3, 7 * S))
    audio.give(steady(3, 7 * S + apart_ns, BLOCK_NS)).end()
    assert (audio.out[10][1] == UP_NS + 200 * MS + apart_ns) == together


def test_what_waits_after_a_pause_waits_as_long() -> None:
    feed = begun("video")
    feed.now_ns += 7 * S
    feed.give([UP_NS + 7 * S + MINUTES_NS], paused_ns=7 * S)
    assert feed.clock.overdue(feed.now_ns + IDLE_FLUSH_NS - 1) == []
    assert len(feed.clock.overdue(feed.now_ns + IDLE_FLUSH_NS)) == 1


def test_tracks_with_different_kinds_of_clock_have_nothing_to_do_with_each_other() -> None:
    video, audio = Feed(is_media=True), Feed("audio")
    for feed in (video, audio):
        feed.clock.share([video.clock, audio.clock])
    audio.give(steady(10, 0, BLOCK_NS))  # a clock of its own
    assert video.give(steady(5, 130 * MS)).end() == in_ms(5)
    video.give([330 * MS], paused_ns=3 * S)
    assert not video.clock.holds and audio.end() == in_ms(10, 20)


# ---- positions in the media ------------------------------------------------------------------------


@pytest.mark.parametrize("begin_ns", [0, -5 * S, UP_NS, 10**18])
@pytest.mark.parametrize("pace", [0.01, 1, 100])
def test_positions_in_the_media_count_from_anywhere_at_any_pace(begin_ns: int, pace: float) -> None:
    feed = Feed(is_media=True)
    for number, stamp_ns in enumerate([*steady(10, begin_ns), *steady(10, begin_ns + 5 * S)]):
        feed.now_ns = UP_NS + round(number * PICTURE_NS * pace)
        feed.give([stamp_ns])
        feed.out += feed.clock.overdue(feed.now_ns + 100 * S)
    assert feed.end() == in_ms(10) + in_ms(10, begin_ms=5000)
    assert feed.clock.corrected == {}


def test_media_tracks_share_their_origin() -> None:
    video, audio = Feed(is_media=True), Feed("audio", is_media=True)
    for feed in (video, audio):
        feed.clock.share([video.clock, audio.clock])
    assert video.give(steady(5, 10 * S)).end() == in_ms(5)
    assert audio.give(steady(5, 10 * S - 60 * MS, BLOCK_NS)).end() == in_ms(5, 20, -60)


class Pair:
    """Pictures and sound of one recording, by positions in the media; what waits for the other track goes on."""

    def __init__(self) -> None:
        self.video, self.audio = Feed(is_media=True), Feed("audio", is_media=True)
        for feed in (self.video, self.audio):
            feed.clock.share([self.video.clock, self.audio.clock])

    def give(self, feed: Feed, stamps: Iterable[int], paused_ns: int) -> None:
        for stamp_ns in stamps:
            feed.give([stamp_ns], paused_ns=paused_ns)
            for other in (self.video, self.audio):
                other.out += other.clock.again()


@pytest.mark.parametrize("resumed_ns", [200 * MS, 1000 * MS, 0, -5 * S, 20 * S])
@pytest.mark.parametrize("video_first", [True, False])
@pytest.mark.parametrize("paused_ns", [1, 7 * S])
def test_a_pause_cuts_the_same_out_of_both_tracks(resumed_ns: int, video_first: bool, paused_ns: int) -> None:
    """Five pictures, ten blocks, a pause during which positions went on, stood still, or went back; again as many."""
    pair = Pair()
    pair.give(pair.video, steady(5, 0), 0)
    pair.give(pair.audio, steady(10, 0, BLOCK_NS), 0)
    later = [(pair.video, steady(5, resumed_ns)), (pair.audio, steady(10, resumed_ns, BLOCK_NS))]
    for feed, stamps in later if video_first else later[::-1]:
        pair.give(feed, stamps, paused_ns)
    pair.video.end()
    pair.audio.end()
    for feed, step_ms in ((pair.video, 40), (pair.audio, 20)):
        half = feed.count // 2
        recorded = [(at - UP_NS - (paused_ns if n >= half else 0)) // MS for n, at in feed.out]
        assert recorded == in_ms(2 * half, step_ms)
        assert feed.clock.corrected == {}


@pytest.mark.parametrize(("pictures", "blocks"), [(9, 20), (10, 18), (10, 20)])
@pytest.mark.parametrize("video_first", [True, False])
def test_what_one_track_had_before_a_pause_and_the_other_had_not_leaves_a_hole(
    pictures: int, blocks: int, video_first: bool
) -> None:
    """0.4 s are recorded of one track or of both, then a pause from there to 1 s in the media."""
    pair = Pair()
    pair.give(pair.video, steady(pictures, 0), 0)
    pair.give(pair.audio, steady(blocks, 0, BLOCK_NS), 0)
    later = [(pair.video, steady(5, S)), (pair.audio, steady(10, S, BLOCK_NS))]
    for feed, stamps in later if video_first else later[::-1]:
        pair.give(feed, stamps, 3 * S)
    for feed, before, step_ms, after in ((pair.video, pictures, 40, 5), (pair.audio, blocks, 20, 10)):
        feed.end()
        assert [(at - UP_NS) // MS for _, at in feed.out] == in_ms(before, step_ms) + in_ms(after, step_ms, 3400)
        assert feed.clock.corrected == {}


@pytest.mark.parametrize("step_ms", [100, 200, 500, 1000, 2000])
@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("kinds", ["v", "va", "av"])
@pytest.mark.parametrize("skipped_ms", [0, 7000])
def test_a_pause_cuts_nothing_out_between_pictures_of_a_low_rate(
    step_ms: int, before: int, kinds: str, skipped_ms: int
) -> None:
    """Sound that comes after pictures, as fast as a program can write them, is in step with them."""
    pair = Pair()
    pair.video.clock = MediaClock("video", UP_NS)
    clocks = [pair.video.clock, pair.audio.clock][: len(kinds)]
    for clock in clocks:
        clock.share(clocks)
    feeds = {"v": (pair.video, step_ms, before), "a": (pair.audio, 20, before * step_ms // 20)}
    for paused_ns in (0, 3 * S):
        for kind in kinds:
            feed, each_ms, count = feeds[kind]
            begin_ns = before * step_ms * MS + skipped_ms * MS if paused_ns else 0
            pair.give(feed, steady(4 * count if paused_ns else count, begin_ns, each_ms * MS), paused_ns)
    for kind in kinds:
        feed, each_ms, count = feeds[kind]
        feed.end()
        recorded = [(at - UP_NS) // MS - (3000 if n >= count else 0) for n, at in feed.out]
        assert recorded == in_ms(5 * count, each_ms)
        assert feed.clock.corrected == {}


@pytest.mark.parametrize(
    ("audio_from_ms", "skipped_ms"), [(0, 0), (0, 7000), (100, 0), (100, 7000), (320, 0), (320, 7000), (600, 0)]
)
@pytest.mark.parametrize("step_ms", [40, 200])
def test_where_frames_stand_does_not_hang_on_which_track_comes_first(
    audio_from_ms: int, skipped_ms: int, step_ms: int
) -> None:
    """What two tracks send comes in any order: the first frame of one, too, when the other is beyond a pause or two."""
    pauses = [(0, 0, 400), (1 * S, 400, 800), (2 * S, 800, 1600)]  # paused before, from and until in ms of media
    given_frames = {"video": [], "audio": []}
    for paused_ns, from_ms, until_ms in pauses:
        moved_ms = from_ms + skipped_ms * (paused_ns // S)
        given_frames["video"] += [(ms + moved_ms - from_ms, ms, paused_ns) for ms in range(from_ms, until_ms, step_ms)]
        given_frames["audio"] += [
            (ms + moved_ms - from_ms, ms, paused_ns) for ms in range(max(from_ms, audio_from_ms), until_ms, 20)
        ]
    for seed in range(20):
        pair = Pair()
        pair.video.clock = MediaClock("video", UP_NS)
        for feed in (pair.video, pair.audio):
            feed.clock.share([pair.video.clock, pair.audio.clock])
        chance = random.Random(seed)
        left = {pair.video: given_frames["video"].copy(), pair.audio: given_frames["audio"].copy()}
        ahead = chance.choice([0.01, 0.1, 0.5, 0.9, 0.99])
        while any(left.values()):
            feed = pair.video if left[pair.video] and (not left[pair.audio] or chance.random() < ahead) else pair.audio
            stamp_ms, _, paused_ns = left[feed].pop(0)
            pair.give(feed, [stamp_ms * MS], paused_ns)
        apart = set()
        for feed, kind in ((pair.video, "video"), (pair.audio, "audio")):
            feed.end()
            assert feed.clock.corrected == {}, seed
            for number, at_ns in feed.out:
                _, ms, paused_ns = given_frames[kind][number]
                apart.add((at_ns - paused_ns - UP_NS) // MS - ms)
        assert len(apart) == 1, (seed, apart)


def test_a_picture_that_lasted_long_before_a_pause_does_not_keep_it_in() -> None:
    feed = Feed(is_media=True).give([*steady(5, 0), 5 * S]).give(steady(5, 8 * S), paused_ns=3 * S)
    assert feed.end()[6] - 3000 <= 5000 + 80
    pair = Pair()
    pair.give(pair.video, [0, 40 * MS], 0)
    pair.give(pair.audio, steady(4, 0, BLOCK_NS), 0)
    pair.give(pair.video, [50 * MS, 120 * MS], 3 * S)  # sooner than expected: nothing is put in for it
    pair.give(pair.audio, steady(4, 80 * MS, BLOCK_NS), 3 * S)
    pair.video.end()
    assert [(at - UP_NS) // MS for _, at in pair.video.out] == [0, 40, 3050, 3120]
    assert [(at - UP_NS) // MS for _, at in pair.audio.out][4:] == in_ms(4, 20, 3080)


@pytest.mark.parametrize(("left_out_ms", "expected_ms"), [(40, 40), (200, 200), (1000, 1000), (7000, 33), (-500, 33)])
def test_one_picture_on_each_side_of_a_pause_that_is_asked_for(left_out_ms: int, expected_ms: int) -> None:
    """Nothing tells how long the first one lasted: up to a second it may have been."""
    feed = Feed(is_media=True, frame_rate=None).give([9 * S]).give([9 * S + left_out_ms * MS], paused_ns=3 * S)
    assert feed.clock.holds == 1
    assert feed.end() == [0, 3000 + expected_ms]


def test_pictures_far_apart_do_not_cut_into_the_sound() -> None:
    """A pause of a program that stops meanwhile: the next picture comes 5 s later in the media, sound at once."""
    pair = Pair()
    pair.give(pair.video, [0, 40 * MS], 0)
    pair.give(pair.audio, steady(10, 0, BLOCK_NS), 0)
    pair.give(pair.video, [5000 * MS], 3 * S)
    pair.give(pair.audio, steady(300, 200 * MS, BLOCK_NS), 3 * S)
    pair.video.end()
    pair.audio.end()
    assert [at - UP_NS for _, at in pair.video.out] == [0, 40 * MS, 8 * S]
    assert [(at - UP_NS) // MS for _, at in pair.audio.out][10:] == in_ms(300, 20, 3200)


def test_after_a_pause_a_track_does_not_wait_long_for_the_other() -> None:
    pair = Pair()
    pair.give(pair.video, steady(5, 0), 0)
    pair.give(pair.audio, steady(10, 0, BLOCK_NS), 0)
    pair.give(pair.video, steady(100, S), 3 * S)
    assert pair.video.clock.holds == 0
    assert [(at - UP_NS) // MS for _, at in pair.video.out][5:] == in_ms(100, 40, 3200)
    pair.give(pair.audio, steady(10, S, BLOCK_NS), 3 * S)
    assert [(at - UP_NS) // MS for _, at in pair.audio.out][10:] == in_ms(10, 20, 3200)


@pytest.mark.parametrize(("off_ns", "decided"), [(-1, False), (0, True), (1, True)])
def test_how_much_media_waits_for_the_other_track(off_ns: int, decided: bool) -> None:
    pair = Pair()
    pair.give(pair.video, steady(5, 0), 0)
    pair.give(pair.audio, steady(10, 0, BLOCK_NS), 0)
    pair.give(pair.video, [S, S + FIRST_FRAME_WAIT_NS + off_ns], 3 * S)
    assert (len(pair.video.out) > 5) == decided


@pytest.mark.parametrize(("count", "decided"), [(10, False), (11, True)])
def test_how_many_frames_wait_for_the_other_track(count: int, decided: bool) -> None:
    pair = Pair()
    pair.give(pair.video, steady(5, 0), 0)
    pair.give(pair.audio, steady(10, 0, BLOCK_NS), 0)
    pair.give(pair.video, steady(count, S, 10 * MS), 3 * S)
    assert (len(pair.video.out) > 5) == decided


def test_pauses_one_after_the_other_are_all_cut() -> None:
    """In the second of them one track has no frame at all."""
    pair = Pair()
    at_ns = 0
    for paused_ns in (0, 3 * S, 5 * S, 6 * S):
        pair.give(pair.video, steady(5, at_ns), paused_ns)
        if paused_ns != 3 * S:
            pair.give(pair.audio, steady(10, at_ns, BLOCK_NS), paused_ns)
        else:
            pair.video.out += pair.video.clock.release()
        at_ns += 20 * S
    pair.video.end()
    pair.audio.end()
    ends = [0, 3000, 5000, 6000]
    assert [(at - UP_NS) // MS - ends[n // 5] for n, at in pair.video.out] == in_ms(20)
    audio = [(at - UP_NS) // MS - [0, 5000, 6000][n // 10] for n, at in pair.audio.out]
    assert audio == [*in_ms(10, 20), *in_ms(20, 20, 400)]  # the gap is where it has nothing
    assert pair.video.clock.corrected == pair.audio.clock.corrected == {}


# ---- anything --------------------------------------------------------------------------------------


@RANDOM
@given(frames(), st.sampled_from(["audio", "video"]), st.booleans(), st.randoms(use_true_random=False))
def test_any_stamps_lose_no_frame_and_make_a_file_of_the_medias_length(
    given_frames: list[tuple[int, int, int, int]], kind: str, is_media: bool, rng: random.Random
) -> None:
    clock: FrameClock[int] = (MediaClock if is_media else FrameClock)(kind, UP_NS)
    sound, film = AudioTimeline(given_frames[0][3]), VideoTimeline(None)
    now_ns, out = UP_NS, []
    for number, (captured_ns, paused_ns, count, rate) in enumerate(given_frames):
        now_ns += rng.choice([0, 20 * MS, S])
        length_ns = count * S // rate if kind == "audio" else 0
        out += clock.take(number, captured_ns, paused_ns, length_ns, now_ns)
        if rng.random() < 0.02:
            out += clock.overdue(now_ns + S)
        assert clock.holds <= 2
    out += clock.release()
    assert [number for number, _ in out] == list(range(len(given_frames)))
    media_ns, last_ns = 0.0, None
    for number, at_ns in out:
        _, paused_ns, count, rate = given_frames[number]
        if kind == "audio":
            silence = sound.place(at_ns, paused_ns, count, rate)
            assert 0 <= silence * S <= GAP_MAX_NS * rate
            media_ns += (silence + count) * S / rate
        else:
            recorded_ns, _ = film.place(at_ns, paused_ns)
            assert last_ns is None or TICK_NS <= recorded_ns - last_ns <= GAP_MAX_NS or recorded_ns <= now_ns
            last_ns = recorded_ns
    if kind == "audio":
        assert sound.first_ns is not None and sound.end_ns is not None
        slack_ns = media_ns * AUDIO_STRETCH_PPM_MAX * 1e-6 + len(given_frames)
        assert abs(sound.end_ns - sound.first_ns - media_ns) <= slack_ns
    assert set(clock.corrected) <= {"ahead", "absurd", "backward", "restart", "before_start"}


@RANDOM
@given(frames(), st.tuples(st.booleans(), st.booleans()), st.randoms(use_true_random=False))
def test_any_stamps_of_two_tracks_lose_no_frame(
    given_frames: list[tuple[int, int, int, int]], are_media: tuple[bool, bool], rng: random.Random
) -> None:
    """Pauses that both have, frames that come in any turn, blocks of no length at all."""
    kinds = ("audio", "video")
    clocks: list[FrameClock[int]] = [
        (MediaClock if is_media else FrameClock)(kind, UP_NS) for kind, is_media in zip(kinds, are_media, strict=True)
    ]
    for clock in clocks:
        clock.share(clocks)
    now_ns, out, came = UP_NS, ([], []), ([], [])  # type: ignore[var-annotated]
    for number, (captured_ns, paused_ns, count, rate) in enumerate(given_frames):
        now_ns += rng.choice([0, 20 * MS])
        which = rng.randrange(2)
        length_ns = rng.choice([0, count * S // rate]) if which == 0 else 0
        came[which].append(number)
        out[which].extend(clocks[which].take(number, captured_ns, paused_ns, length_ns, now_ns))
        out[1 - which].extend(clocks[1 - which].again())
        if rng.random() < 0.02:
            out[which].extend(clocks[which].release())
        assert all(clock.holds <= 12 for clock in clocks)
    for which in rng.sample((0, 1), 2):
        out[which].extend(clocks[which].release())
    assert [[number for number, _ in one] for one in out] == list(came)


def test_blocks_of_no_length_are_frames_too() -> None:
    feed = Feed("audio", is_media=True)
    feed.length_ns = 0
    feed.give([0]).give([S], paused_ns=5 * S).give([7 * S], paused_ns=9 * S)
    assert feed.end() == [0, 5000, 9000]
