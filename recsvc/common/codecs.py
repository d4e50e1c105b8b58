"""The codecs of media that comes encoded and is recorded as it is: their names, and which files hold them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol


class Codec(NamedTuple):
    """``mime``: as browsers write it in ``codecs=``. ``webm``: whether WebM holds it; Matroska holds all."""

    kind: str
    mime: str
    webm: bool = False


CODECS = {
    "vp8": Codec("video", "vp8", webm=True),
    "vp9": Codec("video", "vp9", webm=True),
    "av1": Codec("video", "av01", webm=True),
    "h264": Codec("video", "avc1"),
    "h265": Codec("video", "hvc1"),
    "opus": Codec("audio", "opus", webm=True),
    "aac": Codec("audio", "mp4a.40.2"),
    "pcm": Codec("audio", "pcm"),
    "alaw": Codec("audio", "alaw"),
    "ulaw": Codec("audio", "ulaw"),
}
"""By the names that are used here. ``pcm`` is 16 bits, signed, little-endian."""

_ALIASES = {
    "vp08": "vp8", "vp09": "vp9", "av01": "av1", "avc1": "h264", "avc3": "h264", "hvc1": "h265", "hev1": "h265",
    "hevc": "h265", "pcm_s16le": "pcm", "pcm-s16": "pcm", "pcm_alaw": "alaw", "pcm_mulaw": "ulaw", "mulaw": "ulaw",
}  # fmt: skip


def codec_named(name: str) -> str:
    """The name that is used here for what browsers and FFmpeg call differently (``avc1.42E01E``, ``hevc``), in lower
    case; an unknown one is returned up to its first dot."""
    first, _, rest = name.strip().lower().partition(".")
    if first == "mp4a" and (not rest or rest.split(".")[0] in ("40", "66", "67", "68")):
        return "aac"
    return _ALIASES.get(first, first)


class Described(Protocol):
    """A track, as far as it matters here."""

    @property
    def kind(self) -> str: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...


def codec_of(track: Described) -> str | None:
    """That of a track whose media comes encoded; ``None``: it comes raw."""
    codec = track.settings.get("codec")
    return None if codec is None else str(codec)


def codecs_of(tracks: Iterable[Described]) -> dict[str, str]:
    """Of those among these tracks that come encoded, by kind."""
    return {track.kind: codec for track in tracks if (codec := codec_of(track)) is not None}


def frames_of(track: Described) -> str:
    """Of which kind its frames are: ``audio``, ``video``; ``packet`` where they come encoded."""
    return track.kind if codec_of(track) is None else "packet"
