"""Streams and their tracks (W3C Media Capture and Streams, in Python's spelling)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any, Protocol

from .calls import OfProcess, check_process, public, whole
from .origin import Track
from .weak import Living


class MediaStreamTrack(OfProcess):
    """One kind of media from one source. Made by ``get_user_media``, sources that are written to, ``clone``."""

    def __init__(self, track: Track) -> None:
        super().__init__()
        self._track = track

    @property
    def id(self) -> str:
        return self._track.id

    @property
    def kind(self) -> str:
        """``"audio"`` or ``"video"``."""
        return self._track.kind

    @property
    def label(self) -> str:
        """The device or source, for people."""
        return self._track.label

    @property
    def enabled(self) -> bool:
        """Settable; a disabled track is recorded as black or silence."""
        return self._track.enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"enabled must be True or False, got {value!r}")
        self._check_process()
        whole(lambda: self._track.enable(value))

    @property
    def muted(self) -> bool:
        """Whether the source delivers black or silence at the moment."""
        return self._track.origin.muted

    @property
    def ready_state(self) -> str:
        """``"live"`` or ``"ended"``."""
        return "live" if self._track.live else "ended"

    def stop(self) -> None:
        """Ends this track for good; its device closes with the last track that uses it. Idempotent."""
        self._check_process()
        at_ns = time.monotonic_ns()
        whole(lambda: self._track.stop(at_ns))

    @public
    def clone(self) -> MediaStreamTrack:
        """A track of the same source with a life, an ``id`` and an ``enabled`` of its own."""
        return MediaStreamTrack(self._track.clone())

    def get_settings(self) -> dict[str, Any]:
        """What the source delivers: ``sample_rate``, ``channel_count``, ``sample_format``; or ``width``, ``height``,
        ``pixel_format``, ``frame_rate``, ``color_space`` (``bt601``, ``bt709``, ``bt2020``), ``color_primaries`` and
        ``color_transfer`` (numbers of ITU-T H.273), ``display_width`` and ``display_height`` (of a captured one). Of a
        pushed one ``clock``, where it is ``"media"``."""
        self._check_process()
        return dict(self._track.settings)

    def __repr__(self) -> str:
        return f"<MediaStreamTrack {self.kind} {self.label!r} {self.ready_state}>"


def track_of(track: MediaStreamTrack) -> Track:
    """What recordings use of it."""
    return track._track  # noqa: SLF001 the one door to it


class Watcher(Protocol):
    """What has to know when a stream's tracks change."""

    def _stream_modified(self) -> None: ...


class MediaStream(OfProcess):
    """A set of tracks. As a context manager it closes at the end."""

    def __init__(self, tracks: Iterable[MediaStreamTrack] = ()) -> None:
        super().__init__()
        self._id = uuid.uuid4().hex
        self._tracks: dict[str, MediaStreamTrack] = {}
        self._watchers: Living[Watcher] = Living()
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
        for watcher in self._watchers.all():
            watcher._stream_modified()  # noqa: SLF001 the protocol's

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


def watch(stream: MediaStream, watcher: Watcher) -> None:
    """Has it called after each change of the stream's tracks, as long as it lives."""
    stream._watchers.add(watcher)  # noqa: SLF001 the one door to them


def _checked_track(track: object) -> MediaStreamTrack:
    if not isinstance(track, MediaStreamTrack):
        raise TypeError(f"expected a MediaStreamTrack, got {track!r}")
    check_process(track)
    return track
