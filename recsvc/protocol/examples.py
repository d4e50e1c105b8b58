"""Messages as they are on the wire, for the document. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from ..wire import messages

_RECORDING, _T = "20260101-120000-6f1c", 5_000_000_000_000
_ROUTE = f"{_RECORDING}/sound"

_V: dict[str, Any] = {"v": messages.VERSION}
_BYTES = b"\x1a\x45\xdf\xa3"
_TO_CONTROL, _FROM_CONTROL = "client → control socket", "control socket → client"
_SIZE = 1234


class Example(NamedTuple):
    """A message. ``payload``: of a frame, or the bytes behind a reply; ``shown``: what that is."""

    way: str
    header: dict[str, Any]
    payload: bytes | None = None
    shown: str = ""
    topic: bytes | None = None


def _request(kind: str, **fields: Any) -> dict[str, Any]:
    return {**_V, "kind": kind, **fields}


def _reply(id: int, result: Any) -> dict[str, Any]:
    return {"kind": "reply", **_V, "id": id, "error": "", "text": "", "result": result}


EXAMPLES: dict[str, Example] = {
    "start": Example(
        _TO_CONTROL,
        _request(
            "start",
            id=1,
            client="perl-1",
            recorder="r1",
            recording=_RECORDING,
            tracks=[
                {
                    "track": "sound",
                    "kind": "audio",
                    "captured": False,
                    "settings": {"sample_rate": 48000, "channel_count": 1, "sample_format": "s16"},
                }
            ],
            options={"mime_type": "audio/webm", "audio_bits_per_second": 64000, "video_bits_per_second": 0},
            at_ns=_T,
        ),
    ),
    "started": Example(
        _FROM_CONTROL,
        _reply(
            1,
            {
                "recording": _RECORDING,
                "topic": "perl-1/r1",
                "path": f"/var/lib/recsvc/{_RECORDING}.webm",
                "routes": [
                    {
                        "route": _ROUTE,
                        "track": "sound",
                        "endpoints": ["ipc:///run/recsvc/data-0", "tcp://*:7703"],
                        "credit_frames": 400,
                        "credit_bytes": 67108864,
                    }
                ],
                "catalog": ["ipc:///run/recsvc/catalog", "tcp://*:7702"],
            },
        ),
    ),
    "audio": Example(
        "client → data socket",
        _request(
            "audio",
            route=_ROUTE,
            sequence=0,
            captured_ns=_T + 1_000_000,
            sample_format="s16",
            sample_rate=48000,
            channel_count=1,
            sample_count=4,
        ),
        b"\x00\x00\x10\x03\x20\x06\x30\x09",
        "4 samples: 0, 784, 1568, 2352",
    ),
    "credit": Example(
        "data socket → client",
        {"kind": "credit", **_V, "route": _ROUTE, "frames": 401, "bytes": 67108872, "released": 1},
    ),
    "end": Example(
        "client → data socket",
        _request("end", route=_ROUTE, count=1, until_ns=_T + 2_000_000),
    ),
    "stop": Example(
        _TO_CONTROL,
        _request(
            "control", id=2, client="perl-1", recording=_RECORDING, action="stop", at_ns=_T + 2_000_000, wait=True
        ),
    ),
    "finished": Example(
        _FROM_CONTROL,
        _reply(
            2,
            {
                "recording": _RECORDING,
                "whole": {
                    "path": f"/var/lib/recsvc/{_RECORDING}.webm",
                    "start": 0,
                    "end": _SIZE,
                    "mime_type": "audio/webm;codecs=opus",
                    "duration": 0.001,
                    "whole": True,
                },
                "statistics": {"state": "inactive"},
            },
        ),
    ),
    "fetch": Example(
        "client → catalog socket",
        _request("fetch", id=1, recording=_RECORDING, start=0, size=_SIZE),
    ),
    "fetched": Example(
        "catalog socket → client",
        _reply(1, None),
        _BYTES,
        f"the first of {_SIZE} bytes of the file",
    ),
    "video": Example(
        "client → data socket",
        _request(
            "video",
            route=f"{_RECORDING}/picture",
            sequence=0,
            captured_ns=_T + 1_000_000,
            pixel_format="i420",
            width=3,
            height=2,
        ),
        bytes([16, 16, 16, 235, 235, 235, 128, 128, 128, 128]),
        "Y 3 × 2, U 2 × 1, V 2 × 1",
    ),
    "event": Example(
        "events socket → client",
        {
            "kind": "event",
            **_V,
            "recorder": "r1",
            "recording": _RECORDING,
            "sequence": 0,
            "type": "start",
            "at_ns": _T + 900_000,
            "mime_type": "audio/webm;codecs=opus",
        },
        topic=b"perl-1/r1",
    ),
    "hello": Example(
        _TO_CONTROL,
        _request("hello", id=1, client="perl-1"),
    ),
    "welcome": Example(
        _FROM_CONTROL,
        _reply(
            1,
            {
                "service": "service-0123456789ab",
                "version": "0.1.0",
                "events": ["ipc:///run/recsvc/events", "tcp://*:7701"],
                "catalog": ["ipc:///run/recsvc/catalog", "tcp://*:7702"],
                "permissions": ["read", "record"],
                "lease_ms": 5000,
            },
        ),
    ),
}
"""Each with the fields that have to be there, or that matter; senders may write all others, too, in any order."""

_COLUMN = 58
_HEX_MAX = 18  # bytes of one line


def dump(example: Example) -> str:
    """The message byte by byte, each line with what it is."""
    parts = [("topic", example.topic, _lines(example.topic, example.topic.decode(), 0))] if example.topic else []
    encoded = msgspec.msgpack.encode(example.header)
    found = bytearray()
    lines = []
    for part, meaning, depth in _walk(example.header, "", 0):
        found += part
        lines += _lines(part, meaning, depth)
    assert bytes(found) == encoded, "the dump is what is sent"
    parts.append(("header", encoded, lines))
    if example.payload is not None:
        parts.append(("payload", example.payload, _lines(example.payload, example.shown, 0)))
    text = [f"{example.way}, {('one part', 'two parts')[len(parts) - 1]}"]
    for number, (what, content, shown) in enumerate(parts, 1):
        text += ["", f"part {number}, the {what}: {len(content)} bytes", *shown]
    return "```text\n" + "\n".join(text) + "\n```\n"


def _walk(value: Any, name: str, depth: int) -> Iterator[tuple[bytes, str, int]]:
    """The bytes of a value, in parts of one field each."""
    key = msgspec.msgpack.encode(name) if name else b""
    label = f"{name}: " if name else ""
    if isinstance(value, dict):
        assert len(value) < 16
        yield key + bytes([0x80 | len(value)]), f"{label}map of {len(value)}", depth
        for inner, one in value.items():
            yield from _walk(one, inner, depth + 1)
    elif isinstance(value, list):
        assert len(value) < 16
        yield key + bytes([0x90 | len(value)]), f"{label}list of {len(value)}", depth
        for one in value:
            yield from _walk(one, "", depth + 1)
    else:
        shown = "nil" if value is None else msgspec.json.encode(value).decode()
        yield key + msgspec.msgpack.encode(value), f"{label}{shown}", depth


def _lines(part: bytes, meaning: str, depth: int) -> list[str]:
    rows = [part[n : n + _HEX_MAX].hex(" ") for n in range(0, len(part), _HEX_MAX)]
    return [f"{rows[0]:{_COLUMN}}{'  ' * depth}{meaning}", *rows[1:]]
