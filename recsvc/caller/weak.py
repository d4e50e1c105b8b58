"""Who wants to hear of something, as long as they live: a set of weak references that any thread may look through."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

T = TypeVar("T")


class Living(Generic[T]):
    """Holds nobody. (A ``WeakSet`` cannot be looked through while another thread adds to it: that raises.)"""

    def __init__(self) -> None:
        self._members: weakref.WeakKeyDictionary[T, None] = weakref.WeakKeyDictionary()

    def add(self, member: T) -> None:
        self._members[member] = None

    def clear(self) -> None:
        self._members = weakref.WeakKeyDictionary()

    def all(self) -> list[T]:
        """Those that live now."""
        return [member for reference in self._members.keyrefs() if (member := reference()) is not None]
