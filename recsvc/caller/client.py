"""A connection to a controller: requests, commands, and the events of this program's sources. Thread-safe.

Three kinds of sockets, so that nothing waits for anything else: a pool for requests that wait for their answer
(``requests.py``), one for commands that do not (``stop`` and its like, kept in order among each other), one for the
events of sources, which a thread of its own reads. Recorders read their own events (``subscription.py``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import threading
import uuid
import weakref
from typing import Any

from .. import errors
from ..common.descriptions import Welcome
from ..common.limits import CLOSE_DEADLINE_NS, LAST_EVENTS_MS, MS, READY_DEADLINE_NS, RPC_DEADLINE_NS, S
from ..common.service import ServiceAddress, reachable
from ..common.service_limits import SERVICE_SILENCE_NS
from ..process import role, runtime
from ..wire import messages, sockets
from ..wire.replies import understood
from .ending import Ending, watched, why_ended
from .link import Link
from .requests import Requests
from .sources import SourceEvents
from .weak import Living

log = logging.getLogger("recsvc")


class Client:
    """A connection to one controller. Get it from ``connections.connect``.

    That the controller is gone is seen at once, through its pidfd, however busy or stopped it may be. One in another
    pid namespace (a container) cannot be watched so: there the end of its connection shows it. One on another machine
    is taken for gone when nothing came from it for a while, or when another one answers in its place.
    """

    def __init__(
        self, address: ServiceAddress, process: role.Process | None = None, place: runtime.Runtime | None = None
    ) -> None:
        """``process``: the private controller at the address; ``place``: its runtime directory. They go with this
        connection, but not where this raises."""
        self.name = f"client-{uuid.uuid4().hex[:12]}"
        self.address = address
        self._process = process
        self._place = place
        self._lock = threading.Lock()
        self._requests = Requests(address, process, self._check)
        self._listeners: Living[Ending] = Living()
        self.lost: errors.ServiceError | None = None
        """Why nobody answers any more; ``None``: that is not so."""
        self.closing = False
        self.is_remote = address.is_remote
        # What is readable when the controller is gone: its pidfd, or else, on this machine, the end of its connection.
        self._pidfd: int | None = None
        self._disconnection: sockets.Socket[bytes] | None = None
        self._link: Link | None = None  # to one that cannot see this process's end, or has another clock
        with contextlib.ExitStack() as undo:
            self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            undo.callback(self._free)
            if process is not None:
                self._pidfd = self._requests.pidfd = os.pidfd_open(process.pid)
                undo.callback(os.close, self._pidfd)
            self._commands = sockets.control_client(address)
            undo.callback(self._commands.close)
            welcome = self._hello()
            self._service = welcome.service
            self.welcome = welcome
            self._events = self.subscribe("source")
            undo.callback(self._events.close)
            self._sources = SourceEvents(self._events)
            self.on_track = self._sources.on_track
            if process is None:
                self._pidfd = self._requests.pidfd = watched(welcome, address)
                if self._pidfd is not None:
                    undo.callback(os.close, self._pidfd)
                elif not self.is_remote:
                    self._disconnection = sockets.disconnection(self._events)
                    undo.callback(self._disconnection.close)
            if not self._events.poll(READY_DEADLINE_NS // MS):
                raise errors.ServiceError(f"the service at {address} publishes no events")
            self._events.recv_multipart()  # the answer to the subscription: from now on nothing is missed
            if welcome.lease_ms or welcome.clock != role.clock_name():
                self._link = Link(self.name, address, self._sources.note, self._welcomed)
                undo.callback(self._link.close)
                self._link.begin(self._greeting(), welcome.clock)
            self._reader = threading.Thread(target=self._read_events, name="recsvc-events", daemon=True)
            self._reader.start()
            undo.pop_all()
        if process is not None:
            process.started()
        if place is not None:
            place.leave()  # the controller has joined it

    def _free(self) -> None:
        self._requests.close()
        for descriptor in (self._wake_read, self._wake_write):
            os.close(descriptor)

    def reachable(self, endpoints: tuple[str, ...]) -> ServiceAddress:
        """Of the endpoints of one socket, the one that is reached as this connection's is."""
        return reachable(endpoints, self.address)

    def _greeting(self) -> messages.Hello:
        """Over a network a process that lives may be out of reach, so it has a lease wherever it is."""
        pid = 0 if self.is_remote else os.getpid()
        namespace, clock = role.pid_namespace(), role.clock_name()
        return messages.Hello(client=self.name, pid=pid, pid_namespace=namespace, clock=clock)

    def _hello(self) -> Welcome:
        hello = self._greeting()
        self._requests.begin()
        try:
            return understood(self.request(hello, READY_DEADLINE_NS), Welcome)
        except TypeError:
            text = f"the service at {self.address} runs another version of recsvc: restart it"
            raise errors.ServiceError(text) from None

    # --- requests and commands --------------------------------------------------------------------

    def request(self, message: messages.Request, deadline_ns: int = RPC_DEADLINE_NS) -> Any:
        """Sends, waits, returns the result; raises what the other side raised, or ``ServiceError``."""
        return self._requests.ask(message, deadline_ns)

    def command(self, message: messages.Request) -> None:
        """Sends without waiting; commands arrive in the order of the calls. Raises ``ServiceError`` when lost."""
        self._check()
        with self._lock:
            if self._link is not None:
                self._link.command(message)
            else:
                sockets.send_command(self._commands, messages.encode(message))

    # --- events -----------------------------------------------------------------------------------

    def subscribe(self, what: str) -> sockets.Socket[bytes]:
        """A socket of its own for the events of one recorder, or of this caller's sources."""
        return sockets.event_client(self.reachable(self.welcome.events), f"{self.name}/{what}".encode())

    def on_end(self, listener: Ending) -> None:
        """``listener`` is held weakly."""
        self._listeners.add(listener)
        if self.lost is not None:
            listener.service_lost(self.lost)

    def ours_ns(self, service_ns: int) -> int:
        """An instant of the service's clock on this process's."""
        return service_ns if self._link is None else self._link.ours_ns(service_ns)

    def give_up(self) -> list[str]:
        """The program leaves before its listeners have had everything. Returns the files that are kept for it."""
        return [path for listener in self._listeners.all() for path in listener.service_given_up()]

    def _read_events(self) -> None:
        poller = sockets.Poller()
        link, ends = self._link, (self._pidfd, self._disconnection)
        for source in (self._events, self._wake_read, *ends, *((link.socket, link.wake) if link else ())):
            if source is not None:
                poller.register(source, sockets.POLLIN)
        wait_ms = None if link is None else 0
        try:
            while self.lost is None and self._wake_read not in (readable := dict(poller.poll(wait_ms))):
                if self._events in readable and self._sources.take() and link is not None:
                    link.ask_who()
                if link is not None:
                    link.take()
                    wait_ms = link.look(link.wake in readable)
                    if self.is_remote and link.is_lost:
                        text = f"nothing came from the service at {self.address} for {SERVICE_SILENCE_NS // S} s"
                        self._lose(errors.ServiceError(f"{text}; what was recorded is in the spool there"))
                if any(end in readable for end in ends):
                    while self._events.poll(LAST_EVENTS_MS):
                        self._sources.take()
                    self._lose(why_ended(self.address, self._process))
        except Exception as error:  # nobody else would see that the service ends
            log.exception("reading what comes from the service at %s failed", self.address)
            self._lose(errors.ServiceError(f"the connection to {self.address} is given up: {error!r}"))
        self._events.close()
        if self._disconnection is not None:
            self._disconnection.close()
        if link is not None:
            link.close()

    def _welcomed(self, welcome: Welcome) -> None:
        """After an interruption, the service has answered."""
        if welcome.service != self._service:
            text = f"the service at {self.address} has ended, and another one answers there"
            self._lose(errors.ServiceError(f"{text}; what was recorded is in the spool there"))
        else:
            self._sources.keep_only(welcome.tracks)

    def _lose(self, error: errors.ServiceError) -> None:
        if self.closing or self.lost is not None:
            return
        self.lost = error
        for listener in self._listeners.all():
            try:
                listener.service_lost(self.lost)
            except Exception:
                log.exception("%s could not take the loss of its service", listener)
        if self._process is not None:
            self._process.wait()
        if self._place is not None:
            runtime.remove_if_dead(self._place.path)

    def _check(self) -> None:
        if self.lost is not None:
            raise self.lost

    @property
    def usable(self) -> bool:
        return self.lost is None and not self.closing

    # --- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Finishes this caller's recordings; a private controller ends with it. Idempotent. Blocks for the drain."""
        with self._lock:
            if self.closing:
                return
            self.closing = True
        if self.lost is None:
            for listener in self._listeners.all():
                listener.service_closing()
            if self._process is None:
                self._say_goodbye()
            else:
                self._end_process(self._process)
        os.write(self._wake_write, b"x")
        self._reader.join()
        for listener in self._listeners.all():
            listener.service_closed()
        self._commands.close()
        self._free()
        if self._pidfd is not None:
            os.close(self._pidfd)
        if self._place is not None:
            runtime.remove_if_dead(self._place.path)

    def _say_goodbye(self) -> None:
        """To a service that goes on: the answer comes when this caller's recordings are finished."""
        try:
            if self._link is not None:
                self._link.settled(CLOSE_DEADLINE_NS / S)
            self.request(messages.Bye(client=self.name), CLOSE_DEADLINE_NS)
        except errors.RecorderError as error:
            log.warning("the service at %s did not finish in order: %s", self.address, error)

    def _end_process(self, process: role.Process) -> None:
        with contextlib.suppress(sockets.ZMQError):
            self._commands.send(messages.encode(messages.Shutdown()), sockets.NOBLOCK)
        try:
            process.wait(CLOSE_DEADLINE_NS / S)
        except subprocess.TimeoutExpired:
            log.warning("the private controller did not end in time and is killed")
            process.kill()
            process.wait()

    def discard(self) -> None:
        """Another takes the place of this lost connection, which nobody closes any more. Waits for nobody."""
        with self._lock:
            if not self.closing:
                self.closing = True
                self._commands.close()
                self._free()
                if self._pidfd is not None:  # calls that are under way may look at it
                    weakref.finalize(self, os.close, self._pidfd).atexit = False
