"""Requests that come twice, since a network was cut, are done once. No I/O."""

from __future__ import annotations

from collections import OrderedDict

from ..common.service_limits import PEERS_KEPT


class Once:
    """What each connection asked for last, and its answer. A caller asks for one thing after the other by one
    connection, and sends it again, byte for byte, when no answer comes."""

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, tuple[int, int, bytes | None]] = OrderedDict()  # number, digest, answer

    def is_new(self, identity: bytes, number: int, header: bytes) -> tuple[bool, bytes | None]:
        """Whether this is to be done, and else its answer; ``None``: that is still to come."""
        digest = hash(header)
        last = self._last.get(identity)
        if last is not None and last[:2] == (number, digest):
            return False, last[2]
        self._last[identity] = number, digest, None
        self._last.move_to_end(identity)
        if len(self._last) > PEERS_KEPT:
            self._last.popitem(last=False)
        return True, None

    def answered(self, identity: bytes, number: int, answer: bytes) -> None:
        """The answer is kept where nothing else was asked for meanwhile."""
        last = self._last.get(identity)
        if last is not None and last[0] == number:
            self._last[identity] = number, last[1], answer
