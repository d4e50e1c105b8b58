"""The catalog itself: what is known of each recording, from the controller and from the spool."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import msgspec

from ..common.descriptions import RecordingInfo
from ..common.limits import HEADER_BYTES_MAX
from ..errors import InvalidStateError, NotFoundError, QuotaExceededError, RecorderError
from ..wire import messages
from .database import Database, Row
from .files import Files
from .retention import Bounds, Calendar, Kept, Used, delete_surplus
from .survey import Found, Result

log = logging.getLogger("recsvc.catalog")

_LIST_BYTES_MAX = HEADER_BYTES_MAX - 4096
_EARLIEST_S, _LATEST_S = 1.0, 2.0**33  # in the years 1970 and 2242


class Keeper:
    """Not thread-safe: the catalog's loop calls it."""

    def __init__(self, database: Database, files: Files, bounds: Bounds) -> None:
        self._database = database
        self._files = files
        self._bounds = bounds
        self._calendar = Calendar()
        self._active: dict[str, str] = {}  # recordings that go on, as the controller has it -> their files
        self._unnoted: dict[str, str] = {}  # those of them whose files were not there yet

    # --- the controller ---------------------------------------------------------------------------

    def enter(self, info: RecordingInfo, file: str) -> None:
        """``QuotaExceededError``: it is known from now on, but could not be written."""
        self._files.path(file)
        if info.ended:
            self._active.pop(info.recording, None)
        else:
            self._active[info.recording] = file
        known = self._database.get(info.recording)
        if known is not None:
            info = msgspec.structs.replace(info, name=known.info.name)  # somebody may have renamed it
        self._note(self._database.enter(Row(info, file)))
        if self._database.in_memory:
            raise QuotaExceededError("the catalog cannot be written now")

    def _note(self, row: Row) -> None:
        """Beside the file, for a database that is lost."""
        self._unnoted.pop(row.info.recording, None)
        if not self._files.note(row.file, row.info) and not row.info.ended and self._files.size(row.file) is None:
            self._unnoted[row.info.recording] = row.file

    def look(self) -> None:
        """Now and then: notes what could not be noted before the worker had made the file."""
        for recording, file in list(self._unnoted.items()):
            row = self._database.get(recording)
            if row is None or recording not in self._active:
                del self._unnoted[recording]
            elif self._files.size(file) is not None:
                self._note(row)

    def forget(self, recording: str) -> None:
        self._active.pop(recording, None)
        self._unnoted.pop(recording, None)
        self._database.remove(recording)

    # --- clients ----------------------------------------------------------------------------------

    def owner_of(self, recording: str) -> str | None:
        """The name of the key that a recording belongs to; ``None``: it is not known."""
        row = self._database.get(recording)
        return None if row is None else row.info.owner

    def list(self, request: messages.ListRecordings) -> list[RecordingInfo]:
        """As many as one reply has room for."""
        before, size = request.before or float("inf"), 0
        found: list[RecordingInfo] = []
        while len(found) < request.limit:
            rows = self._database.before(before, request.limit - len(found))
            for row in rows:
                before = row.info.began
                info = self._present(row)
                if info is None:
                    continue
                size += len(msgspec.msgpack.encode(info))
                if size > _LIST_BYTES_MAX:
                    return found
                found.append(info)
            if not rows:
                break
        return found

    def get(self, recording: str) -> RecordingInfo:
        return self._known(recording)[0]

    def rename(self, recording: str, name: str) -> RecordingInfo:
        info, row = self._known(recording)
        self._note(self._database.enter(Row(msgspec.structs.replace(row.info, name=name), row.file)))
        return msgspec.structs.replace(info, name=name)

    def delete(self, recording: str) -> None:
        if recording in self._active:
            raise InvalidStateError(f"the recording {recording} still goes on: stop it first")
        _, row = self._known(recording)
        self._files.remove(row.file)
        self._database.remove(recording)
        log.info("recording %s was deleted by a client", recording, extra={"recording": recording})

    def fetch(self, request: messages.Fetch) -> bytes:
        """As far as it is written."""
        _, row = self._known(request.recording)
        try:
            return self._files.read(row.file, request.start, request.size)
        except NotFoundError:
            if request.recording in self._active:
                return b""  # its worker has not made it yet
            raise

    def _known(self, recording: str) -> tuple[RecordingInfo, Row]:
        row = self._database.get(recording)
        info = None if row is None else self._present(row)
        if row is None or info is None:
            raise NotFoundError(f"there is no recording {recording!r} here; it may have been deleted")
        return info, row

    def _present(self, row: Row) -> RecordingInfo | None:
        """As of now; ``None`` where the file is gone, and with it the row."""
        size = self._files.size(row.file)
        path = str(self._files.path(row.file))
        recording = row.info.recording
        if recording in self._active:
            return msgspec.structs.replace(row.info, size_bytes=size or 0, path=path)
        if size is None:
            log.info("the file of recording %s was removed", recording, extra={"recording": recording})
            self._database.remove(recording)
            return None
        return msgspec.structs.replace(row.info, size_bytes=size, path=path)

    # --- the spool --------------------------------------------------------------------------------

    def files_known(self) -> set[str]:
        """Of recordings that go on, and of those whose end is known."""
        if self._database.is_new:
            return set(self._active.values())
        files = self._database.files()
        return {file for recording, file, _, is_over in files if is_over or recording in self._active}

    def surveyed(self, result: Result, begun_s: float) -> Iterator[None]:
        """Enters what was found, in as many steps, since there may be a hundred thousand. ``begun_s``: when that was
        begun (seconds since 1970)."""
        for found in result.found:
            yield
            row = self._database.get(found.recording)
            if found.recording in self._active or (row is not None and row.info.ended):
                continue  # it has ended, or begun, meanwhile
            if row is not None or not found.error:
                noted = self._files.noted(found.file) if row is None else row.info
                self._note(self._database.enter(Row(_described(found, noted), found.file)))
        for recording, file, began, _ in self._database.files():
            if file not in result.files and began < begun_s:
                yield
                row = self._database.get(recording)
                if row is not None:
                    self._present(row)
        self._database.is_new = False

    def retain(self) -> None:
        """Deletes what is too much by now."""
        if self._bounds.none:
            return
        sizes = sum(self._files.size(file) or 0 for file in self._active.values())
        used = Used(self._database.finished_bytes() + sizes, self._files.free_bytes())
        now, steady_s, bounds = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), self._bounds
        if jump_s := self._calendar.jump(now, steady_s):
            log.warning("the time of day was set by %+.0f s: nothing is deleted by its age for a day", jump_s)
        if not self._calendar.is_believed(steady_s):
            bounds = bounds._replace(age_s=0.0)
        delete_surplus(self._database.finished(), bounds, used, now, self._delete_surplus)

    def _delete_surplus(self, kept: Kept, why: str) -> bool:
        row = self._database.get(kept.recording)
        if row is None or kept.recording in self._active or self._files.is_read(row.file):
            return False
        try:
            self._files.remove(row.file)
        except RecorderError as error:
            log.warning("recording %s is not deleted: %s", kept.recording, error, extra={"recording": kept.recording})
            return False
        self._database.remove(kept.recording)
        log.info("recording %s was deleted: %s", kept.recording, why, extra={"recording": kept.recording})
        return True


