"""The parts of ``docs/protocol.md`` that are made of the code: messages, bounds, errors, examples. Pure."""

from __future__ import annotations

import json
from typing import Any

from ..common import limits, service_limits
from ..errors import BY_NAME
from ..wire import messages
from .examples import EXAMPLES, dump
from .public import PUBLIC, RESULTS, WAYS, kind_of
from .schema import described, schema

_BIG = 2**62
_SCHEMA = schema()
_KINDS = {message.__name__: kind for kind, message in PUBLIC.items()}


def parts() -> dict[str, str]:
    """The generated parts by the names of their places in the document."""
    made = {way.name: "\n".join(_message(message) for message in way.kinds) for way in WAYS}
    made["results"] = _results()
    made["structures"] = "\n".join(_structure(name) for name in sorted(_SCHEMA["$defs"].keys() - _KINDS))
    made["limits"] = _limits()
    made["errors"] = _errors()
    made["version"] = f"Version **{messages.VERSION}**.\n"
    made.update({f"example {name}": dump(example) for name, example in EXAMPLES.items()})
    return made


def filled_in(text: str) -> str:
    """The document with its generated parts as they are now. Each stands between ``<!-- made: NAME -->`` and
    ``<!-- end -->``. ``ValueError`` where one has no place, or a place none."""
    made = parts()
    pieces = text.split("<!-- made: ")
    done = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition(" -->\n")
        if name not in made or "<!-- end -->" not in rest:
            raise ValueError(f"there is nothing to fill in for {name!r}, or its place has no end")
        after = rest.partition("<!-- end -->")[2]
        done.append(f"<!-- made: {name} -->\n{made.pop(name)}<!-- end -->{after}")
    if made:
        raise ValueError(f"the document has no place for {', '.join(made)}")
    return "".join(done)


def schema_text() -> str:
    return json.dumps(_SCHEMA, indent=1, ensure_ascii=False) + "\n"


# --- messages -------------------------------------------------------------------------------------


def _message(message: type[messages.Message]) -> str:
    definition = _SCHEMA["$defs"][message.__name__]
    common = ("kind", "v", *(("id",) if issubclass(message, messages.Request) else ()))
    return f"#### `{kind_of(message)}`\n\n{definition['description']}\n\n{_fields(definition, common)}"


def _structure(name: str) -> str:
    definition = _SCHEMA["$defs"][name]
    return f"#### {name}\n\n{definition['description']}\n\n{_fields(definition, ())}"


def _fields(definition: dict[str, Any], left_out: tuple[str, ...]) -> str:
    needed = definition.get("required", [])
    rows = []
    for name, form in definition["properties"].items():
        if name not in left_out:
            default = "*needed*" if name in needed else _value(form.get("default"))
            rows.append(f"| `{name}` | {_type(form)} | {default} | {form.get('description', 'see above')} |")
    if not rows:
        return ""
    return "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _value(value: Any) -> str:
    if value is None:
        return "nil"
    if value in ({}, [], ()):
        return "empty"
    if value == "":
        return '`""`'
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(form: dict[str, Any]) -> str:
    if "anyOf" in form:
        return " or ".join(_type(one) for one in form["anyOf"])
    if "$ref" in form:
        name = form["$ref"].rpartition("/")[2]
        name = _KINDS.get(name, name)
        return f"[{name}](#{name.lower()})"
    if "enum" in form:
        return ", ".join(f"`{one}`" for one in form["enum"])
    kind = form.get("type")
    if kind == "array":
        return f"list of {_type(form['items'])}"
    if kind == "object":
        inside = form.get("additionalProperties")
        return f"map of text to {_type(inside)}" if isinstance(inside, dict) and inside else "map"
    if kind == "string":
        if form.get("contentEncoding"):
            return "binary"
        if "pattern" in form:
            return f"id of at most {form['maxLength']}"
        return f"text of at most {form['maxLength']}" if "maxLength" in form else "text"
    if kind == "integer":
        return f"integer{_range(form.get('minimum'), form.get('maximum'))}"
    return {"number": "real", "boolean": "boolean", "null": "nil"}.get(str(kind), "anything")


