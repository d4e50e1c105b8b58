"""How a role process logs: for people, or as lines that a daemon takes apart."""

from __future__ import annotations

import logging
import os

import msgspec

VARIABLE = "RECSVC_ROLE_LOG"
"""A level in lower case: a daemon sets it for the processes that it starts, and reads their lines."""


class _Line(logging.Formatter):
    """One line for each record, as ``serve/logs.py`` reads it."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        fields["process"] = record.process
        recording = getattr(record, "recording", "")
        if recording:
            fields["recording"] = recording
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields).decode()


def begin() -> None:
    """To standard error, as the environment asks."""
    handler = logging.StreamHandler()
    level = os.environ.get(VARIABLE, "")
    if level:
        handler.setFormatter(_Line())
        logging.getLogger().setLevel(level.upper())
    else:
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
