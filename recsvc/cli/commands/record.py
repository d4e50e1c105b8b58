"""``recsvc record``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from .app import Json, Option, app, one_line
from .wanted import Wanted, takes_wanted


@app.command()
@takes_wanted
def record(
    wanted: Wanted,
    duration: Annotated[float | None, Option(metavar="S", help="Stop after this many seconds.")] = None,
    output: Annotated[
        Path | None,
        Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Save the recording there; its ending chooses the container. - is standard output. By default "
            "recording-DATE-TIME in the current directory.",
        ),
    ] = None,
    service: Annotated[
        str | None,
        Option(
            metavar="WHERE",
            envvar="RECSVC_SERVICE",
            help="Record there: an endpoint, such as tcp://recorder.example:7700, or a connection file. The sources "
            "are those of its machine. By default here, by a private service.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Record to a file, and print a report.

    The recording ends when --duration is over, when its sources end, or when you press q or Ctrl-C; p pauses and
    resumes it. Without --audio and --video the default microphone and camera are recorded.

    With --copy the packets of files and network streams are recorded as they are. Where neither FILE nor --type says
    the container, it is Matroska, unless WebM holds their codecs.

    A second Ctrl-C leaves at once. What could not be saved to FILE stays in the spool: see `recsvc recover`.
    """
    from .. import console, report, terminal

    terminal.go_on_in_background()
    terminal.make_output_last()
    with one_line():
        made = console.record(
            wanted.wishes(), duration=duration, output=output, service=service, quiet=as_json, **wanted.encoding()
        )
        out = sys.stderr if str(output) == "-" else sys.stdout
        if as_json:
            print(json.dumps(made), file=out)
        else:
            report.show(made, out, copied=wanted.copy)
