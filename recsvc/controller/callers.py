"""Who is connected: the callers that said hello, until they said goodbye, closed their connection, or are gone."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Any

from ..common.limits import GONE_CALLERS_KEPT
from ..process.role import watch
from ..wire import messages, sockets

log = logging.getLogger("recsvc.controller")


class Callers:
    """Not thread-safe: the controller's loop calls it.

    A caller that is gone is seen at once, through its pidfd, however busy or stopped it was before. One in another pid
    namespace (a container) cannot be watched so: there the end of its subscription to events shows it, which
    processes that it has forked can delay.
    """

    def __init__(self, poller: Any, on_gone: Callable[[str], None]) -> None:
        self._poller = poller
        self._on_gone = on_gone
        self._descriptors: dict[str, int | None] = {}
        self._goodbyes: dict[str, Callable[[], None]] = {}
        self._gone: deque[str] = deque(maxlen=GONE_CALLERS_KEPT)

    def hello(self, request: messages.Hello) -> None:
        """Raises ``ProcessLookupError`` when the caller has ended meanwhile."""
        self.forget(request.client)
        descriptor = watch(request.pid, request.pid_namespace) if request.pid else None
        self._descriptors[request.client] = descriptor
        if descriptor is not None:
            self._poller.register(descriptor, sockets.POLLIN)

    def ended(self, readable: int) -> bool:
        """Whether a readable descriptor is a caller's end, which is then reported."""
        for client, descriptor in self._descriptors.items():
            if descriptor == readable:
                log.info("the caller %s is gone", client)
                self.unsubscribed(client)
                return True
        return False

    def is_gone(self, client: str) -> bool:
        """A request of it may have been under way."""
        return client in self._gone or client in self._goodbyes

    def unsubscribed(self, client: str) -> None:
        """It has no events any more. Nothing happens where it is known to be gone."""
        if client in self._descriptors:
            self.forget(client)
            self._gone.append(client)
            self._on_gone(client)

    def forget(self, client: str) -> None:
        descriptor = self._descriptors.pop(client, None)
        self._goodbyes.pop(client, None)
        if descriptor is not None:
            self._poller.unregister(descriptor)
            os.close(descriptor)

    def goodbye(self, client: str, answer: Callable[[], None]) -> None:
        """``answer`` is called by ``finished``."""
        self._goodbyes[client] = answer

    def finished(self, client: str) -> None:
        """Nothing of this caller is under way any more."""
        answer = self._goodbyes.pop(client, None)
        if answer is not None:
            self.forget(client)
            self._gone.append(client)
            answer()
