"""Sources whose media the program brings encoded."""

from __future__ import annotations

from typing import Any

from .. import errors
from ..common import media
from ..common.codecs import CODECS, codec_named
from ..common.limits import BLOCK_NS_MAX, S
from ..common.packet_limits import DESCRIPTION_BYTES_MAX, PACKET_BYTES_MAX
from ..mux.codec_private import form_of
from ..wire.frames import Packet
from ..wire.packets import DecodeTimes, PacketSender
from .options import integer, rate_settings
from .push import Buffer, PushSource

_REORDERS = ("h264", "h265")


class PushedPackets(PushSource[Packet]):
    """What pushed packets of sound and pictures have in common."""

    def __init__(
        self, kind: str, codec: str, settings: dict[str, Any], description: Buffer | None, when_full: str, clock: str
    ) -> None:
        if not isinstance(codec, str):
            raise TypeError(f"codec must be a string, got {codec!r}")
        name = codec_named(codec)
        if name not in CODECS or CODECS[name].kind != kind:
            known = ", ".join(name for name, its in CODECS.items() if its.kind == kind)
            raise errors.NotSupportedError(f"codec {codec[:100]!r} of {kind} cannot be recorded; known are {known}")
        private = b"" if description is None else bytes(memoryview(description))
        if len(private) > DESCRIPTION_BYTES_MAX:
            raise ValueError(f"a description of {len(private)} bytes: at most {DESCRIPTION_BYTES_MAX} are taken")
        rate, channels = settings.get("sample_rate", 0), settings.get("channel_count", 0)
        self._form = form_of(name, rate, channels, private)
        settings = {"codec": name, **settings}
        if private:
            settings["description"] = private
        super().__init__(PacketSender(when_full), kind, settings, when_full, clock)

    def _checked(self, packet: Buffer, key_frame: bool | None) -> bytes:
        self._check_open()
        if not (key_frame is None or isinstance(key_frame, bool)):
            raise TypeError(f"key_frame must be True, False or None, got {key_frame!r}")
        try:
            data = packet if type(packet) is bytes else bytes(memoryview(packet))
        except TypeError:
            raise TypeError(
                f"expected an object with the buffer protocol (bytes, a numpy array), got {packet!r:.80}"
            ) from None
        if not 0 < len(data) <= PACKET_BYTES_MAX:
            raise ValueError(f"a packet of {len(data)} bytes: 1 to {PACKET_BYTES_MAX} are taken")
        return data


class PushedEncodedPictures(PushedPackets):
    """Both faces' ``EncodedVideoSource``, but for ``write``."""

    def __init__(
        self,
        codec: str,
        width: int,
        height: int,
        *,
        description: Buffer | None = None,
        when_full: str = "drop",
        clock: str = "monotonic",
        frame_rate: float | None = None,
    ) -> None:
        width = integer("width", width, 1, media.FRAME_SIDE_MAX)
        height = integer("height", height, 1, media.FRAME_SIDE_MAX)
        settings = {"width": width, "height": height, **rate_settings(frame_rate)}
        super().__init__("video", codec, settings, description, when_full, clock)
        self._times = DecodeTimes() if self._form.codec in _REORDERS else None

    def _write(self, buffer: Buffer, timestamp_ns: int | None = None, key_frame: bool | None = None) -> bool:
        data = self._checked(buffer, key_frame)
        if key_frame is None:
            try:
                key_frame = self._form.is_key(data)
            except (ValueError, IndexError):
                key_frame = False  # it is damaged, which the worker finds too, and counts
        shown_ns = self._stamps.stamp(timestamp_ns)
        at_ns = shown_ns if self._times is None else self._times.time_of(shown_ns)
        return self._sender.send(Packet(at_ns, data, key_frame, 0, shown_ns - at_ns))


