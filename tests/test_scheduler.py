"""Who is encoded next."""

import random
from collections import deque

import pytest

from recsvc.encode.scheduler import SPARE_EVERY, Scheduler


def scheduler_of(*routes: str, positions: dict[str, int | None] | None = None) -> Scheduler[int]:
    """Routes are named by their recording and a number: ``"a1"``."""
    where = positions if positions is not None else {}
    scheduler: Scheduler[int] = Scheduler()
    for route in routes:
        scheduler.add(route, route[0], lambda route=route: where.get(route, 0))
    return scheduler


def drain(scheduler: Scheduler[int]) -> list[tuple[str, int]]:
    picked = []
    while (item := scheduler.pop()) is not None:
        picked.append(item)
    return picked


def test_between_recordings_what_came_first_goes_first() -> None:
    scheduler = scheduler_of("a1", "b1")
    for route, item in (("b1", 1), ("a1", 2), ("a1", 3), ("b1", 4)):
        scheduler.push(route, item)
    assert drain(scheduler) == [("b1", 1), ("a1", 2), ("a1", 3), ("b1", 4)]


def test_a_stopping_route_goes_before_older_frames_of_others() -> None:
    scheduler = scheduler_of("a1", "b1")
    for route, item in (("a1", 1), ("a1", 2), ("b1", 3), ("b1", 4)):
        scheduler.push(route, item)
    scheduler.stop("b1")
    assert drain(scheduler) == [("b1", 3), ("b1", 4), ("a1", 1), ("a1", 2)]


def test_a_frame_that_comes_after_the_stop_also_goes_first() -> None:
    scheduler = scheduler_of("a1", "b1")
    scheduler.stop("b1")
    scheduler.push("a1", 1)
    scheduler.push("b1", 2)
    assert drain(scheduler) == [("b1", 2), ("a1", 1)]


def test_of_one_recording_the_track_that_is_behind_goes_first() -> None:
    positions: dict[str, int | None] = {"a1": 0, "a2": 0}
    scheduler = scheduler_of("a1", "a2", positions=positions)
    for item in range(20):
        scheduler.push("a1", item)  # all of one track at once, then all of the other
    for item in range(20):
        scheduler.push("a2", item)
    while (picked := scheduler.pop()) is not None:
        positions[picked[0]] += 40 if picked[0] == "a1" else 33  # type: ignore[operator]
        if scheduler.waiting("a1") and scheduler.waiting("a2"):
            assert abs(positions["a1"] - positions["a2"]) <= 40  # type: ignore[operator]


def test_a_track_that_has_not_begun_is_not_kept_waiting() -> None:
    scheduler = scheduler_of("a1", "a2", positions={"a1": 0, "a2": None})
    scheduler.push("a1", 1)
    scheduler.push("a2", 2)
    assert scheduler.pop() == ("a2", 2)


def test_a_track_far_ahead_of_the_other_is_not_starved() -> None:
    """A broken time stamp says that the sound is an hour ahead: pictures that never end must not keep it out."""
    scheduler = scheduler_of("a1", "a2", positions={"a1": 3600, "a2": 0})
    for item in range(20):
        scheduler.push("a1", item)
    order = []
    for item in range(1000):
        scheduler.push("a2", item)
        picked = scheduler.pop()
        assert picked is not None
        order.append(picked[0])
    assert order.count("a1") >= 8


def test_sound_in_many_parts_keeps_up_with_few_pictures() -> None:
    """Two pictures a second beside sound that needs a turn for each 20 ms, all of it there at once."""
    positions: dict[str, int | None] = {"a1": 0, "a2": 0}
    scheduler = scheduler_of("a1", "a2", positions=positions)
    for item in range(100):
        scheduler.push("a1", item)
    for item in range(50 * 50):
        scheduler.push("a2", item)
    while (picked := scheduler.pop()) is not None:
        name = picked[0]
        positions[name] += 500 if name == "a1" else 20  # type: ignore[operator]
        assert abs(positions["a1"] - positions["a2"]) <= 500  # type: ignore[operator]


