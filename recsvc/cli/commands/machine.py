"""Commands about this machine: ``recsvc recover``, ``devices``, ``types``, ``serve``, ``keygen``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from .app import Argument, Json, Option, app, fail, one_line


@app.command()
def recover(
    files: Annotated[list[Path] | None, Argument(metavar="FILE", hidden=True)] = None,
    output: Annotated[
        Path | None,
        Option(
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
    from ...process.runtime import spool_directory
    from .. import left, target

    with one_line():
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
            fail("; ".join(failed))


@app.command()
def devices(as_json: Json = False) -> None:
    """List the microphones, cameras and screens of this machine, each with the source string that opens it."""
    from ...caller.user_media import enumerate_devices

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
    from ...common.mime import COPIED_TYPES, SUPPORTED_TYPES

    print("\n".join((*SUPPORTED_TYPES, *COPIED_TYPES)))


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve() -> None:
    """Run a service that many programs record with (see recsvc serve --help)."""
    from ...process.launch import run_role

    run_role("serve")


@app.command()
def keygen(
    name: Annotated[
        str, Argument(metavar="NAME", help="What the client is called. Without one, the service's own key is made.")
    ] = "",
    permissions: Annotated[
        str, Option(metavar="LIST", help="What it may do: record, read, admin; several with commas between.")
    ] = "record,read",
    service: Annotated[
        str, Option(metavar="ENDPOINT", help="Where it reaches the service; by default this machine, by its name.")
    ] = "",
    server_key: Annotated[
        str, Option(metavar="KEY", help="The service's public key, where its machine is another one.")
    ] = "",
    authorize: Annotated[bool, Option("--authorize", help="Let it in at the service of this machine at once.")] = False,
    output: Annotated[Path, Option("-o", "--output", metavar="DIRECTORY", help="Where its files are put.")] = Path(),
) -> None:
    """Make keys, by which clients on other machines reach a service.

    A client has a connection file NAME.json, with its secret key, which is named where a service is (--service,
    RECSVC_SERVICE). The service has NAME.toml in its folder of keys, with the public key and the permissions: record
    (make recordings and control one's own), read (list, fetch and watch all), admin (everything).
    """
    from .. import keygen

    with one_line():
        if not name:
            lines = keygen.make_service()
        else:
            lines = keygen.make_client(name, permissions, service, server_key, output, authorize=authorize)
    print("\n".join(lines))
