"""Conformance: the catalog of recordings, and their files in ranges."""

from __future__ import annotations

import time

from .talk import SOUND, WAIT_S, Client, Dealer, Map, Recording, Unexpected, expect

_FETCH = 1024 * 1024


class NotKept(Exception):
    """The service keeps no recordings: these cases do not apply."""


def _catalog(client: Client) -> Dealer:
    catalog = client.catalog
    if catalog is None:
        raise NotKept("the service keeps no recordings")
    return catalog


def _info(catalog: Dealer, recording: Recording, state: str) -> Map:
    """Once it has this state: the catalog learns of recordings a moment later."""
    until_s = time.monotonic() + WAIT_S
    while time.monotonic() < until_s:
        reply = catalog.ask("get", recording=recording.name)
        if not reply["error"] and reply["result"]["state"] == state:
            found: Map = reply["result"]
            return found
        time.sleep(0.01)
    raise Unexpected(f"expected the catalog to have {recording.name} as {state}; came {reply}")


def case_a_file_is_fetched_in_ranges(client: Client) -> None:
    """The bytes of each range, several under way, fewer where the file ends: together the file that was promised."""
    catalog = _catalog(client)
    recording = client.start(SOUND)
    recording.push(50)
    whole = recording.finished()["whole"]
    step = whole["end"] // 5 + 1
    asked = [
        catalog.begin("fetch", recording=recording.name, start=at, size=step) for at in range(0, whole["end"], step)
    ]
    content = b""
    for number in asked:
        reply, part = catalog.reply(number)
        expect(not reply["error"] and part, "bytes of the file", reply)
        content += part or b""
    expect(len(content) == whole["end"], f"{whole['end']} bytes in all", len(content))
    expect(content[:4] == b"\x1a\x45\xdf\xa3", "a WebM file", content[:16])
    reply, part = catalog.reply(catalog.begin("fetch", recording=recording.name, start=0, size=_FETCH))
    expect(part == content, "the same bytes at once", reply)
    reply, part = catalog.reply(catalog.begin("fetch", recording=recording.name, start=whole["end"], size=10))
    expect(not part, "no bytes behind the end", reply)


def case_a_fetch_that_asks_for_too_much_is_refused(client: Client) -> None:
    """TypeError; and an error for a recording that is not there."""
    catalog = _catalog(client)
    catalog.refused("fetch", "TypeError", recording="x", start=0, size=_FETCH + 1)
    catalog.refused("fetch", "TypeError", recording="x", start=-1, size=1)
    for name in ("never-there", "../up", "/etc/passwd"):
        catalog.refused("fetch", "NotFoundError", "InvalidStateError", "TypeError", recording=name, start=0, size=1)


def case_a_recording_is_listed(client: Client) -> None:
    """While it goes on and after, with its name, its times and its size."""
    catalog = _catalog(client)
    recording = client.start(SOUND, more={"name": "what people say"})
    recording.push(5)
    found = _info(catalog, recording, "recording")
    expect(found["name"] == "what people say" and found["began"] > 0, "name and time", found)
    listed = [one["recording"] for one in catalog.result("list")]
    expect(recording.name in listed, "it in the list", listed)
    whole = recording.finished()["whole"]
    found = _info(catalog, recording, "finished")
    expect(found["size_bytes"] == whole["end"] and found["ended"] > 0, "size and end", found)
    expect(abs(found["duration"] - whole["duration"]) < 0.001, "the duration", found)


def case_a_recording_is_renamed_and_deleted(client: Client) -> None:
    """Not deleted while it goes on; after that it is not known any more."""
    catalog = _catalog(client)
    recording = client.start(SOUND)
    recording.push(5)
    _info(catalog, recording, "recording")
    catalog.refused("delete", "InvalidStateError", recording=recording.name)
    recording.finished()
    _info(catalog, recording, "finished")
    catalog.result("rename", recording=recording.name, name="another name")
    expect(_info(catalog, recording, "finished")["name"] == "another name", "the new name", None)
    catalog.result("delete", recording=recording.name)
    catalog.refused("get", "NotFoundError", "InvalidStateError", recording=recording.name)
