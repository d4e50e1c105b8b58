"""Clocks fitted to arrival: jitter moves nothing, drift is followed, missing media makes a gap."""

import random

import pytest

from recsvc.capture.clock import ArrivalClock, Stamper
from recsvc.capture.limits import STEP_NS
from recsvc.common.limits import AUDIO_GAP_NS

S = 1_000_000_000
MS = 1_000_000


def test_late_arrivals_move_nothing():
    clock = ArrivalClock(gap_ns=20 * MS, gap_window_ns=S // 2)
    jitter = random.Random(1)
    for n in range(5000):
        media_ns = n * 10 * MS
        late_ns = 0 if n % 20 == 0 else jitter.randrange(400 * MS)
        assert clock.follow(media_ns, S + media_ns + late_ns, S + media_ns + late_ns) == 0
        assert clock.captured_ns(media_ns) == S + media_ns


@pytest.mark.parametrize("ppm", [-100, 100])
def test_a_drifting_clock_is_followed(ppm):
    clock = ArrivalClock(gap_ns=20 * MS, gap_window_ns=S // 2)
    for n in range(60_000):  # ten minutes
        media_ns = n * 10 * MS
        now_ns = S + media_ns + media_ns * ppm // 1_000_000
        clock.follow(media_ns, now_ns, now_ns)
        assert abs(clock.captured_ns(media_ns) - now_ns) <= 2 * STEP_NS


def test_settling_takes_the_earliest_arrival():
    clock = ArrivalClock(gap_ns=500 * MS, gap_window_ns=10 * S)
    for n in range(10):  # what was buffered while connecting comes at once
        clock.settle(n * 100 * MS, 5 * S, 5 * S)
    assert clock.captured_ns(900 * MS) == 5 * S and clock.captured_ns(S) == 5 * S + 100 * MS


def blocks(stamper, count, *, called_ns, delay_ns=0, block=480):
    """Stamps ``count`` blocks of 10 ms, called back in time; returns stamps and the last call's time."""
    stamps = []
    for _ in range(count):
        called_ns += 10 * MS
        stamps.append(stamper.stamp(block, called_ns, delay_ns, False))
    return stamps, called_ns


def test_a_microphone_s_stamps_count_samples():
    stamper = Stamper(48_000, 30 * MS)
    stamps, _ = blocks(stamper, 200, called_ns=S, delay_ns=25 * MS)
    assert stamps[0] == S + 10 * MS - 25 * MS
    assert [b - a for a, b in zip(stamps, stamps[1:], strict=False)] == [10 * MS] * 199


def test_an_implausible_device_time_is_bounded():
    for delay_ns, expected_ns in ((0, 10 * MS), (-5 * S, 10 * MS), (900 * MS, 40 * MS)):
        assert Stamper(48_000, 30 * MS).stamp(480, S, delay_ns, False) == S - expected_ns


def test_a_late_burst_is_no_gap():
    stamper = Stamper(48_000, 30 * MS)
    _, now_ns = blocks(stamper, 100, called_ns=S)
    burst = [stamper.stamp(480, now_ns + 200 * MS, 0, False) for _ in range(20)]
    after, _ = blocks(stamper, 200, called_ns=now_ns + 200 * MS)
    stamps = burst + after
    assert [b - a for a, b in zip(stamps, stamps[1:], strict=False)] == [10 * MS] * 219


def test_an_overflow_leaves_a_gap_at_once():
    stamper = Stamper(48_000, 30 * MS)
    stamps, now_ns = blocks(stamper, 100, called_ns=S)
    lost_ns = 150 * MS
    gap = stamper.stamp(480, now_ns + lost_ns + 10 * MS, 10 * MS, True) - stamps[-1] - 10 * MS
    assert abs(gap - lost_ns) < MS


def test_samples_lost_without_notice_are_a_gap_soon():
    stamper = Stamper(48_000, 30 * MS)
    blocks(stamper, 100, called_ns=S)
    stamps, now_ns = blocks(stamper, 120, called_ns=3 * S)  # one second is missing
    assert abs(stamps[-1] + 10 * MS - now_ns) < AUDIO_GAP_NS
    jumps = [b - a for a, b in zip(stamps, stamps[1:], strict=False) if b - a != 10 * MS]
    assert len(jumps) == 1 and abs(jumps[0] - S - 10 * MS) < AUDIO_GAP_NS


def test_one_wrong_report_of_the_delay_counts_for_nothing():
    """The first blocks' reports are looked at together, before anything is recorded."""
    for wrong in range(5):
        stamper = Stamper(48_000, 30 * MS)
        called_ns, stamps = S, []
        for number in range(20):
            delay_ns = 480 * MS if number == wrong else 12 * MS
            stamps.append(stamper.stamp(480, called_ns, delay_ns, False, settling=number < 15))
            called_ns += 10 * MS
        assert stamps[-1] == called_ns - 10 * MS - 12 * MS
        assert stamps[14:] == list(range(stamps[14], stamps[-1] + 1, 10 * MS))


def test_the_delay_is_not_changed_any_more_while_it_may_be_recorded():
    stamper = Stamper(48_000, 30 * MS)
    first = [stamper.stamp(480, S + n * 10 * MS, 12 * MS, False, settling=True) for n in range(15)]
    later = [stamper.stamp(480, S + n * 10 * MS, 39 * MS, False) for n in range(15, 60)]
    assert [b - a for a, b in zip(first + later, (first + later)[1:], strict=False)] == [10 * MS] * 59
