"""Who is connected: the callers that said hello or began something, until they said goodbye, or are gone."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from ..common.clocks import ClientClock
from ..common.limits import GONE_CALLERS_KEPT, S
from ..common.service_limits import CLIENTS_PER_KEY_MAX, IDENTITIES_KEPT, INSTANT_AGE_NS, LEASE_NS
from ..errors import QuotaExceededError
from ..process.role import clock_name, watch
from ..wire import messages, sockets

log = logging.getLogger("recsvc.controller")

_NEVER_NS = 2**63
_ASKING_NS = S  # an answer of a worker about its frames is waited for so long


class _Caller:
    """``descriptor``: its pidfd; one without has a lease. ``key``: the name of its key."""

    def __init__(self, descriptor: int | None, now_ns: int, key: str) -> None:
        self.descriptor = descriptor
        self.key = key
        self.alive_ns = now_ns  # when the last sign of life came
        self.until_ns = now_ns + LEASE_NS  # when it is asked whether that was the last
        self.clock: ClientClock | None = None
        self.identities: deque[bytes] = deque()


class Callers:
    """Not thread-safe: the controller's loop calls it.

    A caller of the same pid namespace is seen at once when it is gone, through its pidfd, however busy or stopped it
    was before. Any other one (a container, another machine) has a lease, which every message of its refreshes: of the
    connections by which it has named itself, and its frames. A caller has several connections, and not every message
    names it; so those of one connection are of the client that was named there last.
    """

    def __init__(self, poller: Any, on_gone: Callable[[str], None], on_silent: Callable[[str], None]) -> None:
        """``on_gone(client)``: its process has ended, or it has been given up. ``on_silent(client)``: its lease has run
        out, but for its frames: one calls ``alive``, or ``give_up`` where ``alive_ns`` is still the same."""
        self._poller = poller
        self._on_gone = on_gone
        self._on_silent = on_silent
        self._callers: dict[str, _Caller] = {}
        self._by_identity: dict[bytes, str] = {}
        self._goodbyes: dict[str, Callable[[], None]] = {}
        self._gone: deque[str] = deque(maxlen=GONE_CALLERS_KEPT)
        self._by_key: Counter[str] = Counter()
        self._due_ns = _NEVER_NS  # no lease runs out before: there may be thousands, which are refreshed all the time

    def __len__(self) -> int:
        return len(self._callers)

    def hello(self, identity: bytes, request: messages.Hello, key: str = "") -> bool:
        """Whether it is watched and needs no lease. Raises ``ProcessLookupError`` when it has ended meanwhile. ``key``:
        the name of the key by which it came."""
        before = self._callers.get(request.client)
        descriptor = watch(request.pid, request.pid_namespace) if request.pid else None
        self.forget(request.client)
        caller = self._add(request.client, descriptor, key)
        if request.clock and request.clock == clock_name():
            caller.clock = None
        elif before is not None and before.clock is not None:  # its recordings go on
            caller.clock = before.clock
        self._named(identity, request.client)
        if descriptor is not None:
            self._poller.register(descriptor, sockets.POLLIN)
        return descriptor is not None

    def _add(self, client: str, descriptor: int | None, key: str) -> _Caller:
        if key and self._by_key[key] >= CLIENTS_PER_KEY_MAX:
            raise QuotaExceededError(f"there are {self._by_key[key]} clients of the key {key!r}: let some end")
        if client in self._gone:
            self._gone.remove(client)
        caller = self._callers[client] = _Caller(descriptor, time.monotonic_ns(), key)
        self._by_key[key] += 1
        if descriptor is None:
            self._due_ns = min(self._due_ns, caller.until_ns)
        caller.clock = ClientClock()  # unless it says that it has ours
        return caller

    def came(self, identity: bytes, request: messages.Request, key: str = "") -> bool:
        """A message came. Whether its client was known before, if it names one. Raises ``QuotaExceededError`` where its
        key has too many."""
        client = getattr(request, "client", "")
        known = client in self._callers
        if client and not isinstance(request, messages.Hello | messages.Bye) and not self.is_gone(client):
            if not known:
                self._add(client, None, key)
            self._named(identity, client)
        client = self._by_identity.get(identity, "")
        if client:
            self.alive(client)
        return known

    def _named(self, identity: bytes, client: str) -> None:
        if self._by_identity.get(identity) == client:
            return
        self._by_identity[identity] = client
        identities = self._callers[client].identities
        identities.append(identity)
        if len(identities) > IDENTITIES_KEPT:
            self._forget_identity(identities.popleft(), client)

    def _forget_identity(self, identity: bytes, client: str) -> None:
        if self._by_identity.get(identity) == client:
            del self._by_identity[identity]

    def of(self, identity: bytes) -> str:
        """The client whose connection this is; ``""``: it has not named itself."""
        return self._by_identity.get(identity, "")

    def clock_of(self, client: str) -> ClientClock | None:
        """What is known of a client's clock; ``None``: it is ours, or nobody knows the client."""
        caller = self._callers.get(client)
        return None if caller is None else caller.clock

    def instant(self, client: str, at_ns: int) -> int:
        """When a client commanded something, in our time. 0, and what cannot be, is now: a clock of which too little is
        known must not cut a recording."""
        caller, now = self._callers.get(client), time.monotonic_ns()
        if caller is not None and caller.clock is None:
            return at_ns or now
        if caller is not None and caller.clock is not None:
            at_ns = caller.clock.ours(at_ns) if at_ns else now
        return min(at_ns, now) if now - INSTANT_AGE_NS <= at_ns <= now + S else now

    def alive(self, client: str, at_ns: int | None = None) -> None:
        """A sign of life, now or at ``at_ns``."""
        caller = self._callers.get(client)
        if caller is not None:
            caller.alive_ns = max(caller.alive_ns, time.monotonic_ns() if at_ns is None else at_ns)
            caller.until_ns = caller.alive_ns + LEASE_NS

    def alive_ns(self, client: str) -> int | None:
        """When its last sign of life came; ``None``: it is not there."""
        caller = self._callers.get(client)
        return None if caller is None else caller.alive_ns

    def ended(self, readable: int) -> bool:
        """Whether a readable descriptor is a caller's end, which is then reported."""
        for client, caller in self._callers.items():
            if caller.descriptor == readable:
                log.info("the caller %s is gone", client)
                self._gone.append(client)
                self.give_up(client)
                return True
        return False

    def give_up(self, client: str) -> None:
        """It is gone; one with a lease may come back."""
        if client in self._callers:
            self.forget(client)
            self._on_gone(client)

    def is_gone(self, client: str) -> bool:
        """It has ended, or is about to. A request of it may have been under way."""
        return client in self._gone or client in self._goodbyes

    def due_ns(self) -> int | None:
        """When ``look`` has something to do."""
        return None if self._due_ns == _NEVER_NS else self._due_ns

    def postpone(self, lost_ns: int) -> None:
        """As ``Patient`` says. Connections over a network have broken meanwhile, perhaps, and are to be made again."""
        now = time.monotonic_ns()
        for client in self._callers:
            self.alive(client, now)

    def look(self) -> None:
        """At every turn of the loop: whose lease has run out."""
        now = time.monotonic_ns()
        if now < self._due_ns:
            return
        for client, caller in list(self._callers.items()):
            if caller.descriptor is None and now >= caller.until_ns:
                caller.until_ns = now + _ASKING_NS
                self._on_silent(client)
        leases = (caller.until_ns for caller in self._callers.values() if caller.descriptor is None)
        self._due_ns = min(leases, default=_NEVER_NS)

    def forget(self, client: str) -> None:
        caller = self._callers.pop(client, None)
        self._goodbyes.pop(client, None)
        if caller is None:
            return
        self._by_key[caller.key] -= 1
        if not self._by_key[caller.key]:
            del self._by_key[caller.key]
        for identity in caller.identities:
            self._forget_identity(identity, client)
        if caller.descriptor is not None:
            self._poller.unregister(caller.descriptor)
            os.close(caller.descriptor)

    def goodbye(self, client: str, answer: Callable[[], None]) -> None:
        """``answer`` is called by ``finished``."""
        self._goodbyes[client] = answer

    def finished(self, client: str) -> None:
        """Nothing of this caller is under way any more."""
        answer = self._goodbyes.pop(client, None)
        if answer is not None:
            self.forget(client)
            self._gone.append(client)
            answer()
