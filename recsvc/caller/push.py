"""Sources whose frames the program brings itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Generic, TypeAlias

from .. import errors
from ..common import media
from ..common.limits import BLOCK_NS_MAX, FRAME_BYTES_MAX, S
from ..wire.frames import Block, F, Picture
from ..wire.pictures import PictureSender
from ..wire.sender import FrameSender
from ..wire.sound import SoundSender
from .calls import OfProcess, public
from .options import integer, rate_settings
from .origin import PushedOrigin, Track
from .stamps import Stamps
from .stream import MediaStreamTrack

Buffer: TypeAlias = Any
"""Anything with the buffer protocol. Python names that from 3.12 on; before, numpy's arrays show it to no checker."""


class PushSource(OfProcess, Generic[F]):
    """What pushed sound and pictures have in common, and both faces' sources."""

    def __init__(self, sender: FrameSender[F], kind: str, settings: dict[str, Any], when_full: str, clock: str) -> None:
        self._stamps = Stamps(clock, settings.get("sample_rate"))
        if self._stamps.is_media:
            settings["clock"] = clock
        if when_full not in ("drop", "wait"):
            raise ValueError(f'when_full must be "drop" or "wait", got {when_full!r}')
        super().__init__()
        self._waits = when_full == "wait"
        self._sender = sender
        self._origin = PushedOrigin(sender)
        self._track = MediaStreamTrack(Track(self._origin, kind, "pushed frames", settings))
        self._ended = False

    @property
    def track(self) -> MediaStreamTrack:
        """The live track that carries what is written."""
        return self._track

    @property
    def muted(self) -> bool:
        """Settable; while it is muted, what is written is recorded as black or silence of its length."""
        return self._origin.muted

    @muted.setter
    def muted(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"muted must be True or False, got {value!r}")
        self._check_process()
        self._origin.muted = value
        self._sender.mute(value)

    @public
    def end(self) -> None:
        """No more frames: the track ends. Idempotent."""
        self._ended = True
        self._sender.close()
        self._origin.over()

    def _write(self, buffer: Buffer, timestamp_ns: int | None = None) -> bool:
        raise NotImplementedError

    def _check_open(self) -> None:
        if self._ended or self._elsewhere:
            self._check_process()
            raise errors.InvalidStateError("write() after end(): this source is over")


def _view(buffer: Buffer, formats: tuple[str, ...], what: str) -> memoryview:
    """A caller's buffer, checked, as contiguous bytes: the buffer itself where it is contiguous, else a copy."""
    try:
        view = memoryview(buffer)
    except TypeError:
        raise TypeError(
            f"expected an object with the buffer protocol (bytes, a numpy array), got {buffer!r:.80}"
        ) from None
    if view.format.lstrip("@=<") not in formats:
        raise TypeError(f"elements of type {view.format!r} are no {what}; convert them first")
    if view.c_contiguous and view.nbytes and len(view.format) == 1:
        return view.cast("B")
    return memoryview(view.tobytes())


