"""Clocks of other machines, by simulated links: the estimate is within its bound, and the translation never jumps."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from recsvc.common.clocks import DRIFT_PPM_MAX, SLEW_PPM_MAX, ClientClock, Estimate
from recsvc.common.limits import MS, S

Delay = Callable[[random.Random], int]


@dataclass
class Machines:
    """A client's clock against true time, which is the service's."""

    epoch_ns: int
    drift_ppm: float
    slept_ns: int = 0

    def theirs(self, true_ns: int) -> int:
        return self.epoch_ns + true_ns - round(true_ns * self.drift_ppm / 1e6) - self.slept_ns


def lan(chance: random.Random) -> int:
    return 100_000 + round(chance.expovariate(1 / 50_000))


def wlan(chance: random.Random) -> int:
    return 2 * MS + round(chance.expovariate(1 / (5 * MS))) + (100 * MS if chance.random() < 0.1 else 0)


def far(chance: random.Random) -> int:
    return 40 * MS + round(chance.expovariate(1 / (10 * MS)))


def pings(
    clock: ClientClock, machines: Machines, there: Delay, back: Delay, chance: random.Random, begin_s: int, end_s: int
) -> Iterator[int]:
    """A ping each second; yields the true time after each."""
    echo = 0, 0
    for second in range(begin_s, end_s):
        sent = second * S + chance.randrange(MS)
        received = sent + there(chance)
        answered = received + chance.randrange(50_000)
        clock.ping(machines.theirs(sent), *echo, received, answered)
        echo = answered, machines.theirs(answered + back(chance))
        yield received


LINKS = {"lan": (lan, lan), "wlan": (wlan, wlan), "far": (far, far), "one way is slow": (lan, far)}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("drift_ppm", [0.0, 30.0, -200.0])
@pytest.mark.parametrize("epoch_ns", [0, 7 * 3600 * S, -5 * 3600 * S])
def test_times_are_translated_within_the_bound_that_is_stated(link: str, drift_ppm: float, epoch_ns: int) -> None:
    chance = random.Random(f"{link} {drift_ppm} {epoch_ns}")
    machines, clock = Machines(epoch_ns, drift_ppm), ClientClock()
    there, back = LINKS[link]
    errors = []
    for true_ns in pings(clock, machines, there, back, chance, 1, 300):
        stated = clock.statistics()
        if stated is not None and stated.error_ns is not None:
            error_ns = clock.ours(machines.theirs(true_ns)) - true_ns
            # The bound holds for the moment of the ping; a moment later the clocks may have run apart a little more.
            assert abs(error_ns) <= stated.error_ns + MS
            errors.append(abs(error_ns))
    usual = {"lan": 50_000, "wlan": 5 * MS, "far": 10 * MS, "one way is slow": 30 * MS}[link]
    assert max(errors[60:]) <= usual
    assert stated is not None and abs(stated.drift_ppm - drift_ppm) <= {"lan": 5, "wlan": 100}.get(link, 200)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("drift_ppm", [0.0, 200.0, -200.0])
def test_the_translation_rises_and_never_jumps(link: str, drift_ppm: float) -> None:
    chance = random.Random(f"{link} {drift_ppm}")
    machines, clock = Machines(1000 * S, drift_ppm), ClientClock()
    last: tuple[int, int] | None = None
    for true_ns in pings(clock, machines, *LINKS[link], chance, 1, 200):
        if not clock.translation.segments:
            continue
        for step in range(20):  # frames each 50 ms, translated as they come
            theirs = machines.theirs(true_ns + step * 50 * MS)
            ours = clock.ours(theirs)
            if last is not None and theirs > last[0]:
                passed, went = theirs - last[0], ours - last[1]
                assert abs(went - passed) <= passed * (DRIFT_PPM_MAX + SLEW_PPM_MAX) / 1e6 + 2
            last = theirs, ours


def test_what_was_translated_stays_so() -> None:
    """Frames that were sent before a better estimate was known are where they would have been."""
    chance = random.Random(1)
    machines, clock = Machines(50 * S, 150.0), ClientClock()
    before: dict[int, int] = {}
    for true_ns in pings(clock, machines, wlan, wlan, chance, 1, 60):
        assert all(clock.ours(theirs) == ours for theirs, ours in before.items())
        if clock.translation.segments:
            before = {(theirs := machines.theirs(true_ns - back * 10 * MS)): clock.ours(theirs) for back in range(20)}


def test_a_steady_clock_on_a_quiet_network_is_followed_closely_and_soon() -> None:
    chance = random.Random(2)
    machines, clock = Machines(3 * 3600 * S, 200.0), ClientClock()
    true_ns = list(pings(clock, machines, lan, lan, chance, 1, 12))[-1]
    assert abs(clock.ours(machines.theirs(true_ns)) - true_ns) < MS
    stated = clock.statistics()
    assert stated is not None and abs(stated.drift_ppm - 200) < 30 and abs(stated.offset_ns + 3 * 3600 * S) < 10 * MS


@pytest.mark.parametrize("slept_s", [1, 7200])
def test_a_machine_that_slept_is_on_time_again_with_its_next_pings(slept_s: int) -> None:
    chance = random.Random(3)
    machines, clock = Machines(20 * S, 40.0), ClientClock()
    list(pings(clock, machines, far, far, chance, 1, 60))
    machines.slept_ns = slept_s * S
    woken = 60 + slept_s
    true_ns = list(pings(clock, machines, far, far, chance, woken, woken + 5))[-1]
    assert abs(clock.ours(machines.theirs(true_ns)) - true_ns) < 60 * MS


def test_a_client_that_never_pings_has_its_offset_from_its_start() -> None:
    clock = ClientClock()
    clock.began(5 * S, 1005 * S)
    assert clock.ours(6 * S) == 1006 * S and clock.ours(5 * S - 1) == 1005 * S - 1
    stated = clock.statistics()
    assert stated is not None and stated.offset_ns == 1000 * S and stated.error_ns is None
    clock.began(5 * S, 2000 * S)
    assert clock.ours(6 * S) == 1006 * S  # it stays
    same = ClientClock()
    same.began(5 * S, 5 * S + 3 * MS)
    assert same.ours(6 * S) == 6 * S


def test_times_that_cannot_be_are_left_out() -> None:
    estimate = Estimate()
    for trip in [(10, 100, 90, 30), (30, 100, 110, 10), (10, 100, 200, 20)]:
        assert not estimate.take(*trip) and not estimate.known
    clock = ClientClock()
    for number in range(100):  # echoes that nobody has sent
        assert clock.ping(number, number + 12345, number, number, 10_000 + number) is None
    assert clock.statistics() is None and clock.ours(7) == 7
