"""What the init system is notified of, over the socket that it names (sd_notify)."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

log = logging.getLogger("recsvc.serve")


class Notifier:
    """Sends to ``NOTIFY_SOCKET``; does nothing where that is not set. Nothing here blocks or raises."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Takes its variables out of the environment, so that no process that is started has them."""
        address = environment.pop("NOTIFY_SOCKET", "")
        usec = environment.pop("WATCHDOG_USEC", "")
        is_ours = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self._interval_ns = int(usec) * 1000 // 2 if usec.isdecimal() and is_ours and address else 0
        self._due_ns: int | None = None  # for a sign of life; from ``ready`` on
        self._socket: socket.socket | None = None
        if not address:
            return
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            made.connect(f"\0{address[1:]}" if address.startswith("@") else address)  # an abstract one has no file
        except (OSError, ValueError) as error:
            made.close()
            log.warning("the notification socket %s cannot be used: %s", address, error)
        else:
            self._socket = made

    def ready(self, status: str) -> None:
        """It serves: from now on it is watched."""
        self.send("READY=1", f"STATUS={status}")
        if self._interval_ns and self._socket is not None:
            self._due_ns = time.monotonic_ns() + self._interval_ns

    def send(self, *lines: str) -> None:
        """Such as ``READY=1``."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send("\n".join(lines).encode())

    def look(self) -> None:
        """A sign of life where one is due: twice in the time after which its absence means a hang."""
        if self._due_ns is not None and time.monotonic_ns() >= self._due_ns:
            self._due_ns = time.monotonic_ns() + self._interval_ns
            self.send("WATCHDOG=1")

    @property
    def next_ns(self) -> int | None:
        """When ``look`` has something to do."""
        return self._due_ns

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
