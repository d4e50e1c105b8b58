"""Where the frames of tracks come from, and what is commanded there."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..common.descriptions import RouteAction, RouteDescription
from ..errors import ServiceError
from ..wire.messages import CloseTrack, ControlRoutes, SourceEvent
from ..wire.sender import FrameSender
from .client import Client
from .weak import Living

log = logging.getLogger("recsvc")

T = TypeVar("T")


class Origin:
    """The source of a track and of its clones. Each command is for one route: one track in one recording.

    ``pause``, ``resume``, ``mark``, ``stop`` and ``drop`` come from a recording, whose controller commands the capture
    processes itself; so these act on frames that come from here, and do nothing otherwise.
    """

    captured = False
    client: Client | None = None
    name = ""

    def __init__(self) -> None:
        self.muted = False
        self.live = True
        self.users: Living[Track] = Living()

    def prepare(self, track: Track, route: str, from_ns: int, frames: int, size: int) -> None:
        """A recording is about to be opened, and frames from ``from_ns`` on belong to it. ``frames``, ``size``: how
        many frames and bytes may wait for that."""

    def opened(self, track: Track, client: Client, description: RouteDescription, enabled: bool) -> None:
        """The recording is open. ``enabled``: whether its service took the track for enabled."""

    def pause(self, route: str, at_ns: int) -> None:
        pass

    def resume(self, route: str, at_ns: int) -> None:
        pass

    def mark(self, route: str, at_ns: int, number: int) -> None:
        """What was captured until then belongs to the data of this request, which is the ``number``-th."""

    def stop(self, route: str, at_ns: int) -> None:
        """The recording ends."""

    def drop(self, route: str) -> None:
        """The recording is given up: nobody waits for its frames."""

    def end(self, client: Client | None, route: str, at_ns: int) -> None:
        """The track ends; its recording, which is ``client``'s, may go on with others. ``None``: the service does not
        know the recording yet."""
        raise NotImplementedError

    def enable(self, client: Client | None, route: str, enabled: bool) -> None:
        """The track is recorded as it is from now on, or as black or silence."""
        raise NotImplementedError

    def release(self) -> None:
        """No track uses it any more."""

    def over(self) -> None:
        """Nothing more comes: all its tracks end."""
        self.live = False
        for track in self.users.all():
            track.live = False


class CapturedOrigin(Origin):
    """A source that a capture process reads. ``name``: the service's for it."""

    captured = True
    client: Client

    def __init__(self, client: Client, name: str) -> None:
        super().__init__()
        self.client = client
        self.name = name
        client.on_track(name, self._on_ended)
        client.on_end(self)

    def _on_ended(self, event: SourceEvent) -> None:
        if event.error:
            log.warning("track %s ended: %s: %s", event.track, event.error, event.text)
        self.over()

    def service_closing(self) -> None:
        pass

    def service_lost(self, error: Exception) -> None:
        self.over()

    def service_given_up(self) -> list[str]:
        return []  # it has no files

    def service_closed(self) -> None:
        self.over()

    def opened(self, track: Track, client: Client, description: RouteDescription, enabled: bool) -> None:
        track.attach(description.route, client, enabled)

    def end(self, client: Client | None, route: str, at_ns: int) -> None:
        self.client.command(ControlRoutes(routes=(route,), action="end", at_ns=at_ns))

    def enable(self, client: Client | None, route: str, enabled: bool) -> None:
        action: RouteAction = "enable" if enabled else "disable"
        self.client.command(ControlRoutes(routes=(route,), action=action, at_ns=time.monotonic_ns()))

    def release(self) -> None:
        if self.live and self.client.usable:
            self._leave()
            self.client.command(CloseTrack(track=self.name))

    def over(self) -> None:
        if self.live:
            self._leave()
        super().over()

    def _leave(self) -> None:
        self.live = False
        self.client.on_track(self.name, None)