class PushedSound(PushSource[Block]):
    """Both faces' ``AudioSource``, but for ``write``."""

    def __init__(
        self,
        sample_rate: int,
        channel_count: int,
        sample_format: str = "s16",
        *,
        when_full: str = "drop",
        clock: str = "monotonic",
    ) -> None:
        sample_rate = integer("sample_rate", sample_rate, media.SAMPLE_RATE_MIN, media.SAMPLE_RATE_MAX)
        channel_count = integer("channel_count", channel_count, 1, media.CHANNEL_COUNT_MAX)
        if sample_format not in media.BYTES_PER_SAMPLE:
            raise ValueError(f'sample_format must be "s16" or "f32", got {sample_format!r}')
        form = media.AudioFormat(sample_rate, channel_count, sample_format)
        super().__init__(SoundSender(form, when_full), "audio", asdict(form), when_full, clock)
        self._frame_bytes = form.frame_bytes
        # Half of what a message may have: blocks that follow each other are joined.
        self._bytes_max = min(FRAME_BYTES_MAX, BLOCK_NS_MAX // S * sample_rate * self._frame_bytes) // 2
        self._formats = ("B", "b", "c", "h" if sample_format == "s16" else "f")
        self._sample_format = sample_format
        self._what = f"{sample_format} samples"

    def _write(self, buffer: Buffer, timestamp_ns: int | None = None) -> bool:
        self._check_open()
        payload = buffer if type(buffer) is bytes else bytes(_view(buffer, self._formats, self._what))
        if len(payload) > self._bytes_max:
            raise ValueError(f"{len(payload)} bytes: at most {self._bytes_max} are taken at once; write them in parts")
        if len(payload) % self._frame_bytes:
            raise ValueError(
                f"a block of {len(payload)} bytes: {self._track.get_settings()['channel_count']} channels of "
                f"{self._sample_format} take a multiple of {self._frame_bytes}"
            )
        sample_count = len(payload) // self._frame_bytes
        return self._sender.send(Block(self._stamps.stamp(timestamp_ns, sample_count), payload, sample_count))


class AudioSource(PushedSound):
    """Sound that the program brings itself: interleaved samples, ``s16`` or ``f32``, native byte order.

    ``sample_rate`` in Hz (8000–192000), ``channel_count`` 1–8. ``when_full``: what ``write`` does when the encoder
    is behind: ``"drop"`` the block and count it, or ``"wait"``.

    ``clock``: what time stamps count. ``"monotonic"``: when a frame was captured, on ``time.monotonic_ns()``.
    ``"media"``: its position in the media, from any origin that the tracks share, however fast or slow frames are
    written: the recording ends with its last frame's end (a picture lasts as long as the one before it), and a pause
    cuts between two writes. Beside tracks with the other clock, the origin stands at ``start()``.
    """

    def write(self, buffer: Buffer, timestamp_ns: int | None = None) -> bool:
        """Gives a block of samples to every recording of the track; whether it was taken.

        ``buffer`` is copied. ``timestamp_ns``: when its first sample was captured, on the source's ``clock``;
        ``None``: now, or with ``clock="media"`` right after the frame before (0 at first). ``False``: full and
        dropped (counted), or nobody records. Blocks only with ``when_full="wait"``. Raises ``InvalidStateError``
        after ``end()``, ``ValueError`` for a length that is no whole number of samples, or more than half an hour or
        128 MiB, ``TypeError``.
        """
        return self._write(buffer, timestamp_ns)


class PushedPictures(PushSource[Picture]):
    """Both faces' ``VideoSource``, but for ``write``."""

    def __init__(
        self,
        width: int,
        height: int,
        pixel_format: str = "i420",
        *,
        when_full: str = "drop",
        clock: str = "monotonic",
        color_space: str = "bt601",
        frame_rate: float | None = None,
    ) -> None:
        width = integer("width", width, 1, media.FRAME_SIDE_MAX)
        height = integer("height", height, 1, media.FRAME_SIDE_MAX)
        settings = media.picture_settings(width, height, pixel_format, color_space) | rate_settings(frame_rate)
        self._bytes = media.picture_bytes(pixel_format, width, height)
        super().__init__(PictureSender(when_full), "video", settings, when_full, clock)
        self._form = (pixel_format, width, height)

    def _write(self, buffer: Buffer, timestamp_ns: int | None = None) -> bool:
        self._check_open()
        payload = _view(buffer, ("B", "b", "c"), "8-bit pixels")
        if len(payload) != self._bytes:
            pixel_format, width, height = self._form
            raise ValueError(f"a picture of {len(payload)} bytes: {width}x{height} {pixel_format} takes {self._bytes}")
        return self._sender.send(Picture(self._stamps.stamp(timestamp_ns), payload, *self._form))


class VideoSource(PushedPictures):
    """Pictures that the program brings itself, tightly packed, of ``width`` x ``height`` pixels.

    ``pixel_format``: ``i420 nv12 rgb24 bgr24 rgba bgra``. ``when_full``, ``clock`` as for ``AudioSource``.
    ``color_space``: what the values of ``i420`` and ``nv12`` mean, ``"bt601"`` or ``"bt709"`` (limited range); the
    others are sRGB. ``frame_rate``: how many there will be per second, above 0 and at most 1000; by it a service knows
    before they come whether it has room for them (without it, 30 are supposed), and with ``clock="media"`` how long the
    last one lasts. It binds nobody: pictures are recorded as they come.
    """

    def write(self, buffer: Buffer, timestamp_ns: int | None = None) -> bool:
        """Gives a picture to every recording of the track; whether it was taken. As ``AudioSource.write``."""
        return self._write(buffer, timestamp_ns)
