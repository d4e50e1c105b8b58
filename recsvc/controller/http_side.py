"""The HTTP process of a service: started with it, and again when it dies. Nobody waits for it."""

from __future__ import annotations

import logging
import time
from typing import Any

from ..common.limits import S
from ..common.service import ServiceOptions
from ..common.service_limits import HTTP_WAIT_NS
from ..wire import messages
from .restarts import Restarts
from .supervisor import Child, Supervisor

log = logging.getLogger("recsvc.controller")


class HttpSide:
    """Not thread-safe: the controller's loop calls it. Without a port it does nothing."""

    def __init__(self, supervisor: Supervisor, options: ServiceOptions) -> None:
        self._supervisor = supervisor
        self._options = options
        self._reason = ""
        self._restarts = Restarts(time.monotonic_ns() + HTTP_WAIT_NS if options.http_port else None)

    def next_ns(self) -> int | None:
        """When ``look`` has something to do."""
        return self._restarts.due_ns

    def worker_ready(self) -> None:
        """What recordings need has started: so this is no more in its way."""
        self._restarts.hurry(time.monotonic_ns())

    def look(self) -> None:
        """Starts the process when it is time."""
        if not self._restarts.take(time.monotonic_ns()):
            return
        try:
            child = self._supervisor.start("http")
        except OSError as error:
            self._failed(str(error), None)
            return
        options = self._options
        self._supervisor.ask(
            child,
            messages.ServeHttp(
                endpoint=options.endpoint,
                host=options.http_host,
                port=options.http_port,
                token=options.http_token,
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
        if not child.ending:
            self._failed(self._reason or child.reason or f"the {child} ended", child.ready_ns)

    def end(self) -> None:
        """It is not started any more."""
        self._restarts.end()

    def _failed(self, reason: str, ready_ns: int | None) -> None:
        now = time.monotonic_ns()
        self._restarts.ended(now, ready_ns)
        log.error("HTTP is not served, and tried again in %d s: %s", ((self.next_ns() or now) - now) // S, reason)
        self._reason = ""
