"""The order of one recorder's events."""

from recsvc.controller.recording import Outbox
from recsvc.wire.messages import RecorderEvent


def outbox() -> tuple[Outbox, list[tuple[str, str, int]]]:
    published: list[tuple[str, str, int]] = []

    def publish(event: RecorderEvent) -> None:
        published.append((event.recording, event.type, event.sequence))

    return Outbox("recorder", publish), published


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
    assert (box.promised("a"), box.promised("b"), published) == (2, 0, [])
    box.keep_promise("a")
    assert (box.promised("a"), len(published)) == (1, 1)
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
