"""The end of a connection to a service: who has to know of it, and why it was."""

from __future__ import annotations

import contextlib
import subprocess
from typing import Protocol

from ..common.descriptions import Welcome
from ..common.service import ServiceAddress
from ..errors import ServiceError
from ..process import role
from ..process.role import Process


class Ending(Protocol):
    """What has to know of a connection's end."""

    def service_closing(self) -> None:
        """This process is about to close the connection, and its controller finishes the recordings."""

    def service_closed(self) -> None:
        """The connection was closed, and every event has come."""

    def service_lost(self, error: Exception) -> None:
        """The controller is gone."""

    def service_given_up(self) -> list[str]:
        """The program leaves before its listeners have had everything. Returns the files that are kept."""


def watched(welcome: Welcome, address: ServiceAddress) -> int | None:
    """A pidfd that is readable when a service is gone; ``None``: it is in another container, or on another machine."""
    try:
        return role.watch(welcome.pid, welcome.pid_namespace)
    except ProcessLookupError:
        raise ServiceError(f"the service at {address} has ended") from None


def why_ended(address: ServiceAddress, process: Process | None) -> ServiceError:
    """Says who is gone and, of a private controller (``process``) that could not begin, why."""
    if process is None:
        return ServiceError(f"the service at {address} ended; what was recorded is in the spool there")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)
    reason = process.started()
    if reason:
        return ServiceError(f"the private controller cannot run: {reason}")
    return ServiceError("the private controller ended unexpectedly; what was recorded is in the spool")