class PushedOrigin(Origin):
    """Frames that this program writes."""

    def __init__(self, sender: FrameSender[Any]) -> None:
        super().__init__()
        self.sender = sender

    def prepare(self, track: Track, route: str, from_ns: int, frames: int, size: int) -> None:
        self.sender.prepare(route, from_ns, frames, size)
        track.attach(route, None, True)

    def opened(self, track: Track, client: Client, description: RouteDescription, enabled: bool) -> None:
        self.sender.open(description.route, client.reachable(description.endpoints))
        track.opened(description.route, client)

    def pause(self, route: str, at_ns: int) -> None:
        self.sender.pause(route, at_ns)

    def resume(self, route: str, at_ns: int) -> None:
        self.sender.resume(route, at_ns)

    def mark(self, route: str, at_ns: int, number: int) -> None:
        self.sender.mark(route, at_ns, number)

    def stop(self, route: str, at_ns: int) -> None:
        self.sender.end(route, at_ns)

    def drop(self, route: str) -> None:
        self.sender.drop(route)

    def end(self, client: Client | None, route: str, at_ns: int) -> None:
        self.sender.end(route, at_ns)
        if client is not None:
            client.command(ControlRoutes(routes=(route,), action="end", at_ns=at_ns))

    def enable(self, client: Client | None, route: str, enabled: bool) -> None:
        self.sender.enable(route, enabled)

    def over(self) -> None:
        at_ns = time.monotonic_ns()
        for track in self.users.all():
            track.stop(at_ns)
        super().over()


class Track:
    """The inside of a ``MediaStreamTrack``: its own life, and the recordings that it takes part in."""

    def __init__(
        self, origin: Origin, kind: str, label: str, settings: Mapping[str, Any], name: str | None = None
    ) -> None:
        self.origin = origin
        self.kind = kind
        self.label = label
        self.settings = dict(settings)
        self.id = name or f"{kind}-{uuid.uuid4().hex[:12]}"
        self.enabled = True
        self.live = origin.live
        # Of the recordings that record it now, and where these are; ``None``: the service does not know it yet.
        self.routes: dict[str, Client | None] = {}
        self._ended_ns = 0
        self._lock = threading.RLock()
        origin.users.add(self)

    @property
    def captured_as(self) -> str:
        """Its name in a service: all clones of a captured track have one, since they are captured once."""
        return self.origin.name or self.id

    def clone(self) -> Track:
        cloned = Track(self.origin, self.kind, self.label, self.settings)
        cloned.live = self.live
        cloned.enabled = self.enabled
        return cloned

    def enable(self, enabled: bool) -> None:
        with self._lock:
            self.enabled = enabled
            for route in self.routes:
                self._enable(route)

    def stop(self, at_ns: int) -> None:
        """Ends it for good. The last one that uses its source closes that."""
        with self._lock:
            if not self.live:
                return
            self._ended_ns = at_ns
            for route in self.routes:
                self._end(route)
            self.live = False
        if not any(track.live for track in self.origin.users.all()):
            self.origin.release()

    def attach(self, route: str, client: Client | None, enabled: bool) -> None:
        """It is recorded from now on. ``enabled``: whether it was taken for enabled; what has changed since is
        commanded now."""
        with self._lock:
            self.routes[route] = client
            if self.enabled != enabled:
                self._enable(route)
            if not self.live:
                self._end(route)

    def opened(self, route: str, client: Client) -> None:
        """The service knows the recording that it was attached to: an end of the track meanwhile is commanded now."""
        with self._lock:
            if route in self.routes:
                self.routes[route] = client
                if not self.live:
                    self._end(route)

    def detach(self, route: str) -> None:
        """It is not recorded any more."""
        with self._lock:
            self.routes.pop(route, None)

    def _enable(self, route: str) -> None:
        self._command(route, self.origin.enable, self.enabled)

    def _end(self, route: str) -> None:
        self._command(route, self.origin.end, self._ended_ns or time.monotonic_ns())

    def _command(self, route: str, command: Callable[[Client | None, str, T], None], given: T) -> None:
        try:
            command(self.routes[route], route, given)
        except ServiceError:
            log.debug("a command for %s: the service is gone, and its recording ends", route)
