"""Bytes of answers that ZeroMQ still has, by the key of who asked for them. No I/O."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..common.service_limits import FETCH_BYTES_PER_KEY_MAX


class Lent:
    """What was sent and is not read yet stays in memory, some MiB for each connection: the connections of one key share
    a bound, so that they keep each other waiting and nobody else."""

    def __init__(self) -> None:
        self._by_key: dict[str, deque[tuple[Any, int]]] = {}

    def has_room(self, key: str, size: int) -> bool:
        """Whether so many bytes more may be sent by a connection of this key."""
        lent = deque(one for one in self._by_key.pop(key, ()) if not one[0].done)
        if lent:
            self._by_key[key] = lent
        return sum(count for _, count in lent) + size <= FETCH_BYTES_PER_KEY_MAX

    def add(self, key: str, size: int, tracker: Any) -> None:
        """They were sent; ``tracker.done`` says when ZeroMQ has let go of them."""
        self._by_key.setdefault(key, deque()).append((tracker, size))
