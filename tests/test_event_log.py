"""The log under both faces: order, what was waited for, what is let go."""

from recsvc.caller.event_log import EventLog
from recsvc.caller.events import Event
from recsvc.common.limits import EVENTS_KEPT_MAX


def logged(*types: str) -> EventLog:
    log = EventLog()
    for type in types:
        log.add(Event(type))
    return log


def test_each_event_is_taken_once_and_the_oldest_first() -> None:
    log = EventLog()
    first, second, other = Event("pause"), Event("pause"), Event("stop")
    for event in (first, other, second):
        log.add(event)
    assert [log.take("pause") for _ in range(3)] == [first, second, None]
    assert (log.take("start"), log.take("stop")) == (None, other)


def test_a_walk_sees_everything_in_order_and_ends_when_it_is_over() -> None:
    log = logged("start", "pause")
    log.take("pause")  # waiting and walking are apart
    early, late = log.walk(), log.walk()
    assert [next(early) for _ in range(4)] == [Event("start"), Event("pause"), None, None]
    log.add(Event("stop"))
    log.over = True
    assert list(early) == [Event("stop")]
    assert list(late) == [Event("start"), Event("pause"), Event("stop")]


def test_a_new_recording_begins_with_nothing_and_goes_on_where_a_walk_is() -> None:
    log = logged("start", "pause", "stop")
    walk = log.walk()
    assert next(walk) == Event("start")
    log.over = True
    log.forget()
    assert (log.over, log.take("stop")) == (False, None)
    log.add(Event("resume"))
    assert [event for event, _ in zip(walk, range(4), strict=False)][-2:] == [Event("resume"), None]
    assert next(log.walk()) == Event("resume")


def test_the_oldest_are_let_go_and_none_is_seen_twice() -> None:
    log = logged("start")
    walk = log.walk()
    assert (next(walk), next(walk)) == (Event("start"), None)
    for _ in range(EVENTS_KEPT_MAX + 5):
        log.add(Event("pause"))
    log.over = True
    assert list(walk) == [Event("pause")] * EVENTS_KEPT_MAX
    assert sum(log.take("pause") is not None for _ in range(EVENTS_KEPT_MAX + 5)) == EVENTS_KEPT_MAX
    assert log.take("start") is not None
