"""How recordings look as rows of text: for people, at any width. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..common.descriptions import RecordingStatistics, RecordingStatus, ServiceStatus

if TYPE_CHECKING:
    from ..recording import Recording

_LEVEL_FLOOR_DB = -60.0
_GAP = 2


class Column(NamedTuple):
    """``rank``: where there is no room for all, those with the highest go first. ``least``: so far it may be cut."""

    title: str
    rank: int
    right: bool = False
    least: int = 0


class Moment(NamedTuple):
    """What a recording had come to when it was looked at last."""

    at_s: float
    size_bytes: int
    pictures: int


STATUS = (
    Column("RECORDING", 0, least=12),
    Column("NAME", 5, least=6),
    Column("STATE", 1),
    Column("ELAPSED", 2, right=True),
    Column("SIZE", 3, right=True),
    Column("KBIT/S", 6, right=True),
    Column("FRAMES/S", 7, right=True),
    Column("DROPPED", 4, right=True),
    Column("LEVEL", 8),
)
LIST = (
    Column("RECORDING", 0, least=12),
    Column("NAME", 4, least=6),
    Column("STATE", 1),
    Column("BEGAN", 5),
    Column("DURATION", 2, right=True),
    Column("SIZE", 3, right=True),
    Column("TYPE", 6),
    Column("OWNER", 7),
)


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Lines with a heading. ``width``: of the terminal; columns that have no room are left out, those that may be cut
    are cut, and so is the rest of a line. ``None``: as wide as it gets. A column that is empty in each row is not
    shown."""
    shown = [n for n, column in enumerate(columns) if column.rank < 4 or any(row[n] for row in rows)]
    widths = {n: max(display_width(text) for text in (columns[n].title, *(row[n] for row in rows))) for n in shown}
    if width is not None:
        while len(shown) > 1 and _total(columns, widths, shown, at_least=True) > width:
            shown.remove(max(shown, key=lambda n: columns[n].rank))
        excess = _total(columns, widths, shown, at_least=False) - width
        for n in sorted(shown, key=lambda n: -columns[n].rank):
            least = columns[n].least
            if excess > 0 and least and widths[n] > least:
                cut = min(excess, widths[n] - least)
                widths[n] -= cut
                excess -= cut
    lines = []
    for row in ([column.title for column in columns], *rows):
        cells = [_cell(row[n], widths[n], columns[n].right) for n in shown]
        line = (" " * _GAP).join(cells).rstrip()
        lines.append(line if width is None else clipped(line, width))
    return lines


def _total(columns: Sequence[Column], widths: dict[int, int], shown: list[int], *, at_least: bool) -> int:
    each = [min(widths[n], columns[n].least) if at_least and columns[n].least else widths[n] for n in shown]
    return sum(each) + _GAP * (len(shown) - 1)


def _cell(text: str, width: int, right: bool) -> str:
    text = clipped(printable(text), width)
    padding = " " * (width - display_width(text))
    return padding + text if right else text + padding


def display_width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(_character_width(one) for one in text)


def _character_width(one: str) -> int:
    if unicodedata.combining(one) or unicodedata.category(one) in ("Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def clipped(text: str, width: int) -> str:
    """At most so wide; what was left out is an ellipsis."""
    if display_width(text) <= width:
        return text
    kept, room = [], max(width, 1) - 1
    for one in text:
        room -= _character_width(one)
        if room < 0:
            break
        kept.append(one)
    return "".join(kept) + "…"


def printable(text: str) -> str:
    """What others have written, without what would move the cursor or colour the terminal."""
    return "".join(one if one.isprintable() else "�" for one in text)


# --- cells ----------------------------------------------------------------------------------------


def size(count: int) -> str:
    """Bytes, in units of 1000."""
    number, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 999.5 or unit == "TB":
            break
        number /= 1000
    return f"{count} B" if unit == "B" else f"{number:.3g} {unit}" if number < 99.95 else f"{number:.0f} {unit}"


def clock(seconds: float) -> str:
    """As ``1:02:03.4``."""
    tenths = round(min(seconds, 1e12) * 10) if seconds > 0 else 0  # a service may say what is no number
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    whole = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{whole}" if hours else f"{minutes}:{whole}"


def moment(recording: RecordingStatus, at_s: float) -> Moment:
    """What is remembered for the rates of the next look."""
    found = recording.statistics or RecordingStatistics(state="")
    return Moment(at_s, found.size_bytes, _pictures(found))


def _pictures(statistics: RecordingStatistics) -> int:
    return sum(track.frames_encoded for track in statistics.tracks if track.kind == "video")


def status_row(recording: RecordingStatus, before: Moment | None, at_s: float) -> list[str]:
    """``before``: the rates are those since then; ``None``: of the whole recording so far."""
    found = recording.statistics
    row = [recording.recording, recording.name, recording.state]
    if found is None:
        return [*row, "", "", "", "", "", ""]
    past_s = found.duration if before is None else at_s - before.at_s
    since = Moment(0.0, 0, 0) if before is None else before
    kbits = pictures = ""
    if past_s > 0:
        kbits = f"{max(0, found.size_bytes - since.size_bytes) * 8 / 1000 / past_s:.0f}"
        if any(track.kind == "video" for track in found.tracks):
            pictures = f"{max(0, _pictures(found) - since.pictures) / past_s:.1f}"
    dropped = sum(track.frames_dropped for track in found.tracks)
    levels = [meter(t.level_dbfs) for t in found.tracks if t.kind == "audio" and t.level_dbfs is not None]
    return [*row, clock(found.duration), size(found.size_bytes), kbits, pictures, str(dropped), " ".join(levels)]


def meter(level_db: float) -> str:
    """A level of sound as a bar."""
    filled = round(10 * min(1.0, max(0.0, 1 - level_db / _LEVEL_FLOOR_DB)))
    return f"[{'#' * filled}{'.' * (10 - filled)}] {max(level_db, -199):4.0f} dBFS"


def bar(share: float) -> str:
    """How much of something is done."""
    filled = round(20 * min(1.0, max(0.0, share)))
    return f"[{'#' * filled}{'.' * (20 - filled)}] {100 * share:3.0f} %"


def list_row(found: Recording) -> list[str]:
    goes_on = found.ended is None
    return [
        found.id,
        found.name,
        found.state,
        found.began.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        "" if goes_on else clock(found.duration),
        size(found.size),
        found.mime_type,
        found.owner,
    ]


def machine_lines(status: ServiceStatus) -> Iterable[str]:
    """The workers' load, and the room that is left."""
    for worker in status.workers:
        recordings = f"{worker.recordings} recording{'' if worker.recordings == 1 else 's'}"
        queue = f", {worker.queue_frames} frames waiting" if worker.queue_frames else ""
        state = "" if worker.state == "ready" else f" ({printable(worker.state)})"
        yield f"worker {worker.number}{state}: {recordings}, load {100 * worker.load:.0f} % of a core{queue}"
    if status.cost_max:
        cost = sum(worker.cost for worker in status.workers)
        yield f"load {cost:.2f} of {status.cost_max:.2f} cores"
    free = "" if status.free_bytes is None else f"{size(status.free_bytes)} free in {status.spool}, "
    yield printable(f"{free}{status.clients} client{'' if status.clients == 1 else 's'}, recsvc {status.version}")
