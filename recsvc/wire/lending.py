"""Writes that a signal handler may halt in their thread, and the lending of their locks to those the handler waits for.

Python runs a handler in the main thread, between any two steps of whatever that does. A handler that stops a recording
waits for other threads, and these want the lock that the halted write holds.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

_living: set[weakref.ref[Writes]] = set()


class Busy(Enum):
    """Why a step of a write was not taken."""

    NESTED = 1  # a signal handler wrote inside a write of the same thread
    HALTED = 2  # another thread's write is halted by a signal handler


class Writes:
    """The writes of one sender: they share ``lock`` with its other calls, and are taken in steps, one at a time."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.torn = False
        """A step was left by an exception; who has put in order what that may have left resets it."""
        self._is_owned: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined]
        self._writer = 0  # the thread that is taking a step; it holds the lock, or has lent it
        self._due: list[Callable[[], object]] = []
        _living.add(weakref.ref(self, _living.discard))

    def step(self, call: Callable[..., T], *given: Any) -> T | Busy:
        """Calls it under the lock. While a step is halted nobody else takes one, though the lock may be lent."""
        me = threading.get_ident()
        with self.lock:
            if self._writer:
                return Busy.NESTED if self._writer == me else Busy.HALTED
            try:
                self._writer = me  # no handler has run since the lock was taken
                return call(*given)
            except BaseException:
                self.torn = True
                raise
            finally:
                try:
                    if not self._is_owned():
                        _take_back([self])  # who had it lent was interrupted in the midst
                finally:
                    try:
                        while self._due:
                            self._due.pop(0)()
                    finally:
                        self._writer = 0

    def soon(self, call: Callable[..., object], *given: Any) -> None:
        """A step; while one is halted it is taken at the end of that one."""
        with self.lock:
            if isinstance(self.step(call, *given), Busy):
                self._due.append(partial(call, *given))


class lend:
    """For a call that a signal handler makes, and which waits for other threads: the write that the handler has halted
    in this thread lets its lock go meanwhile, so that its recordings can be ended beside it.

    No generator: one that another handler keeps from its end would take the locks later, when nobody gives them back.
    The write itself sees to it that it has its lock then.
    """

    def __enter__(self) -> None:
        me = threading.get_ident()
        living = [writes for one in _living.copy() if (writes := one()) is not None]
        self._lent = [writes for writes in living if writes._writer == me and writes._is_owned()]
        for writes in self._lent:
            writes.lock.release()

    def __exit__(self, *_: object) -> None:
        _take_back(self._lent)


def _take_back(lent: Sequence[Writes]) -> None:
    """Waits for their locks, whatever interrupts that; then raises it."""
    interruption: BaseException | None = None
    while True:
        try:
            for writes in lent:
                if not writes._is_owned():
                    writes.lock.acquire()
            break
        except BaseException as error:
            interruption = error
    if interruption is not None:
        try:
            raise interruption
        finally:
            del interruption  # no circles
