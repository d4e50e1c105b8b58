"""The order of one recorder's events."""

import pytest

from recsvc.common.limits import ENDED_RECORDINGS_KEPT, EVENTS_PER_REPLY, RECORDER_EVENTS_KEPT
from recsvc.common.service_limits import SNAPSHOT_RECORDINGS_MAX
from recsvc.controller.events import Events
from recsvc.controller.outbox import Outbox, Published
from recsvc.controller.recording import SERVICE, Recording
from recsvc.errors import InvalidStateError
from recsvc.wire.messages import RecorderEvent, RecordingOptions, Start


def outbox() -> tuple[Outbox, list[tuple[str, str, int]]]:
    published: list[tuple[str, str, int]] = []

    def publish(event: RecorderEvent) -> None:
        published.append((event.recording, event.type, event.sequence))

    return Outbox("recorder", publish, lambda: 0), published


def test_a_newer_recording_waits_for_the_older_one() -> None:
    box, published = outbox()
    box.begin("a")
    box.add("a", "start")
    box.begin("b")
    box.add("b", "start")
    box.add("a", "dataavailable")
    assert published == [("a", "start", 0), ("a", "dataavailable", 1)]
    box.add("a", "stop")
    assert published[2:] == [("a", "stop", 2), ("b", "start", 0)]
    box.add("b", "stop")
    assert box.idle


def test_what_follows_a_request_waits_for_its_data() -> None:
    box, published = outbox()
    box.begin("a")
    box.promise("a")
    box.add("a", "pause")
    box.promise("a")
    box.add("a", "resume")
    assert published == []
    box.keep_promise("a", timecode_ms=1.0)
    assert [type for _, type, _ in published] == ["dataavailable", "pause"]
    box.keep_promise("a", timecode_ms=2.0)
    assert [type for _, type, _ in published] == ["dataavailable", "pause", "dataavailable", "resume"]


def test_promises_are_counted_until_they_are_kept() -> None:
    box, published = outbox()
    box.begin("a")
    box.promise("a")
    box.promise("a")
    box.add("a", "stop")
    assert published == []
    box.keep_promise("a")
    assert len(published) == 1
    box.keep_promise("a")
    assert [type for _, type, _ in published] == ["dataavailable", "dataavailable", "stop"]
    assert box.idle


def test_a_recording_that_never_began_fires_nothing_and_holds_nobody_up() -> None:
    box, published = outbox()
    box.begin("a")
    box.begin("b")
    box.add("b", "start")
    box.drop("a")
    box.add("a", "start")
    assert published == [("b", "start", 0)]


def test_the_numbers_begin_again_after_a_recording_that_was_given_up() -> None:
    box, published = outbox()
    box.begin("a")
    box.add("a", "start")
    box.begin("b")
    box.add("b", "start")
    box.drop("a")
    assert published == [("a", "start", 0), ("b", "start", 0)]


def event(recording: str, sequence: int, type: str = "dataavailable") -> RecorderEvent:
    return RecorderEvent(recorder="r", recording=recording, sequence=sequence, type=type, at_ns=0)  # type: ignore


def test_missed_events_can_be_asked_for_a_few_at_a_time() -> None:
    published = Published()
    for number in range(2 * EVENTS_PER_REPLY):
        published.add("c/r", event("a", number))
    found = published.since("r", "a", 3)
    assert [one.sequence for one in found] == list(range(3, 3 + EVENTS_PER_REPLY))
    assert published.since("r", "a", 2 * EVENTS_PER_REPLY) == []


def test_only_the_newest_events_of_a_recording_are_kept_and_only_for_its_recorder() -> None:
    published = Published()
    for number in range(RECORDER_EVENTS_KEPT + 5):
        published.add("c/r", event("a", number))
    assert published.since("r", "a", 0)[0].sequence == 5
    for recorder, recording in (("another", "a"), ("r", "never-there")):
        with pytest.raises(InvalidStateError, match="are known"):
            published.since(recorder, recording, 0)


def test_recordings_that_have_ended_are_forgotten_in_their_order() -> None:
    published = Published()
    for number in range(ENDED_RECORDINGS_KEPT + 1):
        published.add("c/r", event(f"ended-{number}", 0, "stop"))
    assert published.since("r", "ended-1", 0)
    with pytest.raises(InvalidStateError):
        published.since("r", "ended-0", 0)
    assert len(published.snapshot("c/r")) == min(ENDED_RECORDINGS_KEPT, SNAPSHOT_RECORDINGS_MAX)


def test_who_subscribes_late_sees_what_was_published_before() -> None:
    published = Published()
    for number in range(3):
        published.add("c/r", event("a", number))
    published.add("c/other", event("b", 0))
    published.add("d/r", event("c", 0))
    assert published.snapshot("c/r") == {"a": 3}
    assert published.snapshot("c/") == {"a": 3, "b": 1}
    assert published.snapshot("") == {"a": 3, "b": 1, "c": 1}
    assert published.snapshot("e/") == {}


def test_a_subscriber_of_everything_sees_the_newest_recordings() -> None:
    published = Published()
    for number in range(SNAPSHOT_RECORDINGS_MAX + 1):
        published.add("c/r", event(f"a{number}", 0))
    assert len(published.snapshot("")) == SNAPSHOT_RECORDINGS_MAX and "a0" not in published.snapshot("")


def test_nothing_is_kept_of_a_recording_that_was_given_up() -> None:
    published = Published()
    published.add("c/r", event("a", 0))
    published.forget("a")
    assert published.snapshot("") == {}
    with pytest.raises(InvalidStateError):
        published.since("r", "a", 0)


def _recording(client: str, name: str, recorder: str) -> Recording:
    options = RecordingOptions(mime_type="", audio_bits_per_second=0, video_bits_per_second=0)
    start = Start(client=client, recorder=recorder, recording=name, tracks=(), options=options, at_ns=0)
    return Recording(start, None, {}, f"/spool/{name}.webm", "audio/webm")


def test_recorders_of_two_clients_may_have_the_same_name() -> None:
    """The events of neither wait for the other's, or are published on its topic."""
    published: list[tuple[str, str]] = []
    events = Events(lambda topic, event: published.append((topic, event.recording)))  # type: ignore[attr-defined]
    for client in ("alice", "bob"):
        recording = _recording(client, f"of-{client}", "recorder")
        events.begin(recording)
        events.of(recording).add(recording.name, "start")
    assert published == [("alice/recorder", "of-alice"), ("bob/recorder", "of-bob")]


def test_a_recording_without_a_caller_has_a_topic_that_begins_no_other() -> None:
    topics = [_recording(SERVICE, name, name).topic for name in ("2", "20260101-1", "20260101-11")]
    assert not any(one != other and one.startswith(other) for one in topics for other in topics)
