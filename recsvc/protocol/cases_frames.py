"""Conformance: frames, credits, pauses, the end of a recording and its accounting."""

from __future__ import annotations

from typing import Any

from .talk import BLOCK, PICTURES, QUIET_S, RATE, SOUND, Client, Map, Recording, S, Unexpected, expect


def _track(finished: Map, kind: str) -> Map:
    found: Map = next(one for one in finished["statistics"]["tracks"] if one["kind"] == kind)
    return found


def _recorded(finished: Map, kind: str, count: int, **dropped: int) -> None:
    """The accounting of one track: so many came, and all but these are in the file."""
    track = _track(finished, kind)
    expect(track["frames_accepted"] == count, f"{count} accepted of {kind}", track)
    expect(track["frames_encoded"] == count - sum(dropped.values()), f"all but {dropped} encoded of {kind}", track)
    expect(track["dropped_by_cause"] == dropped, f"dropped {dropped}", track)
    expect(finished["error"] == "", "no error", finished)


def case_sound_is_recorded(client: Client) -> None:
    """Every sample that was pushed, to WebM and Ogg."""
    for mime_type in ("audio/webm", "audio/ogg"):
        recording = client.start(SOUND, mime_type=mime_type)
        recording.push(25)
        finished = recording.finished()
        _recorded(finished, "audio", 25 * BLOCK)
        _lasts(finished, 0.5)
        expect(finished["whole"]["mime_type"].startswith(mime_type), mime_type, finished["whole"])


def case_pictures_are_recorded(client: Client) -> None:
    """Every picture that was pushed, in each pixel format."""
    sizes = {"i420": 1.5, "nv12": 1.5, "rgb24": 3, "bgr24": 3, "rgba": 4, "bgra": 4}
    for pixel_format, size in sizes.items():
        settings = PICTURES["settings"] | {"pixel_format": pixel_format}  # type: ignore[operator]
        recording = client.start({**PICTURES, "settings": settings})
        side = settings["width"]
        for _ in range(5):
            recording.frame(0, bytes(int(side * side * size)), pixel_format=pixel_format)
            recording.sent[0] += 1
            recording.at_ns += S // 25
        _recorded(recording.finished(), "video", 5)


def case_sound_and_pictures_are_recorded_together(client: Client) -> None:
    """Both, in the order of the tracks of `start`."""
    recording = client.start(SOUND, PICTURES)
    expect([one["track"] for one in recording.routes] == ["audio", "video"], "routes in this order", recording.routes)
    recording.push(10)
    finished = recording.finished()
    _recorded(finished, "audio", 10 * BLOCK)
    _recorded(finished, "video", 10)


def case_several_recordings_go_on_at_once(client: Client) -> None:
    """Each has its own frames and its own end."""
    recordings = [client.start(SOUND) for _ in range(4)]
    for number, recording in enumerate(recordings):
        recording.push(5 + number)
    for number, recording in reversed(list(enumerate(recordings))):
        _recorded(recording.finished(), "audio", (5 + number) * BLOCK)


def case_a_recording_without_frames_is_finished(client: Client) -> None:
    """A stop right after the start gives an empty recording and no error."""
    recording = client.start(SOUND)
    finished = recording.finished()
    _recorded(finished, "audio", 0)


def case_a_stop_that_comes_twice_is_one(client: Client) -> None:
    """The second is answered like the first; there is one event."""
    recording = client.start(SOUND)
    recording.push(5)
    finished = recording.finished()
    again = recording.control("stop", wait=True)
    expect(again.get("result", {}) and again["result"]["whole"] == finished["whole"], "the same answer", again)
    types = [event["type"] for event in recording.events.of(recording)]
    expect(types.count("stop") == 1 and recording.events.quiet(), "one stop", types)


def case_credits_come_back(client: Client) -> None:
    """Totals that rise as frames are consumed, and never shrink; a client that keeps to them pushes all it has."""
    recording = client.start(PICTURES)
    [route] = recording.routes
    frames, used, count = int(route["credit_frames"]), 0, 3 * int(route["credit_frames"])
    expect(frames > 0 and route["credit_bytes"] > 0, "a first credit", route)
    while used < count:
        while used < min(frames, count):
            recording.push()
            used += 1
        if used < count:
            frames = _granted(recording, frames)
    _recorded(recording.finished(), "video", count)


def _granted(recording: Recording, frames: int) -> int:
    """The next credit that is more than ``frames``."""
    size = -1
    while (came := recording.data.receive()) is not None:
        expect(came[0]["kind"] == "credit", "a credit", came[0])
        expect(came[0]["bytes"] >= size, "totals that do not shrink", came[0])
        size = came[0]["bytes"]
        if came[0]["frames"] > frames:
            return int(came[0]["frames"])
    raise Unexpected("expected credit for frames that are encoded; none came")


def case_an_attach_is_answered_with_the_credit(client: Client) -> None:
    """The totals that there are, at once."""
    recording = client.start(SOUND)
    [route] = recording.routes
    recording.data.send({"kind": "attach", "route": route["route"]})
    came = recording.data.receive()
    expect(came is not None and came[0]["kind"] == "credit", "a credit", came)
    expect(came is not None and came[0]["frames"] >= route["credit_frames"], "the first credit at least", came)
    recording.finished()


