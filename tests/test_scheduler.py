"""Who is encoded next."""

import random

import pytest

from recsvc.encode.scheduler import Scheduler


def drain(scheduler: Scheduler[int]) -> list[tuple[str, int]]:
    picked = []
    while (item := scheduler.pop()) is not None:
        picked.append(item)
    return picked


def test_the_oldest_frame_goes_first() -> None:
    scheduler: Scheduler[int] = Scheduler()
    for route in "ab":
        scheduler.add(route)
    scheduler.push("a", 30, 1)
    scheduler.push("b", 10, 2)
    scheduler.push("b", 40, 3)
    assert drain(scheduler) == [("b", 2), ("a", 1), ("b", 3)]


def test_a_stopping_route_goes_before_older_frames_of_others() -> None:
    scheduler: Scheduler[int] = Scheduler()
    for route in "ab":
        scheduler.add(route)
    scheduler.push("a", 1, 1)
    scheduler.push("a", 2, 2)
    scheduler.push("b", 100, 3)
    scheduler.push("b", 101, 4)
    scheduler.stop("b")
    assert drain(scheduler) == [("b", 3), ("b", 4), ("a", 1), ("a", 2)]


def test_a_frame_that_comes_after_the_stop_also_goes_first() -> None:
    scheduler: Scheduler[int] = Scheduler()
    for route in "ab":
        scheduler.add(route)
    scheduler.stop("b")
    scheduler.push("a", 1, 1)
    scheduler.push("b", 2, 2)
    assert drain(scheduler) == [("b", 2), ("a", 1)]


def test_within_a_route_the_order_of_arrival_stays() -> None:
    scheduler: Scheduler[int] = Scheduler()
    scheduler.add("a")
    for item, captured_ns in enumerate([5, 3, 9, 1]):
        scheduler.push("a", captured_ns, item)
    assert [item for _, item in drain(scheduler)] == [0, 1, 2, 3]


def test_a_removed_route_is_forgotten_and_its_frames_are_counted() -> None:
    scheduler: Scheduler[int] = Scheduler()
    scheduler.add("a")
    scheduler.push("a", 1, 1)
    scheduler.push("a", 2, 2)
    assert (scheduler.waiting("a"), len(scheduler)) == (2, 2)
    assert scheduler.remove("a") == 2
    assert (scheduler.waiting("a"), len(scheduler)) == (0, 0)
    assert scheduler.pop() is None
    with pytest.raises(KeyError):
        scheduler.push("a", 3, 3)


def test_random_orders_against_a_plain_model() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    scheduler: Scheduler[int] = Scheduler()
    queues: dict[str, list[tuple[int, int]]] = {route: [] for route in "abcde"}
    stopping: set[str] = set()
    for route in queues:
        scheduler.add(route)
    for item in range(3000):
        action = rng.random()
        route = rng.choice("abcde")
        if action < 0.5:
            captured_ns = rng.randrange(10**6) * 7 + item  # all distinct
            scheduler.push(route, captured_ns, item)
            queues[route].append((captured_ns, item))
        elif action < 0.52:
            scheduler.stop(route)
            stopping.add(route)
        elif action < 0.56 and queues[route]:
            assert scheduler.pop_from(route)[1] == queues[route].pop(0)[1]
        else:
            heads = [(r not in stopping, q[0][0], r) for r, q in queues.items() if q]
            picked = scheduler.pop()
            if not heads:
                assert picked is None
                continue
            expected = min(heads)[2]
            assert picked == (expected, queues[expected].pop(0)[1])
        assert len(scheduler) == sum(map(len, queues.values()))
