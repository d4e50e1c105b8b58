"""A client that knows the protocol from its document alone: maps, texts and numbers, no messages of recsvc.

The conformance cases use it, so that a service is tried as a client in another language would try it.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..common.service import ServiceAddress, reachable
from ..wire import sockets

VERSION = 2
WAIT_S = 15.0
"""An answer that did not come by then does not come: above the ten seconds that a recording may take to be finished."""
QUIET_S = 0.3
"""What did not come by then is taken for not sent."""
S = 1_000_000_000
RATE, BLOCK = 48_000, 960
SIDE = 64

SOUND = {"kind": "audio", "settings": {"sample_rate": RATE, "channel_count": 1, "sample_format": "s16"}}
PICTURES = {"kind": "video", "settings": {"width": SIDE, "height": SIDE, "pixel_format": "i420"}}

Map = dict[str, Any]


class Unexpected(Exception):
    """A service did not do what the protocol says; the text has what was expected and what came."""


def expect(holds: object, expected: str, came: Any) -> None:
    if not holds:
        shown = repr(came)
        raise Unexpected(f"expected {expected}; came {shown if len(shown) < 300 else f'{shown[:300]}…'}")


def pack(message: Map) -> bytes:
    return msgspec.msgpack.encode(message)


def clock() -> str:
    """The name of this machine's monotonic clock."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{boot.read_text().strip()} {os.readlink('/proc/self/ns/time')}" if boot.exists() else ""


class Dealer:
    """A socket for requests, or for frames."""

    def __init__(self, socket: sockets.Socket[bytes]) -> None:
        self.socket = socket
        self._last = 0
        self._kept: list[tuple[Map, bytes | None]] = []

    def send(self, message: Map, *payload: bytes) -> None:
        self.socket.send_multipart([pack({"v": VERSION, **message}), *payload])

    def receive(self, wait_s: float = WAIT_S) -> tuple[Map, bytes | None] | None:
        """The next message and what follows it; ``None``: none came."""
        if not self.socket.poll(int(wait_s * 1000)):
            return None
        header, *rest = self.socket.recv_multipart()
        message = msgspec.msgpack.decode(header)
        expect(isinstance(message, dict) and message.get("v") == VERSION, f"a map of version {VERSION}", message)
        return message, rest[0] if rest else None

    def ask(self, kind: str, **fields: Any) -> Map:
        return self.reply(self.begin(kind, **fields))[0]

    def begin(self, kind: str, **fields: Any) -> int:
        """Sends a request; its id."""
        self._last += 1
        self.send({"kind": kind, "id": self._last, **fields})
        return self._last

    def reply(self, number: int) -> tuple[Map, bytes | None]:
        """The reply with this id; others are kept until they are asked for."""
        until_s = time.monotonic() + WAIT_S
        while True:
            for one in self._kept:
                if one[0].get("id") == number:
                    self._kept.remove(one)
                    return one
            came = self.receive(max(0.0, until_s - time.monotonic()))
            if came is None:
                raise Unexpected(f"expected a reply to request {number}; none came within {WAIT_S:g} s")
            self._kept.append(came)

    def result(self, kind: str, **fields: Any) -> Any:
        """Of a request that must succeed."""
        reply = self.ask(kind, **fields)
        expect(reply.get("error", "") == "", f"no error of {kind}", reply)
        return reply.get("result")

    def refused(self, kind: str, *codes: str, **fields: Any) -> Map:
        """The reply to a request that must fail with one of these codes."""
        reply = self.ask(kind, **fields)
        expect(reply.get("error") in codes, f"the error {' or '.join(codes)} of {kind}", reply)
        expect(reply.get("text"), "a text that says why", reply)
        return reply


