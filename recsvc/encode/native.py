"""The native encoders from Python: raw frames in, Opus, VP8 and VP9 packets out.

The only module that knows cffi: a C return code ends here, as an exception with C's own text.

- wrong Python types: ``TypeError``
- values out of range, buffers of a wrong length: ``ValueError``
- a call after ``drain()`` or ``close()``: ``InvalidStateError``
- a codec that refuses or fails: ``EncodingError``; no memory: ``MemoryError``

Buffers are any contiguous objects with the buffer protocol (``bytes``, ``bytearray``, ``memoryview``,
``zmq.Frame``, numpy arrays); they are read in place, never copied, and not looked at after the call has
returned. Packets are copies: they belong to the caller.

Every call runs with the GIL released and blocks for the time of its encoding only. An encoder may be
used from any thread; calls on one encoder take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, NamedTuple, NoReturn, Self

from ..common.media import BYTES_PER_SAMPLE, COLOR_SPACES, PIXEL_FORMATS
from ..errors import EncodingError, InvalidStateError
from ._native import ffi as _ffi
from ._native import lib as _lib


def _values(kind: str, names: Iterable[str]) -> dict[str, int]:
    return {name: getattr(_lib, f"RECSVC_{kind}_{name.upper()}") for name in names}


_SAMPLE_VALUES: Final = _values("SAMPLE", BYTES_PER_SAMPLE)
_PIXEL_VALUES: Final = _values("PIXEL", PIXEL_FORMATS)
_CODEC_VALUES: Final = _values("VIDEO", ("vp8", "vp9"))
_COLOR_VALUES: Final = _values("COLOR", COLOR_SPACES)
_MODE_VALUES: Final = _values("BITRATE", ("variable", "constant"))
# Item types of a buffer that may hold such samples, as in `memoryview.format`; bytes may hold anything.
_SAMPLE_ITEMS: Final[dict[str, frozenset[str]]] = {
    "s16": frozenset({"B", "b", "c", "h", "=h", "@h", "<h"}),
    "f32": frozenset({"B", "b", "c", "f", "=f", "@f", "<f"}),
}

_OK: Final[int] = _lib.RECSVC_OK
_KEY: Final[int] = _lib.RECSVC_PACKET_KEY
# Packets fetched by one C call: more than a block of sound usually gives.
_TAKE_CAPACITY: Final[int] = 32


class Packet(NamedTuple):
    """One encoded packet; times in samples at 48 kHz for sound, in microseconds for pictures."""

    data: bytes
    pts: int
    """Sound: counts from the first decoded sample, pre-skip included; pictures: ``pts_us`` of the frame."""
    duration: int
    """Sound: 960, padding included; pictures: ``duration_us`` of the frame."""
    is_key_frame: bool
    """Decodes without the packets before it; always true for sound."""
    padding_samples: int
    """Decoded samples to discard at the packet's end; not 0 only in the last packet of sound."""


def frame_bytes(pixel_format: str, width: int, height: int) -> int:
    """Bytes of one tightly packed frame. ``ValueError`` for an unknown format or a side not in 1 to 16383."""
    value = _choose("pixel_format", pixel_format, _PIXEL_VALUES)
    try:
        count: int = _lib.recsvc_frame_bytes(value, width, height)
    except OverflowError:
        count = 0
    if count == 0:
        limit = _lib.RECSVC_FRAME_SIDE_MAX
        raise ValueError(f"the frame is {width} x {height}, each side must be 1 to {limit}")
    return count


def versions() -> dict[str, str]:
    """Versions by name: ``recsvc`` (the core), ``libopus``, ``libvpx``, ``libsoxr``, ``libyuv``."""
    return {
        "recsvc": _text(_lib.recsvc_version()),
        "libopus": _text(_lib.recsvc_opus_version()),
        "libvpx": _text(_lib.recsvc_vpx_version()),
        "libsoxr": _text(_lib.recsvc_soxr_version()),
        "libyuv": _text(_lib.recsvc_yuv_version()),
    }


