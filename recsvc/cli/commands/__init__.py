"""The command line, a module for each topic."""

from __future__ import annotations

import _thread
import signal
import sys

from . import machine as machine
from . import protocol as protocol
from . import record as record
from . import service as service
from .app import app as app


def main() -> None:
    """Runs the command that the program's arguments name."""
    sys.unraisablehook = _unraisable
    try:
        app(prog_name="recsvc")
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is done, and connections are closed: without a traceback


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Ctrl-C came while Python freed an object, and was lost there: it comes again."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _thread.interrupt_main()
    else:
        sys.__unraisablehook__(unraisable)
