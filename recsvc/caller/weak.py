"""A set of weak references that any thread may look through while others change it."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

T = TypeVar("T")


class Living(Generic[T]):
    """Members that live. (A ``WeakSet`` raises when it is looked through while another thread adds to it.)"""

    def __init__(self) -> None:
        self._members: weakref.WeakKeyDictionary[T, None] = weakref.WeakKeyDictionary()

    def add(self, member: T) -> None:
        self._members[member] = None

    def clear(self) -> None:
        self._members = weakref.WeakKeyDictionary()

    def all(self) -> list[T]:
        """The members that live now."""
        return [member for reference in self._members.keyrefs() if (member := reference()) is not None]
