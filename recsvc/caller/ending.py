"""What has to know of the end of a connection to a service."""

from __future__ import annotations

from typing import Protocol


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
