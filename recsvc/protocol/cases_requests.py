"""Conformance: requests, their replies, and what is no request."""

from __future__ import annotations

import time

from .talk import PICTURES, QUIET_S, SOUND, VERSION, Client, expect, pack


def case_hello_is_answered_with_a_welcome(client: Client) -> None:
    """The name of the service, its version, and endpoints of its events."""
    welcome = client.welcome
    expect(welcome.get("service") and welcome.get("version"), "a service and a version", welcome)
    expect(all("://" in one for one in welcome["events"]) and welcome["events"], "endpoints of events", welcome)


def case_a_ping_is_answered_with_the_time(client: Client) -> None:
    """`at_ns` of the service's clock, which goes on between two pings."""
    first = client.control.result("ping", client=client.name, at_ns=time.monotonic_ns())["at_ns"]
    second = client.control.result("ping", client=client.name, at_ns=time.monotonic_ns(), echo_ns=first)["at_ns"]
    expect(second > first, f"a time later than {first}", second)


def case_replies_have_the_ids_of_their_requests(client: Client) -> None:
    """Each request is answered once, with its own id."""
    numbers = [client.control.begin("ping", client=client.name) for _ in range(5)]
    for number in reversed(numbers):
        client.control.reply(number)
    came = client.control.receive(QUIET_S)
    expect(came is None, "one reply for each", came)


def case_a_request_without_an_id_is_not_answered(client: Client) -> None:
    """Neither where it succeeds nor where it fails."""
    client.control.send({"kind": "ping", "client": client.name})
    client.control.send({"kind": "statistics", "recording": "never-there", "id": 0})
    number = client.control.begin("ping", client=client.name)
    came = client.control.receive()
    expect(came is not None and came[0]["id"] == number, f"only the reply to request {number}", came)


def case_fields_that_are_not_known_are_skipped(client: Client) -> None:
    """A request with fields of a later time is done."""
    client.control.result("ping", client=client.name, colour="blue", deep={"list": [1, {"a": None}]})


def case_an_unknown_kind_is_refused(client: Client) -> None:
    """TypeError, with the request's id."""
    client.control.refused("no_such_kind", "TypeError")


def case_another_version_is_refused(client: Client) -> None:
    """TypeError, with the request's id."""
    for version in (VERSION + 1, VERSION - 1):
        client.control.refused("ping", "TypeError", v=version, client=client.name)


def case_a_field_that_is_missing_or_wrong_is_refused(client: Client) -> None:
    """TypeError, with the request's id."""
    wrong: tuple[dict[str, object], ...] = ({}, {"recording": 7}, {"recording": "x" * 201}, {"recording": None})
    for fields in wrong:
        client.control.refused("statistics", "TypeError", **fields)


def case_ids_are_no_paths(client: Client) -> None:
    """TypeError for a recording whose id has other characters than an id may have."""
    for bad in ("../up", "/etc/passwd", "", ".hidden", "a b", "a/b", "é", "a\n", "x" * 101):
        client.control.refused("start", "TypeError", **(client.fields(SOUND) | {"recording": bad}))


def case_what_is_no_message_is_refused(client: Client) -> None:
    """An error without an id; the service goes on."""
    for bad in (b"", b"\xc1", b"{}", b"\x93\x01\x02\x03", b"\xdf\xff\xff\xff\xff", pack({"kind": 7}), b"\x81" * 5000):
        client.control.socket.send(bad)
        came = client.control.receive()
        expect(came is not None and came[0].get("error") == "TypeError", f"TypeError for {bad[:8]!r}", came)
    client.control.result("ping", client=client.name)


def case_a_message_that_is_too_long_is_refused(client: Client) -> None:
    """A header above 64 KiB is answered with an error; the service goes on."""
    client.control.send({"kind": "ping", "id": 77, "client": client.name, "filler": "x" * 70_000})
    came = client.control.receive()
    expect(came is not None and came[0].get("error"), "an error", came)
    client.control.result("ping", client=client.name)


def case_a_recording_that_is_not_known_is_refused(client: Client) -> None:
    """InvalidStateError for commands and questions about it."""
    name = client.fields(SOUND)["recording"]
    client.control.refused("statistics", "InvalidStateError", recording=name)
    client.control.refused("ask_events", "InvalidStateError", recorder="r", recording=name, sequence=0)
    for action in ("pause", "resume", "request_data", "stop"):
        fields = {"recording": name, "client": client.name, "action": action, "at_ns": time.monotonic_ns()}
        client.control.refused("control", "InvalidStateError", **fields)


def case_what_cannot_be_recorded_is_refused(client: Client) -> None:
    """NotSupportedError, and nothing is begun: no track, an unknown type, pictures in a file of sound, two tracks of a
    kind, a captured track that is not there."""
    captured = {**SOUND, "captured": True, "track": "nobody-captures-this"}
    wrong = (
        client.fields(),
        client.fields(SOUND, mime_type="audio/mp3"),
        client.fields(PICTURES, mime_type="audio/webm"),
        client.fields(SOUND, {**SOUND, "track": "another"}),
        client.fields(PICTURES, {**PICTURES, "track": "another"}),
        client.fields({**SOUND, "kind": "smell"}),
        client.fields(captured),
    )
    for fields in wrong:
        client.control.refused("start", "NotSupportedError", **fields)
        client.control.refused("statistics", "InvalidStateError", recording=fields["recording"])


def case_settings_that_make_no_sense_are_refused(client: Client) -> None:
    """An error that names them, and nothing is begun."""
    for settings in ({}, {"sample_rate": "fast", "channel_count": 1}, {"sample_rate": 1, "channel_count": 1},
                     {"sample_rate": 48_000, "channel_count": 99},
                     {"sample_rate": 48_000, "channel_count": 1, "sample_format": "u8"}):  # fmt: skip
        _refused(client, {**SOUND, "settings": settings})
    for settings in ({}, {"width": 0, "height": 64}, {"width": "wide", "height": 64},
                     {"width": 64, "height": 64, "frame_rate": "often"}):  # fmt: skip
        _refused(client, {**PICTURES, "settings": settings})


def _refused(client: Client, track: dict[str, object]) -> None:
    fields = client.fields(track)
    codes = ("TypeError", "ValueError", "NotSupportedError", "EncodingError", "OverconstrainedError")
    reply = client.control.refused("start", *codes, **fields)
    expect("Error(" not in reply["text"], "a text for people", reply)
    client.control.refused("statistics", "InvalidStateError", recording=fields["recording"])


def case_an_id_is_used_once(client: Client) -> None:
    """InvalidStateError for a second start with the same id, while it goes on and after."""
    recording = client.start(SOUND)
    again = client.fields(SOUND) | {"recording": recording.name}
    client.control.refused("start", "InvalidStateError", **again)
    recording.push(5)
    recording.finished()
    client.control.refused("start", "InvalidStateError", **again)


def case_a_start_names_the_catalog(client: Client) -> None:
    """As the welcome does, for clients that say no hello."""
    recording = client.start(SOUND)
    expect(recording.catalog == client.welcome.get("catalog", []), "the catalog of the welcome", recording.catalog)
    recording.finished()


def case_a_goodbye_is_answered_when_all_is_finished(client: Client) -> None:
    """A recording that still goes on is stopped; its events come, then the reply."""
    recording = client.start(SOUND)
    recording.push(5)
    recording.end()
    client.control.result("bye", client=client.name)
    types = [event["type"] for event in recording.events.of(recording)]
    expect(types[-2:] == ["dataavailable", "stop"], "dataavailable and stop", types)
