"""A recording's file that is at its service: read in ranges over ZeroMQ, several of them under way at a time."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import Any

from .. import errors
from ..common.mime import CONTAINER_OF_SUFFIX
from ..common.service_limits import FETCH_BYTES_MAX, FETCH_CREDIT
from ..wire import messages
from . import connections
from .asking import Asking, catalog_of
from .client import Client
from .storage import SpoolFile


class RemoteFile:
    """The file of a recording that its service keeps, as far as it is written."""

    def __init__(self, client: Client, recording: str) -> None:
        self._client = client
        self.recording = recording

    def open(self) -> RemoteReader:
        """``ServiceError`` where its service is gone."""
        self._client = connections.renewed(self._client)
        return RemoteReader(self._client, self.recording)


def check_is_of(recording: str, path: str) -> None:
    """A service may name any file, and we will hand its content out, perhaps complete it, and remove it: so it must
    have the name of the recording, as no other file has. ``NotReadableError``."""
    stem, suffix = os.path.splitext(os.path.basename(path))
    if stem != recording or suffix not in CONTAINER_OF_SUFFIX or "\0" in path:
        raise errors.NotReadableError(
            f"the service has put recording {recording} into {path!r}, which has another name"
        )


def kept_file(client: Client, recording: str, path: str) -> SpoolFile | RemoteFile:
    """The file of a recording that its service keeps: read by its path where the service is reached by a socket of this
    machine and the path leads there (in a container it may not), else from the service."""
    if client.reachable(client.welcome.catalog).endpoint.startswith("ipc://"):
        with suppress(errors.NotReadableError):
            check_is_of(recording, path)
            file = SpoolFile(path, owned=False, kept=True)
            file.open()
            return file
    return RemoteFile(client, recording)


class RemoteReader:
    """An opened one. Used by one thread at a time. Who reads on finds the next bytes under way already."""

    def __init__(self, client: Client, recording: str) -> None:
        self._client = client
        self._recording = recording
        self._asking: Asking | None = None
        self._ranges: deque[tuple[int, int, int]] = deque()  # under way: start, size, number
        self._asked_end = 0  # of the last of these
        self._data: Any = b""
        self._data_start = 0
        self._size = 0  # of a range
        self._window = 1  # so many of them are asked for ahead

    def read(self, start: int, size: int, end: int = 0) -> bytes:
        """At least one of these bytes; those up to ``end`` are wanted soon. ``NotReadableError`` when the file has
        fewer, or was deleted; ``ServiceError``."""
        at = start - self._data_start
        if not 0 <= at < len(self._data):
            try:
                data = self._fetch(start, size, end)
            except BaseException:  # Ctrl-C, too: nobody knows what is under way
                self._ranges.clear()
                self._asking = None
                raise
            self._data, self._data_start, at = data, start, 0
        return bytes(self._data[at : at + size])

    def _fetch(self, start: int, size: int, end: int) -> Any:
        if self._asking is None or self._asking.process != os.getpid():
            self._ranges.clear()
            self._asking = Asking(self._client, catalog_of(self._client))
        follows = start == self._data_start + len(self._data) and start > 0
        self._data = b""
        if not self._ranges or self._ranges[0][0] != start:
            if self._asking.under_way:  # nobody wants these any more
                self._asking.close()
                self._asking = Asking(self._client, catalog_of(self._client))
            self._ranges.clear()
            self._asked_end = start
        self._window = min(2 * self._window, FETCH_CREDIT) if follows else 1
        self._size = min(max(size, 2 * self._size if follows else 0), FETCH_BYTES_MAX)
        wanted_end = max(start + size, min(end, start + self._window * self._size) if follows else 0)
        self._ask_for(wanted_end)
        _, size, number = self._ranges.popleft()
        try:
            data = self._asking.answer(number)
        except errors.NotFoundError as error:
            raise errors.NotReadableError(str(error)) from None
        if not isinstance(data, memoryview) or len(data) > size:
            raise errors.ServiceError(
                f"the service answered something else than the {size} bytes of recording {self._recording} from {start}"
            )
        if not len(data):
            raise errors.NotReadableError(f"the file of recording {self._recording} has no byte {start} at its service")
        return data

    def _ask_for(self, end: int) -> None:
        assert self._asking is not None
        while self._asked_end < end and self._asking.under_way < FETCH_CREDIT:
            size = min(self._size, end - self._asked_end)
            fetch = messages.Fetch(recording=self._recording, start=self._asked_end, size=size)
            self._ranges.append((self._asked_end, size, self._asking.send(fetch)))
            self._asked_end += size
