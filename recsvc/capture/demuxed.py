"""Packets of a file or network stream that are recorded as they come: read, never decoded."""

from __future__ import annotations

from typing import Any

from av.format import Flags

from ..common.codecs import CODECS, codec_named
from ..common.constraints import AudioWish, VideoWish
from ..common.limits import BLOCK_NS_MAX, S
from ..common.media import CHANNEL_COUNT_MAX, FRAME_SIDE_MAX, OPUS_RATE, SAMPLE_RATE_MAX, SAMPLE_RATE_MIN
from ..common.packet_limits import DESCRIPTION_BYTES_MAX, PACKET_BYTES_MAX, PREROLL_S_MAX, REORDERED_MAX
from ..errors import NotReadableError, NotSupportedError
from ..mux.codec_private import form_of
from ..mux.parameter_sets import sets_of
from ..wire.frames import Packet
from ..wire.packets import DecodeTimes
from .delivery import Delivery
from .ffmpeg import stream_rate
from .limits import ENCODED_PROBE_NS
from .source import PacketFormat
from .stamps import Stamps

_DESCRIBED = ("h264", "h265", "av1", "opus", "aac")
"""Codecs whose private data in other files says what a description does."""


_SELF_KEYED = ("vp8", "vp9")
"""Codecs of which one bit says whether it is a key frame, and some demultiplexers (RTP) do not."""

_UNSTAMPED_MAX = 3
"""The first packets of RTSP may come before it is known what their stamps mean: they stand before the next ones."""


def _described(stream: Any, what: str) -> tuple[str, bytes]:
    """The name of a stream's codec, and its description; ``b""``: there is none, or it comes in band.
    ``NotSupportedError``: it cannot be recorded as it is."""
    kind, codec = stream.type, stream.codec_context
    name = codec_named(codec.codec.canonical_name)
    if name not in CODECS or CODECS[name].kind != kind:
        known = ", ".join(name for name, its in CODECS.items() if its.kind == kind)
        raise NotSupportedError(
            f"{what}: its {kind} is {name}, and can be recorded as it is only where it is {known}; without "
            "encoded=True it is encoded anew"
        )
    no_stamps = Flags.no_timestamps.value & stream.container.format.flags
    if kind == "video" and no_stamps and codec.has_b_frames:
        raise NotSupportedError(
            f"{what} has pictures out of order and no time stamps, so that none knows when they are to be shown; "
            "put it into a container, or record it without encoded=True"
        )
    private = bytes(codec.extradata or b"") if name in _DESCRIBED else b""
    if name == "av1" and private[:1] != b"\x81":
        private = b""  # it is as it comes in band
    if len(private) > DESCRIPTION_BYTES_MAX:
        raise NotSupportedError(f"{what}: the description of its {name} has {len(private)} bytes")
    return name, private