def test_a_long_frame_goes_on_behind_what_came_meanwhile_and_before_its_own_successors() -> None:
    scheduler = scheduler_of("a1", "b1")
    scheduler.push("a1", 1)
    scheduler.push("b1", 2)
    scheduler.push("a1", 3)
    assert scheduler.pop() == ("a1", 1)
    scheduler.again("a1", 1)
    assert len(scheduler) == 3
    assert drain(scheduler) == [("b1", 2), ("a1", 1), ("a1", 3)]


def test_a_stop_comes_between_two_parts_of_a_neighbours_long_frame() -> None:
    scheduler = scheduler_of("a1", "b1")
    scheduler.push("a1", 1)
    for _ in range(100):
        assert scheduler.pop() == ("a1", 1)
        scheduler.again("a1", 1)
    scheduler.push("b1", 2)
    scheduler.stop("b1")
    assert scheduler.pop() == ("b1", 2)
    assert scheduler.pop() == ("a1", 1)


def test_of_two_that_stop_neither_waits_for_more_than_a_part_of_the_others_long_frame() -> None:
    scheduler = scheduler_of("a1", "b1")
    scheduler.push("a1", 1)
    scheduler.stop("a1")
    scheduler.push("b1", 2)
    scheduler.stop("b1")
    order = []
    for _ in range(4):
        picked = scheduler.pop()
        assert picked is not None
        order.append(picked[0])
        if picked[0] == "a1":
            scheduler.again(*picked)
    assert order == ["a1", "b1", "a1", "a1"]


def test_a_removed_route_is_forgotten_with_its_frames() -> None:
    scheduler = scheduler_of("a1", "b1")
    scheduler.push("a1", 1)
    scheduler.push("a1", 2)
    scheduler.push("b1", 3)
    assert (scheduler.waiting("a1"), len(scheduler)) == (2, 3)
    before = len(scheduler)
    scheduler.remove("a1")
    scheduler.remove("a1")
    assert len(scheduler) == before - 2
    assert (scheduler.waiting("a1"), len(scheduler)) == (0, 1)
    assert drain(scheduler) == [("b1", 3)]
    with pytest.raises(KeyError):
        scheduler.push("a1", 4)


def test_random_orders_nothing_is_lost_and_nobody_waits_out_of_turn() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    positions: dict[str, int | None] = {route: rng.randrange(1000) for route in ("a1", "a2", "b1", "c1", "c2")}
    scheduler = scheduler_of(*positions, positions=positions)
    queues: dict[str, deque[int]] = {route: deque() for route in positions}
    stopping: set[str] = set()
    turns: dict[bool, list[str]] = {True: [], False: []}  # of recordings, by whether they are for stopping routes

    def expected(stops: bool) -> str | None:
        while turns[stops]:
            recording = turns[stops].pop(0)
            if any(its and route[0] == recording and (route in stopping or not stops) for route, its in queues.items()):
                return recording
        return None

    for item in range(4000):
        action, route = rng.random(), rng.choice(list(queues))
        if action < 0.5:
            scheduler.push(route, item)
            queues[route].append(item)
            turns[route in stopping].append(route[0])
        elif action < 0.502:
            scheduler.stop(route)
            turns[True] += [route[0]] * len(queues[route]) * (route not in stopping)
            stopping.add(route)
        else:
            waiting = {route for route, its in queues.items() if its}
            recording = expected(True) or expected(False)
            picked = scheduler.pop()
            if recording is None:
                assert picked is None and not waiting
                continue
            assert picked is not None
            name, first = picked
            assert name[0] == recording
            assert queues[name].popleft() == first
            assert name in stopping or not waiting & stopping
            if rng.random() < 0.2:
                scheduler.again(name, first)
                queues[name].appendleft(first)
                turns[name in stopping].append(name[0])
        assert len(scheduler) == sum(map(len, queues.values()))
    assert len(drain(scheduler)) == sum(map(len, queues.values()))


