"""Where ``recsvc record`` puts a recording: checked before anything is recorded, and nothing else is lost for it."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from ..caller import saving
from ..caller.blob import Blob, content_of
from ..common import mime
from ..common.sources import parse_source
from ..errors import NotFoundError, RecorderError
from ..process.runtime import spool_directory

STANDARD_OUTPUT = Path("-")


class UsageError(ValueError):
    """The arguments can never work; exit code 2."""


class Failed(Exception):
    """The recording did not succeed; exit code 1. The text is one line."""


class Unknown(Failed):
    """There is no such recording; exit code 3."""


class Problems(Failed):
    """Several recordings have one each; a line for each, and their exit code where it is the same."""

    def __init__(self, problems: list[Exception]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def check_wanted(wishes: Mapping[str, Mapping[str, Any] | None], mime_type: str) -> None:
    """Raises ``UsageError`` for a type that cannot be recorded, and for what names no source. ``wishes``: constraints
    by kind."""
    reason = mime.why_not_supported(mime_type)
    if reason is not None:
        raise UsageError(f"--type {mime_type!r} cannot be recorded: {reason}; see `recsvc types`")
    for wish in filter(None, wishes.values()):
        try:
            parse_source(wish["source"])
        except NotFoundError as error:
            raise UsageError(str(error)) from None


def choose_type(output: Path | None, mime_type: str, wishes: Mapping[str, Mapping[str, Any] | None]) -> str:
    """The type to record: what is asked for, else by the ending of ``output``. ``wishes``: constraints by kind. Raises
    ``UsageError`` where these do not go together."""
    kinds = {kind for kind, wish in wishes.items() if wish is not None}
    if output is None or output == STANDARD_OUTPUT or not output.suffix or saving.is_special(output):
        return mime_type
    container = mime.CONTAINER_OF_SUFFIX.get(output.suffix.lower())
    if container is None:
        known = ", ".join(mime.CONTAINER_OF_SUFFIX)
        raise UsageError(f"-o {output}: no recording has the ending {output.suffix}; known are {known}")
    if mime_type:
        wanted = mime.container(mime_type)
        if wanted != container:
            right = ", ".join(suffix for suffix, its in mime.CONTAINER_OF_SUFFIX.items() if its == wanted)
            raise UsageError(f"-o {output} does not fit --type {mime_type}, whose files end in {right}")
        return mime_type
    if container == "ogg" and "video" in kinds:
        raise UsageError(f"-o {output}: Ogg holds sound only; with pictures the ending is .webm or .mkv")
    if container == "webm" and any(wish and wish.get("encoded") for wish in wishes.values()):
        return "video/webm" if "video" in kinds else "audio/webm"  # not what else would hold their codecs
    return {"webm": "", "matroska": "video/x-matroska", "ogg": "audio/ogg"}[container]


def check(output: Path | None) -> None:
    """Raises ``Failed`` for a place that cannot be written, ``UsageError`` for a terminal; nothing stays there."""
    if output == STANDARD_OUTPUT:
        if sys.stdout is None:
            raise UsageError("-o -: standard output is closed")
        if sys.stdout.isatty():
            raise UsageError("-o -: standard output is a terminal; pipe it into something, or name a file")
        return
    try:
        path = saving.final_path(output or "recording")
        if saving.is_special(path):
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        if output is not None and os.path.isdir(path):
            raise Failed(f"cannot write {output}: it is a directory; name a file")
        tempfile.TemporaryFile(dir=os.path.dirname(path)).close()  # it has no name
        if os.path.isfile(path):
            open(path, "r+b").close()
    except OSError as error:
        shown = output or "to the current directory"
        raise Failed(f"cannot write {shown}: {error.strerror}; choose another place with -o") from None


class Target:
    """Takes the recording: at its end or, for standard output, piece by piece. What it cannot take is kept."""

    def __init__(self, output: Path | None) -> None:
        self._output = output
        self.streams = output == STANDARD_OUTPUT
        self.saved: Path | None = None
        self.size = 0  # of what is saved
        self.total = 0  # of what is to be saved
        self.copied = 0
        self.problem = ""
        self.kept: list[str] = []
        self.abandoned = False

    def take(self, data: Blob, *, move: bool = True) -> bool:
        """Blocks as long as it takes; returns whether it succeeded."""
        content = content_of(data)
        if self.problem:
            content.keep()
            return False
        self.total += data.size
        claimed: Path | None = None
        try:
            if self.streams:
                content.write(sys.stdout.fileno(), self._progress)
                self.saved = STANDARD_OUTPUT
            else:
                if self._output is None:
                    self._output = claimed = _claim(mime.suffix(data.type))
                self.saved = content.save(self._output, move, self._progress)
            self.size += data.size
        except (OSError, RecorderError) as error:
            self.kept = content.keep()
            if claimed is not None:
                with suppress(OSError):
                    claimed.unlink()
            where = "to standard output" if self.streams else str(self._output)
            self.problem = f"cannot write {where}: {getattr(error, 'strerror', None) or error}"
        return not self.problem

    def _progress(self, size: int) -> None:
        self.copied += size
        if self.abandoned:
            raise InterruptedError(0, "interrupted")

    def hint(self, paths: list[str]) -> str:
        """What to do about recordings that lie in the spool."""
        if not paths:
            return "what was recorded is in the spool, which `recsvc recover` lists"
        commands = []
        for path in map(Path, paths):
            name = path.name if path.parent == spool_directory() else str(path)
            nowhere = self._output is None or self.streams or saving.is_special(self._output)
            place = f"recording{path.suffix}" if nowhere else str(self._output)
            commands.append(f"recsvc recover {shlex.quote(name)} -o {shlex.quote(place)}")
        return f"what was recorded is kept in {', '.join(paths)}; fetch it with: {'; '.join(commands)}"


def _claim(suffix: str) -> Path:
    """A new, empty file, named by the time, in the current directory: two recordings of one second get two."""
    stem, number = f"recording-{datetime.now():%Y%m%d-%H%M%S}", 1
    while True:
        path = Path(f"{stem}{'' if number == 1 else f'-{number}'}{suffix}")
        with suppress(FileExistsError):
            path.touch(exist_ok=False)
            return path
        number += 1
