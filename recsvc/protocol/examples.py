"""Messages as they are on the wire, for the document. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..wire import messages

_RECORDING, _T = "20260101-120000-6f1c", 5_000_000_000_000
_ROUTE = f"{_RECORDING}/sound"

Example = tuple[str, dict[str, Any], bytes | None, bytes | None]
"""What the first line says, the header, the payload, the topic."""

EXAMPLES: dict[str, Example] = {
    "start": (
        "client → control socket, one part",
        {
            "v": messages.VERSION,
            "kind": "start",
            "id": 1,
            "client": "perl-1",
            "recorder": "r1",
            "recording": _RECORDING,
            "tracks": [
                {
                    "track": "sound",
                    "kind": "audio",
                    "captured": False,
                    "settings": {"sample_rate": 48000, "channel_count": 1, "sample_format": "s16"},
                }
            ],
            "options": {"mime_type": "audio/webm", "audio_bits_per_second": 64000, "video_bits_per_second": 0},
            "at_ns": _T,
        },
        None,
        None,
    ),
    "reply": (
        "control socket → client, one part",
        {
            "kind": "reply",
            "v": messages.VERSION,
            "id": 1,
            "error": "",
            "text": "",
            "result": {
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
            },
        },
        None,
        None,
    ),
    "audio": (
        "client → data socket, two parts",
        {
            "v": messages.VERSION,
            "kind": "audio",
            "route": _ROUTE,
            "sequence": 0,
            "captured_ns": _T + 1_000_000,
            "sample_format": "s16",
            "sample_rate": 48000,
            "channel_count": 1,
            "sample_count": 4,
        },
        msgspec.Raw(b"\x00\x00\x10\x03\x20\x06\x30\x09"),
        None,
    ),
    "end": (
        "client → data socket, one part",
        {"v": messages.VERSION, "kind": "end", "route": _ROUTE, "count": 1, "until_ns": _T + 2_000_000},
        None,
        None,
    ),
    "event": (
        "events socket → client, two parts",
        {
            "kind": "event",
            "v": messages.VERSION,
            "recorder": "r1",
            "recording": _RECORDING,
            "sequence": 0,
            "type": "start",
            "at_ns": _T + 900_000,
            "mime_type": "audio/webm;codecs=opus",
        },
        None,
        b"perl-1/r1",
    ),
}
"""Each with the fields that have to be there, or that matter; senders may write all others, too, in any order."""

_COLUMN = 58
_HEX_MAX = 18  # bytes of one line


def dump(way: str, header: dict[str, Any], payload: bytes | None, topic: bytes | None) -> str:
    """The message byte by byte, each line with what it is."""
    lines = [way]
    if topic is not None:
        lines += ["", f"part 1, the topic: {len(topic)} bytes", *_lines(topic, topic.decode(), 0)]
    encoded = msgspec.msgpack.encode(header)
    number = 1 if topic is None else 2
    lines += ["", f"part {number}, the header: {len(encoded)} bytes"]
    found = bytearray()
    for part, meaning, depth in _walk(header, "", 0):
        found += part
        lines += _lines(part, meaning, depth)
    assert bytes(found) == encoded, "the dump is what is sent"
    if payload is not None:
        raw = bytes(payload)
        lines += [
            "",
            f"part {number + 1}, the payload: {len(raw)} bytes",
            *_lines(raw, "4 samples: 0, 784, 1568, 2352", 0),
        ]
    return "```text\n" + "\n".join(lines) + "\n```\n"


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
        shown = msgspec.json.encode(value).decode()
        yield key + msgspec.msgpack.encode(value), f"{label}{shown}", depth


def _lines(part: bytes, meaning: str, depth: int) -> list[str]:
    rows = [part[n : n + _HEX_MAX].hex(" ") for n in range(0, len(part), _HEX_MAX)]
    return [f"{rows[0]:{_COLUMN}}{'  ' * depth}{meaning}", *rows[1:]]
