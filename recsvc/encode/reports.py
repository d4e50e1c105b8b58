"""The last report of a recording, which the controller gets in any case."""

from __future__ import annotations

import logging

import msgspec

from ..wire import messages
from ..wire.line import Line

log = logging.getLogger("recsvc.encode")

_TEXT_MAX = 1000


def send_last(line: Line, report: messages.RecordingFinished) -> None:
    """One that cannot be sent, since it holds what no message can hold, goes without its statistics: the controller
    would wait for it, then take the whole process for hung, and end its other recordings too."""
    try:
        line.send(report)
    except Exception:
        log.exception("the report of recording %s cannot be sent as it is", report.recording)
        size = report.statistics.size_bytes
        short = messages.RecordingStatistics(state="inactive", duration=report.statistics.duration, size_bytes=size)
        line.send(msgspec.structs.replace(report, statistics=short, text=report.text[:_TEXT_MAX]))
