"""Cameras (``camera:/dev/video0``, v4l2) and screens (``screen:``, ``screen::99.0+10,20``, X11), through
PyAV.

A thread reads from the moment the device is open, so that no stale picture waits in a driver's queue when
``start`` is called. Both devices stamp a picture when it is taken; that stamp is carried over to the
monotonic clock. Another thread ends the track when pictures stop coming, for a driver's read cannot be
interrupted.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

import av
import av.error

from ..common.constraints import VideoWish
from ..errors import NotFoundError, NotReadableError, OverconstrainedError, RecorderError
from .av_frames import SECOND_NS, open_error, read_error, stream_rate
from .packer import PicturePacker
from .source import Sink, TrackInfo

log = logging.getLogger("recsvc")

# A camera may need seconds to adjust its exposure before the first picture.
OPEN_LIMIT_S = 10.0
# Without a picture for this long, and for this many intervals, the device is gone.
STALL_LIMIT_S, STALL_INTERVALS = 5.0, 5
# A picture's stamp that is older than this, or in the future, belongs to another clock.
STAMP_AGE_MAX_NS = 2 * SECOND_NS
# The next picture is awaited in a flush when one can have begun: not sooner than this part of an interval.
INTERVAL_PART = 0.9
# … and no longer than this many intervals, nor than a second (a slow camera must not hold up a stop).
FLUSH_INTERVALS, FLUSH_LIMIT_S = 1.5, 1.0
# A grabbing thread blocked in its driver is left behind; it frees the device when it returns.
CLOSE_LIMIT_S = 1.0
SCREEN_FRAME_RATE = 30.0

X11_SOCKETS = "/tmp/.X11-unix"


def open_grab(scheme: str, target: str, wish: VideoWish) -> GrabSource:
    """Opens a camera or screen. Blocks at most ``OPEN_LIMIT_S``. Raises as ``open_source`` does."""
    if scheme == "screen":
        display = _checked_display(target)
        return _open_screen(display, wish)
    path = _checked_camera(target)
    options = {}
    if wish.width and wish.height:
        options["video_size"] = f"{wish.width}x{wish.height}"
    elif wish.width or wish.height:
        raise OverconstrainedError(
            f"{wish.first}: camera {path}: width and height are chosen together, give both or none"
        )
    if wish.frame_rate:
        options["framerate"] = f"{wish.frame_rate:g}"
    try:
        container: Any = av.open(
            path, format="video4linux2,v4l2", options=options, timeout=(OPEN_LIMIT_S, STALL_LIMIT_S)
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if options and isinstance(error, (av.error.ArgumentError, ValueError)):
            raise OverconstrainedError(f"{wish.first}: camera {path} cannot do {options}") from error
        raise open_error(error, f"camera {path}", OPEN_LIMIT_S) from error
    return _opened(container, f"camera {path}", f"Camera {path}", wish)


class GrabSource:
    """An opened camera or screen. See ``recsvc.capture.source.Source``."""

    pace_max = False

    def __init__(self, container: Any, what: str, label: str, wish: VideoWish) -> None:
        self._container = container
        self._what = what
        self._stream = container.streams.video[0]
        codec = self._stream.codec_context
        codec.thread_count = 1
        rate = wish.frame_rate or stream_rate(self._stream) or SCREEN_FRAME_RATE
        if (wish.width or codec.width) != codec.width or (wish.height or codec.height) != codec.height:
            raise OverconstrainedError(
                f"width: {what} cannot do {wish.width}x{wish.height}; it offers {codec.width}x{codec.height}"
            )
        # The device paces itself: only the size is left to the packer.
        self._packer = PicturePacker(self._stream, rate, VideoWish())
        self.tracks = [TrackInfo("video", label, self._packer.format)]
        self._interval_ns = int(SECOND_NS / rate)
        self._changed = threading.Condition()
        self._closing = False
        self._sink: Sink | None = None
        self._started = False
        self._start_ns = 0
        self._last_ns = 0  # the capture time of the picture delivered last
        self._alive_ns = time.monotonic_ns()
        self._over = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"capture {what}", daemon=True)
        self._watchdog = threading.Thread(target=self._watch, name=f"capture watch {what}", daemon=True)
        self._thread.start()
        self._watchdog.start()

    def start(self, sinks: Mapping[str, Sink]) -> None:
        """The next picture is the first one delivered. May be called once."""
        with self._changed:
            if self._started:
                raise RuntimeError(f"{self._what} was started before")
            self._started = True
            self._sink = sinks.get("video")
            self._start_ns = time.monotonic_ns()
            self._last_ns = self._start_ns - self._interval_ns
            if self._over and self._sink is not None:
                self._sink.ended(self._error)

    def flush(self, until_ns: int) -> None:
        """Returns at once when no picture can have been begun by ``until_ns`` but those delivered; else
        waits for the next one, at most 1.5 intervals and at most ``FLUSH_LIMIT_S``.
        """
        until_ns = min(until_ns, time.monotonic_ns())
        limit_s = min(FLUSH_INTERVALS * self._interval_ns / SECOND_NS, FLUSH_LIMIT_S)
        deadline_s = time.monotonic() + limit_s
        with self._changed:
            while self._started and not (self._over or self._closing):
                if self._last_ns + int(INTERVAL_PART * self._interval_ns) > until_ns:
                    return
                if not self._changed.wait(deadline_s - time.monotonic()):
                    return

    def close(self) -> None:
        """Blocks for the picture being taken, at most ``CLOSE_LIMIT_S``."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in (self._thread, self._watchdog):
            if thread is not threading.current_thread():
                thread.join(CLOSE_LIMIT_S)

    def _run(self) -> None:
        error: Exception | None = None
        try:
            for packet in self._container.demux(self._stream):
                captured_ns = _captured_ns(packet, time.monotonic_ns(), time.time_ns())
                for frame in packet.decode():
                    self._take(captured_ns, frame)
                if self._closing or self._over:
                    break
            else:
                error = NotReadableError(f"{self._what}: the device ended")
        except av.error.FFmpegError as failure:
            error = read_error(failure, self._what, STALL_LIMIT_S)
        except Exception as failure:
            log.exception("capture of %s stopped", self._what)
            error = failure
        finally:
            self._container.close()
        self._end(error)

    def _take(self, captured_ns: int, frame: Any) -> None:
        self._alive_ns = time.monotonic_ns()
        if not self._started:
            return
        picture = self._packer.pack(frame)
        form = self._packer.format
        with self._changed:
            if self._closing or self._over or captured_ns < self._start_ns:
                return
            if self._sink is not None:
                self._sink.video(captured_ns, picture, form.pixel_format, form.width, form.height)
            self._last_ns = max(self._last_ns, captured_ns)
            self._changed.notify_all()

    def _watch(self) -> None:
        limit_ns = max(int(STALL_LIMIT_S * SECOND_NS), STALL_INTERVALS * self._interval_ns)
        with self._changed:
            while not (self._closing or self._over):
                left_ns = self._alive_ns + limit_ns - time.monotonic_ns()
                if left_ns > 0:
                    self._changed.wait(left_ns / SECOND_NS)
                    continue
                self._end(NotReadableError(f"{self._what}: no picture for {limit_ns / SECOND_NS:g} s"))

    def _end(self, error: RecorderError | Exception | None) -> None:
        with self._changed:
            if self._over:
                return
            self._over, self._error = True, error
            self._changed.notify_all()
            if self._sink is not None and not self._closing:
                self._sink.ended(error)


