"""What runs a controller, and takes part in its loop."""

from __future__ import annotations


class Host:
    """Learns how the controller goes. A private controller's wants to know nothing of it.

    Called in the controller's loop, so nothing here may block.
    """

    def serving(self, endpoints: tuple[str, ...]) -> None:
        """Its sockets are bound: who connects is answered. ``endpoints``: where, ``tcp://*:PORT`` for other
        machines."""

    def ready(self) -> None:
        """An encoder worker is ready: recordings begin at once."""

    def look(self) -> None:
        """At every turn of the loop."""

    def next_ns(self) -> int | None:
        """When ``look`` has something to do."""
        return None

    def reload(self) -> None:
        """The settings that may change while it runs are to be read again (SIGHUP)."""

    def ending(self, recordings: int) -> None:
        """No recording begins any more, and those that go on, so many, are being finished."""

    def ended(self, finished: int, cut: int) -> None:
        """All recordings are over: so many were finished in time, and so many cut where the limit was reached."""