def _described(found: Found, known: RecordingInfo | None) -> RecordingInfo:
    """A recording whose end its controller has not seen, or whose row was lost; ``known``: what there was of it, or is
    noted at its file. Where nothing is known there is its file alone."""
    if known is None:
        began = _date(found.changed_s - _span(found.duration))
        state = "recovered" if found.completed else "finished"
        info = RecordingInfo(recording=found.recording, name="", owner="", state=state, mime_type="", began=began)
    else:
        began, ended = _date(known.began), _date(known.ended) if known.ended else 0.0
        info = msgspec.structs.replace(known, recording=found.recording, began=began, ended=ended)
        if known.ended and known.size_bytes == found.size and not found.completed and not found.error:
            return info  # as it was left
        info = msgspec.structs.replace(info, state="failed" if found.error else "recovered", statistics=None)
    return msgspec.structs.replace(
        info,
        mime_type=found.mime_type or info.mime_type,
        ended=max(_date(found.changed_s), info.began + 1e-3),
        size_bytes=found.size,
        duration=_span(found.duration),
        error=found.error,
    )


def _span(seconds: float) -> float:
    """A file may claim any length, also one that is no number."""
    return min(_LATEST_S, max(0.0, seconds))


def _date(seconds: float) -> float:
    """A file may have any time: here it has one that calendars know, and that is more than 0, which has meanings of its
    own."""
    return min(_LATEST_S, max(_EARLIEST_S, seconds))  # in this order what is no number becomes the earliest
