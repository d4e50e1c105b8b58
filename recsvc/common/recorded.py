"""What a client asks to be recorded, checked before anything is begun. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import NotSupportedError
from . import mime
from .descriptions import RecordedTrack, RecordingOptions
from .media import (
    AUDIO_BITS_MAX,
    AUDIO_BITS_MIN,
    BYTES_PER_SAMPLE,
    CHANNEL_COUNT_MAX,
    FRAME_RATE_MAX,
    FRAME_SIDE_MAX,
    PIXEL_FORMATS,
    SAMPLE_RATE_MAX,
    SAMPLE_RATE_MIN,
    VIDEO_BITS_MAX,
    VIDEO_BITS_MIN,
)
from .packet_limits import DESCRIPTION_BYTES_MAX

BITRATE_MODES = ("variable", "constant")
OVERLOADS = ("drop", "finish-late")
UINT32_MAX = 2**32 - 1
_WHOLE: dict[str, dict[str, tuple[int, int]]] = {
    "audio": {"sample_rate": (SAMPLE_RATE_MIN, SAMPLE_RATE_MAX), "channel_count": (1, CHANNEL_COUNT_MAX)},
    "video": {"width": (1, FRAME_SIDE_MAX), "height": (1, FRAME_SIDE_MAX)},
}
_ONE_OF: dict[str, tuple[str, ...]] = {
    "sample_format": tuple(BYTES_PER_SAMPLE),
    "pixel_format": PIXEL_FORMATS,
    "clock": ("monotonic", "media"),
}


def format_of(options: RecordingOptions, tracks: Sequence[RecordedTrack]) -> mime.Format:
    """That of the file. ``NotSupportedError``: no recording can have these tracks, or not in a file of this type.
    ``ValueError``: options, or settings of a track, that make no sense."""
    if not tracks:
        raise NotSupportedError("a recording needs a track of sound or of pictures; there is none")
    for track in tracks:
        if track.kind not in _WHOLE:
            raise NotSupportedError(f"the track {track.track} is of kind {track.kind!r}: expected audio or video")
        if sum(other.kind == track.kind for other in tracks) > 1:
            raise NotSupportedError(f"two {track.kind} tracks: a recording has at most one of each kind")
        if sum(other.track == track.track for other in tracks) > 1:
            raise NotSupportedError(f"two tracks have the id {track.track}: each needs one of its own")
        _check_settings(track.kind, track.settings)
    _check_options(options, tracks)
    return mime.for_tracks(options.mime_type, tracks)


def _check_settings(kind: str, settings: Mapping[str, Any]) -> None:
    for name, (low, high) in _WHOLE[kind].items():
        value = settings.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{kind} settings: {name} must be a whole number, {low} to {high}; it is {_shown(value)}")
    for name, known in _ONE_OF.items():
        if name in settings and settings[name] not in known:
            raise ValueError(f"{kind} settings: {name} must be {', '.join(known)}; it is {_shown(settings[name])}")
    description = settings.get("description", b"")
    if not isinstance(description, bytes) or len(description) > DESCRIPTION_BYTES_MAX:
        raise ValueError(
            f"{kind} settings: description must be binary, of at most {DESCRIPTION_BYTES_MAX} bytes; it is "
            f"{_shown(description)}"
        )
    rate = settings.get("frame_rate")
    if rate is not None and (not isinstance(rate, int | float) or not 0 <= rate <= FRAME_RATE_MAX):
        raise ValueError(f"{kind} settings: frame_rate must be 0 to {FRAME_RATE_MAX:g}; it is {_shown(rate)}")


def _check_options(options: RecordingOptions, tracks: Sequence[RecordedTrack]) -> None:
    """``ValueError``: what an encoder cannot do. Bit rates of kinds that are not encoded here do not matter."""
    encoded = {track.kind for track in tracks if "codec" not in track.settings}
    numbers = {
        "audio_bits_per_second": (AUDIO_BITS_MIN, AUDIO_BITS_MAX) if "audio" in encoded else None,
        "video_bits_per_second": (VIDEO_BITS_MIN, VIDEO_BITS_MAX) if "video" in encoded else None,
        **dict.fromkeys(("key_frame_interval_ms", "key_frame_interval_count", "timeslice_ms"), (0, UINT32_MAX)),
    }
    for name, bounds in numbers.items():
        value = getattr(options, name)
        if bounds is not None and value is not None and not bounds[0] <= value <= bounds[1]:  # nor is NaN
            raise ValueError(f"options: {name} must be {bounds[0]} to {bounds[1]}; it is {value}")
    for name, known in {"audio_bitrate_mode": BITRATE_MODES, "overload": OVERLOADS}.items():
        if getattr(options, name) not in known:
            raise ValueError(f"options: {name} must be {', '.join(known)}; it is {_shown(getattr(options, name))}")


def _shown(value: object) -> str:
    return "left out" if value is None else repr(value)[:80]
