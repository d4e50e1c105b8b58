"""What ``recsvc recover`` does: completes recordings that were left behind, and lists what became of each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..caller.recovery import recover
from ..common.mime import CONTAINER_OF_SUFFIX
from ..errors import InvalidStateError, RecorderError
from ..mux.recover import complete
from .target import Target

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class Found(NamedTuple):
    """A recording that was left behind.

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

    def line(self) -> str:
        """For people: one line of a list."""
        duration = "" if self.duration is None else f"{self.duration:.1f} s"
        age = next((f"{self.age / unit:.0f} {name}" for unit, name in _UNITS if self.age >= unit), "0 s")
        size = f"{self.size / 1000:.0f} kB"
        return f"{self.state:<10} {duration:>10} {size:>12} {age:>6} old  {self.path}"


def everything(spool: Path) -> Iterator[Found]:
    """Completes what is unfinished in the spool; every recording there, the oldest first."""
    files = []
    for path in spool.iterdir() if spool.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # it went, with its Blob
            if path.suffix in CONTAINER_OF_SUFFIX and path.is_file():
                files.append((path.stat().st_mtime, path))
    for _, path in sorted(files):
        found = _completed(path)
        if path.exists():
            yield found


def named(path: Path, output: Path | None, spool: Path) -> Found:
    """Completes one file, or the one of this name in the spool; saves it to ``output``, if that is given. A file of
    the spool is moved then, but not to standard output (``-``), a device or a pipe."""
    if not path.exists() and path.name == str(path) and (spool / path).exists():
        path = spool / path
    path = path.absolute()
    found = _completed(path)
    if output is None or found.reason:
        return found
    place = Target(output)
    try:
        place.take(recover(path), move=path.parent == spool)
    except RecorderError as error:  # somebody took the file away meanwhile
        return found._replace(reason=str(error))
    return found._replace(path=path if place.streams else place.saved or path, reason=place.problem)


def _completed(path: Path) -> Found:
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
