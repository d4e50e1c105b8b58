"""Names for files of recordings, made of what people call these. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote

from . import mime

_UNWANTED = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]+')
"""What some file system does not take, what ends a line, and what turns the text around it."""
_BYTES_MAX = 150  # of 255 that file systems take; who copies it may add to it


def file_name(name: str, recording: str, mime_type: str) -> str:
    """A name without a folder for a recording's file: what it is called, else its id, and what its type ends in."""
    suffix = mime.suffix(mime_type) if mime.why_not_supported(mime_type) is None and mime_type else ""
    stem = _UNWANTED.sub("_", name).strip(" ._")
    stem = stem.encode()[:_BYTES_MAX].decode(errors="ignore").strip(" .")
    if suffix and stem.lower().endswith(suffix):
        stem = stem[: -len(suffix)]
    return (stem or _UNWANTED.sub("_", recording).strip(" .") or "recording") + suffix


def attachment(name: str) -> str:
    """The value of ``Content-Disposition`` for a file of this name (RFC 6266)."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_").replace("\\", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
