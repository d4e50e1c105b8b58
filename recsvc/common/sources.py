"""Source strings such as ``test:`` or ``rtsp://host/…``: what they are made of. Pure."""

import re
from typing import NamedTuple

from ..errors import NotFoundError
from .limits import SOURCE_CHARACTERS_MAX
from .redact import LOCAL_SCHEMES, redacted

NETWORK_SCHEMES = (
    "http", "https", "rtmp", "rtmps", "rtmpt", "rtp", "rtsp", "rtsps", "srt", "tcp", "tls", "udp",
)  # fmt: skip
"""Protocols of FFmpeg that carry live or stored media over a network. Others (concat, subfile, data, …) would let a
source string read what the caller did not name."""

FILE_PARAMETERS = ("pace",)
PACES = ("realtime", "max")


class ParsedSource(NamedTuple):
    """``scheme:target`` and parameters; of a network address the target is the whole URL."""

    scheme: str
    target: str
    parameters: dict[str, str]


def parse_source(source: str) -> ParsedSource:
    """Takes a source string apart, without looking whether the thing exists. Pure.

    Raises ``TypeError`` when it is not a string, ``ValueError`` for a malformed one or an unknown parameter,
    ``NotFoundError`` for a scheme that no source has.
    """
    if not isinstance(source, str):
        raise TypeError(f"a source is a string such as 'mic:' or 'test:', not {redacted(repr(source))}")
    if len(source) > SOURCE_CHARACTERS_MAX or "\0" in source:
        raise ValueError(
            f"a source has at most {SOURCE_CHARACTERS_MAX} characters and no NUL: {redacted(source)[:80]!r}…"
        )
    scheme, colon, target = source.partition(":")
    scheme = scheme.lower()
    if not colon or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise ValueError(f"{redacted(source)!r} is not a source; expected one of {_known_schemes()}")
    if scheme == "test":
        return ParsedSource(scheme, "", _parameters(source, target.removeprefix("?")))
    if scheme == "file":
        return _parse_file(source, target)
    if scheme in LOCAL_SCHEMES:
        return ParsedSource(scheme, target.strip(), {})
    if scheme in NETWORK_SCHEMES:
        if not target.startswith("//") or len(target) < 3:
            raise ValueError(f"{redacted(source)!r} has no address; expected {scheme}://host/…")
        return ParsedSource(scheme, source, {})
    raise NotFoundError(f"no source is called {scheme!r} (in {redacted(source)[:200]!r}); known are {_known_schemes()}")


def absolute(source: str, directory: str) -> str:
    """A relative ``file:`` source as seen from this directory, by its absolute path; any other as it is. Pure."""
    try:
        parsed = parse_source(source)
    except (ValueError, NotFoundError):
        return source  # Opening it fails with the reason.
    if parsed.scheme != "file" or parsed.target.startswith("/"):
        return source
    scheme, _, target = source.partition(":")
    return f"{scheme}:{directory.rstrip('/')}/{target}"


def _parse_file(source: str, target: str) -> ParsedSource:
    """``?name=value`` at the very end are parameters; any other question mark belongs to the path."""
    path, mark, query = target.rpartition("?")
    if not mark or not re.match(r"[A-Za-z_]+=[^/]*$", query):
        path, query = target, ""
    if path.startswith("///"):  # file:///path, as a URL
        path = path[2:]
    if not path:
        raise ValueError(f"{source!r} names no file; expected file:PATH")
    parameters = _parameters(source, query)
    unknown = sorted(set(parameters) - set(FILE_PARAMETERS))
    if unknown:
        raise ValueError(f"{source!r}: unknown parameter {', '.join(unknown)}; known: {', '.join(FILE_PARAMETERS)}")
    if parameters.get("pace", "realtime") not in PACES:
        raise ValueError(f"{source!r}: pace is one of {', '.join(PACES)}, not {parameters['pace']!r}")
    return ParsedSource("file", path, parameters)


def _parameters(source: str, query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise ValueError(f"{source!r}: expected name=value, not {part!r}")
        if name in parameters:
            raise ValueError(f"{source!r}: {name} is given twice")
        parameters[name] = value
    return parameters


def _known_schemes() -> str:
    local = ", ".join(f"{scheme}:" for scheme in LOCAL_SCHEMES)
    return f"{local}, {', '.join(f'{scheme}://' for scheme in NETWORK_SCHEMES)}"
