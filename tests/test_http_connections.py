"""Connections of the HTTP side end where their clients do not; those that are used go on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket

import pytest
from media import DEADLINE_S

from recsvc.common.limits import MS
from recsvc.http import serving

SIZE = 4_000_000
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def application(scope, receive, send):
    """A large answer for ``/large``, as fast as it is taken, else a small one."""
    size = SIZE if scope["path"] == "/large" else 2
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(size).encode())]})
    sent = 0
    while sent < size:
        piece = min(65_536, size - sent)
        sent += piece
        await send({"type": "http.response.body", "body": bytes(piece), "more_body": sent < size})


@contextlib.asynccontextmanager
async def serving_at():
    [listener] = serving.listening("127.0.0.1", 0)
    server = serving.Server(application)
    task = asyncio.ensure_future(server.serve([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.end()
        async with asyncio.timeout(DEADLINE_S):
            await task


async def connected(port, receive_bytes=None):
    made = socket.socket()
    if receive_bytes:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
    return made


async def read(connection, size):
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(ConnectionResetError):
            return await loop.sock_recv(connection, size)
    return b""


async def send(connection, data):
    await asyncio.get_running_loop().sock_sendall(connection, data)


@pytest.fixture
def short(monkeypatch):
    """Limits of some tenths of a second."""
    monkeypatch.setattr(serving, "HTTP_REQUEST_NS", 300 * MS)
    monkeypatch.setattr(serving, "HTTP_STALL_NS", 400 * MS)


def test_one_that_sends_no_whole_request_is_cut(short):
    async def run():
        async with serving_at() as port:
            for beginning in (b"", b"GET / HT"):
                with await connected(port) as one:
                    await send(one, beginning)
                    assert await read(one, 100) == b""
            with await connected(port) as one:
                await send(one, REQUEST)
                assert (await read(one, 1000)).startswith(b"HTTP/1.1 200")
                await send(one, b"GET / ")  # the next one, of which no more comes
                assert await read(one, 1000) == b""

    asyncio.run(run())


def test_a_trickle_is_no_request(short):
    """Each byte in time, the whole never."""

    async def run():
        async with serving_at() as port:
            with await connected(port) as one:
                with contextlib.suppress(OSError):
                    async with asyncio.timeout(DEADLINE_S):
                        for byte in REQUEST * 100:
                            await send(one, bytes([byte]))
                            await asyncio.sleep(0.02)
                assert await read(one, 100) == b""

    asyncio.run(run())


def test_one_that_takes_nothing_is_cut_and_one_that_takes_little_is_not(short):
    async def run():
        async with serving_at() as port:
            with await connected(port, 8192) as stuck, await connected(port, 8192) as slow:
                for one in (stuck, slow):
                    await send(one, b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
                taken = 0
                async with asyncio.timeout(DEADLINE_S):
                    while taken < SIZE:  # for several of the limits
                        data = await read(slow, 100_000)
                        assert data, f"cut after {taken} bytes"
                        taken += len(data)
                        await asyncio.sleep(0.01)
                left = 0
                while data := await read(stuck, 1 << 20):
                    left += len(data)
                assert left < SIZE, "it was cut"

    asyncio.run(run())


def test_beyond_the_limit_silent_ones_make_room(short, monkeypatch):
    monkeypatch.setattr(serving, "HTTP_CONNECTIONS_MAX", 3)
    monkeypatch.setattr(serving, "HTTP_REQUEST_NS", 60_000 * MS)

    async def run():
        async with serving_at() as port:
            with contextlib.ExitStack() as stack:
                busy = stack.enter_context(await connected(port, 8192))
                await send(busy, b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert await read(busy, 100)
                silent = [stack.enter_context(await connected(port)) for _ in range(2)]
                new = stack.enter_context(await connected(port))
                await send(new, REQUEST)
                assert (await read(new, 1000)).startswith(b"HTTP/1.1 200")
                ends = [asyncio.ensure_future(read(one, 1)) for one in silent]
                async with asyncio.timeout(DEADLINE_S):
                    done, waiting = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                assert len(done) == 1 and done.pop().result() == b""
                for one in waiting:
                    one.cancel()
                assert await read(busy, 1000), "who downloads goes on"

    asyncio.run(run())


def test_where_no_descriptor_is_left_clients_wait_and_one_line_says_so(caplog):
    """Asyncio writes one for each attempt: megabytes in a second, perhaps to the disk of the recordings."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def run():
        async with serving_at() as port:
            with await connected(port) as first, socket.socket() as one, socket.socket() as two:
                await send(first, REQUEST)
                assert await read(first, 1000), "it serves"
                free = os.dup(0)
                os.close(free)
                resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
                try:
                    for client in (one, two):
                        client.connect(("127.0.0.1", port))  # which the system accepts
                        client.setblocking(False)
                    async with asyncio.timeout(DEADLINE_S):
                        while not caplog.records:
                            await asyncio.sleep(0)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, before)
                for client in (one, two):
                    await send(client, REQUEST)
                    assert (await read(client, 1000)).startswith(b"HTTP/1.1 200")

    asyncio.run(run())
    assert [record.name for record in caplog.records] == ["recsvc.http"]
    assert "further HTTP clients wait: Too many open files" in caplog.text


def test_what_is_cut_at_the_end_is_no_fault(monkeypatch, caplog):
    monkeypatch.setattr(serving, "HTTP_END_NS", 1_000 * MS)

    async def waits(scope, receive, send):
        waiting.set()
        await asyncio.Event().wait()

    async def run():
        monkeypatch.setitem(globals(), "application", waits)
        async with serving_at() as port:
            with await connected(port) as one:
                await send(one, REQUEST)
                await waiting.wait()
        await asyncio.sleep(0)

    waiting = asyncio.Event()
    asyncio.run(run())
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize(("files", "most"), [(1024, 768), (1_000_000, 2048), (-1, 2048)])
def test_connections_leave_descriptors_for_all_else(files, most, monkeypatch):
    monkeypatch.setattr(serving.resource, "getrlimit", lambda _: (files, files))
    assert serving._connections_max() == most


def test_each_address_of_a_host_gets_the_same_port():
    sockets = serving.listening("localhost", 0)
    try:
        assert len({one.getsockname()[1] for one in sockets}) == 1
        assert all(url.startswith("http://") for url in serving.urls(sockets))
        assert {one.proto for one in sockets} == {socket.IPPROTO_TCP}, "else answers wait 40 ms for an acknowledgement"
    finally:
        for one in sockets:
            one.close()
