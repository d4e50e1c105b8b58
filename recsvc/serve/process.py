"""``recsvc serve``: a controller for everybody, with settings, a connection file, a log and an init system."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .. import __version__, errors
from ..common.service import ServiceOptions, http_url
from ..controller.host import Host
from ..controller.process import serve
from ..process import services
from ..process.role import Lifeline
from ..process.runtime import Lock, default_base, is_short, prepare_spool
from ..wire.curve import service_keys
from .logs import Log
from .notify import Notifier
from .settings import Settings, SettingsError, load, misspelt

log = logging.getLogger("recsvc.serve")

SPOOL_LOCK = ".recsvc-serve"
"""Held in the spool by the service whose recordings are there."""


class Daemon(Host):
    """What a controller that is a service does besides: it says how it goes."""

    def __init__(self, options: ServiceOptions, connection_file: Path, notifier: Notifier) -> None:
        self._options = options
        self._path = connection_file
        self._notifier = notifier
        self._tcp = ""
        self._published: services.Published | None = None

    def serving(self, endpoints: tuple[str, ...]) -> None:
        self._tcp = next((one for one in endpoints if one.startswith("tcp://")), "")

    def ready(self) -> None:
        """Once: who finds the connection file can record at once."""
        if self._published is not None:
            return
        here = services.Connection(
            endpoint=self._options.endpoint,
            pid=os.getpid(),
            tcp=self._tcp,
            server_key=self._server_key(),
            http=http_url(self._options),
            spool=self._options.spool,
            version=__version__,
        )
        self._published = services.Published(self._path, here)
        where = ", ".join(filter(None, (self._options.endpoint, self._tcp)))
        self._notifier.ready(f"serving at {where}")
        log.info("serving at %s", where, extra={"fields": {"spool": self._options.spool, "file": str(self._path)}})

    def _server_key(self) -> str:
        if not self._tcp:
            return ""
        if self._options.insecure:
            log.warning("%s is served without keys: everybody who reaches it may do everything", self._tcp)
            return ""
        return service_keys(Path(self._options.key_file)).public

    def look(self) -> None:
        self._notifier.look()

    def next_ns(self) -> int | None:
        return self._notifier.next_ns

    def reload(self) -> None:
        log.info("SIGHUP: keys count within a second, as ever; other settings once the service is started again")

    def ending(self, recordings: int) -> None:
        """Nobody is to find it any more."""
        self.close()
        limit = f"{self._options.finish_limit_s:g} s"
        self._notifier.send("STOPPING=1", f"STATUS=finishing {recordings} recordings, within {limit}")
        log.info("ending: %d recordings are being finished, within %s", recordings, limit)

    def ended(self, finished: int, cut: int) -> None:
        level = logging.WARNING if cut else logging.INFO
        log.log(level, "ended: %d recordings were finished, %d were cut at the limit", finished, cut)

    def close(self) -> None:
        if self._published is not None:
            self._published.remove()
            self._published = None


def _prepare_directory(path: Path) -> None:
    """Whoever may enter it may connect, and do everything."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise errors.ServiceError(f"the directory {path} must be this user's alone: chmod 700 it, or name another")


@contextlib.contextmanager
def _spool_lock(options: ServiceOptions) -> Iterator[None]:
    """Two services would each keep a catalog of the same files, and delete what the other one lists."""
    spool = Path(options.spool)
    prepare_spool(spool)
    try:
        lock = Lock(spool / SPOOL_LOCK, f"the service of process {os.getpid()} at {options.endpoint}")
    except errors.ServiceError as error:
        raise errors.ServiceError(f"{error} has the spool {spool}: end it first, or name another --spool") from None
    try:
        yield
    finally:
        lock.release()


def main() -> None:
    """The process's entry."""
    try:
        loaded = load(sys.argv[2:])
        options = loaded.settings.options()
    except (SettingsError, ValueError) as error:
        print(f"recsvc serve: {error}", file=sys.stderr)
        sys.exit(2)
    if loaded.print_config:
        print(loaded.as_toml(), end="")
        return
    lifeline = Lifeline(argparse.Namespace(parent=0, line=None), reloads=True)
    try:
        _run(loaded.settings, options, lifeline)
    except (errors.RecorderError, OSError) as error:
        sys.exit(f"recsvc serve: {error}")
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # what it was asked for is done, and the exit code says so


def _run(settings: Settings, options: ServiceOptions, lifeline: Lifeline) -> None:
    directory = Path(settings.directory)
    path = Path(settings.connection_file or directory / services.FILE_NAME)
    notifier = Notifier(os.environ)
    _prepare_directory(directory)
    with _spool_lock(options):
        services.check_free(path)
        daemon = Daemon(options, path, notifier)
        written = Log(settings.log_format, settings.log_level)
        for text in misspelt(os.environ):
            log.warning(text)
        try:
            serve(options, directory if is_short(directory) else default_base(), lifeline, daemon)
        finally:
            daemon.close()
            written.end()
            notifier.close()
