"""What goes over the network: with keys nothing of what is recorded, nor how anything is called, can be read there."""

from __future__ import annotations

import contextlib
import random
import socket as network
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from keyed import Daemon, Talk, daemon
from media import DEADLINE_S
from test_permissions import Person
from zmq.utils import z85

import recsvc
from recsvc.caller import connections
from recsvc.common.descriptions import Started
from recsvc.common.permissions import ADMIN, READ, RECORD
from recsvc.common.service import ServiceAddress
from recsvc.wire import messages

HERE, THERE = "127.0.0.1", "127.0.0.2"
"""The service, and the same ports of another address, where somebody listens on the wire."""


class Wire:
    """Passes on what goes between clients and the service, and keeps a copy of it all, both ways."""

    def __init__(self) -> None:
        self._streams: list[bytearray] = []  # one of each direction of a connection
        self._open: list[network.socket] = []
        self._threads: list[threading.Thread] = []

    def listen(self, port: int) -> None:
        server = network.create_server((THERE, port))
        self._open.append(server)
        self._run(self._accept, server, port)

    def _run(self, what: object, *given: object) -> None:
        thread = threading.Thread(target=what, args=given, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, server: network.socket, port: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                service = network.create_connection((HERE, port))
                self._open += [client, service]
                self._run(self._pass_on, client, service)
                self._run(self._pass_on, service, client)

    def _pass_on(self, source: network.socket, sink: network.socket) -> None:
        seen = bytearray()
        self._streams.append(seen)
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                seen += data
                sink.sendall(data)
            sink.shutdown(network.SHUT_WR)

    def close(self) -> bytes:
        """All that went by."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(network.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(DEADLINE_S)
        return b"|".join(self._streams)


@contextlib.contextmanager
def listened(service: Daemon) -> Iterator[Wire]:
    """To all ports of a service with one worker."""
    local = Person(service, "")
    welcome = local.hello()
    started = msgspec.convert(local.start().result, Started)
    operator = Person(service, "")
    operator.finish(started.recording)
    found = [endpoint for group in (welcome.events, welcome.catalog, started.routes[0].endpoints) for endpoint in group]
    ports = {int(endpoint.rpartition(":")[2]) for endpoint in found if endpoint.startswith("tcp://")}
    assert len(ports) == 3
    wire = Wire()
    try:
        for port in (service.port, *ports):
            wire.listen(port)
        yield wire
    finally:
        wire.close()
        local.close()
        operator.close()


def record(file: Path | str) -> tuple[list[bytes], str]:
    """Sound that is like nothing else, by the public interface; what was sent, and the name of the client."""
    noise = random.Random(7)
    blocks = [noise.randbytes(1920) for _ in range(25)]
    source = recsvc.AudioSource(48_000, 1, when_full="wait")
    stream = recsvc.MediaStream([source.track])
    recorder = recsvc.MediaRecorder(stream, mime_type="audio/webm", service=str(file))
    recorder.start()
    for number, block in enumerate(blocks):
        assert source.write(block, number * 20_000_000), number
    recorder.stop()
    recorder.wait("stop", DEADLINE_S)
    client = connections.connect(str(file)).name
    recorder.close()
    connections.close_all()
    return blocks, client


@pytest.mark.parametrize("insecure", [False, True], ids=["with keys", "without keys"])
def test_the_wire_shows_nothing_of_a_recording(tmp_path: Path, insecure: bool) -> None:
    """And the control of this test: without keys it shows it all."""
    with daemon(tmp_path, "--workers", "1", alice=(RECORD, READ, ADMIN), insecure=insecure) as service:
        with listened(service) as wire:
            if insecure:
                named = f"tcp://{THERE}:{service.port}"
                address = ServiceAddress(named)
            else:
                path = Path(service.file("alice"))
                path.write_text(path.read_text().replace(HERE, THERE))
                named = str(path)
                address = service.address("alice").at(f"tcp://{THERE}:{service.port}")
            blocks, client = record(named)
            talk = Talk(address)
            assert not talk.ask(messages.Ping(client="a-name-to-be-found")).error
            talk.close()
            seen = wire.close()
        assert len(seen) > 25 * 1920, "what was sent went by here"
        content = [block[at : at + 16] for block in blocks for at in (0, 800, 1900)]
        words = [client.encode(), b"a-name-to-be-found", b"audio/webm", b"sample_rate", b"captured_ns"]
        if insecure:
            assert all(piece in seen for piece in (*content, *words))
            return
        keys = [service.server.public, service.server.secret, address.public_key, address.secret_key]
        words += [key.encode() for key in keys] + [z85.decode(key) for key in keys] + [b"alice"]
        assert not [piece for piece in (*content, *words) if piece in seen]
