"""The requests for data of one recording, each until its tracks have marked it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable


class Marks:
    """A track's sender puts a mark where what a request is to give ends. Requests are answered in their order."""

    def __init__(self, routes: Iterable[str]) -> None:
        self._newest = dict.fromkeys(routes, 0)  # for each route, the request up to which all of it has come
        self._waiting: deque[tuple[int, int]] = deque()  # number and deadline of each unanswered request

    def ask(self, number: int, until_ns: int) -> None:
        """A request. After ``until_ns`` it is answered without the marks that are missing."""
        self._waiting.append((number, until_ns))

    def mark(self, route: str, number: int) -> None:
        """All of this route that a request is to give has come."""
        self._newest[route] = number

    def take(self, now_ns: int, has_ended: Callable[[str], bool]) -> bool | None:
        """Takes the next request that is to be answered: whether all routes but those that have ended have marked it,
        else its deadline is over. ``None``: there is none such."""
        if not self._waiting:
            return None
        number, until_ns = self._waiting[0]
        is_marked = all(has_ended(route) or newest >= number for route, newest in self._newest.items())
        if not is_marked and until_ns > now_ns:
            return None
        self._waiting.popleft()
        return is_marked
