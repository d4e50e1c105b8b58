"""The application, and what its commands share: how they fail, and the options that several have.

Each command imports the heavy modules that it needs when it runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from ... import __version__
from ..exit_codes import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_UNKNOWN, EXIT_USAGE

Option, Argument = typer.Option, typer.Argument


class _InOrder(TyperGroup):
    """Shows the commands by what people do first, whichever module they stand in; those not named here follow."""

    ORDER = (
        "record", "start", "pause", "resume", "stop", "status", "list", "get", "rm", "recover", "devices", "types",
        "serve",
    )  # fmt: skip

    def list_commands(self, ctx: Any) -> list[str]:
        order = {name: place for place, name in enumerate(self.ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: order.get(name, len(order)))


app = typer.Typer(
    cls=_InOrder,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Record microphones, cameras, screens, files, network streams and test pictures as seekable WebM or Ogg.",
    epilog="Exit codes: 0 done; 1 failed, and one line says why; 2 wrong usage; 3 there is no such recording at the "
    "service; 130 left by Ctrl-C, when recording by a second one.",
)

Service = Annotated[
    str | None,
    typer.Option(
        "--service",
        metavar="WHERE",
        envvar="RECSVC_SERVICE",
        help="An endpoint, such as tcp://recorder.example:7700, or a connection file. By default the one that runs on "
        "this machine.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def fail(reason: str, code: int = EXIT_FAILED) -> NoReturn:
    """One line on standard error, and the end."""
    _say(reason)
    raise typer.Exit(code)


def _say(reason: str) -> None:
    from ..rows import printable

    print(f"recsvc: {printable(' '.join(reason.splitlines()))}", file=sys.stderr)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """What goes wrong in the block is one line on standard error, and an exit code."""
    from ..target import Problems

    try:
        yield
        sys.stdout.flush()
    except typer.Exit:
        raise
    except BrokenPipeError:  # whoever reads our output has what he wants: ``recsvc list | head -1``
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        fail("interrupted", EXIT_INTERRUPTED)
    except Problems as error:
        codes = {_code(one) or EXIT_FAILED for one in error.problems}
        for one in error.problems[:-1]:
            _say(_line(one))
        fail(_line(error.problems[-1]), codes.pop() if len(codes) == 1 else EXIT_FAILED)
    except Exception as error:
        code = _code(error)
        if code is None:
            raise
        fail(_line(error), code)


def _code(error: Exception) -> int | None:
    """The exit code for what users may meet; ``None``: a fault of ours."""
    from ...errors import OverconstrainedError, RecorderError
    from ..target import Failed, Unknown

    if isinstance(error, OverconstrainedError | TypeError | ValueError):
        return EXIT_USAGE
    if isinstance(error, Unknown):
        return EXIT_UNKNOWN
    return EXIT_FAILED if isinstance(error, Failed | RecorderError | OSError) else None


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"standard output cannot be written: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the current directory'} cannot be read: {error.strerror}"
    return str(error)


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
