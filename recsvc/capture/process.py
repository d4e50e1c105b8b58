"""The capture process: one opened source, its tracks, and where their frames go.

Frames leave from the source's own threads through the senders; this loop only takes commands.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from .. import errors
from ..process.role import Lifeline, arguments, started
from ..process.runtime import join_at
from ..wire import messages, sockets
from ..wire.answers import complaints, take_requests
from .opening import open_source
from .running import Source
from .sinks import Demand, HoldingSink, TrackSink

log = logging.getLogger("recsvc.capture")


class CaptureProcess:
    """Owns the control socket and the source of this process."""

    def __init__(self, control_endpoint: str, commands_endpoint: str, lifeline: Lifeline) -> None:
        self._lifeline = lifeline
        self._commands_endpoint = commands_endpoint
        self._commands = sockets.command_server(commands_endpoint)
        self._control = sockets.control_client(control_endpoint)
        self._source: Source | None = None
        self._sinks: dict[str, TrackSink] = {}
        self._routes: dict[str, TrackSink] = {}
        self._controls: dict[str, int] = {}  # that have come, by route
        self._demand = Demand()
        self._ended_lock = threading.Lock()
        self._ended: list[tuple[str, Exception | None]] = []
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._done = False
        self._send(messages.Ready(role="capture", pid=os.getpid(), endpoint=commands_endpoint))

    def run(self) -> None:
        """Until a shutdown, a SIGTERM, the parent's end, or the last track was closed."""
        poller = sockets.Poller()
        for source in (self._commands, self._control, self._wake_read, *self._lifeline.descriptors):
            poller.register(source, sockets.POLLIN)
        self._done = self._lifeline.parent_gone
        while not self._done:
            readable = dict(poller.poll())
            if any(d in readable and self._lifeline.ended_by(d) for d in self._lifeline.descriptors):
                break
            if self._commands in readable:
                self._take_commands()
            if self._control in readable:
                take_requests(self._control, messages.CAPTURE_REQUESTS, self._do)
            if self._wake_read in readable:
                self._report_ended()
        now = time.monotonic_ns()
        self._demand.close()
        for sink in self._sinks.values():
            self._end_routes(sink, now)
            sink.sender.close()
        if self._source is not None:
            self._source.close()
        self._control.close()
        self._commands.close()

    def _send(self, message: messages.Message) -> None:
        self._control.send(messages.encode(message))

    def _on_ended(self, name: str, error: Exception | None) -> None:
        """From the source's thread: the socket belongs to the loop, so the news waits for it."""
        with self._ended_lock:
            self._ended.append((name, error))
        os.write(self._wake_write, b"e")

    def _report_ended(self) -> None:
        os.read(self._wake_read, 64)
        with self._ended_lock:
            ended, self._ended = self._ended, []
        for name, error in ended:
            text = "" if error is None else str(error)
            self._send(messages.TrackEnded(track=name, error="" if error is None else errors.name_of(error), text=text))

    def _do(self, request: Any) -> Any:
        if isinstance(request, messages.OpenSource):
            return self._open(request)
        if isinstance(request, messages.BeginRoutes):
            self._begin(request)
        elif isinstance(request, messages.ControlRoute):
            self._control_route(request)
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
        for info in source.tracks:
            name = names[info.kind]
            settings = info.settings
            if source.pace_max:  # how fast it is read, and encoded, says nothing of how long it lasts
                settings["clock"] = "media"
            sink = HoldingSink if source.pace_max else TrackSink
            self._sinks[name] = sink(name, info, self._demand, self._on_ended)
            descriptions.append(
                messages.TrackDescription(
                    id=name,
                    kind=info.kind,
                    label=info.label,
                    settings=settings,
                    commands=self._commands_endpoint,
                )
            )
        source.start({sink.info.kind: sink for sink in self._sinks.values()})
        return descriptions

    def _begin(self, request: messages.BeginRoutes) -> None:
        for route in request.routes:
            sink = self._sinks.get(route.track)
            if sink is None:
                raise errors.NotFoundError(f"track {route.track!r} is not captured here")
            try:
                sink.sender.begin(route, request.from_ns, route.route not in request.disabled)
            except errors.QuotaExceededError:
                sink.sender.drop(route.route)
                raise
            self._routes[route.route] = sink
            self._controls[route.route] = 0
        self._tell_demand()  # now that all its routes are here

    def _control_route(self, request: messages.ControlRoute) -> None:
        sink = self._routes.get(request.route)
        if sink is None:
            return
        self._controls[request.route] += 1
        if request.action == "pause":
            sink.sender.pause(request.route, request.at_ns)
        elif request.action == "resume":
            sink.sender.resume(request.route, request.at_ns)
        elif request.action == "mark":
            self._flush(request.at_ns)
            sink.sender.mark(request.route, request.at_ns, request.cuts)
        elif request.action in ("enable", "disable"):
            sink.sender.enable(request.route, request.action == "enable")
        elif request.action == "drop":
            sink.sender.drop(request.route)
            del self._routes[request.route], self._controls[request.route]
        else:
            self._end_route(request.route, sink, request.at_ns)
        self._tell_demand()

    def _tell_demand(self) -> None:
        """Whether the source may go on, where it is one that stands still while nobody wants its frames."""
        self._demand.set(any(sink.sender.wants for sink in self._sinks.values()))

    def _take_commands(self) -> None:
        while sockets.readable(self._commands):
            try:
                command = messages.CAPTURE_COMMANDS.decode(self._commands.recv())
            except messages.MessageError as error:
                complaints.about("", f"a command was refused: {error}")
                continue
            ending = [
                (route, self._routes[route])
                for route, controls in command.routes.items()
                if route in self._routes and self._controls[route] == controls
            ]
            for route, sink in ending:  # all at once, before any of them is flushed
                sink.sender.pause(route, command.at_ns)
            self._tell_demand()
            for route, sink in ending:
                sink.sender.commanded(route, command.commands, command.cuts)
                self._end_route(route, sink, command.at_ns)

    def _end_route(self, route: str, sink: TrackSink, at_ns: int) -> None:
        """What was captured up to ``at_ns`` goes first, then the end of stream.

        The window is closed before the flush: frames that the source brings meanwhile are later ones.
        """
        sink.sender.pause(route, at_ns)
        self._flush(at_ns)
        sink.sender.end(route, at_ns)
        self._routes.pop(route, None)
        self._controls.pop(route, None)

    def _flush(self, at_ns: int) -> None:
        """The source brings what was captured up to ``at_ns``, in real time."""
        assert self._source is not None
        if not self._source.pace_max:
            self._source.flush(at_ns)

    def _end_routes(self, sink: TrackSink, at_ns: int) -> None:
        for route in [name for name, its in self._routes.items() if its is sink]:
            self._end_route(route, sink, at_ns)

    def _close_track(self, name: str) -> None:
        sink = self._sinks.pop(name, None)
        if sink is not None:
            self._end_routes(sink, time.monotonic_ns())
            sink.sender.close()
            self._tell_demand()
        self._done = self._done or not self._sinks


def main() -> None:
    """``recsvc capture``: the process's entry."""
    given = arguments("capture", "control", "commands")
    lifeline = Lifeline(given.parent)
    runtime = join_at(given.control)
    try:
        process = CaptureProcess(given.control, given.commands, lifeline)
        started(given)
        process.run()
    except sockets.ZMQError:
        if not lifeline.check():  # else its sockets' directory went with the parent
            raise
    finally:
        if runtime is not None:
            runtime.leave(patience_s=1.0 if lifeline.check() else 0.0)
