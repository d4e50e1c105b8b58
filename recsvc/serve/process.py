"""``recsvc serve``: a controller for everybody, with settings, a connection file and a log."""

from __future__ import annotations

import argparse
import logging
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

from .. import __version__, errors
from ..common.service import ServiceOptions
from ..controller.host import Host
from ..controller.process import serve
from ..process import services
from ..process.role import Lifeline
from .settings import Settings, SettingsError, load

log = logging.getLogger("recsvc.serve")


class Daemon(Host):
    """Publishes the connection file while it serves."""

    def __init__(self, settings: Settings, options: ServiceOptions) -> None:
        self._settings = settings
        self._options = options
        self._published: services.Published | None = None

    def serving(self, endpoints: tuple[str, ...]) -> None:
        path = Path(self._settings.connection_file or f"{self._settings.directory}/{services.FILE_NAME}")
        self._published = services.Published(
            path,
            services.Connection(
                endpoint=self._options.endpoint,
                tcp=next((one for one in endpoints if one.startswith("tcp://")), ""),
                pid=os.getpid(),
                spool=self._options.spool,
                version=__version__,
            ),
        )

    def close(self) -> None:
        if self._published is not None:
            self._published.remove()


def _prepare_directory(path: Path) -> None:
    """Whoever may enter it may connect, and do everything."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise errors.ServiceError(f"the directory {path} must be this user's alone: chmod 700 it, or name another")


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
    logging.basicConfig(format="%(name)s: %(message)s", level=loaded.settings.log_level.upper())
    daemon = Daemon(loaded.settings, options)
    try:
        directory = Path(loaded.settings.directory)
        _prepare_directory(directory)
        lifeline = Lifeline(argparse.Namespace(parent=0, line=None), reloads=True)
        serve(options, directory, lifeline, daemon)
    except (errors.RecorderError, OSError) as error:
        sys.exit(f"recsvc serve: {error}")
    finally:
        daemon.close()
