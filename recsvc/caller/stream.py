"""Streams and their tracks (W3C Media Capture and Streams, in Python's spelling)."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import errors
from ..common.constraints import checked_audio, checked_video, plain
from ..common.limits import OPEN_SOURCE_DEADLINE_NS
from ..common.redact import redacted
from ..common.sources import absolute
from ..wire import messages
from ..wire.sender import FrameSender
from .calls import OfProcess, public, whole
from .client import Client, connect
from .devices import enumerate_in_helper
from .weak import Living

log = logging.getLogger("recsvc")


class _Origin:
    """Where the frames of a track come from; shared by its clones."""

    client: Client | None = None
    captured = False

    def __init__(self) -> None:
        self.muted = False
        self.live = True
        self.users: Living[MediaStreamTrack] = Living()

    def control(self, route: str, action: str, at_ns: int) -> None:
        """``action``: end, enable or disable, for one recording."""
        raise NotImplementedError  # pragma: no cover

    def release(self) -> None:
        """No track uses it any more."""

    def end(self) -> None:
        """The source is over: all its tracks end."""
        self.live = False
        for track in self.users.all():
            track._end()


class _CapturedOrigin(_Origin):
    captured = True

    def __init__(self, client: Client, track: str, commands: str) -> None:
        """``commands``: the endpoint of its capture process."""
        super().__init__()
        self.client = client
        self.track = track
        self.commands = commands
        client.reach(commands)
        client.on_track(track, self._on_ended)
        client.on_end(self)

    def _on_ended(self, event: messages.SourceEvent) -> None:
        if event.error:
            log.warning("track %s ended: %s: %s", event.track, event.error, event.text)
        self.end()

    def service_closing(self) -> None:
        pass

    def service_lost(self, error: Exception) -> None:
        self.end()

    def service_given_up(self) -> list[str]:
        return []  # it has no files

    def service_closed(self) -> None:
        self.end()

    def end(self) -> None:
        assert self.client is not None
        if self.live:
            self.client.leave(self.commands)
            self.client.on_track(self.track, None)
        super().end()

    def control(self, route: str, action: str, at_ns: int) -> None:
        assert self.client is not None
        self.client.command(messages.ControlRoute(route=route, action=action, at_ns=at_ns))

    def release(self) -> None:
        assert self.client is not None
        if self.live and self.client.usable:
            self.live = False
            self.client.leave(self.commands)
            self.client.on_track(self.track, None)
            self.client.command(messages.CloseTrack(track=self.track))


class _PushedOrigin(_Origin):
    def __init__(self, sender: FrameSender) -> None:
        super().__init__()
        self.sender = sender

    def control(self, route: str, action: str, at_ns: int) -> None:
        if action == "end":
            self.sender.end(route, at_ns)
        else:
            self.sender.enable(route, action == "enable")


class MediaStreamTrack(OfProcess):
    """One kind of media from one source. Made by ``get_user_media``, ``AudioSource``, ``VideoSource``, ``clone``."""

    def __init__(self, origin: _Origin, kind: str, label: str, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self._origin = origin
        self._kind = kind
        self._label = label
        self._settings = dict(settings)
        self._id = f"{kind}-{uuid.uuid4().hex[:12]}"
        self._enabled = True
        self._ready_state = "live" if origin.live else "ended"
        self._ended_ns = 0
        self._lock = threading.RLock()
        self._routes: dict[str, int] = {}  # of the recordings that record this track now: how often it was controlled
        origin.users.add(self)

    @property
    def id(self) -> str:
        return self._id

    @property
    def kind(self) -> str:
        """``"audio"`` or ``"video"``."""
        return self._kind

    @property
    def label(self) -> str:
        """The device or source, for people."""
        return self._label

    @property
    def enabled(self) -> bool:
        """Settable; a disabled track is recorded as black or silence."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"enabled must be True or False, got {value!r}")
        self._check_process()
        whole(lambda: self._enable(value))

    def _enable(self, value: bool) -> None:
        with self._lock:
            self._enabled = value
            self._control("enable" if value else "disable", time.monotonic_ns())

    @property
    def muted(self) -> bool:
        """Whether the source delivers black or silence at the moment."""
        return self._origin.muted

    @property
    def ready_state(self) -> str:
        """``"live"`` or ``"ended"``."""
        return self._ready_state

    def stop(self) -> None:
        """Ends this track for good; its device closes with the last track that uses it. Idempotent."""
        self._check_process()
        at_ns = time.monotonic_ns()
        whole(lambda: self._stop(at_ns))

    def _stop(self, at_ns: int) -> None:
        with self._lock:
            if self._ready_state == "ended":
                return
            self._ended_ns = at_ns
            self._control("end", at_ns)
            self._end()
        if not any(track.ready_state == "live" for track in self._origin.users.all()):
            self._origin.release()

    def _control(self, action: str, at_ns: int) -> None:
        for route in self._routes:
            self._routes[route] += 1
            try:
                self._origin.control(route, action, at_ns)
            except errors.ServiceError:
                log.debug("%s of %s: the service is gone; its recording ends", action, route)

    def _attach(self, route: str, told: bool) -> None:
        """It is recorded from now on. ``told``: whether it is enabled, as the other side knows; what has changed
        since is told here."""
        with self._lock:
            self._routes[route] = 0
            if self._enabled != told:
                self._routes[route] += 1
                self._origin.control(route, "enable" if self._enabled else "disable", time.monotonic_ns())
            if self._ready_state == "ended":
                self._routes[route] += 1
                self._origin.control(route, "end", self._ended_ns or time.monotonic_ns())

    def _detach(self, route: str) -> None:
        with self._lock:
            self._routes.pop(route, None)

    @property
    def _captured_as(self) -> str:
        """Its name in a service: all clones of a captured track have one, since they are captured once."""
        return self._origin.track if isinstance(self._origin, _CapturedOrigin) else self._id

    def _end(self) -> None:
        self._ready_state = "ended"

    @public
    def clone(self) -> MediaStreamTrack:
        """A track of the same source with a life, an ``id`` and an ``enabled`` of its own."""
        cloned = MediaStreamTrack(self._origin, self._kind, self._label, self._settings)
        cloned._ready_state = self._ready_state
        cloned._enabled = self._enabled
        return cloned

    def get_settings(self) -> dict[str, Any]:
        """What the source delivers: ``sample_rate``, ``channel_count``, ``sample_format``; or ``width``, ``height``,
        ``pixel_format``, ``frame_rate``, ``color_space`` (``bt601``, ``bt709``, ``bt2020``), ``color_primaries`` and
        ``color_transfer`` (numbers of ITU-T H.273), ``display_width`` and ``display_height`` (of a captured one). Of a
        pushed one ``clock``, where it is ``"media"``."""
        self._check_process()
        return dict(self._settings)

    def __repr__(self) -> str:
        return f"<MediaStreamTrack {self._kind} {self._label!r} {self._ready_state}>"