class EncodedVideoSource(PushedEncodedPictures):
    """Pictures that the program brings encoded, and that are recorded as they are.

    ``codec``: ``vp8 vp9 av1 h264 h265``, or as browsers write it (``"avc1.42E01E"``). Files of type ``video/webm`` hold
    the first three, ``video/x-matroska`` all. ``width``, ``height``: of the pictures, in pixels. ``description``: their
    parameter sets where packets do not have them, as WebCodecs and MP4 have it (avcC, hvcC, av1C); packets of H.264 and
    H.265 then have lengths before each unit. Without it they have start codes, and key frames their parameter sets.
    ``when_full``, ``clock`` as for ``AudioSource``, ``frame_rate`` as for ``VideoSource``.

    A recording begins with a key frame, and goes on with one after a pause, or when packets were lost; what comes
    before is left out, and counted as ``awaiting_key_frame``. Packets that are no packets of the codec are left out as
    ``damaged``, and those that are written while the source is ``muted``, or the track disabled, as ``muted``: then the
    last picture stays.
    """

    def write(self, packet: Buffer, timestamp_ns: int | None = None, *, key_frame: bool | None = None) -> bool:
        """Gives a packet with one picture to every recording of the track; whether it was taken.

        Packets come in the order in which they are decoded. ``packet`` is copied. ``timestamp_ns``: when its picture
        was captured, on the source's ``clock``, so that it may be less than the one before; ``None``: now, or with
        ``clock="media"`` after as long as the picture before lasted. ``key_frame``: whether decoding can begin with it;
        ``None``: it is looked at. Else as ``AudioSource.write``; a packet has at most 8 MiB.
        """
        return self._write(packet, timestamp_ns, key_frame)


class PushedEncodedSound(PushedPackets):
    """Both faces' ``EncodedAudioSource``, but for ``write``."""

    def __init__(
        self,
        codec: str,
        sample_rate: int = media.OPUS_RATE,
        channel_count: int = 2,
        *,
        description: Buffer | None = None,
        when_full: str = "drop",
        clock: str = "monotonic",
    ) -> None:
        sample_rate = integer("sample_rate", sample_rate, media.SAMPLE_RATE_MIN, media.SAMPLE_RATE_MAX)
        channel_count = integer("channel_count", channel_count, 1, media.CHANNEL_COUNT_MAX)
        settings = {"sample_rate": sample_rate, "channel_count": channel_count}
        super().__init__("audio", codec, settings, description, when_full, clock)
        self._rate = sample_rate  # in which stamps count

    def _write(self, buffer: Buffer, timestamp_ns: int | None = None, key_frame: bool | None = None) -> bool:
        data = self._checked(buffer, key_frame)
        try:
            samples, rate = self._form.samples(data)
        except (ValueError, IndexError):
            samples, rate = 0, 1
        lasts_ns = min(samples * S // rate, BLOCK_NS_MAX)
        at_ns = self._stamps.stamp(timestamp_ns, samples * self._rate // rate)
        return self._sender.send(Packet(at_ns, data, True, lasts_ns))


class EncodedAudioSource(PushedEncodedSound):
    """Sound that the program brings encoded, and that is recorded as it is.

    ``codec``: ``opus aac pcm alaw ulaw``, or as browsers write it (``"mp4a.40.2"``); ``pcm`` has 16 bits, signed,
    little-endian. Files of type ``video/webm`` and ``audio/webm`` hold Opus, ``video/x-matroska`` all. ``description``:
    the OpusHead or AudioSpecificConfig, as WebCodecs and MP4 have it. Opus needs it for more than two channels; AAC
    without it is taken as ADTS frames. ``when_full``, ``clock`` as for ``AudioSource``. Packets are counted one by one,
    and those that are no packets of the codec are left out as ``damaged``, as ``muted`` those that are written
    while the source is ``muted`` or the track disabled: then there is a gap.
    """

    def write(self, packet: Buffer, timestamp_ns: int | None = None, *, key_frame: bool | None = None) -> bool:
        """Gives a packet to every recording of the track; whether it was taken. As ``EncodedVideoSource.write``;
        ``timestamp_ns`` is that of its first sample, and ``key_frame`` changes nothing: decoding can begin with each
        packet of these codecs."""
        return self._write(packet, timestamp_ns, key_frame)
