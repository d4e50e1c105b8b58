"""One recording as the controller knows it: its phase, who feeds it, what is due, and what was handed out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from ..common.clocks import ClientClock
from ..common.codecs import frames_of
from ..common.descriptions import Started
from ..common.limits import credit
from ..common.pieces import HandedOut
from ..common.state import Life
from ..wire import messages

SERVICE = "-service"
"""Whose the recordings without a caller are, and their sources: no client can have this name."""


class Recording(Life):
    """One life from ``start`` to ``stop``. ``worker`` and ``captures`` are the supervisor's children."""

    def __init__(
        self, request: messages.Start, worker: Any, captures: dict[str, Any], path: str, mime_type: str
    ) -> None:
        super().__init__()
        self.name = request.recording
        self.client = request.client
        self.recorder = request.recorder
        self.title = request.name  # what people call it
        self.sender = b""  # the connection by which its caller began it
        self.owner = ""  # the name of its caller's key
        self.whose = ""  # in whose bounds it counts: a key's, else a client's
        self.encoder_threads = 1  # for its pictures
        self.began = time.time()
        self.commands = 0  # the number of its caller's newest pause or resume
        self.tracks = request.tracks
        self.options = request.options
        self.worker = worker
        self.captures = captures  # route -> capture process, of the captured tracks that have not ended
        self.feeders = dict(captures)  # the same, of those whose process still lives
        self.live = {*captures, *self.pushed}  # the routes of all tracks that have not ended
        self.orphaned = False  # its caller is gone
        self.ends_unasked = False  # its caller does not know yet that it ends
        self.clock: ClientClock | None = None  # its caller's, where that is not ours
        self.moved = False  # to another worker, because the first one died before it had opened it
        self.path = path
        self.mime_type = mime_type
        self.failure: tuple[str, str] | None = None
        self.stopped_ns = 0
        self.due: tuple[int, Callable[[Any], None]] | None = None  # when something must have happened, and what if not
        self.postponed_ns = 0  # by how much, in all
        self.cut = False  # the drain took too long, and its file ends with what was encoded
        self.discarded = False  # its caller gave it up while it began
        self._paused_ns = 0  # all together, before the pause that goes on
        self._paused_since_ns: int | None = None
        self.handed_out = HandedOut()

    def is_from(self, client: str, sender: bytes) -> bool:
        """Whether a command comes from its caller."""
        return client == self.client or (not client and sender == self.sender)

    @property
    def topic(self) -> str:
        """Of its events. Of one without a caller nobody's topic is the beginning of another's."""
        return f"{self.client}/{self.recorder}{'/' if self.client == SERVICE else ''}"

    def open_recording(self, request: messages.Start) -> messages.OpenRecording:
        """For the worker that it is on."""
        return messages.OpenRecording(
            recording=self.name,
            path=self.path,
            tracks=request.tracks,
            routes=tuple(self.route(track.track) for track in request.tracks),
            options=request.options,
            at_ns=request.at_ns,
            owner=self.owner,
            encoder_threads=self.encoder_threads,
            clock=self.clock.segments if self.clock is not None else (),
        )

    def started(self, routes: tuple[messages.RouteDescription, ...]) -> Started:
        return Started(recording=self.name, topic=self.topic, path=self.path, routes=routes)

    def route(self, track: str) -> str:
        return f"{self.name}/{track}"

    def routes(self) -> list[messages.RouteDescription]:
        """What its sources are sent, once its worker has opened it."""
        described = []
        for track in self.tracks:
            frames, size = credit(frames_of(track), self.options.overload)
            described.append(
                messages.RouteDescription(
                    route=self.route(track.track),
                    track=track.track,
                    endpoints=self.worker.endpoints,
                    credit_frames=frames,
                    credit_bytes=size,
                )
            )
        return described

    @property
    def pushed(self) -> list[str]:
        """The routes that the caller feeds itself."""
        return [self.route(track.track) for track in self.tracks if not track.captured]

    @property
    def unfed(self) -> list[str]:
        """The routes of tracks that have ended, or whose caller is gone."""
        captured = [self.route(track.track) for track in self.tracks if track.captured]
        ended = [route for route in captured if route not in self.feeders or route not in self.captures]
        return ended + (self.pushed if self.orphaned else [])

    def fed(self) -> dict[Any, list[str]]:
        """The routes of captured tracks that have not ended, by the capture process that feeds them."""
        found: dict[Any, list[str]] = {}
        for route, child in self.captures.items():
            found.setdefault(child, []).append(route)
        return found

    def close_routes(self, routes: list[str], now_ns: int, reason: str, goes_on: bool) -> messages.CloseRoutes:
        """They end where the recording did, else now."""
        until_ns = self.stopped_ns or now_ns
        paused_ns = self.paused_ns(until_ns)
        return messages.CloseRoutes(
            routes=tuple(routes), until_ns=until_ns, paused_ns=paused_ns, reason=reason, goes_on=goes_on
        )

    def postpone(self, lost_ns: int) -> None:
        """What is waited for has so much more time."""
        self.postponed_ns += lost_ns
        if self.due is not None:
            self.due = self.due[0] + lost_ns, self.due[1]

    def hurry(self, at_ns: int) -> None:
        """What is waited for is waited for until ``at_ns`` at most."""
        if self.due is not None and self.due[0] > at_ns:
            self.due = at_ns, self.due[1]

    def paused(self, at_ns: int) -> None:
        self._paused_since_ns = at_ns

    def resumed(self, at_ns: int) -> None:
        if self._paused_since_ns is not None:
            self._paused_ns += max(0, at_ns - self._paused_since_ns)
            self._paused_since_ns = None

    def paused_ns(self, until_ns: int) -> int:
        """How long it was paused, up to this instant."""
        going_on = 0 if self._paused_since_ns is None else max(0, until_ns - self._paused_since_ns)
        return self._paused_ns + going_on

    def with_clock(self, statistics: messages.RecordingStatistics) -> messages.RecordingStatistics:
        """The accounting of its worker, and what is known of its caller's clock."""
        clock = None if self.clock is None else self.clock.statistics()
        return statistics if clock is None else msgspec.structs.replace(statistics, clock=clock)

    def last(self, report: messages.RecordingFinished) -> messages.RecordingFinished:
        """The report of its worker, with what went wrong elsewhere; it is published now."""
        error, text = self.failure or (report.error, report.text)
        statistics = self.with_clock(report.statistics)
        if statistics.stop_stages_ns:
            stages = {**statistics.stop_stages_ns, "published": max(0, time.monotonic_ns() - self.stopped_ns)}
            statistics = msgspec.structs.replace(statistics, stop_stages_ns=stages)
        return msgspec.structs.replace(report, error=error, text=text, statistics=statistics)

    def fail(self, error: str, text: str) -> None:
        """The first failure is the one that is published."""
        self.failure = self.failure or (error, text)
