"""The locks of writes that a signal handler has halted in their thread, for calls that the handler makes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sender import FrameSender

recorded: set[FrameSender] = set()
"""Senders with routes; none else ever holds its lock in a write."""


class lend:
    """For a call that a signal handler makes, and which waits for other threads: the write that the handler has halted
    in this thread lets its lock go meanwhile, so that its recordings can be ended beside it.

    No generator: one that another handler keeps from its end would take the locks later, when nobody gives them back.
    The write itself sees to it that it has its lock then.
    """

    def __enter__(self) -> None:
        me = threading.get_ident()
        self._senders = [one for one in recorded.copy() if one._writer == me and one._lock._is_owned()]  # type: ignore[attr-defined]
        for sender in self._senders:
            sender._lock.release()

    def __exit__(self, *_: object) -> None:
        take_back(self._senders)


def take_back(lent: Sequence[FrameSender]) -> None:
    """Waits for their locks, whatever interrupts that; then raises it."""
    interruption: BaseException | None = None
    while True:
        try:
            for sender in lent:
                if not sender._lock._is_owned():  # type: ignore[attr-defined]
                    sender._lock.acquire()
            break
        except BaseException as error:
            interruption = error
    if interruption is not None:
        try:
            raise interruption
        finally:
            del interruption  # no circles
