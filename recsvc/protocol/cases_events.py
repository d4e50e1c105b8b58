"""Conformance: events, their numbers, who came late, pieces of a recording that goes on."""

from __future__ import annotations

import time

from .talk import PICTURES, SOUND, Client, expect


def case_events_come_in_order_and_are_numbered(client: Client) -> None:
    """start, dataavailable, stop, from 0 on without gaps, on the topic that was promised."""
    recording = client.start(SOUND)
    expect(recording.topic.startswith(f"{client.name}/"), "the client's topic", recording.topic)
    recording.push(5)
    finished = recording.finished()
    events = recording.events.of(recording)
    expect([one["type"] for one in events] == ["start", "dataavailable", "stop"], "these events", events)
    expect([one["sequence"] for one in events] == [0, 1, 2], "the numbers 0, 1, 2", events)
    expect(events[0]["mime_type"].startswith("audio/webm"), "the type of the file at the start", events[0])
    expect(events[1]["whole"] == finished["whole"], "the whole file with the last data", events[1])
    expect(events[1]["statistics"] == finished["statistics"], "the accounting with the last data", events[1])


def case_who_subscribes_late_learns_what_was_missed(client: Client) -> None:
    """`subscribed` has the number of the next event, and `ask_events` gives those before."""
    recording = client.start(SOUND)
    recording.push(5)
    recording.events.until("event", type="start")
    late = client.subscribe("")
    late.socket.close(0)
    late = client.subscribe(recording.topic)
    # The answer was taken by subscribe(): a second one shows what it has.
    recording.control("pause")
    found = late.until("event", type="pause")[-1]
    expect(found["sequence"] == 1, "the pause as number 1", found)
    fields = {"recorder": found["recorder"], "recording": recording.name}
    events = client.control.result("ask_events", **fields, sequence=0)
    expect([one["type"] for one in events] == ["start", "pause"], "the events so far", events)
    events = client.control.result("ask_events", **fields, sequence=1)
    expect([one["sequence"] for one in events] == [1], "the events from number 1 on", events)
    expect(client.control.result("ask_events", **fields, sequence=2) == [], "no events yet", None)
    recording.finished()
    events = client.control.result("ask_events", **fields, sequence=2)
    expect([one["type"] for one in events] == ["dataavailable", "stop"], "the last events, when it is over", events)


def case_a_prefix_subscribes_to_all_topics_that_begin_so(client: Client) -> None:
    """A client's name and a slash: all its recordings."""
    everything = client.subscribe(f"{client.name}/")
    first, second = client.start(SOUND), client.start(SOUND)
    expect(first.topic != second.topic, "a topic for each recorder", first.topic)
    for recording in (first, second):
        recording.push(2)
        recording.finished()
    expect(everything.of(first)[-1]["type"] == "stop", "the first one's events", None)
    expect(everything.until("event", type="stop", recording=second.name), "the second one's events", None)


def case_a_request_for_data_gives_what_was_pushed(client: Client) -> None:
    """A piece when each track has sent its mark; all pieces together are the file, but for its beginning."""
    recording = client.start(SOUND, PICTURES)
    for number in (1, 2):
        recording.push(10)
        for route in recording.routes:
            recorded_ns = recording.at_ns
            recording.data.send({"kind": "mark", "route": route["route"], "number": number, "recorded_ns": recorded_ns})
        expect(not recording.control("request_data", number=number)["error"], "no error of request_data", None)
        piece = recording.events.until("event", type="dataavailable")[-1]["blob"]
        expect(piece["end"] + len(piece["head"]) > piece["start"], "a piece that is not empty", piece)
    recording.push(2)
    finished = recording.finished()
    last = recording.events.until("event", type="stop")[-2]
    expect(last["blob"]["start"] == piece["end"], "a last piece that goes on where the one before ended", last["blob"])
    expect(last["blob"]["end"] == finished["whole"]["end"], "that it ends with the file", last["blob"])


def case_a_timeslice_hands_out_pieces(client: Client) -> None:
    """Of at least so much media each, one behind the other."""
    recording = client.start(SOUND, timeslice_ms=200)
    recording.push(100)
    recording.finished()
    blobs = [one["blob"] for one in recording.events.of(recording) if one["type"] == "dataavailable"]
    expect(len(blobs) > 2, "several pieces", blobs)
    ends = [blob["end"] for blob in blobs]
    expect([blob["start"] for blob in blobs[1:]] == ends[:-1], "pieces without gaps", blobs)


def case_anybody_stops_a_recording_by_its_id(client: Client) -> None:
    """Another client of the same permissions; the recording is finished without its own client's ends."""
    recording = client.start(SOUND)
    recording.push(5)
    other = Client(client.address)
    try:
        fields = {"client": other.name, "recording": recording.name, "action": "stop", "at_ns": time.monotonic_ns()}
        finished = other.control.result("control", **fields, wait=True)
        expect(finished["whole"]["end"] > 0 and not finished["error"], "the finished recording", finished)
    finally:
        other.close()
    types = [event["type"] for event in recording.events.of(recording)]
    expect(types == ["start", "dataavailable", "stop"], "its client has the events", types)
