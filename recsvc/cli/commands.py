"""The command line: ``recsvc record``, ``recover``, ``devices``, ``types``, ``controller``.

Each command imports the heavy modules that it needs.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .. import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Record microphones, cameras, screens, files, network streams and test pictures as seekable WebM or Ogg.",
    epilog="Exit codes: 0 done; 1 failed, and one line says why; 2 wrong usage; 130 left at once by a second Ctrl-C.",
)

EXIT_FAILED, EXIT_USAGE = 1, 2

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def _fail(reason: str, code: int = EXIT_FAILED) -> NoReturn:
    print(f"recsvc: {' '.join(reason.splitlines())}", file=sys.stderr)
    raise typer.Exit(code)


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """What goes wrong in the block is one line on standard error, and an exit code."""
    from ..errors import OverconstrainedError, RecorderError
    from .target import Failed

    try:
        yield
    except (OverconstrainedError, TypeError, ValueError) as error:
        _fail(str(error), EXIT_USAGE)
    except (Failed, RecorderError) as error:
        _fail(str(error))
    except OSError as error:
        place = error.filename or "the current directory"
        _fail(f"{place} cannot be read: {error.strerror}" if error.strerror else str(error))


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


@app.command()
def record(
    audio: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="mic:, mic:NAME, file:PATH, test: or a URL.")
    ] = None,
    video: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="camera:/dev/video0, screen:, file:PATH, test: or a URL.")
    ] = None,
    duration: Annotated[float | None, typer.Option(metavar="S", help="Stop after this many seconds.")] = None,
    type: Annotated[str, typer.Option(metavar="MIME", help="One of `recsvc types`; by default as FILE ends.")] = "",
    audio_bitrate: Annotated[int | None, typer.Option(metavar="BITS/S", help="By default 128000.")] = None,
    video_bitrate: Annotated[int | None, typer.Option(metavar="BITS/S", help="By default 2500000.")] = None,
    width: Annotated[int | None, typer.Option(metavar="PIXELS", help="Width of the pictures.")] = None,
    height: Annotated[int | None, typer.Option(metavar="PIXELS", help="Height of the pictures.")] = None,
    frame_rate: Annotated[float | None, typer.Option(metavar="1/S", help="Pictures per second.")] = None,
    sample_rate: Annotated[int | None, typer.Option(metavar="HZ", help="Sample rate of the sound.")] = None,
    channels: Annotated[int | None, typer.Option(metavar="N", help="Channels of the sound.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Save the recording there; its ending chooses the container. - is standard output. By default "
            "recording-DATE-TIME in the current directory.",
        ),
    ] = None,
    service: Annotated[
        str | None,
        typer.Option(
            metavar="ENDPOINT",
            envvar="RECSVC_SERVICE",
            help="Use this controller of the same machine, such as ipc:///run/user/1000/recsvc.sock. By default a "
            "private one is started.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Record to a file, and print a report.

    The recording ends when --duration is over, when its sources end, or when you press q or Ctrl-C; p pauses and
    resumes it. Without --audio and --video the default microphone and camera are recorded.

    A second Ctrl-C leaves at once. What could not be saved to FILE stays in the spool: see `recsvc recover`.
    """
    from . import console, report, terminal

    terminal.go_on_in_background()
    terminal.make_output_last()
    with _one_line():
        made = console.record(
            {
                "audio": _wish("--audio", audio, sample_rate=sample_rate, channels=channels),
                "video": _wish("--video", video, width=width, height=height, frame_rate=frame_rate),
            },
            duration=duration,
            output=output,
            service=service,
            quiet=as_json,
            mime_type=type,
            audio_bits_per_second=audio_bitrate,
            video_bits_per_second=video_bitrate,
        )
        out = sys.stderr if str(output) == "-" else sys.stdout
        if as_json:
            print(json.dumps(made), file=out)
        else:
            report.show(made, out)


_CONSTRAINTS = {"channels": "channel_count"}  # where an option has another name


def _wish(option: str, source: str | None, **constraints: Any) -> dict[str, Any] | None:
    given = {name: value for name, value in constraints.items() if value is not None}
    if source is None and given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{names} without {option}: say what it is for, such as {option} test:")
    return None if source is None else {"source": source, **{_CONSTRAINTS.get(n, n): v for n, v in given.items()}}


@app.command()
def recover(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE", hidden=True)] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PLACE",
            help="Save the one FILE there. A file of the spool is moved; - is standard output, which gets a copy.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Complete recordings that a crash left unfinished.

    FILE is a path, or the name of a file in the spool. Without any, all recordings in the spool are completed and
    listed. The spool is the directory RECSVC_SPOOL, else ~/.local/state/recsvc/spool.

    The exit code is 1 when a recording cannot be completed; one that is still going on does not count.
    """
    from ..process.runtime import spool_directory
    from . import left, target

    with _one_line():
        if output is not None and len(files or ()) != 1:
            raise target.UsageError("-o takes exactly one file to recover; name it")
        if output == target.STANDARD_OUTPUT:
            target.check(output)
        out = sys.stderr if output == target.STANDARD_OUTPUT else sys.stdout
        spool = spool_directory()
        rows, failed = [], []
        for one in left.everything(spool) if not files else (left.named(file, output, spool) for file in files):
            if one.reason and (files or one.state == "unreadable"):
                failed.append(one.reason)
            if as_json:
                rows.append({**one._asdict(), "path": str(one.path)})
            elif not (files and one.reason):
                print(one.line(), file=out, flush=True)
        if as_json:
            print(json.dumps(rows), file=out)
        elif not files:
            print(f"in {spool}")
        if failed:
            _fail("; ".join(failed))


@app.command()
def devices(as_json: Json = False) -> None:
    """List the microphones, cameras and screens of this machine, each with the source string that opens it."""
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

    print("\n".join(SUPPORTED_TYPES))


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def controller() -> None:
    """Run a service that several programs share (see recsvc controller --help)."""
    from ..process.launch import run_role

    run_role("controller")


def main() -> None:
    """Runs the command that the program's arguments name."""
    app(prog_name="recsvc")
