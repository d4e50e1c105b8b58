"""Who a peer is, and what it may do. Pure."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import NotAllowedError

RECORD = "record"
"""Make recordings, and control what one has begun: recordings, sources, events of them."""
READ = "read"
"""Know of all recordings: list and fetch them, their statistics and events."""
ADMIN = "admin"
"""Everything: others' recordings, deletion, files of the service's machine as sources, its end."""
PERMISSIONS = (RECORD, READ, ADMIN)

_NEEDED = {
    "hello": "",
    "ping": "",
    "bye": "",
    "start": RECORD,
    "record": RECORD,
    "open_source": RECORD,
    "close_track": RECORD,
    "control": RECORD,
    "control_routes": RECORD,
    "rename": RECORD,
    "statistics": READ,
    "ask_events": READ,
    "status": READ,
    "list": READ,
    "get": READ,
    "fetch": READ,
    "delete": ADMIN,
    "shutdown": ADMIN,
}
"""Kind of request -> the permission that it needs; ``""``: any. A kind that is not here needs ``admin``."""
_OF_ONES_OWN = {"statistics", "ask_events", "get", "fetch"}
"""Kinds for which ``record`` is enough where the recording is one's own."""


class Peer(NamedTuple):
    """Who sent a message. ``name``: of its key; ``""`` for a program of this machine, which has none."""

    name: str
    permissions: frozenset[str]
    is_local: bool = False

    def has(self, permission: str) -> bool:
        return not permission or permission in self.permissions or ADMIN in self.permissions

    def owns(self, owner: str) -> bool:
        """Whether it may do as it likes with what the key of this name has made."""
        return owner == self.name or ADMIN in self.permissions

    def __str__(self) -> str:
        return f"the key {self.name!r}" if self.name else "a program of this machine"


LOCAL = Peer("", frozenset(PERMISSIONS), True)
"""Whoever comes by a Unix socket: its folder is closed to other users."""
ANONYMOUS = Peer("anonymous", frozenset((RECORD, READ)))
"""Whoever comes over the network to a service that takes everybody."""


def needed(kind: str) -> str:
    """The permission that a kind of request needs; ``""``: none."""
    return _NEEDED.get(kind, ADMIN)


def check(peer: Peer, kind: str, owner: str | None = None) -> None:
    """Raises ``NotAllowedError`` where ``peer`` may not have this kind of request done. ``owner``: the name of the key
    that what it is about belongs to; ``None``: it is about nothing of anybody's, or about what nobody knows."""
    permission = _NEEDED.get(kind, ADMIN)
    if owner is not None and peer.owns(owner):
        if kind in _OF_ONES_OWN and peer.has(RECORD):
            return
    elif owner is not None and permission != READ:
        raise NotAllowedError(
            f"{kind!r} of what is another key's needs the permission 'admin'; {peer} has {_listed(peer)}"
        )
    if not peer.has(permission):
        raise NotAllowedError(f"{kind!r} needs the permission {permission!r}; {peer} has {_listed(peer)}")


def _listed(peer: Peer) -> str:
    return ", ".join(sorted(peer.permissions)) or "none"
