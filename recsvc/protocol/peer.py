"""A service that encodes nothing: for who writes a client, and wants to see what that does wrong.

It answers as a service does, with a file of made-up bytes, and prints each message that comes. A script makes it
do what a service does only now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from ..common.descriptions import (
    BlobDescription,
    Finished,
    Pong,
    RecordingStatistics,
    RouteDescription,
    Started,
)
from ..common.limits import EVENTS_PER_REPLY, S
from ..common.service_limits import LEASE_NS
from ..wire import messages, sockets
from .desk import Desk
from .files import FILE, take_requests
from .judge import Judged, Track, gaps_between

SCRIPTS = {
    "": "nothing special happens",
    "delay": "each reply comes half a second late",
    "small-credits": "two frames at a time may be under way",
    "lost-events": "the client misses an event, and has to ask for it",
    "refuse": "the third frame is refused",
    "busy": "there is no room for the first start",
    "redirect": "another service takes the recording",
    "restart": "the service is started anew when twenty frames have come, and knows nothing any more",
}
_DELAY_S = 0.5
_NOTICED_S = 10
_REBOUND_NS = 5 * S  # sockets that were closed just now keep their ports for a moment


class Peer(Desk):
    """Serves at ``endpoint`` until a client has said goodbye, or nothing came for ``idle_s``."""

    def __init__(self, endpoint: str, script: str = "", say: Callable[[str], None] = print, idle_s: float = 10) -> None:
        super().__init__(endpoint)
        self.problems: list[str] = []
        self._script = script
        self._say = say
        self._idle_s = idle_s
        self._recordings: dict[str, Judged] = {}
        self._signs_ns: list[int] = []  # of life, on the control socket
        self._known: set[str] = set()  # clients, since it was started anew
        self._said_hello = self._said_bye = self._is_over = False
        self._starts = self._frames = self._restarts = 0
        self._due: dict[str, tuple[bytes, Track]] = {}  # whom credit is owed to
        self._restarted_s, self._name = 0.0, "peer-0"

    def run(self) -> bool:
        """Whether a client has recorded, and done everything right."""
        until_s = time.monotonic() + 6 * self._idle_s
        while time.monotonic() < until_s and not self._is_over:
            ready = dict(self._poller.poll(50))
            if ready:
                until_s = time.monotonic() + self._idle_s
            for socket in (self._control, self._other):
                if socket in ready:
                    self._take_request(socket)
            if self._events in ready:
                self._take_subscription()
            if self._data in ready:
                self._take_frame()
            elif self._due:  # only now, so that who does not wait for it is seen
                for identity, track in self._due.values():
                    self._grant(identity, track)
                self._due.clear()
            if self._catalog in ready:
                take_requests(self._catalog, self._recordings, self._note, self.complain)
        self._conclude()
        return not self.problems

    def complain(self, problem: str) -> None:
        self.problems.append(problem)
        self._say(f"WRONG  {problem}")

    def _conclude(self) -> None:
        if self._script == "busy" and not self._recordings and self._said_bye:
            return  # it gave up, which is fine
        if self._script == "restart":
            return
        if not self._recordings:
            self.complain("nothing was recorded")
        for one in self._recordings.values():
            one.conclude(len(FILE))
        if self._said_hello and (late_s := gaps_between(self._signs_ns, LEASE_NS)):
            self.complain(f"nothing came on the control socket for {late_s:.1f} s: a ping every second is expected")
        if self._said_hello and not self._said_bye:
            self.complain("no bye came")

    # --- requests ---------------------------------------------------------------------------------

    def _take_request(self, socket: sockets.Socket[bytes]) -> None:
        identity, header, *rest = socket.recv_multipart()
        if rest:
            self.complain("a request of several parts: expected one")
        self._signs_ns.append(time.monotonic_ns())
        try:
            request = messages.CALLER_REQUESTS.decode(header)
        except messages.MessageError as error:
            self.complain(f"a request that cannot be read: {error}")
            wrong = messages.Reply(id=messages.request_id(header), error="TypeError", text=str(error))
            self._reply(socket, identity, wrong)
            return
        self._note(request, header)
        if self._script == "delay":
            time.sleep(_DELAY_S)
        reply = self._answer(identity, request, socket)
        if reply is not None and request.id:
            self._reply(socket, identity, msgspec.structs.replace(reply, id=request.id))

    def _note(self, message: Any, header: Any) -> None:
        given = msgspec.msgpack.decode(header)
        kind = given["kind"]
        if kind not in ("ping", "audio", "video", "fetch"):
            shown = {name: value for name, value in given.items() if name not in ("kind", "v", "id")}
            self._say(f"{kind}  {msgspec.json.encode(shown).decode()[:400]}")
        if "v" not in given:
            self.complain(f"{kind} has no v")
        unknown = given.keys() - {field.encode_name for field in msgspec.structs.fields(message)} - {"kind"}
        if unknown:
            self.complain(f"{kind} has fields that nobody knows: {', '.join(sorted(unknown))}")

    def _answer(self, identity: bytes, request: Any, socket: sockets.Socket[bytes]) -> messages.Reply | None:
        if isinstance(request, messages.Hello):
            self._said_hello = True
            self._known.add(request.client)
            return messages.Reply(id=0, result=self._welcome(self._name if socket is self._control else "the other"))
        if isinstance(request, messages.Ping):
            known = request.client in self._known
            return messages.Reply(id=0, result=Pong(at_ns=time.monotonic_ns(), known=known))
        if isinstance(request, messages.Bye):
            self._said_bye = True
            self._is_over = self._script != "redirect" or socket is self._other
            return messages.Reply(id=0)
        if isinstance(request, messages.Start):
            return self._start(request, socket)
        one = self._recordings.get(getattr(request, "recording", ""))
        if one is None:
            return messages.Reply(id=0, error="InvalidStateError", text="no such recording is known")
        if isinstance(request, messages.Control):
            return self._command(one, request, identity)
        if isinstance(request, messages.AskEvents):
            found = [event for event in one.events if event.sequence >= request.sequence][:EVENTS_PER_REPLY]
            one.unseen -= {event.sequence for event in found}
            return messages.Reply(id=0, result=found)
        if isinstance(request, messages.AskStatistics):
            return messages.Reply(id=0, result=RecordingStatistics(state="recording"))
        return messages.Reply(id=0, error="NotSupportedError", text="this peer has no answer to that")

    def _start(self, request: messages.Start, socket: sockets.Socket[bytes]) -> messages.Reply:
        self._starts += 1
        if self._script == "busy" and self._starts == 1:
            room = {"needed": 0.8, "free": 0.2}
            return messages.Reply(id=0, error="busy", text="no room for another recording now", result=room)
        if self._script == "redirect" and socket is self._control:
            where = {"endpoint": self.places[4], "key": ""}
            return messages.Reply(id=0, error="redirect", text="another machine takes it", result=where)
        if request.recording in self._recordings:
            return messages.Reply(id=0, error="InvalidStateError", text="this id was used before")
        frames, size = (2, 2**26) if self._script == "small-credits" else (30, 2**26)
        one = self._recordings[request.recording] = Judged(request, frames, size, self.complain)
        one.began = time.time()
        routes = [
            RouteDescription(
                route=name, track=track.track, endpoints=(self.places[3],), credit_frames=frames, credit_bytes=size
            )
            for name, track in zip(one.tracks, request.tracks, strict=True)
        ]
        topic = f"{request.client}/{request.recorder}"
        self._publish(one, "start", mime_type="video/webm")
        place: dict[str, Any] = {"topic": topic, "path": one.path, "catalog": (self.places[2],)}
        return messages.Reply(id=0, result=Started(recording=request.recording, routes=tuple(routes), **place))

    def _command(self, one: Judged, request: messages.Control, identity: bytes) -> messages.Reply | None:
        if request.action == "pause" and one.pause(request.at_ns):
            self._publish(one, "pause", is_lost=self._script == "lost-events")
        elif request.action == "resume" and one.resume(request.at_ns):
            self._publish(one, "resume")
        elif request.action == "stop":
            one.resume(request.at_ns)  # a recording that is stopped while it is paused ends there
            one.stopped = True
            if request.wait and request.id:
                one.waiting.append((identity, request.id))
            self._finish_if_over(one)
            return None if request.wait else messages.Reply(id=0)
        return messages.Reply(id=0)

    # --- events -----------------------------------------------------------------------------------

    def _publish(self, one: Judged, type: Any, *, is_lost: bool = False, **fields: Any) -> None:
        start = one.start
        event = messages.RecorderEvent(
            recorder=start.recorder,
            recording=start.recording,
            sequence=len(one.events),
            type=type,
            at_ns=time.monotonic_ns(),
            **fields,
        )
        one.events.append(event)
        if is_lost:
            one.unseen.add(event.sequence)
        else:
            self._events.send_multipart([f"{start.client}/{start.recorder}".encode(), messages.encode(event)])

    def _take_subscription(self) -> None:
        news = self._events.recv()
        begins, topic = news[:1] == b"\x01", news[1:]
        sockets.subscription(self._events, topic, begins=begins)
        if begins:
            self._say(f"subscription to {topic.decode()!r}")
            there = {
                name: len(one.events)
                for name, one in self._recordings.items()
                if f"{one.start.client}/{one.start.recorder}".startswith(topic.decode())
            }
            self._events.send_multipart([topic, messages.encode(messages.Subscribed(next=there))])

    def _finish_if_over(self, one: Judged) -> None:
        if not one.is_over:
            return
        whole = BlobDescription(path=one.path, start=0, end=len(FILE), whole=True, duration=1.0)
        statistics = RecordingStatistics(state="inactive", duration=1.0, size_bytes=len(FILE))
        if one.events[-1].type != "stop":
            one.judge_times()
            self._publish(one, "dataavailable", blob=whole, whole=whole, statistics=statistics)
            self._publish(one, "stop")
        finished = Finished(recording=one.start.recording, whole=whole, statistics=statistics)
        for identity, number in one.waiting:
            for socket in (self._control, self._other):  # one of them knows it
                self._reply(socket, identity, messages.Reply(id=number, result=finished))
        one.waiting.clear()

    # --- frames -----------------------------------------------------------------------------------

    def _take_frame(self) -> None:
        identity, header, *rest = self._data.recv_multipart()
        try:
            message = messages.DATA.decode(header)
            one = self._recordings.get(message.route.partition("/")[0])
            track = one.tracks.get(message.route) if one is not None else None
            if one is None or track is None:
                if self._restarts:
                    self._check_it_notices()
                    self._refuse(identity, message.route, f"route {message.route!r} is not open here")
                    return
                raise messages.MessageError(f"the route {message.route!r} was given to nobody")
            self._note(message, header)
            if isinstance(message, messages.FrameHeader):
                self._take_content(identity, track, message, rest)
            elif isinstance(message, messages.End):
                track.end(message)
                if self.is_over_network:
                    self._data.send_multipart([identity, messages.encode(messages.Ended(route=track.name))])
                self._finish_if_over(one)
            elif isinstance(message, messages.Attach):
                self._grant(identity, track)
        except messages.MessageError as error:
            self.complain(f"on the data socket: {error}")
            self._refuse(identity, "", str(error))

    def _take_content(self, identity: bytes, track: Track, frame: Any, rest: list[bytes]) -> None:
        if len(rest) != 1:
            raise messages.MessageError(f"a frame of {len(rest) + 1} parts: expected its header and its payload")
        if (track.kind == "video") != isinstance(frame, messages.VideoFrame):
            raise messages.MessageError(f"a frame of another kind on the route {track.name}, which is for {track.kind}")
        messages.check_payload(frame, len(rest[0]))
        track.take(frame, rest[0])
        self._frames += 1
        if self._script == "refuse" and self._frames == 3:
            self._refuse(identity, track.name, "this peer was asked to refuse a frame")
        if self._script == "restart" and self._frames == 20:
            self._restart()
            return
        self._due[track.name] = identity, track

    def _grant(self, identity: bytes, track: Track) -> None:
        """What came is consumed."""
        if self._script == "small-credits":
            time.sleep(0.005)
        track.granted = max(track.granted, track.received + track.window)
        track.granted_bytes = max(track.granted_bytes, track.received_bytes + 2**26)
        credit = messages.Credit(route=track.name, frames=track.granted, bytes=track.granted_bytes)
        self._data.send_multipart([identity, messages.encode(credit)])

    def _refuse(self, identity: bytes, route: str, reason: str) -> None:
        self._data.send_multipart([identity, messages.encode(messages.Refused(route=route, reason=reason))])

    def _check_it_notices(self) -> None:
        if time.monotonic() - self._restarted_s > _NOTICED_S and self._restarts == 1:
            self._restarts += 1
            self.complain(f"frames still come {_NOTICED_S} s after the service was started anew")

    def _restart(self) -> None:
        self._say("the service is started anew")
        self._recordings.clear()
        self._due.clear()
        self._known.clear()
        self._restarts += 1
        self._restarted_s = time.monotonic()
        self._name = f"peer-{self._restarts}"
        self.close()
        self._open(_REBOUND_NS)
