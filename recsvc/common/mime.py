"""MIME types: which can be recorded, and what a given one means.

Types follow RFC 2046 and RFC 6381 (``codecs=``); the rules are those of "is type supported" in the
MediaStream Recording specification.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import NotSupportedError
from .codecs import CODECS, Described, codec_named, codecs_of
from .limits import MIME_TYPE_CHARACTERS_MAX

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TYPE = re.compile(rf"^\s*({_TOKEN})/({_TOKEN})\s*((?:;.*)?)$", re.DOTALL)
# People write commas and more without quotes (codecs=vp8,opus), and browsers accept that.
_PARAMETER = re.compile(rf';\s*({_TOKEN})\s*=\s*("(?:[^"\\]|\\.)*"|[^";\s][^";]*)\s*')

Container = Literal["webm", "matroska", "ogg"]
VideoCodec = Literal["vp8", "vp9"]

VIDEO_CODECS: tuple[VideoCodec, ...] = ("vp8", "vp9")
AUDIO_CODECS = ("opus",)
"""What raw media is encoded with."""
_RAW = (*VIDEO_CODECS, *AUDIO_CODECS)


def _held(kind: str, *, webm: bool) -> tuple[str, ...]:
    return tuple(name for name, codec in CODECS.items() if codec.kind == kind and (codec.webm or not webm))


# type/subtype -> (container, video codecs, audio codecs), those that come encoded too
_CONTAINERS: dict[str, tuple[Container, tuple[str, ...], tuple[str, ...]]] = {
    "video/webm": ("webm", _held("video", webm=True), _held("audio", webm=True)),
    "audio/webm": ("webm", (), _held("audio", webm=True)),
    "audio/ogg": ("ogg", (), AUDIO_CODECS),
    "video/x-matroska": ("matroska", _held("video", webm=False), _held("audio", webm=False)),
}

SUPPORTED_TYPES = (
    "video/webm;codecs=vp8,opus",
    "video/webm;codecs=vp9,opus",
    "video/webm;codecs=vp8",
    "video/webm;codecs=vp9",
    "audio/webm;codecs=opus",
    "audio/ogg;codecs=opus",
    "video/x-matroska;codecs=vp8,opus",
    "video/x-matroska;codecs=vp9,opus",
)
"""Examples of all combinations of what raw media is encoded with, for people: ``recsvc types`` prints them."""

COPIED_TYPES = (
    "video/webm;codecs=av01,opus",
    "video/x-matroska;codecs=avc1,mp4a.40.2",
    "video/x-matroska;codecs=hvc1,opus",
    "video/x-matroska;codecs=av01,pcm",
    "video/x-matroska;codecs=avc1,alaw",
    "video/x-matroska;codecs=avc1,ulaw",
)
"""The same for media that comes encoded, and is recorded as it is."""

_SUFFIXES: dict[Container, str] = {"webm": ".webm", "matroska": ".mkv", "ogg": ".ogg"}
CONTAINER_OF_SUFFIX: dict[str, Container] = {
    ".webm": "webm", ".mkv": "matroska", ".mka": "matroska", ".ogg": "ogg", ".oga": "ogg", ".opus": "ogg",
}  # fmt: skip
"""The container of a file whose name has this ending."""


@dataclass(frozen=True, slots=True)
class Format:
    """The format of a file; ``video_codec`` is ``None`` where pictures are not encoded here."""

    container: Container
    video_codec: VideoCodec | None
    mime_type: str

    @property
    def suffix(self) -> str:
        """The file name ending, with its dot."""
        return _SUFFIXES[self.container]


def _parse(text: str) -> tuple[str, list[str] | None]:
    """Returns ``(type/subtype, codec identifiers or None)``; ``ValueError`` for what is no MIME type."""
    match = _TYPE.match(text)
    if match is None:
        raise ValueError("not a MIME type")
    essence = f"{match[1]}/{match[2]}".lower()
    rest, codecs, position = match[3], None, 0
    while position < len(rest):
        parameter = _PARAMETER.match(rest, position)
        if parameter is None:
            if rest[position:].strip(" ;\t"):
                raise ValueError(f"unreadable parameter {rest[position:]!r}")
            break
        position = parameter.end()
        if parameter[1].lower() == "codecs" and codecs is None:
            value = parameter[2].strip('"')
            codecs = [codec_named(part) for part in value.split(",")]
    return essence, codecs


def why_not_supported(text: str) -> str | None:
    """``None`` for a type that can be recorded, else the reason in words. ``TypeError`` for what is no string."""
    if not isinstance(text, str):
        raise TypeError(f"mime_type must be a string, got {text!r}")
    if text == "":
        return None
    if len(text) > MIME_TYPE_CHARACTERS_MAX:
        return f"it has {len(text)} characters, at most {MIME_TYPE_CHARACTERS_MAX} are read"
    try:
        essence, codecs = _parse(text)
    except ValueError as error:
        return str(error)
    entry = _CONTAINERS.get(essence)
    if entry is None:
        return f"container {essence} is not one of {', '.join(_CONTAINERS)}"
    _, video, audio = entry
    for codec in codecs or ():
        if codec not in video + audio:
            return f"codec {codec!r} is not one that {essence} is recorded with ({', '.join(video + audio)})"
    for kind, known in (("video", video), ("audio", audio)):
        if len([c for c in codecs or () if c in known]) > 1:
            return f"more than one {kind} codec"
    return None


def is_type_supported(text: str) -> bool:
    """Whether a recorder can be made with this ``mime_type``; with ``""`` it can. ``TypeError`` for what is no
    string."""
    return why_not_supported(text) is None


def require_supported(text: str) -> None:
    """Raises ``NotSupportedError`` with the reason when the type cannot be recorded."""
    reason = why_not_supported(text)
    if reason is not None:
        raise NotSupportedError(f"mime_type {text[:200]!r} cannot be recorded: {reason}; see `recsvc types`")


def container(text: str) -> Container:
    """The container of a supported type."""
    require_supported(text)
    return _CONTAINERS[_parse(text)[0]][0]


def suffix(text: str) -> str:
    """The file name ending of a supported type, with its dot."""
    return _SUFFIXES[container(text)]


def choose(text: str, kinds: set[str], encoded: Mapping[str, str] | None = None) -> Format:
    """The format for tracks of these kinds (``"audio"``, ``"video"``) under a constrained type (may be ``""``).
    ``encoded``: the codecs of those whose media comes encoded, by kind.

    Raises ``NotSupportedError`` naming the track that the type cannot hold.
    """
    require_supported(text)
    given = dict(encoded or {})
    essence, codecs = _parse(text) if text else (_usual(kinds, given), None)
    container, video, audio = _CONTAINERS[essence]
    chosen: dict[str, str] = {}
    for kind, known in (("video", video), ("audio", audio)):
        if kind not in kinds:
            continue
        if not known:
            raise NotSupportedError(f"the stream's {kind} track cannot be held by {text!r}: {essence} has no {kind}")
        asked = [codec for codec in codecs or known if codec in known]
        if not asked:
            raise NotSupportedError(f"the stream's {kind} track cannot be held by {text!r}: it names no {kind} codec")
        codec = given.get(kind)
        if codec is None:
            raw = [name for name in asked if name in _RAW]
            if not raw:
                raise NotSupportedError(
                    f"the stream's {kind} track is raw, and {text!r} names {asked[0]}, which is recorded from sources "
                    "alone that are encoded already"
                )
            codec = raw[0]
        elif codec not in asked or container == "ogg":
            raise NotSupportedError(
                f"the stream's {kind} track is encoded already, as {codec}, which {text!r} does not hold; use a type "
                "that names it, such as video/x-matroska without codecs"
            )
        chosen[kind] = codec
    names = ",".join(CODECS[codec].mime for codec in chosen.values())
    video_codec = next((codec for codec in VIDEO_CODECS if codec == chosen.get("video")), None)
    return Format(container, None if "video" in given else video_codec, f"{essence};codecs={names}")


def for_tracks(text: str, tracks: Sequence[Described]) -> Format:
    """The same for these tracks."""
    return choose(text, {track.kind for track in tracks}, codecs_of(tracks))


def _usual(kinds: set[str], encoded: Mapping[str, str]) -> str:
    """The type that is taken where none is asked for."""
    if not all(codec in CODECS and CODECS[codec].webm for codec in encoded.values()):
        return "video/x-matroska"
    return "video/webm" if "video" in kinds else "audio/webm"
