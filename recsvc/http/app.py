"""What is served over HTTP, and where."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .. import errors
from ..common.descriptions import RecordingInfo
from ..common.service_limits import LIST_MAX
from . import metrics
from .download import Download, Receive, Scope, Send, headers_of
from .guard import Guard, Refusal
from .link import Link

log = logging.getLogger("recsvc.http")

_STATUS_OF_ERROR = {
    "NotFoundError": 404,
    "InvalidStateError": 409,
    "NotAllowedError": 403,
    "SecurityError": 403,
    "NotSupportedError": 501,
    "NotReadableError": 410,
    "QuotaExceededError": 503,
    "ServiceError": 503,
    "TypeError": 400,
    "ValueError": 400,
}
_SAFE_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),  # pages of other sites show nothing of it
    (b"referrer-policy", b"no-referrer"),
]


class Application:
    """An ASGI application: looks who asks, then answers."""

    def __init__(self, link: Link, guard: Guard) -> None:
        self._link = link
        self._guard = guard
        self._metrics = metrics.Metrics()
        link.on_event = self._metrics.take
        routes = [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._show_metrics),
            Route("/recordings", self._list),
            Route("/recordings/{recording}", self._show),
            Route("/recordings/{recording}", self._delete, methods=["DELETE"]),
            Route("/recordings/{recording}/file", self._file),
        ]
        handlers: Any = {
            HTTPException: _http_error,
            errors.RecorderError: _service_error,
            TypeError: _service_error,
            ValueError: _service_error,
        }
        self._routes = Starlette(routes=routes, exception_handlers=handlers)
        self._routes.router.redirect_slashes = False  # to wherever the client says that it is

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refused = self._guard.refusal(scope["method"], scope["path"], headers_of(scope))

        async def send_safely(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_SAFE_HEADERS]}
            await send(message)

        if refused is not None:
            await _refused(refused)(scope, receive, send_safely)
        else:
            await self._routes(scope, receive, send_safely)

    async def _healthz(self, _: Request) -> Response:
        """This process lives."""
        return JSONResponse({"status": "ok"}, headers=_NOT_KEPT)

    async def _readyz(self, _: Request) -> Response:
        """Recordings can begin: the service answers, and its spool can be written."""
        try:
            status = await self._link.status()
        except errors.RecorderError as error:
            return _not_ready(str(error))
        if not await asyncio.to_thread(os.access, status.spool, os.W_OK | os.X_OK):
            return _not_ready("the spool cannot be written")
        if status.workers and not any(worker.state == "ready" for worker in status.workers):
            return _not_ready("no encoder worker is ready")
        return JSONResponse({"status": "ok"}, headers=_NOT_KEPT)

    async def _show_metrics(self, _: Request) -> Response:
        text = self._metrics.text(await self._link.status())
        return Response(text, headers={"content-type": metrics.CONTENT_TYPE, **_NOT_KEPT})

    async def _list(self, request: Request) -> Response:
        limit = _number(request, "limit", LIST_MAX, int)
        before = _number(request, "before", 0.0, float)
        if not 1 <= limit <= LIST_MAX:
            raise ValueError(f"limit must be 1 to {LIST_MAX}, got {limit}")
        found = await self._link.recordings(limit, before)
        following = None
        if len(found) == limit:
            following = f"/recordings?{urlencode({'limit': limit, 'before': repr(found[-1].began)})}"
        return _json({"recordings": [_plain(info) for info in found], "next": following})

    async def _show(self, request: Request) -> Response:
        return _json(_plain(await self._link.recording(request.path_params["recording"])))

    async def _delete(self, request: Request) -> Response:
        await self._link.delete(request.path_params["recording"])
        return Response(status_code=204)

    async def _file(self, request: Request) -> Any:
        return Download(self._link, await self._link.recording(request.path_params["recording"]))


_NOT_KEPT = {"cache-control": "no-store"}


def _plain(info: RecordingInfo) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(info)
    del found["path"]  # is nobody's business
    return {**found, "file": f"/recordings/{info.recording}/file"}


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json", headers=_NOT_KEPT)


def _number(request: Request, name: str, default: Any, kind: type) -> Any:
    text = request.query_params.get(name)
    if text is None:
        return default
    with contextlib.suppress(ValueError, OverflowError):
        number = kind(text)
        if math.isfinite(number):
            return number
    raise ValueError(f"{name} must be a number, got {text!r:.80}")


def _not_ready(text: str) -> Response:
    return JSONResponse({"status": "not ready", "text": text}, status_code=503, headers=_NOT_KEPT)


def _problem(status: int, error: str, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": error, "text": text}, status_code=status, headers={**_NOT_KEPT, **(headers or {})})


def _refused(refusal: Refusal) -> Response:
    headers = {"www-authenticate": 'Bearer realm="recsvc"'} if refusal.status == 401 else None
    return _problem(refusal.status, refusal.error, refusal.text, headers)


async def _http_error(_: Request, error: HTTPException) -> Response:
    """No such path, or no such method of it."""
    text = HTTPStatus(error.status_code).phrase
    name = "NotFoundError" if error.status_code == 404 else "NotSupportedError"
    return _problem(error.status_code, name, f"{text}; see /recordings, /metrics, /healthz, /readyz", error.headers)


async def _service_error(_: Request, error: Exception) -> Response:
    """What the service answered, or we found wrong with the request."""
    name = errors.name_of(error)
    return _problem(_STATUS_OF_ERROR.get(name, 500), name, str(error))