def _range(low: int | None, high: int | None) -> str:
    if low is None or low == -_BIG:
        return ""
    if high is None or high == _BIG:
        return f" ≥ {low}"
    return f" {low}–{_short(high)}"


def _short(number: int) -> str:
    exponent = number.bit_length() - 1
    return f"2^{exponent}" if number == 1 << exponent and exponent > 20 else str(number)


def _results() -> str:
    rows = []
    for way in WAYS:
        for message in way.kinds:
            kind = kind_of(message)
            if issubclass(message, messages.Request):
                result = _type(_SCHEMA["results"][kind]) if kind in RESULTS else "nil"
                rows.append(f"| `{kind}` | {way.socket} | {result} |")
    return "\n".join(["| request | socket | result of its reply |", "|---|---|---|", *rows]) + "\n"


# --- numbers --------------------------------------------------------------------------------------


def _limits() -> str:
    audio_frames, queue_bytes = limits.credit("audio", "drop")
    late_frames, late_bytes = limits.credit("audio", "finish-late")
    then_closed = f"an error reply; ZeroMQ closes the connection for one above {_bytes(limits.CONTROL_BYTES_MAX)}"
    rows = [
        ("header of a message on a data socket", _bytes(limits.HEADER_BYTES_MAX), "refused"),
        ("message on the control or catalog socket", _bytes(limits.HEADER_BYTES_MAX), then_closed),
        ("payload of a frame", _bytes(limits.FRAME_BYTES_MAX), "ZeroMQ closes the connection"),
        ("sound in one frame", _seconds(limits.BLOCK_NS_MAX), "refused"),
        ("first credit, sound", f"{audio_frames} frames, {_bytes(queue_bytes)}", "see *credits*"),
        ("first credit, pictures", f"{limits.VIDEO_CREDIT_FRAMES} frames, {_bytes(queue_bytes)}", "see *credits*"),
        ("first credit with `overload: finish-late`", f"{late_frames} frames, {_bytes(late_bytes)}", "see *credits*"),
        ("one `fetch`", _bytes(service_limits.FETCH_BYTES_MAX), "refused"),
        ("fetches without an answer, per client", str(service_limits.FETCH_CREDIT), "refused"),
        ("events in one reply to `ask_events`", str(limits.EVENTS_PER_REPLY), "ask again from the next one"),
        ("events kept, per recording", str(limits.RECORDER_EVENTS_KEPT), "the oldest are forgotten"),
        ("ended recordings whose events are kept", str(limits.ENDED_RECORDINGS_KEPT), "the oldest are forgotten"),
        ("recordings in a `subscribed`", str(service_limits.SNAPSHOT_RECORDINGS_MAX), "the newest"),
        ("silence of a client that has a lease", _seconds(service_limits.LEASE_NS), "it is taken for gone"),
        (
            "time from `stop` to the last event",
            _seconds(limits.DRAIN_DEADLINE_NS),
            "an `error` event, and what has come",
        ),
        ("the same with `overload: finish-late`", _seconds(limits.LATE_DRAIN_DEADLINE_NS), "as before"),
    ]
    lines = [f"| {what} | {bound} | {then} |" for what, bound, then in rows]
    return "\n".join(["| what | at most | beyond |", "|---|---|---|", *lines]) + "\n"


def _bytes(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    return f"{count} bytes"


def _seconds(ns: int) -> str:
    return f"{ns / limits.S:g} s"


def _errors() -> str:
    rows = {name: described(cls.__doc__ or "") for name, cls in BY_NAME.items()}
    rows["TypeError"] = "The message cannot be read: a field is missing, of a wrong type or out of its bounds."
    rows["ValueError"] = "A value does not fit; the text names it."
    lines = [f"| `{name}` | {rows[name]} |" for name in sorted(rows)]
    return "\n".join(["| code | meaning |", "|---|---|", *lines]) + "\n"
