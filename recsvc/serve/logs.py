"""The daemon's log: lines with fields on standard error, of itself and of all processes that it starts.

Nobody waits for whoever reads the log. What is logged waits in a queue for a thread that writes; where that is full,
lines are left out and counted. Standard error becomes a pipe to that thread, so that what other processes and libraries
write there becomes lines with fields as well.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog

from ..common.service_limits import LOG_LINES_WAITING_MAX
from ..process import role_log

_LINE_BYTES_MAX = 64 * 1024
"""What is written to standard error without an end of line becomes lines of this length."""
_END_LIMIT_S = 2.0
"""For the last lines, where nobody reads them."""

Fields = MutableMapping[str, Any]


class Log:
    """Everything that is logged in this process, from ``begin`` to ``end``."""

    def __init__(self, format: str, level: str) -> None:
        """``format``: ``console``, ``json``; ``auto``: the first on a terminal."""
        self._output = os.dup(2)
        for_people = format == "console" or (format == "auto" and os.isatty(2))
        self._render = _renderer(for_people, os.isatty(2))
        self._lines: queue.Queue[logging.LogRecord | None] = queue.Queue(LOG_LINES_WAITING_MAX)
        self._left_out = 0
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.dup2(writing, 2)
        os.close(writing)
        os.environ[role_log.VARIABLE] = level
        self._handler = _Queued(self._put)
        logging.getLogger().addHandler(self._handler)
        logging.getLogger().setLevel(level.upper())
        self._threads = [
            threading.Thread(target=self._write, name="recsvc-log", daemon=True),
            threading.Thread(target=self._read, args=(reading,), name="recsvc-stderr", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Writes what waits, and gives standard error back."""
        logging.getLogger().removeHandler(self._handler)
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os.dup2(self._output, 2)  # the end of the pipe, unless a process that was started lives on
        writer, reader = self._threads
        reader.join(_END_LIMIT_S)
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=_END_LIMIT_S)
        writer.join(_END_LIMIT_S)

    def _put(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            self._left_out += 1

    def _write(self) -> None:
        while (record := self._lines.get()) is not None:
            left_out, self._left_out = self._left_out, 0
            if left_out:
                text = f"{left_out} lines were left out: whoever reads this log was too slow"
                self._emit(logging.makeLogRecord({"name": "recsvc.serve", "levelno": logging.WARNING, "msg": text}))
            self._emit(record)

    def _emit(self, record: logging.LogRecord) -> None:
        fields: Fields = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": logging.getLevelName(record.levelno).lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        recording = getattr(record, "recording", "")
        if recording:
            fields["recording"] = recording
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        left = f"{self._render(fields)}\n".encode(errors="backslashreplace")  # a path may be no text
        with contextlib.suppress(OSError):  # nobody reads it any more
            while left:
                left = left[os.write(self._output, left) :]

    def _read(self, pipe: int) -> None:
        """Lines of other processes, and of what writes to standard error by itself."""
        left = b""
        with contextlib.suppress(OSError):
            while more := os.read(pipe, _LINE_BYTES_MAX):
                *lines, left = (left + more).split(b"\n")
                if len(left) > _LINE_BYTES_MAX:
                    lines, left = [*lines, left], b""
                for line in lines:
                    self._take(line)
        if left:
            self._take(left)
        os.close(pipe)

    def _take(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self._put(logging.makeLogRecord(_taken_apart(text)))


class _Queued(logging.Handler):
    def __init__(self, put: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._put = put

    def emit(self, record: logging.LogRecord) -> None:
        """What it is about may change before the line is written."""
        record.msg, record.args = record.getMessage(), None
        self._put(record)


def _taken_apart(text: str) -> dict[str, Any]:
    """The attributes of a record for a line of a role (see ``role_log``), or of anything else."""
    try:
        fields = json.loads(text)
        if isinstance(fields, dict):
            level, name, event = fields.pop("level"), fields.pop("logger"), fields.pop("event")
            number = logging.getLevelNamesMapping()[level.upper()]
            return {"levelno": number, "name": str(name), "msg": "%s", "args": (event,), "fields": fields}
    except (ValueError, KeyError, AttributeError):
        pass
    return {"levelno": logging.WARNING, "name": "stderr", "msg": "%s", "args": (text,)}


def _printable(_: object, __: str, fields: Fields) -> Fields:
    """Others name what is logged: nothing of it moves the cursor, or looks like another line."""
    shown = dict(fields)
    for name, value in fields.items():
        if isinstance(value, str) and not value.isprintable():
            kept = "\n" if name == "exception" else ""
            shown[name] = "".join(one if one.isprintable() or one in kept else repr(one)[1:-1] for one in value)
    return shown


def _renderer(for_people: bool, colors: bool) -> Callable[[Fields], str]:
    def render(fields: Fields) -> str:
        for step in steps:
            fields = step(None, "", fields)
        return str(fields)

    steps: list[Any]
    if for_people:
        steps = [
            _printable,
            structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback),
        ]
    else:
        steps = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    return render
