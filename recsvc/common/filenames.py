"""Names for files of recordings, made of what people call these. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote

from . import mime

_UNWANTED = re.compile(r'[<>:"/\\|?*]+')
"""What some file system does not take; so are characters that do not print, line ends and those that turn the text
around among them."""
_BYTES_MAX = 150  # of 255 that file systems take; who copies it may add to it


def file_name(name: str, recording: str, mime_type: str) -> str:
    """A name without a folder for a recording's file: what it is called, else its id, and what its type ends in."""
    suffix = mime.suffix(mime_type) if mime.why_not_supported(mime_type) is None and mime_type else ""
    stem = _plain(name).strip(" ._-")  # what begins with a dash is an option to many commands
    stem = stem.encode()[:_BYTES_MAX].decode(errors="ignore").strip(" .")
    if suffix and stem.lower().endswith(suffix):
        stem = stem[: -len(suffix)]
    return (stem or _plain(recording).strip(" .") or "recording") + suffix


def _plain(text: str) -> str:
    return _UNWANTED.sub("_", "".join(one if one.isprintable() else "_" for one in text))


def attachment(name: str) -> str:
    """The value of ``Content-Disposition`` for a file of this name (RFC 6266)."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_").replace("\\", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
