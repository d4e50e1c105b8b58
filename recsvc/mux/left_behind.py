"""What is handed out of a recording's file whose worker is gone."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from ..common.descriptions import BlobDescription, CompletedFile, RecordingStatistics
from ..common.pieces import HandedOut
from .recover import Completed


class LeftBehind(NamedTuple):
    """The last piece, with its timecode; the whole file; its accounting, which has no tracks."""

    blob: BlobDescription
    timecode_ms: float
    whole: BlobDescription
    statistics: RecordingStatistics


def left_behind(path: str, mime_type: str, handed_out: HandedOut, done: Completed | CompletedFile | None) -> LeftBehind:
    """What comes after the pieces that were handed out of the file. ``done``: it was completed;
    ``None`` where it could not be completed, and is handed out as it is."""
    size = 0 if done is None else done.size
    if done is None:
        with suppress(OSError):  # it is gone, or cannot be reached
            size = os.stat(path).st_size
    duration = None if done is None else done.duration
    blob, whole, timecode_ms = handed_out.rest(path, mime_type, size, duration)
    statistics = RecordingStatistics(state="inactive", duration=whole.duration, size_bytes=size)
    return LeftBehind(blob, timecode_ms, whole, statistics)
