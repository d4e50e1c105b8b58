"""Cameras (``camera:/dev/video0``, v4l2) and screens (``screen:``, ``screen::99.0+10,20``, X11), through
PyAV. Both stamp a picture when it is taken; that stamp is carried over to the monotonic clock.
"""

from __future__ import annotations

import glob
import os
import re
import time
from typing import Any

import av.error

from ..common.constraints import VideoWish
from ..common.limits import S
from ..errors import NotFoundError, NotReadableError, OverconstrainedError, RecorderError
from .ffmpeg import OPEN_ERRORS, closed_on_error, open_error, opened, reading, stream_rate
from .limits import (
    DEVICE_PROBE_NS,
    GRAB_FLUSH_MAX_NS,
    SOURCE_READ_NS,
    STALL_INTERVALS,
    STAMP_AGE_MAX_NS,
)
from .packer import PicturePacker
from .running import Device
from .source import TrackInfo

SCREEN_FRAME_RATE = 30.0
CAMERA_FORMAT, SCREEN_FORMAT = "video4linux2,v4l2", "x11grab"

SCREEN_OPTIONS = {"probesize": "32", "analyzeduration": "0"}
"""A probe of one picture: the default reads pictures for a second, which would be old at the start."""

X11_SOCKETS = "/tmp/.X11-unix"


def open_grab(scheme: str, target: str, wish: VideoWish) -> GrabSource:
    """Opens a camera or screen. Blocks at most ``SOURCE_OPEN_NS``. Raises as ``open_source`` does."""
    what, container = (_open_screen if scheme == "screen" else _open_camera)(target, wish)
    with closed_on_error(container):
        if not container.streams.video:
            raise NotReadableError(f"{what} gives no pictures")
        return GrabSource(container, what, wish)


class GrabSource(Device):
    """An opened camera or screen.

    Its ``flush`` returns at once when no picture can have been begun by then but those delivered; else it waits for the
    next one, at most 1.5 intervals and at most ``GRAB_FLUSH_MAX_NS``.
    """

    def __init__(self, container: Any, what: str, wish: VideoWish) -> None:
        self._container = container
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
        interval_ns = int(S / rate)
        super().__init__(
            what,
            TrackInfo("video", what[0].upper() + what[1:], self._packer.format),
            flush_limit_ns=min(interval_ns * 3 // 2, GRAB_FLUSH_MAX_NS),
            stall_ns=max(SOURCE_READ_NS, STALL_INTERVALS * interval_ns),
        )
        self._thread.start()
        self._watchdog.start()

    def _free(self) -> None:
        self._container.close()

    def _read(self) -> None:
        with reading(self._what):
            for packet in self._container.demux(self._stream):
                captured_ns = _captured_ns(packet, time.monotonic_ns(), time.time_ns())
                for frame in packet.decode():
                    self._brought += 1
                    if self._is_started:
                        self._delivery.video(captured_ns, self._packer.pack(frame))
                if self._delivery.closing.is_set() or self._delivery.is_over:
                    return
        raise NotReadableError(f"{self._what}: the device ended")


def probe(name: str, form: str) -> tuple[int, int, float | None] | None:
    """Width, height and frame rate that a device offers by itself; ``None`` when it gives no pictures."""
    try:
        options = SCREEN_OPTIONS if form == SCREEN_FORMAT else {}
        with opened(name, DEVICE_PROBE_NS, format=form, options=options) as container:
            stream = container.streams.video[0]
            rate = stream.average_rate
            return stream.codec_context.width, stream.codec_context.height, float(rate) if rate else None
    except OPEN_ERRORS:
        return None


def cameras() -> list[str]:
    """Paths of all video devices, also of those that give no pictures."""
    return sorted(glob.glob("/dev/video[0-9]*"), key=lambda path: (len(path), path))


def _captured_ns(packet: Any, now_ns: int, wall_ns: int) -> int:
    """The packet's stamp on the monotonic clock. Devices stamp on that clock or on the wall clock; a stamp
    that fits neither is replaced by the present.
    """
    if packet.pts is not None:
        stamp_ns = int(packet.pts * packet.time_base * S)
        for clock_ns in (wall_ns, now_ns):
            if 0 <= clock_ns - stamp_ns <= STAMP_AGE_MAX_NS:
                return now_ns - (clock_ns - stamp_ns)
    return now_ns


def _open_camera(target: str, wish: VideoWish) -> tuple[str, Any]:
    if not target:
        raise ValueError("camera: needs a device, as in camera:/dev/video0")
    path = target if target.startswith("/") else f"/dev/{target}"
    what = f"camera {path}"
    if not os.path.exists(path):
        raise NotFoundError(f"{what} does not exist; cameras there are: {', '.join(cameras()) or 'none'}")
    if not os.access(path, os.R_OK | os.W_OK):
        raise NotReadableError(f"{what}: permission denied; is the user in the group video?")
    options = {}
    if wish.width and wish.height:
        options["video_size"] = f"{wish.width}x{wish.height}"
    elif wish.width or wish.height:
        raise OverconstrainedError(f"{wish.first}: {what}: width and height are chosen together, give both or none")
    if wish.frame_rate:
        options["framerate"] = f"{wish.frame_rate:g}"
    try:
        return what, opened(path, format=CAMERA_FORMAT, options=options)
    except OPEN_ERRORS as error:
        if options and isinstance(error, (av.error.ArgumentError, ValueError)):
            raise OverconstrainedError(f"{wish.first}: {what} cannot do {options}") from error
        raise open_error(error, what) from error


def _open_screen(target: str, wish: VideoWish) -> tuple[str, Any]:
    display = target or os.environ.get("DISPLAY", "")
    if not display:
        raise NotFoundError("screen: needs a display: DISPLAY is not set; say which, as in screen::99")
    if not re.fullmatch(r"[A-Za-z0-9_.-]*:\d+(\.\d+)?(\+\d+,\d+)?", display):
        raise ValueError(f"{display!r} is not an X display; expected as in :99, :99.0 or :99.0+10,20")
    what = f"screen {display}"
    options = SCREEN_OPTIONS | {"framerate": f"{wish.frame_rate or SCREEN_FRAME_RATE:g}"}
    whole = display.partition("+")[0]
    size = ""
    if wish.width or wish.height:
        full = (wish.width, wish.height) if wish.width and wish.height else probe(whole, SCREEN_FORMAT)
        if full is None:
            raise _screen_error(display)
        size = options["video_size"] = f"{wish.width or full[0]}x{wish.height or full[1]}"
    try:
        return what, opened(display, format=SCREEN_FORMAT, options=options)
    except OPEN_ERRORS as error:
        if size and (full := probe(whole, SCREEN_FORMAT)):
            raise OverconstrainedError(
                f"{wish.first}: {what} cannot give {size} there; the whole of it is {full[0]}x{full[1]}"
            ) from error
        raise _screen_error(display) from error


def _screen_error(display: str) -> RecorderError:
    local = re.fullmatch(r":(\d+)(\.\d+)?(\+.*)?", display)
    if local and not os.path.exists(f"{X11_SOCKETS}/X{local[1]}"):
        return NotFoundError(f"there is no X display {display}; is the X server running?")
    return NotReadableError(
        f"X display {display} cannot be read: nothing there, access denied (XAUTHORITY), or no such offset"
    )