def _captured_ns(packet: Any, now_ns: int, wall_ns: int) -> int:
    """The packet's stamp on the monotonic clock. Devices stamp on that clock or on the wall clock; a stamp
    that fits neither is replaced by the present.
    """
    if packet.pts is not None:
        stamp_ns = int(packet.pts * packet.time_base * SECOND_NS)
        for clock_ns in (wall_ns, now_ns):
            if 0 <= clock_ns - stamp_ns <= STAMP_AGE_MAX_NS:
                return now_ns - (clock_ns - stamp_ns)
    return now_ns


def _open_screen(display: str, wish: VideoWish) -> GrabSource:
    what = f"screen {display}"
    rate = wish.frame_rate or SCREEN_FRAME_RATE
    # A probe of one picture: the default reads pictures for a second, which would be old at the start.
    options = {"framerate": f"{rate:g}", "probesize": "32", "analyzeduration": "0"}
    size: dict[str, str] = {}
    if wish.width or wish.height:
        width, height = wish.width, wish.height
        if not (width and height):
            full = _try_screen(display, options)
            width, height = width or full[0], height or full[1]
        size = {"video_size": f"{width}x{height}"}
    try:
        container: Any = av.open(
            display, format="x11grab", options=options | size, timeout=(OPEN_LIMIT_S, STALL_LIMIT_S)
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if size:
            full = _try_screen(display, options)
            raise OverconstrainedError(
                f"{wish.first}: {what} cannot give {size['video_size']} there; the whole of it is {full[0]}x{full[1]}"
            ) from error
        raise _screen_error(display) from error
    return _opened(container, what, f"Screen {display}", wish)


def _try_screen(display: str, options: dict[str, str]) -> tuple[int, int]:
    """The size of the whole display."""
    whole = display.partition("+")[0]
    try:
        container: Any = av.open(whole, format="x11grab", options=options, timeout=(OPEN_LIMIT_S, STALL_LIMIT_S))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _screen_error(display) from error
    codec = container.streams.video[0].codec_context
    size = codec.width, codec.height
    container.close()
    return size


def _opened(container: Any, what: str, label: str, wish: VideoWish) -> GrabSource:
    try:
        if not container.streams.video:
            raise NotReadableError(f"{what} gives no pictures")
        return GrabSource(container, what, label, wish)
    except BaseException:
        container.close()
        raise


def _screen_error(display: str) -> RecorderError:
    local = re.fullmatch(r":(\d+)(\.\d+)?(\+.*)?", display)
    if local and not os.path.exists(f"{X11_SOCKETS}/X{local[1]}"):
        return NotFoundError(f"there is no X display {display}; is the X server running?")
    return NotReadableError(
        f"X display {display} cannot be read: nothing there, access denied (XAUTHORITY), or no such offset"
    )


def _checked_display(target: str) -> str:
    display = target or os.environ.get("DISPLAY", "")
    if not display:
        raise NotFoundError("screen: needs a display: DISPLAY is not set; say which, as in screen::99")
    if not re.fullmatch(r"[A-Za-z0-9_.-]*:\d+(\.\d+)?(\+\d+,\d+)?", display):
        raise ValueError(f"{display!r} is not an X display; expected as in :99, :99.0 or :99.0+10,20")
    return display


def _checked_camera(target: str) -> str:
    if not target:
        raise ValueError("camera: needs a device, as in camera:/dev/video0")
    path = target if target.startswith("/") else f"/dev/{target}"
    if not os.path.exists(path):
        raise NotFoundError(f"camera {path} does not exist; cameras there are: {_cameras()}")
    if not os.access(path, os.R_OK | os.W_OK):
        raise NotReadableError(f"camera {path}: permission denied; is the user in the group video?")
    return path


def _cameras() -> str:
    names = sorted(name for name in os.listdir("/dev") if re.fullmatch(r"video\d+", name))
    return ", ".join(f"/dev/{name}" for name in names) or "none"
