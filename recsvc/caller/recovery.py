"""The caller's side of recovery: ``recover(path)``, and the file of a lost service."""

from __future__ import annotations

import os
import time

from ..common.limits import LOOK_NS, S
from ..errors import InvalidStateError, RecorderError
from ..mux.recover import Completed, complete
from .blob import Blob, blob_of_file
from .storage import SpoolFile


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
    return blob_of_file(SpoolFile(name, owned=False, finished=True), b"", 0, done.size, done.mime_type, done.duration)


def wait_completed(path: str, limit_s: float) -> Completed | None:
    """Completes a file whose controller died, unless its worker finishes it by itself. ``None`` when that is
    impossible, or not done within the limit. Blocks no longer than that, but for the disk."""
    deadline_s = time.monotonic() + limit_s
    while True:
        try:
            return complete(path)
        except InvalidStateError:
            if time.monotonic() >= deadline_s:
                return None
            time.sleep(LOOK_NS / S)
        except RecorderError:
            return None
