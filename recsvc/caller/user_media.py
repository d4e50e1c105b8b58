"""``get_user_media`` and ``enumerate_devices`` (W3C Media Capture and Streams)."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .. import errors
from ..common.constraints import checked_audio, checked_video, plain
from ..common.descriptions import TrackDescription
from ..common.limits import OPEN_SOURCE_DEADLINE_NS
from ..common.redact import redacted
from ..common.sources import absolute
from ..wire import messages
from ..wire.replies import understood
from .calls import whole
from .connections import connect
from .devices import enumerate_in_helper
from .origin import CapturedOrigin, Track
from .stream import MediaStream, MediaStreamTrack

Wish: TypeAlias = bool | str | Mapping[str, object] | None
"""What ``get_user_media`` is asked for, of one kind."""


@dataclass(frozen=True, slots=True)
class MediaDeviceInfo:
    """A device that is there. ``device_id`` is the source string that opens it; ``kind`` is ``audioinput`` or
    ``videoinput``; ``details`` hold rates or sizes where they are known."""

    device_id: str
    kind: str
    label: str
    details: dict[str, Any] = field(default_factory=dict)


def enumerate_devices() -> list[MediaDeviceInfo]:
    """What can be captured on this machine now, asked of a short-lived process. Blocks for about a second."""
    common = ("device_id", "kind", "label")
    return [
        MediaDeviceInfo(
            **{name: found[name] for name in common},
            details={k: v for k, v in found.items() if k not in common},
        )
        for found in enumerate_in_helper()
    ]


def wished(kind: str, wish: object) -> dict[str, Any] | None:
    """What was given for audio or video as a dictionary with ``source``; ``None`` for ``False``."""
    if wish is None or wish is False:
        return None
    if wish is True:
        return {"source": _default_source(kind)}
    if isinstance(wish, str):
        return {"source": _here(wish)}
    if isinstance(wish, Mapping):
        given = dict(wish)
        source = given.get("source")
        if source is None:
            given["source"] = _default_source(kind)
        elif not isinstance(source, str):
            raise TypeError(f"{kind} source must be a string, got {redacted(repr(source))}")
        checked = checked_audio if kind == "audio" else checked_video
        checked({name: value for name, value in given.items() if name != "source"})
        return plain({**given, "source": _here(given["source"])})
    raise TypeError(f"{kind} must be False, True, a source string or a dict of constraints, got {redacted(repr(wish))}")


def _here(source: str) -> str:
    """A relative path means the caller's directory at the call; whoever opens it has another."""
    if absolute(source, "/") == source:
        return source  # no relative path: where we are does not matter
    try:
        return absolute(source, os.getcwd())
    except FileNotFoundError:
        raise errors.NotFoundError(f"{source!r}: the current directory was removed; give an absolute path") from None


def _default_source(kind: str) -> str:
    wanted = "audioinput" if kind == "audio" else "videoinput"
    for device in enumerate_devices():
        if device.kind == wanted:
            return device.device_id
    what = "microphone" if kind == "audio" else "camera"
    raise errors.NotFoundError(f'there is no {what} here; name a source, such as {kind}="test:"')


def get_user_media(
    audio: Wish = False, video: Wish = False, *, service: str | os.PathLike[str] | None = None
) -> MediaStream:
    """Opens capture and returns a stream of its tracks (Media Capture and Streams, "getUserMedia()").

    ``audio``, ``video``: ``False``, ``True`` (the default device), a source string, or a dict of constraints:
    ``source`` and ``sample_rate`` (Hz), ``channel_count``, ``sample_size`` (16 or 32 bits), ``latency`` (seconds of
    sound that a microphone's driver may keep, for which a stop waits); or ``width``, ``height`` (pixels),
    ``frame_rate`` (1/s). Or, of files and network streams, ``encoded=True``: their packets are recorded as they are.
    Recordings of such pictures in real time begin with the newest key frame before ``start()`` that is at most
    ``preroll`` seconds old (0 to 10; by default 10), and sound beside it as early. ``service``: as of
    ``MediaRecorder``. Equal source strings are opened once. Blocks until the devices deliver. Raises ``NotFoundError``,
    ``NotReadableError``, ``OverconstrainedError``, ``NotSupportedError`` (packets that are not recorded as they are);
    ``TypeError`` when neither is asked for, and with ``ValueError`` for nonsense; ``ServiceError``.
    """
    wishes = {"audio": wished("audio", audio), "video": wished("video", video)}
    if wishes["audio"] is None and wishes["video"] is None:
        raise TypeError("neither audio nor video is asked for: give at least one of them")
    return whole(lambda: _open_media(wishes, service), lambda stream: stream.close())


def _open_media(wishes: Mapping[str, dict[str, Any] | None], service: str | os.PathLike[str] | None) -> MediaStream:
    client = connect(service)
    named = {
        kind: {**wish, "track": f"{kind}-{uuid.uuid4().hex[:12]}"} for kind, wish in wishes.items() if wish is not None
    }
    try:
        reply = client.request(
            messages.OpenSource(client=client.name, audio=named.get("audio"), video=named.get("video")),
            OPEN_SOURCE_DEADLINE_NS,
        )
        opened = understood(reply, list[TrackDescription])
        if {one.kind: one.id for one in opened} != {kind: wish["track"] for kind, wish in named.items()}:
            raise errors.ServiceError(f"the service at {client.address} has opened other tracks than it was asked for")
    except BaseException:  # perhaps it is being opened, and nobody would ever close it
        for wish in named.values():
            with contextlib.suppress(errors.ServiceError):
                client.command(messages.CloseTrack(track=wish["track"]))
        raise
    tracks = [Track(CapturedOrigin(client, one.id), one.kind, one.label, one.settings, one.id) for one in opened]
    return MediaStream([MediaStreamTrack(track) for track in tracks])
