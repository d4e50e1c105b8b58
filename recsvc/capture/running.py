"""A source: one opened device or input, delivering the frames of up to one audio and one video track.

``opening.open_source`` opens one by its source string; ``start`` hands it one ``Sink`` per track. From then on its
threads deliver frames until the input ends or ``close`` is called. ``flush`` is what makes a stop complete.
"""

import logging
import threading
from collections.abc import Mapping

from ..common.limits import S
from ..errors import NotReadableError, RecorderError
from .delivery import Delivery
from .limits import SOURCE_CLOSE_NS, STALL_LOOKS
from .live import Direct
from .source import Sink, TrackInfo

log = logging.getLogger("recsvc")


class Source:
    """A thread reads (``_read``) and a delivery decides when and with which capture time frames go on. That thread also
    frees the input (``_free``), so nothing is freed under a read.

    Methods may be called from any thread, but never while holding a lock that a sink takes: the source calls its sinks
    while it holds its own.
    """

    pace_max = False
    """Delivers as fast as the sinks take it (their calls block), from ``wait_wanted`` on; else real time."""

    def __init__(self, what: str, tracks: list[TrackInfo], delivery: Delivery) -> None:
        self.tracks = tracks
        self._what = what
        self._delivery = delivery
        self._is_started = False
        self._thread = threading.Thread(target=self._run, name=f"capture {what}", daemon=True)

    def start(self, sinks: Mapping[str, Sink]) -> None:
        """Begins to deliver to ``sinks`` (by track kind; without one a track is discarded); returns at once. May be
        called once."""
        if self._is_started:
            raise RuntimeError(f"{self._what} was started before")
        self._is_started = True
        self._delivery.begin(sinks)

    def flush(self, until_ns: int) -> None:
        """Returns when every frame and sample captured at or before ``until_ns`` was given to its sink.

        ``until_ns`` is ``time.monotonic_ns()`` time; a time in the future counts as now. Blocks for a
        bounded time, stated by each kind of source. Capture continues afterwards without a seam.
        """
        if self._is_started:
            self._delivery.flush(until_ns)

    def catch_up(self) -> None:
        """Returns when the packets of the time before were given to the sinks: a recording may begin with them. Blocks
        only right after ``start``, at most ``CATCH_UP_NS_MAX``."""
        self._delivery.catch_up()

    def close(self) -> None:
        """Stops and frees everything; idempotent; no sink is called once it has returned. Blocks for the frame being
        delivered, at most ``SOURCE_CLOSE_NS``; a blocked reader frees the input when its read returns."""
        self._delivery.close()
        self._interrupt()
        if self._thread.ident is None:
            self._free()
        elif self._thread is not threading.current_thread():
            self._thread.join(SOURCE_CLOSE_NS / S)

    def _run(self) -> None:
        error: Exception | None = None
        try:
            self._read()
        except Exception as failure:
            if not isinstance(failure, RecorderError):
                log.exception("capture of %s stopped", self._what)
            error = failure
        try:
            self._delivery.end(error)
        finally:
            self._free()

    def _read(self) -> None:
        """Until the end or until the delivery is closed."""
        raise NotImplementedError

    def _interrupt(self) -> None:
        """Ends a read that waits, where that is possible."""

    def _free(self) -> None:
        """Frees the input."""


class Device(Source):
    """A device that runs from the moment it is open, so that nothing stale waits in a driver's queue when ``start`` is
    called. Another thread ends the track when frames stop coming, for a driver's calls cannot be interrupted."""

    _delivery: Direct

    def __init__(self, what: str, track: TrackInfo, *, flush_limit_ns: int, stall_ns: int) -> None:
        super().__init__(what, [track], Direct([track], flush_limit_ns=flush_limit_ns))
        self._stall_ns = stall_ns
        self._brought = 0
        """How many frames have come."""
        self._watchdog = threading.Thread(target=self._watch, name=f"capture watch {what}", daemon=True)

    def _watch(self) -> None:
        """Looks several times, so that a time in which this whole process stood still counts as one look."""
        stall_s = self._stall_ns / S
        quiet = 0
        while quiet < STALL_LOOKS:
            brought = self._brought
            if self._delivery.closing.wait(stall_s / STALL_LOOKS):
                return
            quiet = quiet + 1 if self._brought == brought else 0
        self._delivery.end(NotReadableError(f"{self._what}: nothing came for {stall_s:g} s; was it unplugged?"))
        self._interrupt()