class MediaStream(OfProcess):
    """A set of tracks. As a context manager it closes at the end."""

    def __init__(self, tracks: Iterable[MediaStreamTrack] = ()) -> None:
        super().__init__()
        self._id = uuid.uuid4().hex
        self._tracks: dict[str, MediaStreamTrack] = {}
        self._recorders: Living[Any] = Living()
        for track in tracks:
            self._tracks[_checked_track(track).id] = track

    @property
    def id(self) -> str:
        return self._id

    @property
    def active(self) -> bool:
        """Whether a track is live."""
        return any(track.ready_state == "live" for track in list(self._tracks.values()))

    def get_tracks(self) -> list[MediaStreamTrack]:
        self._check_process()
        return list(self._tracks.values())

    def get_audio_tracks(self) -> list[MediaStreamTrack]:
        return [track for track in self.get_tracks() if track.kind == "audio"]

    def get_video_tracks(self) -> list[MediaStreamTrack]:
        return [track for track in self.get_tracks() if track.kind == "video"]

    @public
    def add_track(self, track: MediaStreamTrack) -> None:
        """Adds a track; one that is there already changes nothing. A recording of this stream ends with
        ``InvalidModificationError``."""
        if _checked_track(track).id not in self._tracks:
            self._tracks[track.id] = track
            self._modified()

    @public
    def remove_track(self, track: MediaStreamTrack) -> None:
        """Removes a track (it lives on); one that is not there changes nothing. As ``add_track`` for recordings."""
        if self._tracks.pop(_checked_track(track).id, None) is not None:
            self._modified()

    def _modified(self) -> None:
        for recorder in self._recorders.all():
            recorder._stream_modified()

    @public
    def clone(self) -> MediaStream:
        """A stream of clones of all tracks."""
        return MediaStream(track.clone() for track in self._tracks.values())

    @public
    def close(self) -> None:
        """Stops every track. Idempotent."""
        for track in list(self._tracks.values()):
            track.stop()

    def __enter__(self) -> MediaStream:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._elsewhere:  # a forked child leaves the block, too
            self.close()

    def __repr__(self) -> str:
        return f"<MediaStream {list(self._tracks.values())!r}>"


def _checked_track(track: Any) -> MediaStreamTrack:
    if not isinstance(track, MediaStreamTrack):
        raise TypeError(f"expected a MediaStreamTrack, got {track!r}")
    track._check_process()
    return track


# --- captured -------------------------------------------------------------------------------------


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


def _constraints(kind: str, wish: Any) -> dict[str, Any] | None:
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


def get_user_media(audio: Any = False, video: Any = False, *, service: str | None = None) -> MediaStream:
    """Opens capture and returns a stream of its tracks (Media Capture and Streams, "getUserMedia()").

    ``audio``, ``video``: ``False``, ``True`` (the default device), a source string, or a dict of constraints:
    ``source`` and ``sample_rate`` (Hz), ``channel_count``, ``sample_size`` (16 or 32 bits); or ``width``,
    ``height`` (pixels), ``frame_rate`` (1/s). Equal source strings are opened once. Blocks until the devices
    deliver. Raises ``NotFoundError``, ``NotReadableError``, ``OverconstrainedError``; ``TypeError`` when neither
    is asked for, and with ``ValueError`` for nonsense; ``ServiceError``.
    """
    wishes = {"audio": _constraints("audio", audio), "video": _constraints("video", video)}
    if wishes["audio"] is None and wishes["video"] is None:
        raise TypeError("neither audio nor video is asked for: give at least one of them")
    return whole(lambda: _open_media(wishes, service), lambda stream: stream.close())


def _open_media(wishes: Mapping[str, dict[str, Any] | None], service: str | None) -> MediaStream:
    client = connect(service)
    named = {
        kind: {**wish, "track": f"{kind}-{uuid.uuid4().hex[:12]}"} for kind, wish in wishes.items() if wish is not None
    }
    try:
        opened = client.request(
            messages.OpenSource(client=client.name, audio=named.get("audio"), video=named.get("video")),
            OPEN_SOURCE_DEADLINE_NS,
        )
    except BaseException:  # perhaps it is being opened, and nobody would ever close it
        for wish in named.values():
            with contextlib.suppress(errors.ServiceError):
                client.command(messages.CloseTrack(track=wish["track"]))
        raise
    tracks = []
    for one in opened:
        track = MediaStreamTrack(
            _CapturedOrigin(client, one["id"], one["commands"]), one["kind"], one["label"], one["settings"]
        )
        track._id = one["id"]
        tracks.append(track)
    return MediaStream(tracks)
