"""What ``recsvc status`` and ``recsvc list`` do."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from typing import Any

import msgspec

from .. import recording
from ..common.descriptions import ServiceStatus
from ..common.limits import S
from ..common.service_limits import STATUS_LINE_NS
from . import rows, terminal
from .at_service import AtService
from .fetching import described


def _json(found: object) -> str:
    return msgspec.json.encode(found).decode()


def status(service: str | None, *, once: bool, as_json: bool) -> None:
    """Once, or again and again at a terminal."""
    there = AtService(service)
    if as_json:
        print(_json(there.status()))
    elif once or not terminal.in_foreground(sys.stdout):
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(_Table().lines(there.status(), time.monotonic(), width)))
    else:
        _watch(there)


class _Table:
    """The rates of each recording are those since it was looked at last."""

    def __init__(self) -> None:
        self._before: dict[str, rows.Moment] = {}

    def lines(self, found: ServiceStatus, at_s: float, width: int | None, height: int | None = None) -> list[str]:
        """``height``: of the terminal, which is never filled."""
        newest = sorted(found.recordings, key=lambda one: (one.began, one.recording), reverse=True)
        cells = [rows.status_row(one, self._before.get(one.recording), at_s) for one in newest]
        self._before = {one.recording: rows.moment(one, at_s) for one in newest if one.statistics is not None}
        below = [line if width is None else rows.clipped(line, width) for line in rows.machine_lines(found)]
        if not cells:
            return ["nothing is recorded", "", *below]
        if height is not None:
            below = below[-max(1, height - 6) :]
            room = max(1, height - len(below) - 4)
            if len(cells) > room:
                below.insert(0, f"… and {len(cells) - room} more")
                cells = cells[:room]
        return [*rows.table(rows.STATUS, cells, width), "", *below]


def _watch(there: AtService) -> None:
    table = _Table()
    with (
        contextlib.closing(terminal.Keys()) as keys,
        terminal.screen(sys.stdout) as show,
        contextlib.suppress(KeyboardInterrupt),  # the way to leave
    ):
        while True:
            size = shutil.get_terminal_size()
            show(table.lines(there.status(), time.monotonic(), size.columns, size.lines))
            if keys.wait(STATUS_LINE_NS / S) == "q":
                return


def list_kept(service: str | None, limit: int | None, as_json: bool) -> None:
    """The newest first."""
    there = AtService(service)
    found = recording.list(service=there.service, limit=limit)
    if as_json:
        print(_json([{**described(one, None), **_times(one), "statistics": one.statistics} for one in found]))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = rows.table(rows.LIST, [rows.list_row(one) for one in found], width) if found else ["no recordings"]
    print("\n".join(lines))


def _times(found: recording.Recording) -> dict[str, Any]:
    return {
        "owner": found.owner,
        "began": found.began.timestamp(),
        "ended": None if found.ended is None else found.ended.timestamp(),
    }
