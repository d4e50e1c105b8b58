"""The command line: ``recsvc record``, ``recover``, ``devices``, ``types``.

Each command imports the heavy modules it needs.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from ..caller.recovery import Found

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Records microphones, cameras, screens, files, network streams and test pictures to seekable WebM or Ogg.",
)

EXIT_FAILED, EXIT_USAGE = 1, 2


def _fail(reason: str, code: int = EXIT_FAILED) -> NoReturn:
    print(f"recsvc: {' '.join(reason.splitlines())}", file=sys.stderr)
    raise typer.Exit(code)


def _version(asked: bool) -> None:
    if asked:
        print(f"recsvc {importlib.metadata.version('recsvc')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def record(
    audio: Annotated[str | None, typer.Option(metavar="SOURCE", help="mic: mic:NAME file:PATH test: or a URL")] = None,
    video: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="camera:/dev/video0 screen: file:PATH test: or a URL")
    ] = None,
    duration: Annotated[float | None, typer.Option(metavar="S", help="Stop after this many seconds.")] = None,
    type: Annotated[str, typer.Option(metavar="MIME", help="One of `recsvc types`; default: by the tracks.")] = "",
    audio_bitrate: Annotated[int | None, typer.Option(metavar="BITS/S", help="Default 128000.")] = None,
    video_bitrate: Annotated[int | None, typer.Option(metavar="BITS/S", help="Default 2500000.")] = None,
    width: Annotated[int | None, typer.Option(metavar="PIXELS")] = None,
    height: Annotated[int | None, typer.Option(metavar="PIXELS")] = None,
    frame_rate: Annotated[float | None, typer.Option(metavar="1/S")] = None,
    sample_rate: Annotated[int | None, typer.Option(metavar="HZ")] = None,
    channels: Annotated[int | None, typer.Option(metavar="N", help="Channels of sound to capture.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Its ending chooses the container; -: standard output. Default: recording-DATE-TIME with its ending.",
        ),
    ] = None,
    service: Annotated[
        str | None,
        typer.Option(
            metavar="ENDPOINT",
            help="A controller on this machine, such as ipc:///run/recsvc.sock; default: a private one.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the final report as one JSON object.")] = False,
) -> None:
    """Record until --duration is over, the sources end, or `q` or Ctrl-C is pressed; `p` pauses and resumes.

    A second Ctrl-C leaves at once; what was not put into FILE stays where `recsvc recover` finds it.

    With neither --audio nor --video: the default microphone and camera, where there are any.
    """
    from . import console, terminal
    from .target import Failed, UsageError

    with terminal.in_background_too(), terminal.lasting_output():
        try:
            wishes = {
                "audio": _wish("--audio", audio, sample_rate=sample_rate, channels=channels),
                "video": _wish("--video", video, width=width, height=height, frame_rate=frame_rate),
            }
            report = console.record(
                wishes,
                duration=duration,
                output=output,
                service=service,
                quiet=as_json,
                mime_type=type,
                audio_bits_per_second=audio_bitrate,
                video_bits_per_second=video_bitrate,
            )
        except (UsageError, TypeError, ValueError) as error:
            _fail(str(error), EXIT_USAGE)
        except Failed as error:
            _fail(str(error))
        out = sys.stderr if str(output) == "-" else sys.stdout
        if as_json:
            print(json.dumps(report), file=out)
        else:
            console.print_report(report, out)


_CONSTRAINTS = {"channels": "channel_count"}  # where an option has another name


def _wish(option: str, source: str | None, **constraints: Any) -> dict[str, Any] | None:
    given = {name: value for name, value in constraints.items() if value is not None}
    if source is None and given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{names} without {option}: say what it is for, such as {option} test:")
    return None if source is None else {"source": source, **{_CONSTRAINTS.get(n, n): v for n, v in given.items()}}


@app.command()
def recover(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Files, or names of files in the spool.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Save it there; moved if it lies in the spool. -: to standard output.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Complete recordings that a crash left unfinished: the given files, else all in the spool, which are listed.

    Exit code 1 when one of them cannot be completed; a recording that is still going on is no reason for it.
    """
    from ..caller import recovery
    from ..errors import RecorderError
    from ..process.runtime import spool_directory
    from . import target

    if output is not None and len(files or ()) != 1:
        _fail("-o takes exactly one file to recover; name it", EXIT_USAGE)
    out = sys.stdout
    try:
        if output == target.STANDARD_OUTPUT:
            target.check(output)
            out = sys.stderr
        spool = spool_directory()
    except target.UsageError as error:
        _fail(str(error), EXIT_USAGE)
    except RecorderError as error:
        _fail(str(error))
    found = recovery.recover_all(spool) if not files else (recovery.recover_named(one, output, spool) for one in files)
    failed = []
    rows = []
    for one in _until_unreadable(found):
        if one.reason and (files or one.state == "unreadable"):
            failed.append(one.reason)
        if as_json:
            rows.append({**one._asdict(), "path": str(one.path)})
        elif not (files and one.reason):
            print(recovery.line(one), file=out, flush=True)
    if as_json:
        print(json.dumps(rows), file=out)
    elif not files:
        print(f"in {spool}")
    if failed:
        _fail("; ".join(failed))


def _until_unreadable(found: Iterable[Found]) -> Iterator[Found]:
    try:
        yield from found
    except OSError as error:
        _fail(f"{error.filename or 'the current directory'} cannot be read: {error.strerror}")


@app.command()
def devices(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the microphones, cameras and screens of this machine, each with the string that opens it."""
    from ..caller.user_media import enumerate_devices

    found = enumerate_devices()
    if as_json:
        print(json.dumps([{"device_id": d.device_id, "kind": d.kind, "label": d.label, **d.details} for d in found]))
        return
    for device in found:
        details = ", ".join(f"{name} {value}" for name, value in device.details.items())
        print(f"{device.kind:<11} {device.device_id:<28} {device.label}{f' ({details})' if details else ''}")
    if not found:
        print("no microphone, camera or screen here; try --audio test: --video test:")


@app.command()
def types() -> None:
    """List the MIME types that can be recorded."""
    from ..common.mime import SUPPORTED_TYPES

    for one in SUPPORTED_TYPES:
        print(one)


def main() -> None:
    """Runs the command that the program's arguments name."""
    app(prog_name="recsvc")
