"""A controller's process: its place, its endpoint, its life."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from .. import errors
from ..common.service import ServiceOptions
from ..process import runtime
from ..process.role import Lifeline, arguments, started
from ..wire import curve, sockets
from .host import Host
from .server import Controller


def serve(options: ServiceOptions, base: Path, lifeline: Lifeline, host: Host) -> None:
    """Runs a controller in this process until it has ended. ``base``: its runtime directory, or where one is made.
    ``RecorderError`` or ``OSError`` where it cannot."""
    runtime.prepare_spool(Path(options.spool))
    if options.tcp and not options.insecure:
        curve.prepare(Path(options.keys), Path(options.key_file))
    place = runtime.join(base)
    if place is None:
        runtime.sweep(base)
        place = runtime.make(base)
    claim = None
    try:
        options = replace(options, endpoint=options.endpoint or f"ipc://{place.path}/control")
        if Path(options.endpoint.removeprefix("ipc://")).parent != place.path:
            claim = runtime.Claim(options.endpoint)
        try:
            controller = Controller(options, place.path, lifeline, host)
        except sockets.ZMQError as error:
            raise errors.ServiceError(f"cannot serve at {options.endpoint}: {error}") from error
        host.serving(controller.endpoints)
        controller.run()
        sockets.deliver()
    finally:
        if claim is not None:
            claim.release()
        place.leave()


class _Role(Host):
    """The parent of a private controller waits for it."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given

    def serving(self, endpoints: tuple[str, ...]) -> None:
        started(self._given)


def main() -> None:
    """``recsvc controller``: the entry of the process that is a program's own. One for several is ``recsvc serve``."""
    given = arguments("controller", "endpoint", "directory", "spool", needs_parent=True)
    options = ServiceOptions(endpoint=given.endpoint, spool=given.spool)
    try:
        serve(options, Path(given.directory), Lifeline(given), _Role(given))
    except (errors.RecorderError, ValueError, OSError) as error:
        sys.exit(f"recsvc controller: {error}")
