"""Credits and the window of capture time."""

import random
from types import SimpleNamespace
from typing import Any

import pytest

from recsvc.common.limits import S, credit
from recsvc.encode.route import Route
from recsvc.wire.flow import CaptureWindow, CreditBalance


def use(balance: CreditBalance, size: int) -> None:
    balance.frames_used += 1
    balance.bytes_used += size


def test_credit_runs_out_in_frames_and_comes_back() -> None:
    balance = CreditBalance(2, 1000)
    for _ in range(2):
        assert balance.allows(1)
        use(balance, 1)
    assert not balance.allows(1)
    balance.grant(3, 1001)
    assert balance.allows(1)


def test_credit_runs_out_in_bytes_but_one_frame_always_goes() -> None:
    balance = CreditBalance(10, 100)
    assert balance.allows(5000)  # larger than all of it, and nothing is under way
    use(balance, 5000)
    assert not balance.allows(1)
    balance.grant(11, 5100)
    assert balance.allows(5000)


def test_credit_in_bytes_is_used_to_the_last_one() -> None:
    balance = CreditBalance(10, 100)
    use(balance, 60)
    assert balance.allows(40) and not balance.allows(41)
    use(balance, 40)
    assert balance.allows(0) and not balance.allows(1)
    balance.grant(11, 101)
    assert balance.allows(1) and not balance.allows(2)


def test_an_old_credit_message_takes_nothing_away() -> None:
    balance = CreditBalance(5, 100)
    balance.grant(9, 190)
    balance.grant(7, 170)
    assert (balance.frames_granted, balance.bytes_granted) == (9, 190)


def test_credit_for_more_than_was_sent_fills_no_memory() -> None:
    balance = CreditBalance(30, 1_000)
    balance.grant(2**62, 2**62)
    sent = 0
    while balance.allows(10):
        use(balance, 10)
        sent += 1
    assert sent <= 2 * 30


@pytest.mark.parametrize("size", [200, 3_000, 460_800, 3_110_400, 12_441_600, 60_000_000])
@pytest.mark.parametrize("kind", ["video", "audio", "packet"])
def test_a_sender_at_full_load_has_half_its_credit_at_least(kind: str, size: int) -> None:
    """While frames wait its credit comes in steps; these are small against what it may have under way, whether frames
    or bytes are the bound."""
    recording: Any = SimpleNamespace(tracks={"r": None}, options=SimpleNamespace(overload="drop"))
    route, balance = Route(recording, "r", kind), CreditBalance(*credit(kind, "drop"))
    most = least = sent = 0
    for _ in range(200):
        while balance.allows(size):
            use(balance, size)
            sent += 1
        under_way = sent - route.frames_done
        most, least = max(most, under_way), min(least or under_way, under_way)
        route.frames_done += 1
        route.bytes_done += size
        if route.credit_is_due(waiting=under_way - 1):
            route.frames_granted, route.bytes_granted = route.frames_done, route.bytes_done
            balance.grant(route.window + route.frames_done, route.window_bytes + route.bytes_done)
    assert least >= most // 2


def test_window_takes_what_was_captured_inside_only() -> None:
    window = CaptureWindow(100)
    window.pause(200)
    window.resume(300)
    assert window.interval_of(99) is None
    assert [window.interval_of(t).paused_ns for t in (100, 200, 300, 999)] == [0, 0, 100, 100]
    assert window.interval_of(201) is None and window.interval_of(299) is None
    assert (window.current.from_ns, window.current.until_ns) == (300, None)
    assert window.end(400) == (400, 100)
    assert window.interval_of(401) is None


def test_pausing_and_resuming_twice_changes_nothing() -> None:
    window = CaptureWindow(0)
    window.pause(10)
    window.pause(20)
    window.resume(30)
    window.resume(40)
    assert window.end(50) == (50, 20)


def test_ending_while_paused_ends_where_the_pause_began() -> None:
    window = CaptureWindow(0)
    window.pause(10)
    assert window.end(99) == (10, 0)


def test_every_sample_goes_exactly_where_its_capture_time_says() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(200):
        rate = rng.choice([8000, 44100, 48000])
        window = CaptureWindow(rng.randrange(S))
        now = window.current.from_ns
        for _ in range(rng.randrange(4)):
            now += rng.randrange(S // 5)
            window.pause(now)
            now += rng.randrange(S // 5)
            window.resume(now)
        window.end(now + rng.randrange(S // 5))
        captured_ns, count = rng.randrange(S), rng.randrange(2000)
        wanted = [i for i in range(count) if window.interval_of(-(-i * S // rate) + captured_ns) is not None]
        parts = window.cut(captured_ns, count, rate)
        got = [i for first, end, _, _ in parts for i in range(first, end)]
        for first, end, first_ns, interval in parts:
            assert first < end and first_ns == captured_ns + first * S // rate
            assert interval.until_ns is not None and interval.from_ns - 1 <= first_ns <= interval.until_ns
        # Nanoseconds do not divide evenly into samples: at each boundary one sample may fall either way.
        assert len(set(wanted) ^ set(got)) <= 2 * len(window.intervals)
        assert got == sorted(set(got))


def test_the_beginning_of_a_block_can_be_left_out() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(300):
        rate = rng.choice([8000, 44100, 48000])
        window = CaptureWindow(0)
        captured_ns, count = rng.randrange(S), rng.randrange(1, 2000)
        begin = rng.randrange(count + 1)
        window.pause(captured_ns + rng.randrange(S // 20))
        window.resume(window.current.until_ns + rng.randrange(S // 20))
        whole = [i for first, end, _, _ in window.cut(captured_ns, count, rate) for i in range(first, end)]
        first = [i for first, end, _, _ in window.cut(captured_ns, begin, rate) for i in range(first, end)]
        rest = [i for first, end, _, _ in window.cut(captured_ns, count, rate, begin) for i in range(first, end)]
        assert first + rest == whole


def test_a_block_that_begins_one_sample_after_the_end_has_no_part() -> None:
    sample_ns = S // 8000
    window = CaptureWindow(0)
    window.end(10 * sample_ns)
    assert window.cut(11 * sample_ns, 5, 8000) == []
    assert window.cut(10 * sample_ns, 5, 8000) == [(0, 1, 10 * sample_ns, window.current)]
