"""What is in the spool: files that a service before left unfinished are completed, and all are listed.

On a thread beside the process's loop, since it waits for the disk.
"""

from __future__ import annotations

import logging
import os
import queue
import stat
import threading
import time
from collections.abc import Callable, Set
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..common.descriptions import Id
from ..common.mime import CONTAINER_OF_SUFFIX
from ..common.service_limits import SURVEY_YOUNG_S
from ..errors import InvalidStateError, NotFoundError, RecorderError
from ..mux.recover import complete

log = logging.getLogger("recsvc.catalog")


class Found(NamedTuple):
    """A recording's file. ``error``: why it cannot be read. ``changed_s``: when it was written last, before it was
    completed just now, if it was (``completed``)."""

    recording: str
    file: str
    size: int
    changed_s: float
    mime_type: str = ""
    duration: float = 0.0
    completed: bool = False
    error: str = ""


class Result(NamedTuple):
    """``files``: the names of all files that there are. ``again``: some may still be written; look soon."""

    found: list[Found]
    files: Set[str]
    again: bool


class Surveyor:
    """One survey at a time; ``wake()`` is called, on another thread, when its result can be taken."""

    def __init__(self, spool: Path, wake: Callable[[], None]) -> None:
        self._spool = spool
        self._wake = wake
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        return self._thread is not None

    def begin(self, known: Set[str], at_s: float) -> None:
        """``known``: names of files that need no look inside, as of ``at_s`` (seconds since 1970)."""
        self._thread = threading.Thread(target=self._run, args=(known, at_s), name="recsvc-survey", daemon=True)
        self._thread.start()

    def _run(self, known: Set[str], at_s: float) -> None:
        try:
            result = survey(self._spool, known, at_s)
        except Exception:
            log.exception("looking through the spool failed")
            result = Result([], known, again=True)
        self._results.put(result)
        self._wake()

    def result(self) -> Result:
        """After ``wake()``."""
        found = self._results.get()
        if self._thread is not None:
            self._thread.join()
        self._thread = None
        return found


def survey(spool: Path, known: Set[str], at_s: float) -> Result:
    """Looks at every recording in the spool, and into those that are not ``known`` as of ``at_s``. What was changed
    since then, or just before, may be one that begins: it is left for the next time, since looking into it takes its
    lock for a moment."""
    young_s = at_s - SURVEY_YOUNG_S
    found: list[Found] = []
    files: set[str] = set()
    again = False
    try:
        entries = sorted(os.scandir(spool), key=lambda entry: entry.name)
    except OSError as error:
        log.warning("the spool %s cannot be read: %s", spool, error)
        return Result([], known, again=True)
    for entry in entries:
        if not _is_recording(entry.name):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # it went meanwhile
        if not stat.S_ISREG(status.st_mode):
            continue
        files.add(entry.name)
        if entry.name in known:
            continue
        # A file that seems to come from the future was there before a clock was set.
        if young_s < status.st_ctime <= time.time():
            again = True
            continue
        try:
            found.append(_look(entry.path, entry.name, status))
        except InvalidStateError:  # somebody writes it
            again = True
        except NotFoundError:
            files.discard(entry.name)
    return Result(found, files, again)


def _look(path: str, name: str, status: os.stat_result) -> Found:
    recording, size, changed_s = os.path.splitext(name)[0], status.st_size, status.st_mtime
    try:
        done = complete(path)
    except (InvalidStateError, NotFoundError):
        raise
    except RecorderError as error:
        return Found(recording, name, size, changed_s, error=str(error))
    if done.changed:
        log.info("%s was left unfinished and is completed", path, extra={"recording": recording})
    return Found(recording, name, done.size, changed_s, done.mime_type, done.duration, done.changed)


def _is_recording(name: str) -> bool:
    stem, suffix = os.path.splitext(name)
    if suffix not in CONTAINER_OF_SUFFIX:
        return False
    try:
        msgspec.convert(stem, Id)
    except msgspec.ValidationError:
        return False
    return True
