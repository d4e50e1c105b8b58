"""Listens to everything that a recorder fires."""

from typing import Any

from recsvc.caller.events import EVENT_TYPES

ALL_IN_ORDER = ["start", "dataavailable", "stop"]
"""What a recording fires where nothing goes wrong and nothing is asked for."""


def record_events(recorder: Any) -> list[Any]:
    """The list that every event of the recorder is appended to."""
    events: list[Any] = []
    for type in EVENT_TYPES:
        recorder.add_event_listener(type, events.append)
    return events


def types_of(events: list[Any]) -> list[str]:
    return [event.type for event in events]


def record_types(recorder: Any) -> list[str]:
    """As ``record_events``, but only the types, which keep no data."""
    types: list[str] = []
    for type in EVENT_TYPES:
        recorder.add_event_listener(type, lambda event: types.append(event.type))
    return types
