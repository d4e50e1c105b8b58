"""Sends a recording's file, or a range of it, as fast as its reader takes it: one piece is in memory at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .. import errors
from ..common.descriptions import RecordingInfo
from ..common.filenames import attachment, file_name
from ..common.service_limits import HTTP_PIECE_BYTES
from . import ranges
from .link import Link

log = logging.getLogger("recsvc.http")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def headers_of(scope: Scope) -> dict[str, str]:
    """A request's headers, their names in lower case."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


class Download:
    """The answer to a GET or HEAD of a recording's file (an ASGI application).

    Of one that still goes on it is what is on the disk at that moment, and a range of it may be asked for again later,
    when there is more.
    """

    def __init__(self, link: Link, info: RecordingInfo) -> None:
        self._link = link
        self._recording = info.recording
        self._size = info.size_bytes
        self._grows = info.goes_on
        tag = "" if self._grows else f'"{info.recording}-{info.size_bytes}-{round(info.ended * 1000)}"'
        self._validators = ranges.Validators(tag, int(info.ended))
        self._headers = {
            "accept-ranges": "bytes",
            "content-type": info.mime_type or "application/octet-stream",
            "content-disposition": attachment(file_name(info.name, info.recording, info.mime_type)),
            **self._validators.headers(),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = headers_of(scope)
        status = ranges.precondition(given, self._validators)
        if status:
            await self._answer(send, status, {})
            return
        start, end = 0, self._size
        # A range of a HEAD means nothing, by RFC 9110.
        if scope["method"] == "GET":
            try:
                found = ranges.wanted(given, self._size, self._validators)
            except ranges.Unsatisfiable:
                await self._answer(send, 416, {"content-range": f"bytes */{self._size}", "content-length": "0"})
                return
            if found is not None:
                start, end = found
                status = 206
        headers = {"content-length": str(end - start)}
        if status == 206:
            headers["content-range"] = f"bytes {start}-{end - 1}/{'*' if self._grows else self._size}"
        if scope["method"] == "HEAD":
            await self._answer(send, 200, headers)
            return
        await self._send(receive, send, status or 200, headers, start, end)

    async def _answer(self, send: Send, status: int, headers: dict[str, str]) -> None:
        await send(self._beginning(status, headers))
        await send({"type": "http.response.body"})

    def _beginning(self, status: int, headers: dict[str, str]) -> MutableMapping[str, Any]:
        both = {**self._headers, **headers}.items()
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in both]
        return {"type": "http.response.start", "status": status, "headers": encoded}

    async def _send(
        self, receive: Receive, send: Send, status: int, headers: dict[str, str], start: int, end: int
    ) -> None:
        """Returns early where the reader goes, or the file: then the connection is closed, before all has come."""
        left = asyncio.ensure_future(_until_left(receive))
        begun = False
        try:
            piece = await self._piece(start, end)  # before anything is answered: the file may be gone
            begun = True
            await send(self._beginning(status, headers))
            while not left.done():
                start += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": start < end})
                if start >= end:
                    return
                piece = await self._piece(start, end)
        except errors.RecorderError as error:
            if not begun:
                raise
            log.warning("the download of %s was cut at byte %d: %s", self._recording, start, error)
        finally:
            left.cancel()

    async def _piece(self, start: int, end: int) -> bytes:
        size = min(HTTP_PIECE_BYTES, end - start)
        piece = await self._link.fetch(self._recording, start, size) if size else b""
        if len(piece) != size:
            raise errors.NotReadableError(f"its file ends at byte {start + len(piece)}, not at {self._size}")
        return piece


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
