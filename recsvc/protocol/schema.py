"""The protocol as JSON Schema, made of the messages themselves. Pure."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

from ..wire import messages
from .meanings import MEANINGS
from .public import PUBLIC, RESULTS, WAYS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/{name}"
_KINDS = {message.__name__: kind for kind, message in PUBLIC.items()}
_NAMES = {**_KINDS, "None": "nil", "True": "true", "False": "false"}


def schema() -> dict[str, Any]:
    """All public messages; their maps are the same in MessagePack, where texts with ``contentEncoding`` are binary."""
    given = [message for way in WAYS for message in way.kinds]
    refs, definitions = msgspec.json.schema_components([*given, *RESULTS.values()], ref_template=_REF)
    of_result = dict(zip(RESULTS, refs[len(given) :], strict=True))
    for name, definition in definitions.items():
        _complete(_KINDS.get(name, name), definition)
    return {
        "$schema": _DIALECT,
        "title": "The protocol of recsvc",
        "description": "Messages are MessagePack maps; a text with contentEncoding is binary there, as it is.",
        "version": messages.VERSION,
        "ways": {
            way.name: {
                "socket": way.socket,
                "direction": way.direction,
                "messages": [{"$ref": _REF.format(name=message.__name__)} for message in way.kinds],
            }
            for way in WAYS
        },
        "results": of_result,
        "$defs": definitions,
    }


def _complete(name: str, definition: dict[str, Any]) -> None:
    """Prose as the document has it, a meaning for each field, and patterns as JSON Schema writes them."""
    definition["description"] = described(definition.get("description", ""))
    for field, form in definition.get("properties", {}).items():
        meaning = meaning_of(name, field)
        if meaning:
            form["description"] = described(meaning)
        if "pattern" in form:
            form["pattern"] = form["pattern"].replace(r"\Z", "$")
        if form.get("contentEncoding") == "base64":
            form.pop("maxLength", None)  # that of the text which JSON would have in its place


def meaning_of(name: str, field: str) -> str:
    """What is written of a field: of this message or structure, or of all that have one of this name."""
    return MEANINGS.get(f"{name}.{field}") or MEANINGS.get(field, "")


def described(text: str) -> str:
    """A docstring as people read it who have not this code: classes of messages by their kinds, values as MessagePack
    names them."""
    text = " ".join(inspect.cleandoc(text).split())
    return re.sub(r"``([^`]*)``", lambda found: f"`{_NAMES.get(found[1], found[1])}`", text)


def undescribed() -> list[str]:
    """Fields of which neither the docstring of their message nor ``MEANINGS`` says anything; empty."""
    found = []
    for name, definition in schema()["$defs"].items():
        for field in definition.get("properties", {}):
            is_mentioned = f"`{field}`" in definition["description"]
            if not is_mentioned and not meaning_of(_KINDS.get(name, name), field):
                found.append(f"{_KINDS.get(name, name)}.{field}")
    return found
