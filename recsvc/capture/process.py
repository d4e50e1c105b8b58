"""The capture process: one opened source, its tracks, and where their frames go.

Frames leave from the source's own threads through the senders; this loop only takes commands.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from .. import errors
from ..common.complaints import Complaints
from ..common.limits import LINE_FLUSH_NS, MS
from ..process.role import Lifeline, arguments, started
from ..process.runtime import joined
from ..wire import messages, sockets
from ..wire.answers import take_requests
from ..wire.line import Line
from .opening import open_source
from .running import Source
from .sinks import Demand, HoldingSink, TrackSink
from .source import PacketFormat

log = logging.getLogger("recsvc.capture")


class CaptureProcess:
    """Owns the source of this process, and its line to the controller."""

    def __init__(self, line: Line, lifeline: Lifeline) -> None:
        self._lifeline = lifeline
        self._line = line
        self._source: Source | None = None
        self._sinks: dict[str, TrackSink] = {}
        self._routes: dict[str, TrackSink] = {}
        self._demand = Demand()
        self._ended_lock = threading.Lock()
        self._ended: list[tuple[str, Exception | None]] = []
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._done = False
        line.send(messages.Ready())

    def run(self) -> None:
        """Until a shutdown, a SIGTERM, the controller's end, or the last track was closed."""
        poller = sockets.Poller()
        for source in (self._line.descriptor, self._wake_read, *self._lifeline.descriptors):
            poller.register(source, sockets.POLLIN)
        while not self._done and not self._line.is_over:
            readable = dict(poller.poll(LINE_FLUSH_NS // MS if self._line.waits else None))
            if any(d in readable and self._lifeline.ended_by(d) for d in self._lifeline.descriptors):
                break
            take_requests(self._line, self._do)
            if self._wake_read in readable:
                self._report_ended()
            self._line.flush()
        now = time.monotonic_ns()
        self._demand.close()
        for sink in self._sinks.values():
            self._end_sink(sink, now)
            sink.sender.close()
        if self._source is not None:
            self._source.close()

    def _on_ended(self, name: str, error: Exception | None) -> None:
        """From the source's thread: the line belongs to the loop, so the news waits for it."""
        with self._ended_lock:
            self._ended.append((name, error))
        os.write(self._wake_write, b"e")

    def _report_ended(self) -> None:
        os.read(self._wake_read, 64)
        with self._ended_lock:
            ended, self._ended = self._ended, []
        for name, error in ended:
            text = "" if error is None else str(error)
            ended_by = "" if error is None else errors.name_of(error)
            self._line.send(messages.TrackEnded(track=name, error=ended_by, text=text))

    def _do(self, request: Any) -> Any:
        if isinstance(request, messages.OpenSource):
            return self._open(request)
        if isinstance(request, messages.BeginRoutes):
            self._begin(request)
        elif isinstance(request, messages.ControlRoutes):
            self._control_routes(request)
        elif isinstance(request, messages.CloseTrack):
            self._close_track(request.track)
        else:
            self._done = True
        return None

    def _open(self, request: messages.OpenSource) -> list[messages.TrackDescription]:
        """Opens the source and starts it. The track names come with the request."""
        given = [wish for wish in (request.audio, request.video) if wish is not None]
        names = {kind: w["track"] for kind, w in (("audio", request.audio), ("video", request.video)) if w}
        wishes = [
            None if wish is None else {k: v for k, v in wish.items() if k not in ("source", "track")}
            for wish in (request.audio, request.video)
        ]
        source = open_source(given[0]["source"], *wishes)
        self._source = source
        descriptions = []
        pictures: TrackSink | None = None
        for info in sorted(source.tracks, key=lambda info: info.kind != "video"):
            name = names[info.kind]
            settings = info.settings
            if source.pace_max:  # how fast it is read, and encoded, says nothing of how long it lasts
                settings["clock"] = "media"
            sink = HoldingSink if source.pace_max else TrackSink
            self._sinks[name] = sink(name, info, self._demand, self._on_ended, pictures)
            pictures = self._sinks[name] if info.kind == "video" else pictures
            descriptions.append(messages.TrackDescription(id=name, kind=info.kind, label=info.label, settings=settings))
        source.start({sink.info.kind: sink for sink in self._sinks.values()})
        return descriptions

    def _begin(self, request: messages.BeginRoutes) -> None:
        assert self._source is not None
        self._source.catch_up()
        sinks = [self._sinks[route.track] for route in request.routes if route.track in self._sinks]
        begin_ns = min((sink.begin_ns(request.from_ns) for sink in sinks), default=request.from_ns)
        for route in request.routes:
            sink = self._sinks.get(route.track)
            if sink is None:
                raise errors.NotFoundError(f"track {route.track!r} is not captured here")
            try:
                from_ns = begin_ns if isinstance(sink.info.format, PacketFormat) else request.from_ns
                sink.sender.begin(route, from_ns, route.route not in request.disabled)
            except errors.QuotaExceededError:
                sink.sender.drop(route.route)
                raise
            self._routes[route.route] = sink
        self._set_demand()  # now that all its routes are here

    def _control_routes(self, request: messages.ControlRoutes) -> None:
        named = [(route, self._routes[route]) for route in request.routes if route in self._routes]
        if request.action == "mark":
            self._flush(request.at_ns)
        for route, sink in named:
            if request.action in ("pause", "end"):  # all at once, before any of them is flushed
                sink.sender.pause(route, request.at_ns)
            elif request.action == "resume":
                sink.sender.resume(route, request.at_ns)
            elif request.action == "mark":
                sink.sender.mark(route, request.at_ns, request.number)
            elif request.action == "drop":
                sink.sender.drop(route)
                del self._routes[route]
            else:
                sink.sender.enable(route, request.action == "enable")
        self._set_demand()
        if request.action == "end":
            self._end_routes(dict(named), request.at_ns)

    def _set_demand(self) -> None:
        """Whether the source may go on, where it is one that stands still while nobody wants its frames."""
        self._demand.set(any(sink.sender.wants for sink in self._sinks.values()))

    def _end_routes(self, routes: dict[str, TrackSink], at_ns: int) -> None:
        """What was captured up to ``at_ns`` goes first, then the ends of stream. The routes are paused by then: frames
        that the source brings meanwhile are later ones."""
        if routes:
            self._flush(at_ns)
        for route, sink in routes.items():
            sink.sender.end(route, at_ns)
            self._routes.pop(route, None)

    def _flush(self, at_ns: int) -> None:
        """The source brings what was captured up to ``at_ns``, in real time."""
        assert self._source is not None
        if not self._source.pace_max:
            self._source.flush(at_ns)

    def _end_sink(self, sink: TrackSink, at_ns: int) -> None:
        routes = {route: its for route, its in self._routes.items() if its is sink}
        for route in routes:
            sink.sender.pause(route, at_ns)
        self._end_routes(routes, at_ns)

    def _close_track(self, name: str) -> None:
        sink = self._sinks.pop(name, None)
        if sink is not None:
            self._end_sink(sink, time.monotonic_ns())
            sink.sender.close()
            self._set_demand()
        self._done = self._done or not self._sinks


def main() -> None:
    """``recsvc capture``: the process's entry."""
    given = arguments("capture", "directory", needs_line=True)
    lifeline = Lifeline(given)
    line = Line(given.line, messages.CAPTURE_REQUESTS, Complaints(log))
    with joined(Path(given.directory), line, (sockets.ZMQError,)):
        process = CaptureProcess(line, lifeline)
        started(given)
        process.run()
