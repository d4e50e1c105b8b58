"""Commands for a service: ``recsvc status``, ``list``, ``get``, ``rm``, ``start``, ``pause``, ``resume``, ``stop``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from .app import Argument, Json, Option, Service, app, one_line
from .wanted import Wanted, takes_wanted


def _ids(incomplete: str) -> list[tuple[str, str]]:
    """What the shell suggests: ids, with names beside them. Silent and fast, whatever is wrong."""
    import os

    from ...caller.at_service import glance
    from ...common.service_limits import COMPLETION_MS

    service = os.environ.get("RECSVC_SERVICE")
    words = os.environ.get("COMP_WORDS", os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()
    for before, word in zip(words, words[1:], strict=False):
        service = word if before == "--service" else service
    found = glance(service, COMPLETION_MS)
    return [(one.recording, one.name or one.state) for one in found if one.recording.startswith(incomplete)]


Id = Annotated[str, Argument(metavar="ID", autocompletion=_ids, show_default=False)]
Ids = Annotated[list[str], Argument(metavar="ID...", autocompletion=_ids, show_default=False)]


@app.command()
def status(
    once: Annotated[bool, Option("--once", help="Print it once, also at a terminal.")] = False,
    service: Service = None,
    as_json: Json = False,
) -> None:
    """Show what a service records now, and how it is.

    At a terminal the table is drawn anew until you press q or Ctrl-C; else it is printed once.
    """
    from .. import watching

    with one_line():
        watching.status(service, once=once, as_json=as_json)


@app.command("list")
def list_(
    limit: Annotated[
        int | None, Option("-n", "--limit", metavar="N", min=0, help="The newest N. By default all.")
    ] = None,
    service: Service = None,
    as_json: Json = False,
) -> None:
    """List the recordings that a service keeps, the newest first, those that go on among them."""
    from .. import watching

    with one_line():
        watching.list_kept(service, limit, as_json)


@app.command()
def get(
    recording: Id,
    output: Annotated[
        Path | None,
        Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Save it there. - is standard output. By default the recording's name, or else its id, in the current "
            "directory.",
        ),
    ] = None,
    service: Service = None,
    as_json: Json = False,
) -> None:
    """Fetch a recording from a service into a file.

    ID is an id, the beginning of one, or a name. Of a recording that goes on it is what has been written so far. FILE
    is there when all of it has come, else nothing is.
    """
    from .. import fetching
    from ..at_service import AtService

    with one_line():
        there = AtService(service)
        fetching.get(there.kept(recording), output, as_json=as_json)


@app.command()
def rm(recordings: Ids, service: Service = None, as_json: Json = False) -> None:
    """Delete recordings that have ended, and their files, from a service."""
    from .. import commanding

    with one_line():
        commanding.remove(service, recordings, as_json)


@app.command()
@takes_wanted
def start(
    wanted: Wanted,
    name: Annotated[str, Option(metavar="NAME", help="What people call it; any text.")] = "",
    service: Service = None,
    as_json: Json = False,
) -> None:
    """Begin a recording at a service, print its id, and leave it running.

    The sources are those of the service's machine. It goes on until `recsvc stop ID`, or until its sources end.
    """
    from .. import commanding

    with one_line():
        commanding.start(service, wanted.wishes(), as_json, name=name, **wanted.encoding())


@app.command()
def pause(recordings: Ids, service: Service = None, as_json: Json = False) -> None:
    """Pause recordings of a service: what is captured until `recsvc resume` is left out."""
    _control(service, recordings, "pause", as_json)


@app.command()
def resume(recordings: Ids, service: Service = None, as_json: Json = False) -> None:
    """Go on with recordings that were paused."""
    _control(service, recordings, "resume", as_json)


def _control(service: str | None, recordings: list[str], action: Literal["pause", "resume"], as_json: bool) -> None:
    from .. import commanding

    with one_line():
        commanding.control(service, recordings, action, as_json)


@app.command()
def stop(
    recordings: Ids,
    output: Annotated[
        Path | None,
        Option("-o", "--output", metavar="FILE", help="Save the one recording there, as `recsvc get` does."),
    ] = None,
    no_wait: Annotated[bool, Option("--no-wait", help="Do not wait until they are finished.")] = False,
    service: Service = None,
    as_json: Json = False,
) -> None:
    """Stop recordings of a service, and wait until they are finished.

    One that has ended already is no error.
    """
    from .. import commanding

    with one_line():
        commanding.stop(service, recordings, output, wait=not no_wait, as_json=as_json)