def test_a_route_is_passed_over_a_hundred_times_and_no_more() -> None:
    scheduler = scheduler_of("a1", "a2", positions={"a1": 3600, "a2": 0})
    for item in range(4):
        scheduler.push("a1", item)
    for item in range(400):
        scheduler.push("a2", item)
    order = [name for name, _ in drain(scheduler)]
    assert [turn for turn, name in enumerate(order) if name == "a1"] == [100, 201, 302, 403]


def test_a_recording_lasts_as_long_as_its_routes() -> None:
    scheduler = scheduler_of("a1", "a2")
    scheduler.remove("a1")
    scheduler.add("a3", "a", lambda: -1)
    scheduler.push("a2", 1)
    scheduler.push("a3", 2)
    assert scheduler.pop() == ("a3", 2), "it shares the turns of those that were there before"
    for route in ("a2", "a3"):
        scheduler.remove(route)
    assert scheduler._recordings == {} and len(scheduler) == 0


def test_what_is_not_there_can_be_stopped_and_removed() -> None:
    scheduler = scheduler_of("a1")
    scheduler.stop("gone")
    scheduler.remove("gone")
    scheduler.push("a1", 1)
    for _ in range(2):
        scheduler.stop("a1")
    assert drain(scheduler) == [("a1", 1)]


# --- recordings that need not keep up -------------------------------------------------------------


def spare_beside(*routes: str) -> Scheduler[int]:
    scheduler = scheduler_of(*routes)
    for route in ("x1", "x2"):
        scheduler.add(route, "x", lambda: 0, spare=True)
    return scheduler


def test_a_recording_that_need_not_keep_up_takes_the_time_that_others_leave() -> None:
    scheduler = spare_beside("a1")
    for item in range(20):
        scheduler.push("x1", item)
    assert scheduler.pop() == ("x1", 0)
    scheduler.push("a1", 100)
    assert scheduler.pop() == ("a1", 100)
    assert [item for _, item in drain(scheduler)] == list(range(1, 20))


def test_it_is_not_starved_by_those_that_leave_none() -> None:
    scheduler = spare_beside("a1", "b1")
    for item in range(10):
        scheduler.push("x1", item)
    turns = []
    for _ in range(10 * SPARE_EVERY):
        scheduler.push("a1", 0)
        scheduler.push("b1", 0)
        picked = scheduler.pop()
        assert picked is not None
        turns.append(picked[0])
    assert turns.count("x1") == 10
    assert all(turns[first : first + SPARE_EVERY].count("x1") == 1 for first in range(0, len(turns), SPARE_EVERY))


def test_its_stop_delays_nobody_either() -> None:
    scheduler = spare_beside("a1", "b1")
    for item in range(100):
        scheduler.push("x1", item)
    scheduler.stop("x1")
    scheduler.push("x2", 100)
    scheduler.push("a1", 1)
    scheduler.push("b1", 2)
    scheduler.stop("b1")
    assert [scheduler.pop() for _ in range(2)] == [("b1", 2), ("a1", 1)]
    assert len(drain(scheduler)) == 101


def test_random_orders_with_spare_recordings_lose_nothing_and_keep_each_routes_order() -> None:
    for seed in range(50):
        rng = random.Random(seed)
        scheduler = spare_beside("a1", "b1")
        given: dict[str, list[int]] = {route: [] for route in ("a1", "b1", "x1", "x2")}
        got: dict[str, list[int]] = {route: [] for route in given}
        waited = 0
        for number in range(400):
            if rng.random() < 0.6:
                route = rng.choice(list(given))
                scheduler.push(route, number)
                given[route].append(number)
            elif (picked := scheduler.pop()) is not None:
                got[picked[0]].append(picked[1])
                spare_waits = scheduler.waiting("x1") + scheduler.waiting("x2")
                waited = waited + 1 if spare_waits and not picked[0].startswith("x") else 0
                assert waited < 2 * SPARE_EVERY
            if rng.random() < 0.02:
                scheduler.stop(rng.choice(list(given)))
        for route, item in drain(scheduler):
            got[route].append(item)
        assert got == given and len(scheduler) == 0