class PacketReader:
    """One stream's way from the demultiplexer to the delivery."""

    def __init__(self, stream: Any, wish: AudioWish | VideoWish, what: str, stamps: Stamps) -> None:
        """``stamps``: the input's. ``NotSupportedError``: there is no such recording.
        ``NotReadableError``: what it is did not show."""
        self.stream = stream
        self.kind: str = stream.type
        codec = stream.codec_context
        name, private = _described(stream, what)
        self._codec = name
        self._is_mp4 = "mp4" in stream.container.format.name.split(",")
        self._scale = stream.time_base.numerator * S, stream.time_base.denominator
        self._stamps = stamps
        settings: dict[str, Any] = {"codec": name}
        if private:
            settings["description"] = private
        rate, channels = 0, 0
        if isinstance(wish, VideoWish):
            settings |= self._pictures(codec)
            preroll = PREROLL_S_MAX if wish.preroll is None else wish.preroll
        else:
            rate, channels = codec.sample_rate or 0, codec.channels or 0
            if not SAMPLE_RATE_MIN <= rate <= SAMPLE_RATE_MAX or not 1 <= channels <= CHANNEL_COUNT_MAX:
                raise NotReadableError(f"{what}: sound of {rate} Hz with {channels} channels is not recorded")
            settings |= {"sample_rate": rate, "channel_count": channels}
            preroll = 0.0
        try:
            self._form = form_of(name, rate, channels, private)
        except ValueError as error:
            raise NotReadableError(f"{what}: its {name} cannot be read: {error}") from None
        self.format = PacketFormat(settings, preroll)
        self._what, self._private = what, private
        self._interval_ns = round(S / (settings.get("frame_rate") or 25)) if self.kind == "video" else 0
        self._may_reorder = name in ("h264", "h265")
        self._is_reordered = self._may_reorder and bool(codec.has_b_frames)  # or it shows later
        self._orders = DecodeTimes()
        self._without = 0  # packets that came without a time of decoding
        self._last_ns: int | None = None
        self._expected_ns = 0  # of a packet without a time, by the stream's own counter
        self._unstamped: list[Any] | None = []  # what came before the first that has one; ``None``: that has come

    def _pictures(self, codec: Any) -> dict[str, Any]:
        width, height = codec.width or 0, codec.height or 0
        if not width or not height:
            raise NotReadableError(
                f"no key frame came within {ENCODED_PROBE_NS / S:g} s, which would show the size of the pictures"
            )
        if max(width, height) > FRAME_SIDE_MAX:
            raise NotSupportedError(f"pictures of {width}x{height}: a side has at most {FRAME_SIDE_MAX} pixels")
        settings: dict[str, Any] = {"width": width, "height": height}
        if (rate := stream_rate(self.stream)) is not None:
            settings["frame_rate"] = rate
        shape = self.stream.sample_aspect_ratio
        if shape and shape > 0 and shape != 1:
            settings["display_width"], settings["display_height"] = max(1, round(width * shape)), height
        return settings

    def first_ns(self, packet: Any) -> int | None:
        """When this packet, a track's first, is to be shown or heard, by the stream's counter."""
        stamp = packet.dts if packet.pts is None else packet.pts
        return None if stamp is None else self._ns(stamp)

    def _ns(self, stamp: int) -> int:
        return int(stamp * self._scale[0] // self._scale[1])

    def take(self, packet: Any, start_ns: int, delivery: Delivery) -> None:
        """Hands a packet on. ``NotReadableError``: nothing that follows can be recorded in the same track."""
        if packet.has_sidedata("encryption_info"):
            raise NotReadableError(
                f"the {self.kind} of {self._what} is encrypted, and its key would be missing in a recording; decrypt "
                "it first"
            )
        if self._unstamped is not None:
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is None and delivery.is_live and len(self._unstamped) < _UNSTAMPED_MAX:
                self._unstamped.append(packet)
                return
            early, self._unstamped = self._unstamped, None
            self._expected_ns = (0 if stamp is None else self._ns(stamp)) - len(early) * self._interval_ns
            for one in early:
                self.take(one, start_ns, delivery)
        data = bytes(packet)
        if packet.has_sidedata("new_extradata"):
            data = self._redescribed(bytes(packet.get_sidedata("new_extradata"))) + data
        is_damaged = packet.is_corrupt or len(data) > PACKET_BYTES_MAX
        is_key, lasts_ns, padding_ns = self.kind == "audio", 0, 0
        try:
            if self.kind == "audio":
                samples, rate = self._form.samples(data)
                lasts_ns = min(samples * S // rate, BLOCK_NS_MAX)
                padding_ns = min(self._padding_samples(packet, samples) * S // rate, lasts_ns)
            else:
                lasts_ns = min(self._ns(packet.duration or 0), BLOCK_NS_MAX)
                is_key = self._form.is_key(data) and (packet.is_keyframe or self._codec in _SELF_KEYED)
        except (ValueError, IndexError):
            pass  # it is damaged, which the worker finds too, and counts
        at_ns, shown_ns = self._times(packet, lasts_ns)
        placed_ns, jumped = self._stamps.place(self.kind, at_ns, lasts_ns or self._interval_ns, shown_ns - at_ns)
        if jumped:
            delivery.jumped(self.kind)
        at_ns, shown_ns = placed_ns, shown_ns + placed_ns - at_ns
        offset_ns = 0
        if not delivery.is_live:  # the time of an input that can be read at will begins with the first picture shown
            at_ns, shown_ns = max(at_ns - start_ns, 0), shown_ns - start_ns
        if self.kind == "video":
            offset_ns = max(-BLOCK_NS_MAX, min(shown_ns - at_ns, BLOCK_NS_MAX))
        delivery.packet(self.kind, Packet(at_ns, data, is_key, lasts_ns, offset_ns, is_damaged, padding_ns))

    def _padding_samples(self, packet: Any, samples: int) -> int:
        """How many samples at the end of a packet of sound its container says not to play."""
        if packet.has_sidedata("skip_samples"):
            return int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[4:8], "little")
        if self._codec == "opus" and self._is_mp4 and packet.duration:  # it says so by the last one's duration
            return max(samples - int(packet.duration * self.stream.time_base * OPUS_RATE), 0)
        return 0

    def _times(self, packet: Any, lasts_ns: int) -> tuple[int, int]:
        """When it is to be decoded and shown, by the stream's counter, in ns."""
        pts, dts = packet.pts, packet.dts
        shown_ns = self._ns(pts) if pts is not None else self._ns(dts) if dts is not None else self._expected_ns
        at_ns = shown_ns
        if self.kind == "video":
            lasts_ns = lasts_ns or self._interval_ns
            if self._may_reorder:
                ordered_ns = self._orders.time_of(shown_ns)
                self._is_reordered |= ordered_ns > shown_ns or (dts is not None and dts != pts)
            if self._is_reordered:
                if dts is not None:
                    at_ns = min(self._ns(dts), shown_ns)
                elif self._without < REORDERED_MAX:  # a demultiplexer knows the decoder's delay after some pictures
                    self._without += 1
                    at_ns = shown_ns if self._last_ns is None else min(self._last_ns, shown_ns)
                else:
                    at_ns = ordered_ns
            self._last_ns = at_ns
        self._expected_ns = shown_ns + lasts_ns
        return at_ns, shown_ns

    def _redescribed(self, private: bytes) -> bytes:
        """The description has changed: what goes before the packet's data, so that it holds for what follows."""
        if private == self._private or self._codec not in ("h264", "h265", "aac", "opus"):
            return b""  # the others have it in their key frames, too
        if self._codec in ("h264", "h265") and self._private[:1] == b"\1":
            length_bytes, units = sets_of(self._codec, private)
            if length_bytes == sets_of(self._codec, self._private)[0]:
                self._private = private
                return b"".join(len(unit).to_bytes(length_bytes, "big") + unit for unit in units)
        raise NotReadableError(
            f"the description of {self._what}'s {self._codec} has changed in its midst, and a file has one; open the "
            "source anew, or without encoded=True"
        )