class _Encoder:
    """What both encoders share: the handle and its end, packets, errors."""

    def __init__(self, handle_type: str, close: Any, take: Any) -> None:
        # ffi.gc is the safety net: a forgotten encoder is freed with its last reference.
        self._holder: Any = _ffi.gc(_ffi.new(handle_type), close)
        self._take = take
        self._packets: Any = _ffi.new("recsvc_packet[]", _TAKE_CAPACITY)
        self._count: Any = _ffi.new("size_t *")
        # One call at a time: the GIL is released inside, and close() frees what a call may be using.
        self._lock = threading.Lock()
        self._closed = False

    def _handle(self) -> Any:
        """The C handle; the caller holds the lock."""
        if self._closed:
            raise InvalidStateError(f"{type(self).__name__} is closed")
        return self._holder[0]

    def _collect(self, handle: Any) -> list[Packet]:
        """Fetches all finished packets; the caller holds the lock."""
        fetched: list[Packet] = []
        packets, count, buffer = self._packets, self._count, _ffi.buffer
        while self._take(handle, packets, _TAKE_CAPACITY, count) == _OK:
            for index in range(count[0]):
                packet = packets[index]
                fetched.append(
                    Packet(
                        buffer(packet.data, packet.size)[:],
                        packet.pts,
                        packet.duration,
                        packet.flags & _KEY != 0,
                        packet.padding_samples,
                    )
                )
            if count[0] < _TAKE_CAPACITY:
                break
        return fetched

    def close(self) -> None:
        """Frees the encoder; waits for a call that runs in another thread. To close again does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                _ffi.release(self._holder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AudioEncoder(_Encoder):
    """PCM to Opus packets of 20 ms at 48 kHz, exact to the sample.

    ``sample_rate``: 8000 to 192000 Hz, resampled where it is not 48000.
    ``channel_count``: 1 to 8, in the order of WAVE files; more than 2 are mixed down to stereo.
    ``sample_format``: ``"s16"`` or ``"f32"``, interleaved, native byte order.
    ``bits_per_second``: 500 to 512000. ``bitrate_mode``: ``"variable"`` or ``"constant"``.
    ``complexity``: 0 (fast) to 10 (good); ``None``: the core's default.
    """

    pre_skip_samples: int
    """Samples at 48 kHz that a decoder discards at the beginning (RFC 7845): whole milliseconds."""
    output_channel_count: int
    """Channels in the packets: 1 or 2."""

    def __init__(
        self,
        sample_rate: int,
        channel_count: int,
        sample_format: str,
        *,
        bits_per_second: int = 128_000,
        bitrate_mode: str = "variable",
        complexity: int | None = None,
    ) -> None:
        settings = _ffi.new("recsvc_audio_settings *")
        _lib.recsvc_audio_default_settings(settings)
        settings.sample_format = _choose("sample_format", sample_format, _SAMPLE_VALUES)
        settings.bitrate_mode = _choose("bitrate_mode", bitrate_mode, _MODE_VALUES)
        _set(settings, "sample_rate", sample_rate)
        _set(settings, "channel_count", channel_count)
        _set(settings, "bits_per_second", bits_per_second)
        if complexity is not None:
            _set(settings, "complexity", complexity)
        super().__init__("recsvc_audio_encoder **", _lib.recsvc_audio_close, _lib.recsvc_audio_take)
        _check(_lib.recsvc_audio_open(self._holder, settings))
        self._set_format(sample_format, channel_count)
        self.pre_skip_samples = _lib.recsvc_audio_pre_skip(self._holder[0])
        self.output_channel_count = _lib.recsvc_audio_output_channel_count(self._holder[0])

    def _set_format(self, sample_format: str, channel_count: int) -> None:
        self._items = _SAMPLE_ITEMS[sample_format]
        self._frame_bytes = BYTES_PER_SAMPLE[sample_format] * channel_count

    def encode(self, samples: Any) -> list[Packet]:
        """Encodes a buffer of interleaved samples: whole samples of all channels, any number of them (0 too).

        Returns the packets that became ready: none, one or many.
        """
        view = memoryview(samples)
        if view.format not in self._items:
            raise TypeError(f"items of the buffer are {view.format!r}, not such samples")
        byte_count = view.nbytes
        with _contiguous(view) as data:
            return self._push(data, byte_count, byte_count // self._frame_bytes)

    def encode_silence(self, sample_count: int) -> list[Packet]:
        """Encodes silence of that many samples per channel, counted at the sample rate of the input."""
        return self._push(_ffi.NULL, 0, sample_count)

    def _push(self, data: Any, byte_count: int, sample_count: int) -> list[Packet]:
        with self._lock:
            handle = self._handle()
            try:
                status = _lib.recsvc_audio_push(handle, data, byte_count, sample_count)
            except OverflowError as error:
                raise ValueError(f"{sample_count} samples: {error}") from None
            if status != _OK:
                _raise(status)
            return self._collect(handle)

    def drain(self) -> list[Packet]:
        """Finishes and returns the last packets; nothing can be encoded afterwards.

        Decoded samples of all packets, less ``pre_skip_samples`` and the last ``padding_samples``, are
        exactly ``output_samples``, which is ``round(samples * 48000 / sample_rate)`` where nothing was
        stretched; no samples give no packets. To drain again gives ``[]``.
        """
        with self._lock:
            handle = self._handle()
            _check(_lib.recsvc_audio_drain(handle))
            return self._collect(handle)

    def set_input(self, sample_rate: int, channel_count: int, sample_format: str) -> list[Packet]:
        """From here on samples come in this format; ranges as at the beginning. The packets keep their channels.

        Returns the packets that became ready, for another sample rate finishes what was being resampled. The
        length stays exact: of the sum of all durations, rounded once.
        """
        value = _choose("sample_format", sample_format, _SAMPLE_VALUES)
        with self._lock:
            handle = self._handle()
            try:
                status = _lib.recsvc_audio_set_input(handle, sample_rate, channel_count, value)
            except OverflowError:
                raise ValueError(f"{sample_rate} Hz, {channel_count} channels: out of range") from None
            _check(status)
            self._set_format(sample_format, channel_count)
            return self._collect(handle)

    def set_pre_skip(self, sample_count: int) -> None:
        """Makes ``pre_skip_samples`` 312 to 960, by silence in front. ``InvalidStateError`` once a packet was made."""
        with self._lock:
            handle = self._handle()
            _check(_in_range(_lib.recsvc_audio_set_pre_skip, handle, sample_count))
            self.pre_skip_samples = sample_count

    def set_stretch(self, ppm: float) -> None:
        """Makes sound longer by ``ppm`` millionths from here on; negative: shorter; -5000 to 5000.

        Up to the first value other than 0 samples at 48 kHz are encoded as they came.
        """
        with self._lock:
            _check(_lib.recsvc_audio_set_stretch(self._handle(), ppm))

    @property
    def output_samples(self) -> int:
        """How long all sound is by now, in samples at 48 kHz: what is decoded if nothing more comes."""
        with self._lock:
            count: int = _lib.recsvc_audio_output_samples(self._handle())
            return count

    def set_bits_per_second(self, bits_per_second: int) -> None:
        """Changes the bit rate from the next packet on; 500 to 512000."""
        with self._lock:
            _check(_in_range(_lib.recsvc_audio_set_bits_per_second, self._handle(), bits_per_second))

    def set_complexity(self, complexity: int) -> None:
        """Changes the complexity from the next packet on; 0 (fast) to 10 (good)."""
        with self._lock:
            _check(_in_range(_lib.recsvc_audio_set_complexity, self._handle(), complexity))


class VideoEncoder(_Encoder):
    """Raw frames to VP8 or VP9: exactly one packet for each frame, at once.

    ``codec``: ``"vp8"`` or ``"vp9"``. ``width``, ``height``: 1 to 16383.
    ``bits_per_second``: 1000 to 1000000000.
    ``color_space``: the matrix of I420 and NV12, ``"bt601"``, ``"bt709"`` or ``"bt2020"``, limited range. VP9 keeps it,
    and RGB is converted by it; in VP8 all becomes BT.601.
    ``speed``: libvpx's cpu-used, -16 to 16 for VP8, -9 to 9 for VP9; ``None``: the core's real-time default.
    ``key_frame_interval_max``: frames from one key frame to the next at most; there are no key frames but
    these, the first, forced ones, and the one after a change of size; VP9 makes one where everything changes, too.
    """

    def __init__(
        self,
        codec: str,
        width: int,
        height: int,
        *,
        bits_per_second: int,
        color_space: str = "bt601",
        speed: int | None = None,
        threads: int = 1,
        key_frame_interval_max: int = 100,
    ) -> None:
        settings = _ffi.new("recsvc_video_settings *")
        _lib.recsvc_video_default_settings(settings, _choose("codec", codec, _CODEC_VALUES))
        _set(settings, "width", width)
        _set(settings, "height", height)
        _set(settings, "bits_per_second", bits_per_second)
        settings.color_space = _choose("color_space", color_space, _COLOR_VALUES)
        _set(settings, "threads", threads)
        _set(settings, "key_frame_interval_max", key_frame_interval_max)
        if speed is not None:
            _set(settings, "speed", speed)
        super().__init__("recsvc_video_encoder **", _lib.recsvc_video_close, _lib.recsvc_video_take)
        _check(_lib.recsvc_video_open(self._holder, settings))
        self._picture: Any = _ffi.new("recsvc_picture *")

    def encode(
        self,
        picture: Any,
        pixel_format: str,
        width: int,
        height: int,
        pts_us: int,
        duration_us: int,
        *,
        force_key_frame: bool = False,
    ) -> list[Packet]:
        """Encodes one frame; returns its packet.

        ``picture``: a buffer of exactly ``frame_bytes(pixel_format, width, height)`` bytes, or ``None`` for
        black. Times are in microseconds: ``pts_us`` is 0 or more and rises from frame to frame,
        ``duration_us`` is 0 or more. Another size than the last frame's is legal and gives a key frame.
        After an ``EncodingError`` this frame is missing, and the next one will be a key frame.
        """
        format_value = _choose("pixel_format", pixel_format, _PIXEL_VALUES)
        if picture is None:
            return self._push(_ffi.NULL, 0, format_value, width, height, pts_us, duration_us, force_key_frame)
        with memoryview(picture) as view:
            if view.itemsize != 1:
                raise TypeError(f"items of the picture are {view.format!r}, not bytes")
            with _contiguous(view) as data:
                return self._push(data, view.nbytes, format_value, width, height, pts_us, duration_us, force_key_frame)

    def _push(
        self,
        data: Any,
        byte_count: int,
        format_value: int,
        width: int,
        height: int,
        pts_us: int,
        duration_us: int,
        force_key_frame: bool,
    ) -> list[Packet]:
        with self._lock:
            handle = self._handle()
            picture = self._picture
            try:
                picture.width = width
                picture.height = height
                picture.pts_us = pts_us
                picture.duration_us = duration_us
            except OverflowError as error:
                raise ValueError(f"size {width} x {height}, pts {pts_us}, duration {duration_us}: {error}") from None
            picture.data = data
            picture.byte_count = byte_count
            picture.pixel_format = format_value
            picture.flags = _lib.RECSVC_PICTURE_FORCE_KEY if force_key_frame else 0
            try:
                _check(_lib.recsvc_video_push(handle, picture))
            finally:
                picture.data = _ffi.NULL
            return self._collect(handle)

    def set_bits_per_second(self, bits_per_second: int) -> None:
        """Changes the bit rate from the next frame on; 1000 to 1000000000."""
        with self._lock:
            _check(_in_range(_lib.recsvc_video_set_bits_per_second, self._handle(), bits_per_second))

    def set_speed(self, speed: int) -> None:
        """Changes libvpx's cpu-used from the next frame on; the range is the codec's."""
        with self._lock:
            _check(_in_range(_lib.recsvc_video_set_speed, self._handle(), speed))

    def drain(self) -> list[Packet]:
        """Finishes; nothing can be encoded afterwards. Always ``[]``: each frame has given its packet."""
        with self._lock:
            handle = self._handle()
            _check(_lib.recsvc_video_drain(handle))
            return self._collect(handle)


def _choose(name: str, value: str, values: dict[str, int]) -> int:
    """C's number for a word."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    number = values.get(value)
    if number is None:
        raise ValueError(f"{name} is {value!r}, it must be one of: {' '.join(values)}")
    return number


