"""The recordings that a service keeps: those that go on, and those of programs that have ended long ago.

A service that was started with ``recsvc serve`` keeps them. ``service`` names it as everywhere: an endpoint, or the
path of a connection file; by default ``RECSVC_SERVICE``, else the connection file that the service of this user, or
else that of this machine, has written. None is started.
"""

from __future__ import annotations

import builtins
import os

from .caller import kept as _kept
from .caller.calls import whole as _whole

__all__ = ["Recording", "get", "list"]


class Recording(_kept.KeptRecording):
    """A recording as its service knew it when it was asked for; get it from ``get`` or ``list``.

    What happens to it later is seen after ``update()``. Every call may raise ``NotFoundError`` (it was deleted
    meanwhile) or ``ServiceError``.
    """

    def update(self) -> None:
        """Asks the service again, for all attributes."""
        _whole(self._update)

    def rename(self, name: str) -> None:
        """Gives it another name for people, of at most 200 characters; its id and its file stay."""
        _whole(lambda: self._rename(name))

    def delete(self) -> None:
        """Removes it and its file from the service. ``InvalidStateError`` while it goes on."""
        _whole(self._delete)

    def stop(self) -> None:
        """Ends it, as its recorder's ``stop()`` would, and waits until its file is finished. ``InvalidStateError``
        where it has ended."""
        _whole(lambda: self._control("stop"))

    def pause(self) -> None:
        """Records nothing until ``resume()``. ``InvalidStateError`` where it has ended."""
        _whole(lambda: self._control("pause"))

    def resume(self) -> None:
        """Goes on after ``pause()``. ``InvalidStateError`` where it has ended."""
        _whole(lambda: self._control("resume"))


def _nothing(_: object) -> None:
    """Undoes a question: who is interrupted does not wait for its answer."""


def list(*, service: str | os.PathLike[str] | None = None, limit: int | None = 100) -> builtins.list[Recording]:
    """The recordings of a service, the newest first, at most ``limit``; ``None``: all. ``ServiceError`` where no
    service is found or none answers, ``NotSupportedError`` where it keeps no recordings."""
    client, found = _whole(lambda: _kept.find(service, limit), _nothing)
    return [Recording(client, info) for info in found]


def get(id: str, *, service: str | os.PathLike[str] | None = None) -> Recording:
    """The recording with this id. ``NotFoundError`` where there is none, or no more; else as ``list``."""
    client, info = _whole(lambda: _kept.look_up(service, id), _nothing)
    return Recording(client, info)
