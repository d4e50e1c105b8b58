"""The application, and what its commands share: how they fail, and the options that several have.

Each command imports the heavy modules that it needs when it runs.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from ... import __version__

Option, Argument = typer.Option, typer.Argument


class _InOrder(TyperGroup):
    """Shows the commands by what people do first, whichever module they stand in; those not named here follow."""

    ORDER = ("record", "recover", "devices", "types")

    def list_commands(self, ctx: Any) -> list[str]:
        order = {name: place for place, name in enumerate(self.ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: order.get(name, len(order)))


app = typer.Typer(
    cls=_InOrder,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Record microphones, cameras, screens, files, network streams and test pictures as seekable WebM or Ogg.",
    epilog="Exit codes: 0 done; 1 failed, and one line says why; 2 wrong usage; 130 left at once by a second Ctrl-C.",
)

EXIT_FAILED, EXIT_USAGE = 1, 2

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def fail(reason: str, code: int = EXIT_FAILED) -> NoReturn:
    """One line on standard error, and the end."""
    print(f"recsvc: {' '.join(reason.splitlines())}", file=sys.stderr)
    raise typer.Exit(code)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """What goes wrong in the block is one line on standard error, and an exit code."""
    from ...errors import OverconstrainedError, RecorderError
    from ..target import Failed

    try:
        yield
    except (OverconstrainedError, TypeError, ValueError) as error:
        fail(str(error), EXIT_USAGE)
    except (Failed, RecorderError) as error:
        fail(str(error))
    except OSError as error:
        place = error.filename or "the current directory"
        fail(f"{place} cannot be read: {error.strerror}" if error.strerror else str(error))


def _version(asked: bool) -> None:
    if asked:
        print(f"recsvc {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
