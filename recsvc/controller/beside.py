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
        self._sides: dict[str, Keeping | HttpSide] = {"catalog": self.keeping, "http": HttpSide(supervisor, options)}

    def worker_ready(self) -> None:
        """What recordings need has started: so these are no more in its way."""
        for side in self._sides.values():
            side.worker_ready()

    def ended(self, child: Child) -> bool:
        """Whether it was one of these; another takes its place."""
        side = self._sides.get(child.role)
        if side is not None:
            side.ended(child)
        return side is not None

    def look(self) -> None:
        """What is due by now, at every turn of the loop."""
        for side in self._sides.values():
            side.look()

    def next_ns(self) -> int | None:
        """When ``look`` has something to do."""
        return min((at for side in self._sides.values() if (at := side.next_ns()) is not None), default=None)

    def end(self) -> None:
        """None is started any more."""
        for side in self._sides.values():
            side.end()