def _set(settings: Any, name: str, value: int) -> None:
    """Sets an integer field; the range that counts is checked by C, this is only about 32 bits."""
    try:
        setattr(settings, name, value)
    except OverflowError:
        raise ValueError(f"{name} is {value}, which is out of range") from None
    except TypeError:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}") from None


def _in_range(function: Callable[..., int], *arguments: Any) -> int:
    """Calls C; an integer that does not fit its C type is a ``ValueError``."""
    try:
        return function(*arguments)
    except OverflowError as error:
        raise ValueError(f"{arguments[-1]}: {error}") from None


def _contiguous(view: memoryview) -> Any:
    """The bytes of a buffer for C, in place; a context manager that lets go of the buffer."""
    if not view.c_contiguous:
        raise ValueError("the buffer is not contiguous")
    return _ffi.from_buffer("uint8_t[]", view)


def _check(status: int) -> None:
    if status != _OK:
        _raise(status)


def _raise(status: int) -> NoReturn:
    """The exception for a C return code, with C's text; in the thread that called C."""
    text = _text(_lib.recsvc_last_error())
    if status == _lib.RECSVC_ERROR_ARGUMENT:
        raise ValueError(text)
    if status == _lib.RECSVC_ERROR_STATE:
        raise InvalidStateError(text)
    if status == _lib.RECSVC_ERROR_MEMORY:
        raise MemoryError(text)
    raise EncodingError(text)


def _text(characters: Any) -> str:
    text: str = _ffi.string(characters).decode("utf-8", "replace")
    return text