def case_a_frame_that_comes_twice_is_one(client: Client) -> None:
    """The second with the same sequence number is left out."""
    recording = client.start(SOUND)
    recording.push(5)
    recording.frame(sequence=4, captured_ns=recording.at_ns - BLOCK * S // RATE)
    recording.push(5)
    _recorded(recording.finished(), "audio", 10 * BLOCK)


def case_frames_that_did_not_arrive_are_counted(client: Client) -> None:
    """`end` says how many were sent: the others are dropped as `lost`."""
    recording = client.start(PICTURES)
    recording.push(5)
    recording.sent[0] += 2
    _recorded(recording.finished(), "video", 7, lost=2)


def case_what_a_client_dropped_is_counted(client: Client) -> None:
    """`dropped` in the headers of frames and ends is in the statistics."""
    recording = client.start(SOUND)
    recording.dropped = {"queue_full": 480}
    recording.push(5)
    _recorded(recording.finished(), "audio", 5 * BLOCK + 480, queue_full=480)


def case_a_muted_frame_needs_no_payload(client: Client) -> None:
    """It is recorded as silence of its length."""
    recording = client.start(SOUND)
    recording.push(5)
    recording.frame(0, b"", muted=True)
    recording.sent[0] += 1
    recording.at_ns += BLOCK * S // RATE
    _recorded(recording.finished(), "audio", 6 * BLOCK)


def case_a_message_that_does_not_fit_is_refused(client: Client) -> None:
    """`refused` with a reason: a payload of another length, another kind, no payload, an unknown route, a frame after
    the end, another version, nonsense. The recording goes on."""
    recording = client.start(SOUND)
    recording.push(5)
    route = recording.routes[0]["route"]
    picture = {"kind": "video", "route": route, "sequence": 5, "captured_ns": recording.at_ns, "width": 2, "height": 2}
    recording.frame(0, b"short")
    _refused(recording, "a payload that is too short")
    recording.data.send({**picture, "pixel_format": "i420"}, bytes(6))
    _refused(recording, "a picture on a route of sound")
    recording.data.send({**picture, "kind": "audio"})
    _refused(recording, "a frame that lacks fields")
    recording.frame(0, route=f"{recording.name}/nobody")
    _refused(recording, "a route that is not there")
    recording.frame(0, v=1)
    _refused(recording, "another version")
    recording.data.socket.send(b"\xc1nonsense")
    _refused(recording, "nonsense")
    refused = _track(_statistics(recording), "audio")["dropped_by_cause"].get("refused", 0)
    recording.sent[0] += refused
    recording.push(5)
    finished = recording.finished()
    track = _track(finished, "audio")
    expect(track["frames_encoded"] == 10 * BLOCK, "the frames before and after", track)
    expect(finished["error"] == "", "no error", finished)


def _refused(recording: Recording, what: str) -> None:
    while (came := recording.data.receive()) is not None:
        if came[0]["kind"] == "refused":
            expect(came[0].get("reason"), "a reason", came[0])
            return
    raise Unexpected(f"expected refused for {what}; nothing came")


def _statistics(recording: Recording) -> Map:
    found: Any = recording.client.control.result("statistics", recording=recording.name)
    return {"statistics": found}


def case_statistics_are_there_while_it_goes_on(client: Client) -> None:
    """State and tracks, in the order of `start`."""
    recording = client.start(SOUND, PICTURES)
    recording.push(5)
    found = _statistics(recording)["statistics"]
    expect([track["kind"] for track in found["tracks"]] == ["audio", "video"], "both tracks", found)
    recording.finished()


def case_what_was_paused_is_absent(client: Client) -> None:
    """A pause of ten seconds leaves no gap; the events say that it was."""
    recording = client.start(SOUND, PICTURES)
    recording.push(10)
    paused_at_ns = recording.at_ns
    expect(not recording.control("pause")["error"], "no error of the pause", None)
    expect(not recording.control("pause")["error"], "no error of a second pause", None)
    recording.at_ns += 10 * S
    recording.paused_ns += recording.at_ns - paused_at_ns
    expect(not recording.control("resume")["error"], "no error of the resume", None)
    expect(not recording.control("resume")["error"], "no error of a second resume", None)
    recording.push(10)
    finished = recording.finished()
    _lasts(finished, 0.4)
    _recorded(finished, "audio", 20 * BLOCK)
    types = [event["type"] for event in recording.events.of(recording)]
    expect(types == ["start", "pause", "resume", "dataavailable", "stop"], "one event for each change", types)


def _lasts(finished: Map, seconds: float) -> None:
    found = finished["whole"]["duration"]
    expect(abs(found - seconds) < 0.002, f"a duration of {seconds} s", found)


def case_a_track_may_end_before_the_others(client: Client) -> None:
    """The other goes on; when it has ended as well, the recording stops by itself."""
    recording = client.start(SOUND, PICTURES)
    recording.push(5)
    sound, pictures = (route["route"] for route in recording.routes)
    for number, route in ((1, pictures), (0, sound)):
        header = {"kind": "end", "route": route, "count": recording.sent[number]}
        recording.data.send({**header, "until_ns": recording.at_ns})
        client.control.result("control_routes", routes=[route], action="end", at_ns=recording.at_ns)
        if number == 1:
            expect(client.control.result("statistics", recording=recording.name), "that it goes on", None)
            recording.kinds, kept = ["audio"], recording.kinds
            recording.push(5)
            recording.kinds = kept
    types = [event["type"] for event in recording.events.of(recording)]
    expect(types == ["start", "dataavailable", "stop"], "its end, without an error", types)


def case_what_is_discarded_never_was(client: Client) -> None:
    """No further events, and no recording of this id."""
    recording = client.start(SOUND)
    recording.push(5)
    expect(not recording.control("discard")["error"], "no error of the discard", None)
    came = recording.events.next(QUIET_S)
    while came is not None:
        expect(came[1].get("type") == "start", "no event but the start", came)
        came = recording.events.next(QUIET_S)
