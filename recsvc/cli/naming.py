"""What people mean by what they type for a recording. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .target import UsageError


class Named(NamedTuple):
    """By what people call a recording."""

    id: str
    name: str


def matching(word: str, known: Iterable[Named]) -> str | None:
    """The id that a word means: an id, else a name, else the beginning of an id, or of its last part. ``None``: none of
    them. ``UsageError``: several. Pure."""
    known = list(known)
    for meant in (
        [one.id for one in known if one.id == word],
        [one.id for one in known if one.name == word],
        [one.id for one in known if one.id.startswith(word) or one.id.rpartition("-")[2].startswith(word)],
    ):
        found = sorted(set(meant))
        if len(found) > 1:
            shown = ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
            raise UsageError(f"{word!r} means {len(found)} recordings: {shown}")
        if found:
            return found[0]
    return None
