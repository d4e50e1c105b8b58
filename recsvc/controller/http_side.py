"""The HTTP process of a service: started with it, and again when it dies. Nobody waits for it."""

from __future__ import annotations

import logging
import time
from typing import Any

from ..common.limits import WORKER_STEADY_NS
from ..common.service import ServiceOptions
from ..common.service_limits import HTTP_WAIT_NS
from ..wire import messages
from .supervisor import Child, Supervisor
from .workers import pause_ns

log = logging.getLogger("recsvc.controller")


class HttpSide:
    """Not thread-safe: the controller's loop calls it. Without a port it does nothing."""

    def __init__(self, supervisor: Supervisor, options: ServiceOptions) -> None:
        self._supervisor = supervisor
        self._options = options
        self._child: Child | None = None
        self._failures = 0
        self._reason = ""
        self._due_ns: int | None = time.monotonic_ns() + HTTP_WAIT_NS if options.http_port else None

    def next_ns(self) -> int | None:
        """When ``look`` has something to do."""
        return self._due_ns

    def worker_ready(self) -> None:
        """What recordings need has started: so this is no more in its way."""
        if self._failures == 0 and self._due_ns is not None:
            self._due_ns = time.monotonic_ns()

    def look(self) -> None:
        """Starts the process when it is time."""
        if self._due_ns is None or time.monotonic_ns() < self._due_ns:
            return
        self._due_ns = None
        try:
            self._child = self._supervisor.start("http")
        except OSError as error:
            self._failed(str(error))
            return
        options = self._options
        self._supervisor.ask(
            self._child,
            messages.ServeHttp(
                endpoint=options.endpoint,
                host=options.http_host,
                port=options.http_port,
                token=options.http_token,
                spool=options.spool,
            ),
            self._serves,
        )

    def _serves(self, reply: messages.Reply) -> None:
        if reply.error:
            self._reason = reply.text
        else:
            urls: Any = reply.result
            log.info("HTTP is served at %s", ", ".join(urls))

    def ended(self, child: Child) -> None:
        """It is started again, at once at first, later after pauses that grow."""
        self._child = None
        if child.ready_ns is not None and time.monotonic_ns() - child.ready_ns >= WORKER_STEADY_NS:
            self._failures = 0
        if not child.ending:
            self._failed(self._reason or child.reason or f"the {child} ended")

    def end(self) -> None:
        """It is not started any more."""
        self._due_ns = None

    def _failed(self, reason: str) -> None:
        self._failures += 1
        pause = pause_ns(self._failures)
        self._due_ns = time.monotonic_ns() + pause
        log.error("HTTP is not served, and tried again in %d s: %s", pause // 1_000_000_000, reason)
        self._reason = ""
