"""What ``recsvc get`` does: brings a recording's file from its service."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

from .. import recording
from ..caller.blob import content_of
from ..common.filenames import file_name
from . import rows, target, terminal
from .target import Failed


def get(found: recording.Recording, output: Path | None, *, as_json: bool) -> None:
    """Saves it, and says where. ``Failed``: nothing was saved."""
    print_saved(found, save(found, output, quiet=as_json), as_json)


def save(found: recording.Recording, output: Path | None, *, quiet: bool) -> Path:
    """Where it was saved. What cannot be fetched in whole is not there; ``Failed`` says why."""
    target.check(output)
    claimed: Path | None = None
    if output is None:
        output = claimed = _claim(file_name(found.name, found.id, found.mime_type))
    place = "standard output" if output == target.STANDARD_OUTPUT else str(output)
    try:
        blob = found.blob
        content = content_of(blob)
        with terminal.ending_in_order(), terminal.progress(place, blob.size, quiet) as advance:
            if output == target.STANDARD_OUTPUT:
                content.write(sys.stdout.fileno(), advance)
                return output
            return content.save(output, False, advance)
    except BaseException as error:
        if claimed is not None:
            with suppress(OSError):
                claimed.unlink()
        if isinstance(error, OSError):
            raise Failed(f"cannot write to {place}: {error.strerror or error}") from None
        raise


def print_saved(found: recording.Recording, saved: Path, as_json: bool) -> None:
    """For people or for programs, on standard error where standard output has the recording."""
    out = sys.stderr if saved == target.STANDARD_OUTPUT else sys.stdout
    if as_json:
        print(json.dumps(described(found, saved)), file=out)
    elif saved != target.STANDARD_OUTPUT:
        print(
            f"{saved} ({rows.size(found.size)}, {rows.clock(found.duration)}, {rows.printable(found.mime_type)})",
            file=out,
        )


def described(found: recording.Recording, saved: Path | None) -> dict[str, object]:
    """As plain data."""
    return {
        "recording": found.id,
        "name": found.name,
        "state": found.state,
        "error": found.error,
        "mime_type": found.mime_type,
        "duration": found.duration,
        "size_bytes": found.size,
        "file": None if saved is None else str(saved),
    }


def _claim(name: str) -> Path:
    """A new, empty file in the current directory that is called so, or nearly so where there is one."""
    wanted, number = Path(name), 1
    while True:
        path = wanted if number == 1 else Path(f"{wanted.stem}-{number}{wanted.suffix}")
        try:
            path.touch(exist_ok=False)
            return path
        except FileExistsError:
            number += 1
        except OSError as error:
            raise Failed(f"cannot write {path}: {error.strerror}; choose another place with -o") from None
