"""The command line, a module for each topic."""

import signal

from . import machine as machine
from . import protocol as protocol
from . import record as record
from . import service as service
from .app import app as app


def main() -> None:
    """Runs the command that the program's arguments name."""
    try:
        app(prog_name="recsvc")
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is done, and connections are closed: without a traceback