class Recording:
    """One that was started, with the socket for its frames and its events."""

    def __init__(self, client: Client, fields: Map) -> None:
        self.client = client
        self.name: str = fields["recording"]
        self.begin_ns: int = fields["at_ns"]
        self.events = client.subscribe(f"{client.name}/{fields['recorder']}")
        started = client.control.result("start", **fields)
        expect(started["recording"] == self.name, "the recording's id", started)
        self.topic, self.path, self.routes = started["topic"], started["path"], started["routes"]
        self.catalog = started.get("catalog", [])
        expect(len(self.routes) == len(fields["tracks"]), "a route for each track", started)
        self.data = Dealer(sockets.data_client(client.at(self.routes[0]["endpoints"])))
        client.opened.append(self.data.socket)
        self.kinds = [track["kind"] for track in fields["tracks"]]
        self.sent = [0] * len(self.kinds)
        self.paused_ns = 0
        self.dropped: Map = {}
        self.at_ns = self.begin_ns  # capture time up to which was pushed

    def push(self, count: int = 1, **more: Any) -> None:
        """So many blocks of 20 ms, a picture with each; below the first credit it need not wait."""
        for _ in range(count):
            for number in range(len(self.kinds)):
                self.frame(number, **({"sequence": self.sent[number]} | more))
                self.sent[number] += 1
            self.at_ns += BLOCK * S // RATE

    def frame(self, number: int = 0, payload: bytes | None = None, **more: Any) -> None:
        header = {
            "kind": self.kinds[number],
            "route": self.routes[number]["route"],
            "captured_ns": self.at_ns,
            "paused_ns": self.paused_ns,
            "sequence": self.sent[number],
            "dropped": self.dropped,
        }
        if self.kinds[number] == "audio":
            form: Map = {"sample_format": "s16", "sample_rate": RATE, "channel_count": 1, "sample_count": BLOCK}
            content = bytes(2 * BLOCK)
        else:
            form = {"pixel_format": "i420", "width": SIDE, "height": SIDE}
            content = bytes([self.sent[number] % 200]) * (SIDE * SIDE * 3 // 2)
        self.data.send({**header, **form, **more}, content if payload is None else payload)

    def control(self, action: str, at_ns: int | None = None, **more: Any) -> Map:
        at_ns = self.at_ns if at_ns is None else at_ns
        fields = {"client": self.client.name, "recording": self.name, "action": action, "at_ns": at_ns}
        return self.client.control.ask("control", **fields, **more)

    def end(self) -> None:
        for number, route in enumerate(self.routes):
            header = {"kind": "end", "route": route["route"], "count": self.sent[number]}
            times = {"until_ns": self.at_ns, "paused_ns": self.paused_ns}
            self.data.send({**header, **times, "dropped": self.dropped})

    def finished(self) -> Map:
        """Ends it and waits; what the reply to the stop carries."""
        self.end()
        reply = self.control("stop", wait=True)
        expect(reply.get("error", "") == "", "no error of the stop", reply)
        found: Map = reply["result"]
        expect(found and found["whole"]["end"] > 0, "the whole file in the reply to stop with wait", reply)
        return found


class Events:
    """A subscription."""

    def __init__(self, socket: sockets.Socket[bytes]) -> None:
        self.socket = socket

    def next(self, wait_s: float = WAIT_S) -> tuple[str, Map] | None:
        if not self.socket.poll(int(wait_s * 1000)):
            return None
        topic, header = self.socket.recv_multipart()
        return topic.decode(), msgspec.msgpack.decode(header)

    def until(self, kind: str, **fields: Any) -> list[Map]:
        """Everything up to the first message of this kind with these fields, and that."""
        found: list[Map] = []
        while (came := self.next()) is not None:
            found.append(came[1])
            if came[1]["kind"] == kind and all(came[1].get(name) == value for name, value in fields.items()):
                return found
        raise Unexpected(f"expected {kind} {fields} within {WAIT_S:g} s; came {[one['kind'] for one in found]}")

    def of(self, recording: Recording) -> list[Map]:
        """All events of a recording, up to its stop."""
        found = self.until("event", type="stop", recording=recording.name)
        return [one for one in found if one["kind"] == "event" and one["recording"] == recording.name]

    def quiet(self) -> bool:
        """Whether nothing comes for a moment."""
        return self.next(QUIET_S) is None


class Client:
    """A connection to the service under test, that has said hello; closed with a bye."""

    def __init__(self, address: ServiceAddress) -> None:
        self.address = address
        self.name = f"check-{uuid.uuid4().hex[:12]}"
        self.opened: list[Any] = []
        self.made: list[Recording] = []
        self.control = Dealer(sockets.control_client(address))
        self.opened.append(self.control.socket)
        self.welcome: Map = self.control.result("hello", client=self.name, clock=clock())

    def at(self, endpoints: list[str]) -> ServiceAddress:
        return reachable(tuple(endpoints), self.address)

    @property
    def catalog(self) -> Dealer | None:
        """``None``: the service keeps no recordings."""
        if not self.welcome.get("catalog"):
            return None
        dealer = Dealer(sockets.control_client(self.at(self.welcome["catalog"])))
        self.opened.append(dealer.socket)
        return dealer

    def subscribe(self, topic: str) -> Events:
        """Answered already."""
        events = Events(sockets.event_client(self.at(self.welcome["events"]), topic.encode()))
        self.opened.append(events.socket)
        came = events.until("subscribed")
        expect(len(came) == 1, "subscribed as the first message", came)
        return events

    def fields(self, *tracks: Map, mime_type: str = "", **options: Any) -> Map:
        """Of a ``start``."""
        return {
            "client": self.name,
            "recorder": f"r{uuid.uuid4().hex[:8]}",
            "recording": f"check-{uuid.uuid4().hex[:12]}",
            "tracks": [{"track": one["kind"], "captured": False, **one} for one in tracks],
            "options": {
                "mime_type": mime_type,
                "audio_bits_per_second": 64_000,
                "video_bits_per_second": 500_000,
                **options,
            },
            "at_ns": time.monotonic_ns(),
        }

    def start(self, *tracks: Map, more: Map | None = None, **options: Any) -> Recording:
        recording = Recording(self, self.fields(*(tracks or (SOUND,)), **options) | (more or {}))
        self.made.append(recording)
        return recording

    def close(self) -> None:
        """Leaves nothing behind that was recorded for the test."""
        with contextlib.suppress(Unexpected):
            self.control.result("bye", client=self.name)
            catalog = self.catalog
            for recording in self.made:
                if catalog is not None:
                    catalog.ask("delete", recording=recording.name)
                elif self.address.endpoint.startswith("ipc:"):
                    Path(recording.path).unlink(missing_ok=True)
        for socket in self.opened:
            socket.close(0)


@contextlib.contextmanager
def client(address: ServiceAddress) -> Iterator[Client]:
    one = Client(address)
    try:
        yield one
    finally:
        one.close()
