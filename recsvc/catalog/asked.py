"""Clients' requests that are not answered yet, and whose turn it is. No I/O."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

from ..common.service_limits import CATALOG_REQUESTS_MAX, FETCH_CREDIT
from ..wire.messages import Fetch


class Asked:
    """One answer for each client in turn: who asks for much does not keep the others waiting."""

    def __init__(self) -> None:
        self._clients: OrderedDict[bytes, deque[Any]] = OrderedDict()
        self._keys: dict[bytes, str] = {}
        self._blocked: set[bytes] = set()

    def add(self, client: bytes, request: Any, key: str = "") -> bool:
        """Whether the client may have one more request unanswered. ``key``: the name of its key."""
        requests = self._clients.get(client)
        if requests is None:
            requests = self._clients[client] = deque()
            self._keys[client] = key
        fetches = sum(isinstance(one, Fetch) for one in requests)
        if len(requests) >= CATALOG_REQUESTS_MAX or (isinstance(request, Fetch) and fetches >= FETCH_CREDIT):
            return False
        requests.append(request)
        return True

    def next(self) -> tuple[bytes, Any] | None:
        """The oldest request of the client whose turn it is, or the answer to it."""
        for client, requests in self._clients.items():
            if client not in self._blocked:
                return client, requests[0]
        return None

    def answered(self, client: bytes) -> None:
        """The request that ``next`` returned; the other clients come first now."""
        requests = self._clients[client]
        requests.popleft()
        if requests:
            self._clients.move_to_end(client)
        else:
            self.forget(client)

    def key_of(self, client: bytes) -> str:
        """The name of the key of one that has a turn."""
        return self._keys[client]

    def block(self, client: bytes, answer: Any) -> None:
        """It has not read the answers so far, or others of its key have not: it has no turn until ``unblock``, and then
        ``next`` returns this one."""
        self._clients[client][0] = answer
        self._blocked.add(client)

    def unblock(self) -> None:
        """All of them have turns again."""
        self._blocked.clear()

    @property
    def blocked(self) -> bool:
        """Whether there are any that wait for that."""
        return bool(self._blocked)

    def forget(self, client: bytes) -> None:
        """It is gone, or has nothing unanswered."""
        self._clients.pop(client, None)
        self._keys.pop(client, None)
        self._blocked.discard(client)
