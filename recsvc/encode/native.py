"""The native encoders from Python: raw frames in, Opus, VP8 and VP9 packets out.

What goes wrong in C is an exception with C's own text (``core.py``):

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
from typing import Any, Final, NamedTuple, Self

from ..common.media import BYTES_PER_SAMPLE, COLOR_SPACES, PIXEL_FORMATS
from ..errors import InvalidStateError
from .core import check, choose, contiguous, ffi, lib, set_fields, values_of

_SAMPLE_VALUES: Final = values_of("SAMPLE", BYTES_PER_SAMPLE)
_PIXEL_VALUES: Final = values_of("PIXEL", PIXEL_FORMATS)
_CODEC_VALUES: Final = values_of("VIDEO", ("vp8", "vp9"))
_COLOR_VALUES: Final = values_of("COLOR", COLOR_SPACES)
_MODE_VALUES: Final = values_of("BITRATE", ("variable", "constant"))
_SAMPLE_ITEMS: Final = {"s16": frozenset("Bbch"), "f32": frozenset("Bbcf")}
"""Item types of a buffer that may hold such samples, as in ``memoryview.format``; bytes may hold anything."""

_OK: Final[int] = lib.RECSVC_OK
_KEY: Final[int] = lib.RECSVC_PACKET_KEY
_FORCE_KEY: Final[int] = lib.RECSVC_PICTURE_FORCE_KEY
_TAKE_CAPACITY: Final[int] = 32  # packets fetched by one C call: more than a block of sound usually gives


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


class _Encoder:
    """What both encoders share: the handle and its end, packets, errors."""

    def __init__(self, handle_type: str, close: Any, take: Any) -> None:
        # ffi.gc is the safety net: a forgotten encoder is freed with its last reference.
        self._holder: Any = ffi.gc(ffi.new(handle_type), close)
        self._take = take
        self._packets: Any = ffi.new("recsvc_packet[]", _TAKE_CAPACITY)
        self._count: Any = ffi.new("size_t *")
        # One call at a time: the GIL is released inside, and close() frees what a call may be using.
        self._lock = threading.Lock()

    def _open_handle(self) -> Any:
        """For C, under the lock."""
        if self._holder is None:
            raise InvalidStateError(f"{type(self).__name__} is closed")
        return self._holder[0]

    def _call(self, handle: Any, function: Any, *arguments: Any) -> None:
        try:
            status = function(handle, *arguments)
        except OverflowError as error:
            numbers = ", ".join(str(one) for one in arguments if isinstance(one, int))
            raise ValueError(f"{numbers}: {error}") from None
        if status != _OK:
            check(status)

    def _change(self, function: Any, *arguments: Any) -> None:
        """Calls C with the handle before these arguments; packets that this finishes come with the next ones."""
        with self._lock:
            self._call(self._open_handle(), function, *arguments)

    def _encode(self, function: Any, *arguments: Any) -> list[Packet]:
        """As ``_change``, and fetches the packets that are finished then."""
        with self._lock:
            handle = self._open_handle()
            self._call(handle, function, *arguments)
            return self._finished(handle)

    def _finished(self, handle: Any) -> list[Packet]:
        """The packets that are finished; under the lock."""
        found: list[Packet] = []
        packets, count = self._packets, self._count
        while self._take(handle, packets, _TAKE_CAPACITY, count) == _OK:
            for index in range(count[0]):
                one = packets[index]
                data, is_key = ffi.buffer(one.data, one.size)[:], one.flags & _KEY != 0
                found.append(Packet(data, one.pts, one.duration, is_key, one.padding_samples))
            if count[0] < _TAKE_CAPACITY:
                break
        return found

    def close(self) -> None:
        """Frees the encoder; waits for a call that runs in another thread. To close again does nothing."""
        with self._lock:
            if self._holder is not None:
                ffi.release(self._holder)
            self._holder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AudioEncoder(_Encoder):
    """PCM to Opus packets of 20 ms at 48 kHz, exact to the sample.

    ``sample_rate``: 8000 to 192000 Hz, resampled where it is not 48000.
    ``channel_count``: 1 to 8, in the order of WAVE files; more than 2 are mixed down to stereo.
    ``sample_format``: ``"s16"`` or ``"f32"``, interleaved, native byte order.
    ``bits_per_second``: 500 to 512000. ``bitrate_mode``: ``"variable"`` or ``"constant"``.
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
    ) -> None:
        settings = ffi.new("recsvc_audio_settings *")
        lib.recsvc_audio_default_settings(settings)
        settings.sample_format = choose("sample_format", sample_format, _SAMPLE_VALUES)
        settings.bitrate_mode = choose("bitrate_mode", bitrate_mode, _MODE_VALUES)
        set_fields(settings, sample_rate=sample_rate, channel_count=channel_count, bits_per_second=bits_per_second)
        super().__init__("recsvc_audio_encoder **", lib.recsvc_audio_close, lib.recsvc_audio_take)
        check(lib.recsvc_audio_open(self._holder, settings))
        self._set_format(sample_format, channel_count)
        self.pre_skip_samples = lib.recsvc_audio_pre_skip(self._holder[0])
        self.output_channel_count = lib.recsvc_audio_output_channel_count(self._holder[0])

    def _set_format(self, sample_format: str, channel_count: int) -> None:
        self._items = _SAMPLE_ITEMS[sample_format]
        self._frame_bytes = BYTES_PER_SAMPLE[sample_format] * channel_count

    def encode(self, samples: Any) -> list[Packet]:
        """Encodes a buffer of interleaved samples: whole samples of all channels, any number of them (0 too).

        Returns the packets that became ready: none, one or many.
        """
        view = memoryview(samples)
        if view.format.lstrip("=@<") not in self._items:
            raise TypeError(f"items of the buffer are {view.format!r}, not such samples")
        byte_count = view.nbytes
        with contiguous(view) as data:
            return self._encode(lib.recsvc_audio_push, data, byte_count, byte_count // self._frame_bytes)

    def encode_silence(self, sample_count: int) -> list[Packet]:
        """Encodes silence of that many samples per channel, counted at the sample rate of the input."""
        return self._encode(lib.recsvc_audio_push, ffi.NULL, 0, sample_count)

    def drain(self) -> list[Packet]:
        """Finishes and returns the last packets; nothing can be encoded afterwards.

        Decoded samples of all packets, less ``pre_skip_samples`` and the last ``padding_samples``, are
        exactly ``output_samples``, which is ``round(samples * 48000 / sample_rate)`` where nothing was
        stretched; no samples give no packets. To drain again gives ``[]``.
        """
        return self._encode(lib.recsvc_audio_drain)

    def set_input(self, sample_rate: int, channel_count: int, sample_format: str) -> list[Packet]:
        """From here on samples come in this format; ranges as at the beginning. The packets keep their channels.

        Returns the packets that became ready, for another sample rate finishes what was being resampled. The
        length stays exact: of the sum of all durations, rounded once.
        """
        value = choose("sample_format", sample_format, _SAMPLE_VALUES)
        packets = self._encode(lib.recsvc_audio_set_input, sample_rate, channel_count, value)
        self._set_format(sample_format, channel_count)
        return packets

    def set_pre_skip(self, sample_count: int) -> None:
        """Makes ``pre_skip_samples`` 312 to 960, by silence in front. ``InvalidStateError`` once a packet was made."""
        self._change(lib.recsvc_audio_set_pre_skip, sample_count)
        self.pre_skip_samples = sample_count

    def set_stretch(self, ppm: float) -> None:
        """Makes sound longer by ``ppm`` millionths from here on; negative: shorter; -5000 to 5000.

        Up to the first value other than 0 samples at 48 kHz are encoded as they came.
        """
        self._change(lib.recsvc_audio_set_stretch, ppm)

    @property
    def output_samples(self) -> int:
        """How long all sound is by now, in samples at 48 kHz: what is decoded if nothing more comes."""
        with self._lock:
            return int(lib.recsvc_audio_output_samples(self._open_handle()))

    def set_complexity(self, complexity: int) -> None:
        """Changes the complexity from the next packet on; 0 (fast) to 10 (good)."""
        self._change(lib.recsvc_audio_set_complexity, complexity)


class VideoEncoder(_Encoder):
    """Raw frames to VP8 or VP9: exactly one packet for each frame, at once.

    ``codec``: ``"vp8"`` or ``"vp9"``. ``width``, ``height``: 1 to 16383. ``bits_per_second``: 1000 to 1000000000.
    ``threads``: 1 to ``ENCODER_THREADS_MAX`` work on a picture; small pictures occupy fewer.
    ``color_space``: the matrix of I420 and NV12, ``"bt601"``, ``"bt709"`` or ``"bt2020"``, limited range. VP9 keeps it,
    and RGB is converted by it; in VP8 all becomes BT.601.
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
        key_frame_interval_max: int = 100,
        threads: int = 1,
    ) -> None:
        settings = ffi.new("recsvc_video_settings *")
        lib.recsvc_video_default_settings(settings, choose("codec", codec, _CODEC_VALUES))
        settings.color_space = choose("color_space", color_space, _COLOR_VALUES)
        set_fields(settings, width=width, height=height, bits_per_second=bits_per_second, threads=threads)
        set_fields(settings, key_frame_interval_max=key_frame_interval_max)
        super().__init__("recsvc_video_encoder **", lib.recsvc_video_close, lib.recsvc_video_take)
        check(lib.recsvc_video_open(self._holder, settings))
        self._request = ffi.new("recsvc_picture *")
        self._form: tuple[str, int, int] | None = None
        """What it says of the last picture; ``None``: nothing that counts."""

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

        ``picture``: a buffer of exactly the bytes that such a picture has, tightly packed, or ``None`` for
        black. Times are in microseconds: ``pts_us`` is 0 or more and rises from frame to frame,
        ``duration_us`` is 0 or more. Another size than the last frame's is legal and gives a key frame.
        After an ``EncodingError`` this frame is missing, and the next one will be a key frame.
        """
        shown = (pixel_format, width, height), pts_us, duration_us, force_key_frame
        if picture is None:
            return self._push(ffi.NULL, 0, *shown)
        with memoryview(picture) as view:
            if view.itemsize != 1:
                raise TypeError(f"items of the picture are {view.format!r}, not bytes")
            with contiguous(view) as data:
                return self._push(data, view.nbytes, *shown)

    def _push(
        self, data: Any, byte_count: int, form: tuple[str, int, int], pts_us: int, duration_us: int, is_key: bool
    ) -> list[Packet]:
        with self._lock:
            handle, request = self._open_handle(), self._request
            if form != self._form:
                pixel_format, width, height = form
                self._form = None
                request.pixel_format = choose("pixel_format", pixel_format, _PIXEL_VALUES)
                set_fields(request, width=width, height=height)
                self._form = form
            set_fields(request, pts_us=pts_us, duration_us=duration_us)
            request.flags = _FORCE_KEY if is_key else 0
            request.data, request.byte_count = data, byte_count
            self._call(handle, lib.recsvc_video_push, request)
            return self._finished(handle)

    def set_speed(self, speed: int) -> None:
        """Changes libvpx's cpu-used from the next frame on; the range is the codec's."""
        self._change(lib.recsvc_video_set_speed, speed)
