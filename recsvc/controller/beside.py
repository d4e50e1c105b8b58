"""The processes that run beside the recordings, and that no recording needs: the catalog's and the HTTP side's."""

from __future__ import annotations

from pathlib import Path

from ..common.service import ServiceOptions
from .http_side import HttpSide
from .keeping import Keeping
from .supervisor import Child, Supervisor


class Beside:
    """Not thread-safe: the controller's loop calls it."""

    def __init__(self, supervisor: Supervisor, directory: Path, options: ServiceOptions) -> None:
        self.keeping = Keeping(supervisor, directory, options)
        self._http = HttpSide(supervisor, options)

    def worker_ready(self) -> None:
        """What recordings need has started: so these are no more in its way."""
        self.keeping.worker_ready()
        self._http.worker_ready()

    def ended(self, child: Child) -> bool:
        """Whether it was one of these; another takes its place."""
        if child.role == "http":
            self._http.ended(child)
        elif child.role == "catalog":
            self.keeping.ended(child)
        return child.role in ("http", "catalog")

    def look(self) -> None:
        """What is due by now, at every turn of the loop."""
        self.keeping.look()
        self._http.look()

    def next_ns(self) -> int | None:
        """When ``look`` has something to do."""
        return min((at for at in (self.keeping.next_ns(), self._http.next_ns()) if at is not None), default=None)

    def end(self) -> None:
        """None is started any more."""
        self.keeping.end()
        self._http.end()
