"""The command line, a module for each topic."""

from . import machine as machine
from . import protocol as protocol
from . import record as record
from . import service as service
from .app import app as app


def main() -> None:
    """Runs the command that the program's arguments name."""
    app(prog_name="recsvc")
