"""The caller's side of recovery: ``recover(path)``, what lies in the spool, and the file of a lost service."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..cli.target import STANDARD_OUTPUT
from ..errors import InvalidStateError, RecorderError
from ..mux.recover import Completed, complete
from .blob import Blob
from .storage import SpoolFile

_SUFFIXES = frozenset({".webm", ".mkv", ".ogg"})
_LOOK_S = 0.01  # how often a file that is still being finished is looked at


def recover(path: str | os.PathLike[str]) -> Blob:
    """Completes, in place, a recording that a crash left unfinished, and returns it; a finished one is untouched.

    The Blob refers to the file, which stays when the Blob goes. Blocks (ten hours take about a second). Raises
    ``NotFoundError`` (no such file), ``InvalidStateError`` (it is being recorded right now), ``NotReadableError`` (none
    of ours, nothing recorded in it yet, or damaged), ``QuotaExceededError`` (the disk is full).
    """
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path must be a string or a path, got {path!r}")
    name = os.path.abspath(name)
    done = complete(name)
    return Blob._of_file(SpoolFile(name, owned=False, finished=True), b"", 0, done.size, done.mime_type, done.duration)


def wait_completed(path: str, limit_s: float) -> Completed | None:
    """For a file whose controller died: its worker finishes it by itself, else it is completed here. ``None`` when
    that cannot be, or is not done within the limit. Blocks at most so long, but for the disk."""
    deadline_s = time.monotonic() + limit_s
    while True:
        try:
            return complete(path)
        except InvalidStateError:
            if time.monotonic() >= deadline_s:
                return None
            time.sleep(_LOOK_S)
        except RecorderError:
            return None


class Found(NamedTuple):
    """A file in the spool.

    ``state``: ``finished``, ``recovered`` (just now), ``recording`` (somebody writes it), ``empty`` (nothing was
    recorded in it yet) or ``unreadable`` (``reason`` says why). ``duration`` (s) is ``None`` where it is not known;
    ``age`` (s) is the time since it was last written.
    """

    path: Path
    state: str
    size: int
    age: float
    duration: float | None = None
    mime_type: str = ""
    reason: str = ""


def recover_all(directory: Path) -> Iterator[Found]:
    """Completes what is unfinished in a spool, and tells of every recording there, the oldest first."""
    files = []
    for path in directory.iterdir() if directory.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # it went, with its Blob
            if path.suffix in _SUFFIXES and path.is_file():
                files.append((path.stat().st_mtime, path))
    for _, path in sorted(files):
        found = _complete(path)
        if path.exists():
            yield found


def recover_named(path: Path, output: Path | None, spool: Path) -> Found:
    """Completes one file, or the one of this name in the spool; saves it to ``output``, if that is given. What lay
    in the spool is moved out of it then, but not to standard output (``-``), a device or a pipe."""
    if not path.exists() and path.name == str(path):
        path = spool / path if (spool / path).exists() else path
    path = path.absolute()
    found = _complete(path)
    if output is None or found.reason:
        return found
    try:
        blob = recover(path)
        if output == STANDARD_OUTPUT:
            blob._content.write(sys.stdout.fileno(), lambda _: None)
            return found
        saved = blob.save(output, move=path.parent == spool)
    except OSError as error:
        return found._replace(reason=f"cannot write {output}: {error.strerror}")
    except RecorderError as error:  # somebody took the file away meanwhile
        return found._replace(reason=str(error))
    return found._replace(path=saved)


def _complete(path: Path) -> Found:
    size, age = 0, 0.0
    with contextlib.suppress(OSError):
        status = path.stat()
        size, age = status.st_size, max(time.time() - status.st_mtime, 0.0)
    try:
        done = complete(path)
    except InvalidStateError as error:
        return Found(path, "recording", size, age, reason=str(error))
    except RecorderError as error:
        return Found(path, "unreadable" if size else "empty", size, age, reason=str(error))
    state = "recovered" if done.changed else "finished"
    return Found(path, state, done.size, age, done.duration, done.mime_type)


def line(found: Found) -> str:
    """For people: one line of a list."""
    duration = "" if found.duration is None else f"{found.duration:.1f} s"
    age = next((f"{found.age / unit:.0f} {name}" for unit, name in _UNITS if found.age >= unit), "0 s")
    size = f"{found.size / 1000:.0f} kB"
    return f"{found.state:<10} {duration:>10} {size:>12} {age:>6} old  {found.path}"


_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
