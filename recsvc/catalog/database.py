"""The catalog's memory: one row for each recording, in SQLite.

It holds nothing that recordings depend on. Where its file cannot be written (the disk is full, or read-only) the rows
are kept in memory until it can; where the file is damaged, or of another version, it is put aside, and who uses this
class fills a new one from the spool.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ..common.descriptions import RecordingInfo
from .retention import Kept

log = logging.getLogger("recsvc.catalog")

SCHEMA = 1
_CREATE = (
    """CREATE TABLE recordings (recording TEXT PRIMARY KEY, began REAL NOT NULL UNIQUE, ended REAL NOT NULL,
    size INTEGER NOT NULL, file TEXT NOT NULL, info BLOB NOT NULL)""",
    "CREATE INDEX recordings_by_end ON recordings (ended)",
    f"PRAGMA user_version = {SCHEMA}",
)
_ENTER = "INSERT OR REPLACE INTO recordings VALUES (?, ?, ?, ?, ?, ?)"
_TICK_S = 1e-6  # a difference that a time since 1970 has room for


class Row(NamedTuple):
    """``file``: its name in the spool."""

    info: RecordingInfo
    file: str


class Database:
    """Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self.is_new = False
        """Whether rows that there were are lost: they are to be found again in the spool."""
        self.is_lost = False
        """Whether they were lost while this process ran, which then must not go on."""
        self.in_memory = False
        """Whether the file cannot be written: what is entered does not outlive this process, for now."""
        try:
            self._connection = self._open()
        except sqlite3.Error as error:
            log.warning("the catalog is kept in memory: %s cannot be used: %s", path, error)
            self.is_new = True
            self._connection = self._memory()

    # --- the file ---------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        """The file at the path, a new one where there is none that can be read."""
        if self._path.exists():
            try:
                return self._connect()
            except sqlite3.OperationalError:
                raise  # no room, no permission: nothing is wrong with what is in it
            except (sqlite3.DatabaseError, _OtherVersionError) as error:
                aside = self._path.with_name(self._path.name + ".damaged")
                log.warning("%s cannot be read and is made anew: %s; the old one is %s", self._path, error, aside)
                os.replace(self._path, aside)
        for leftover in ("-wal", "-shm"):
            self._path.with_name(self._path.name + leftover).unlink(missing_ok=True)
        self.is_new = True
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=1.0)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            checked = connection.execute("PRAGMA quick_check(1)").fetchone()
            if checked[0] != "ok":
                raise sqlite3.DatabaseError(checked[0])
            self._create(connection)
            status = self._path.stat()
        except BaseException:
            connection.close()
            raise
        self._inode = status.st_ino
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA):
            raise _OtherVersionError(f"it has version {version} of the catalog, and this is {SCHEMA}")
        if version == 0:
            connection.execute("BEGIN IMMEDIATE")
            for statement in _CREATE:
                connection.execute(statement)
            connection.execute("COMMIT")

    def _memory(self) -> sqlite3.Connection:
        self.in_memory = True
        connection = sqlite3.connect(":memory:", isolation_level=None)
        self._create(connection)
        return connection

    def mend(self) -> None:
        """To be called now and then: goes back to the file where it can be written again, or was removed."""
        with contextlib.suppress(OSError):
            if not self.in_memory and self._path.stat().st_ino == self._inode:
                return
        rows = self.all()
        was_new = self.is_new
        try:
            fresh = self._open()
        except (sqlite3.Error, OSError) as error:
            if not self.in_memory:
                self._to_memory(rows, error)
            return
        try:
            fresh.execute("BEGIN IMMEDIATE")
            fresh.execute("DELETE FROM recordings")
            fresh.executemany(_ENTER, map(_values, rows))
            fresh.execute("COMMIT")
        except sqlite3.Error as error:
            fresh.close()
            if not self.in_memory:
                self._to_memory(rows, error)
            return
        self._connection.close()
        self._connection, self.in_memory, self.is_new = fresh, False, was_new
        log.info("the catalog is in %s again", self._path)

    def _to_memory(self, rows: Iterable[Row], error: Exception) -> None:
        log.warning("the catalog is kept in memory until %s can be written again: %s", self._path, error)
        memory = self._memory()
        memory.executemany(_ENTER, map(_values, rows))
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._connection = memory

    def close(self) -> None:
        """What is in the file is complete."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    # --- rows -------------------------------------------------------------------------------------

    def enter(self, row: Row) -> Row:
        """Writes a row in the place of the one before; returns it. No two have begun at the same time, so that a list
        can be asked for in parts."""
        info, began = row.info, row.info.began
        known = self.get(info.recording)
        if known is not None:
            began = known.info.began
        ticks = 1
        while self._ask("SELECT 1 FROM recordings WHERE began = ? AND recording != ?", began, info.recording):
            began += random.randint(1, ticks) * _TICK_S  # a place in a wider and wider space is soon free
            ticks *= 2
        row = Row(msgspec.structs.replace(info, began=began), row.file)
        self._ask(_ENTER, *_values(row))
        return row

    def remove(self, recording: str) -> None:
        """Idempotent."""
        self._ask("DELETE FROM recordings WHERE recording = ?", recording)

    def get(self, recording: str) -> Row | None:
        found = self._found("WHERE recording = ?", recording)
        return found[0] if found else None

    def before(self, began: float, limit: int) -> list[Row]:
        """The newest of those that began before."""
        return self._found("WHERE began < ? ORDER BY began DESC LIMIT ?", began, limit)

    def all(self) -> list[Row]:
        return self._found("")

    def files(self) -> list[tuple[str, str, float, bool]]:
        """Of each recording: its id, its file, when it began, whether its end is known."""
        found = self._ask("SELECT recording, file, began, ended > 0 FROM recordings")
        return [(recording, file, began, bool(is_over)) for recording, file, began, is_over in found]

    def finished(self) -> Iterator[Kept]:
        """The one that ended first comes first. Rows may be removed meanwhile."""
        ended, passed = 0.0, ""
        statement = (
            "SELECT recording, ended, size FROM recordings WHERE ended > 0 AND (ended, recording) > (?, ?)"
            " ORDER BY ended, recording LIMIT 100"
        )
        while found := self._ask(statement, ended, passed):
            yield from (Kept(*one) for one in found)
            passed, ended, _ = found[-1]

    def finished_bytes(self) -> int:
        """Of all that have ended."""
        ((size,),) = self._ask("SELECT COALESCE(SUM(size), 0) FROM recordings WHERE ended > 0")
        return int(size)

    # --- statements -------------------------------------------------------------------------------

    def _found(self, where: str, *given: Any) -> list[Row]:
        rows, unreadable = [], []
        for recording, file, info in self._ask(f"SELECT recording, file, info FROM recordings {where}", *given):
            try:
                rows.append(Row(msgspec.msgpack.decode(info, type=RecordingInfo), file))
            except msgspec.MsgspecError as error:
                text = "what the catalog has of recording %s cannot be read: %s"
                log.warning(text, recording, error, extra={"recording": recording})
                unreadable.append(recording)
        for recording in unreadable:
            self.remove(recording)  # the spool shows it again
        return rows

    def _ask(self, statement: str, *given: Any) -> list[Any]:
        try:
            return self._connection.execute(statement, given).fetchall()
        except sqlite3.DatabaseError as error:
            if self.in_memory:
                raise
            self._give_up_file(error)
            return self._connection.execute(statement, given).fetchall()

    def _give_up_file(self, error: sqlite3.DatabaseError) -> None:
        """It cannot be used any more, for now or for ever."""
        rows: list[Row] = []
        try:
            for file, info in self._connection.execute("SELECT file, info FROM recordings"):
                rows.append(Row(msgspec.msgpack.decode(info, type=RecordingInfo), file))
        except (sqlite3.Error, msgspec.MsgspecError):
            self.is_new = self.is_lost = True
        self._to_memory(rows, error)


class _OtherVersionError(Exception):
    pass


def _values(row: Row) -> tuple[Any, ...]:
    info = row.info
    return info.recording, info.began, info.ended, info.size_bytes, row.file, msgspec.msgpack.encode(info)
