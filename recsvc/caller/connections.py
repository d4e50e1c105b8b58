"""The connections of this process: one per service, made at the first use and closed at the program's end."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading

from .. import errors
from ..common.service import ServiceAddress
from ..process import role, runtime, services
from ..process.runtime import prepare_spool, spool_directory
from . import calls
from .client import Client
from .weak import Living

log = logging.getLogger("recsvc")

_LAST_OF_ALL = -1000  # of what multiprocessing's children do at their end

_lock = threading.Lock()  # of what follows; nobody holds it while it connects
_clients: dict[ServiceAddress | None, Client] = {}  # ``None``: the private one
_connecting: dict[ServiceAddress | None, threading.Lock] = {}
"""Who connects to a service holds its lock: others who want the same service wait for it, and nobody else does."""
_everyone: Living[Client] = Living()  # also those that were lost, whose listeners may still be busy
_owner_pid = 0
_ending_pid = 0  # the child of ``multiprocessing`` that closes them by its own end


def connect(service: str | os.PathLike[str] | None = None) -> Client:
    """The connection to ``service``, else to ``RECSVC_SERVICE``, else to this process's private controller.

    A service is named by an endpoint or by the path of a connection file. One connection per service and process; made
    on first use. ``ServiceError`` when nobody answers.
    """
    named = service if service is not None else os.environ.get("RECSVC_SERVICE", "")
    if not isinstance(named, str | os.PathLike):
        raise TypeError(f"service must be an endpoint, or the path of a connection file, got {service!r}")
    return connect_to(services.address_of(named) if named else None)


def renewed(client: Client) -> Client:
    """The connection to the same service: this one, or another where it was lost, or is that of a parent."""
    if client.lost is None and _owner_pid == os.getpid():
        return client
    return connect_to(client.address)


def connect_to(address: ServiceAddress | None) -> Client:
    """The connection to the service at this address; ``None``: to the private controller."""
    with _lock:
        client = _ready(address)
        connecting = _connecting.setdefault(address, threading.Lock())
    if client is not None:
        return client
    with connecting:
        with _lock:
            client = _ready(address)
            if client is not None:  # another thread has made it meanwhile
                return client
            lost = _clients.pop(address, None)
        if lost is not None:
            lost.discard()
        try:
            client = Client(address) if address else _start_private()
        except OSError as error:
            raise errors.ServiceError(f"no connection to a service can be made: {error}") from error
        with _lock:
            _clients[address] = client
            _everyone.add(client)
            _end_with_process()
        return client


def _ready(address: ServiceAddress | None) -> Client | None:
    """The connection that is there. Called under the lock."""
    global _owner_pid
    if _owner_pid != os.getpid():  # a forked child has none of its parent's connections
        _clients.clear()
        _everyone.clear()
        _owner_pid = os.getpid()
    client = _clients.get(address)
    return client if client is not None and client.usable else None


def _start_private() -> Client:
    spool = spool_directory()
    prepare_spool(spool)  # here, so that what is wrong with it is raised at once
    place = runtime.make()
    process = None
    try:
        endpoint = f"ipc://{place.path}/control"
        process = role.Process(
            "controller", "--endpoint", endpoint, "--directory", str(place.path), "--spool", str(spool)
        )
        runtime.sweep(place.path.parent)  # while it starts
        return Client(ServiceAddress(endpoint), process, place)
    except BaseException:
        if process is not None:
            process.kill()
            process.wait()
        place.leave()
        raise


def _end_with_process() -> None:
    """A child of ``multiprocessing`` that was forked ends without the functions of ``atexit``: its own are asked."""
    global _ending_pid
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is None or multiprocessing.parent_process() is None or _ending_pid == os.getpid():
        return
    from multiprocessing.util import Finalize

    _ending_pid = os.getpid()
    Finalize(None, _close_after_threads, exitpriority=_LAST_OF_ALL)


def _close_after_threads() -> None:
    """Threads may record as long as they live, as they do in any program that ends."""
    for thread in threading.enumerate():
        if not thread.daemon and thread not in (threading.current_thread(), threading.main_thread()):
            thread.join()
    close_all()


def _forked() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it, or one of those
    _connecting.clear()


os.register_at_fork(after_in_child=_forked)


@atexit.register
def close_all() -> None:
    """Closes every connection of this process: recordings are finished, then listeners served, as long as they take.
    At the program's end this happens by itself, after its threads have ended; then the Blobs go, and with them
    their files (``storage.py``)."""
    with _lock:
        under_way = list(_connecting.values())
    for connecting in under_way:
        with connecting:
            pass  # what is being made just now is closed, too
    with _lock:
        clients = [] if _owner_pid != os.getpid() else _everyone.all()
        _clients.clear()
        _everyone.clear()
    for client in clients:
        try:
            client.close()
        except Exception:
            log.exception("closing %s failed", client.name)
        except BaseException:  # Ctrl-C: nobody wants to wait for the rest
            kept = [path for one in clients for path in one.give_up()]
            if kept:
                log.warning("interrupted before all was handed over; what was recorded is kept in %s", ", ".join(kept))
            raise
    calls.end_helpers()
