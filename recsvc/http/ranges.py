"""Parts of a file, and whether a client has it already: the conditional and range requests of RFC 9110. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from typing import NamedTuple

_SPEC = re.compile(r"\s*(?:([0-9]{1,19})\s*-\s*([0-9]{0,19})|-\s*([0-9]{1,19}))\s*\Z")


class Unsatisfiable(ValueError):
    """Nothing of the file is in the range that was asked for."""


class Validators(NamedTuple):
    """By what a client says which version of a file it has. ``etag`` with its quotes; ``""`` and 0 of a file that still
    grows, of which no two answers are the same."""

    etag: str
    modified_s: int

    def headers(self) -> dict[str, str]:
        if not self.etag:
            return {"cache-control": "no-store"}
        return {"etag": self.etag, "last-modified": _date(self.modified_s), "cache-control": "private, no-cache"}


def asked(header: str, size: int) -> tuple[int, int] | None:
    """The half-open range of a file of ``size`` bytes that a ``Range`` header asks for. ``None``: all of it, also for
    another unit than bytes, and for several ranges at once, which nobody has to understand."""
    unit, equals, specs = header.partition("=")
    if not equals or unit.strip().lower() != "bytes" or "," in specs:
        return None
    found = _SPEC.match(specs)
    if found is None:
        raise Unsatisfiable(f"a range of bytes such as bytes=0-499, bytes=500- or bytes=-500, not {header!r:.80}")
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < start:
            raise Unsatisfiable(f"{header!r:.80} ends before it begins")
    if start >= end:
        raise Unsatisfiable(f"{header!r:.80} is behind the end: the file has {size} bytes")
    return start, end


def precondition(headers: Mapping[str, str], validators: Validators) -> int:
    """The status by which a GET or HEAD is answered without the file, 304 or 412; 0: it goes on."""
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    if match is not None:
        if not _matches(match, validators.etag, weak=False):
            return 412
    elif _is_later(validators.modified_s, headers.get("if-unmodified-since")):
        return 412
    if none_match is not None:
        return 304 if _matches(none_match, validators.etag, weak=True) else 0
    since = headers.get("if-modified-since")
    if since is not None and validators.etag and _seconds(since) is not None:
        return 0 if _is_later(validators.modified_s, since) else 304
    return 0


def wanted(headers: Mapping[str, str], size: int, validators: Validators) -> tuple[int, int] | None:
    """The range that a GET is answered with, ``None`` for all: a range counts only for the version that ``If-Range``
    names, where there is one."""
    header = headers.get("range")
    if header is None:
        return None
    condition = headers.get("if-range")
    if condition is not None:
        condition = condition.strip()
        if condition.startswith(('"', "W/")):
            if not validators.etag or condition != validators.etag:
                return None
        elif not validators.etag or _seconds(condition) != validators.modified_s:
            return None
    return asked(header, size)


def _matches(header: str, etag: str, *, weak: bool) -> bool:
    """Whether one of the tags in a header is this one. ``weak``: ``W/`` in front of it makes no difference."""
    if header.strip() == "*":
        return True
    tags = re.findall(r'(W/)?("[^"]*")', header)
    return bool(etag) and any(tag == etag and (weak or not mark) for mark, tag in tags)


def _is_later(modified_s: int, header: str | None) -> bool:
    date_s = None if header is None else _seconds(header)
    return date_s is not None and modified_s > date_s


def _seconds(header: str) -> int | None:
    """A date of HTTP in seconds since 1970; ``None`` where it is none."""
    try:
        return int(parsedate_to_datetime(header).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None


def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)
