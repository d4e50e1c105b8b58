"""MediaRecorder: the W3C recorder's semantics over a controller. State changes in the call; events follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, overload

from ..common.descriptions import RecordingStatistics
from .events import BlobEvent, ErrorEvent, Event
from .listeners import Listeners
from .recorder import Recorder


class MediaRecorder(Recorder):
    """Records a ``MediaStream`` (W3C MediaStream Recording, "MediaRecorder"; ``stop()`` as MDN documents it).

    ``mime_type``: see ``is_type_supported``; ``""``: the recorder chooses. Bitrates in bits per second;
    ``bits_per_second`` overrides both others, a tenth of it for sound. Key frame options exclude each other: ms
    since the last key frame, or frames between two. ``strict_stop=False``: ``stop()`` while inactive returns
    silently. ``overload``: ``"drop"`` or ``"finish-late"``. ``service``: an endpoint
    (``ipc://…``, ``tcp://HOST:PORT``) or the path of a connection file; by default that of the stream's captured
    tracks, else ``RECSVC_SERVICE``, else a private one.

    Raises ``NotSupportedError`` (type, both key frame options), ``TypeError``, ``ValueError``. Thread-safe. As a
    context manager it stops an active recording at the end and waits for ``stop``; left by an exception, while nobody
    listens for data, it keeps the recording in the spool until that is saved, and a note of the exception says where.
    """

    _make_listeners = Listeners
    _listeners: Listeners

    def start(self, timeslice: float | None = None) -> None:
        """Begins to record; ``state`` is ``"recording"`` at once, ``start`` follows.

        ``timeslice``: least media per ``dataavailable``, in ms; ``None``: one Blob at the end. Raises
        ``InvalidStateError`` when not inactive, and after ``close()``, ``NotSupportedError`` naming the track that
        cannot be recorded; of the service ``BusyError`` and other ``QuotaExceededError``, ``NotAllowedError``,
        ``SecurityError``, ``ServiceError``. Blocks until it has opened the recording: some ms, and as long as it
        takes to reach the service, or to begin a private one, where that is the first call that needs it.
        """
        self._begin(timeslice)

    def stop(self) -> None:
        """Ends the recording: inactive and capturing nothing any more at once, then ``dataavailable``, then ``stop``.

        Raises ``InvalidStateError`` while inactive (unless ``strict_stop=False``). Waits for nothing.
        """
        self._now(self._stop)

    def pause(self) -> None:
        """Records nothing until ``resume()``; that time is absent from the recording. ``InvalidStateError``."""
        self._now(self._pause)

    def resume(self) -> None:
        """Goes on after ``pause()``, with a key frame. ``InvalidStateError`` while inactive."""
        self._now(self._resume)

    def request_data(self) -> None:
        """Fires ``dataavailable`` with everything captured up to the call and since the last one, an empty Blob for
        nothing; the recording goes on, or stays paused. Only sound that makes no whole packet yet, up to 30 ms, comes
        with the next. ``InvalidStateError`` while inactive."""
        self._now(self._request_data)

    def close(self) -> None:
        """Stops an active recording and waits until its ``stop`` event has been fired, at most for twice the drain's
        deadline; idempotent. A closed recorder cannot start again."""
        self._close()

    def __enter__(self) -> MediaRecorder:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not self._elsewhere:  # a forked child leaves the block, too
            self._end()
            self._owe_for(error)

    def statistics(self) -> RecordingStatistics:
        """The accounting of the active recording, as of now, else of the last one. Blocks until the service has
        answered: some ms; the last one is returned where it does not within 30 s."""
        return self._latest_statistics()

    @overload
    def wait(self, type: Literal["dataavailable"], timeout: float | None = None) -> BlobEvent: ...
    @overload
    def wait(self, type: Literal["error"], timeout: float | None = None) -> ErrorEvent: ...
    @overload
    def wait(self, type: str, timeout: float | None = None) -> Event: ...
    def wait(self, type: str, timeout: float | None = None) -> Event:
        """The next event of this type since the last ``start()`` that was not yet waited for; its listeners have
        been called. Blocks; ``TimeoutError`` after ``timeout`` seconds, ``InvalidStateError`` inside a listener."""
        self._check_process()
        return self._listeners.wait(type, timeout)

    def events(self) -> Iterator[Event]:
        """Iterates over the events since the last ``start()`` and on to ``stop``."""
        self._check_process()
        return self._listeners.iterate()
