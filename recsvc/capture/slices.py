"""Pictures of H.264 and H.265 that come in parts.

Where a sender repeats the parameter sets before each slice of a picture (the key frames of an encoder with several
threads), libavformat takes each slice for a picture of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from av import Packet

from ..common.codecs import codec_named
from ..mux.bitstream import begins_picture, joined_units, split_annex_b

_START_CODE = b"\0\0\0\1"


class Parts:
    """Puts the pictures of one stream together.

    Only the packet after a picture shows that it was whole, so no more are held back until then than need be: the first
    key frame, and what is like a picture that came in parts (a key frame, or none).
    """

    def __init__(self, codec: str, *, is_decoded: bool = False) -> None:
        """``codec``: ``"h264"`` or ``"h265"``. What lacks its beginning is damaged; where it ``is_decoded`` it is left
        out, for a decoder takes the rest of a key frame for one."""
        self._codec, self._is_decoded = codec, is_decoded
        self._held: list[Any] = []
        self._comes_in_parts: dict[bool, bool | None] = {True: None, False: False}
        """Of key frames, and of others. ``None``: none has come yet."""
        self._last: tuple[int | None, bool] | None = None  # the time of the newest picture, and whether it is key

    def add(self, packet: Any) -> list[Any]:
        """Takes the next packet; those that are known to be whole now."""
        data = bytes(packet)
        begins = begins_picture(self._codec, data)
        if begins is False and self._last is not None and _is_same(_time_of(packet), self._last[0]):
            self._comes_in_parts[self._last[1]] = True
            if self._held:
                self._held.append(packet)
                return []
        ready = self.rest()
        if begins is False:  # what was before it is lost, or has gone on
            packet.is_corrupt = True
            if self._is_decoded:
                return ready
        is_key = bool(packet.is_keyframe)
        if begins is not None:
            self._last = (_time_of(packet), is_key) if begins else None
        if begins and self._comes_in_parts[is_key] is not False:
            self._held.append(packet)
        else:
            ready.append(packet)
        return ready

    def rest(self) -> list[Any]:
        """What is held back: it is whole."""
        held, self._held = self._held, []
        if not held:
            return []
        if len(held) > 1:
            return [self._joined(held)]
        is_key = bool(held[0].is_keyframe)
        if self._comes_in_parts[is_key] is None:
            self._comes_in_parts[is_key] = False
        return held

    def _joined(self, parts: list[Any]) -> Any:
        first = parts[0]
        units = joined_units(self._codec, [split_annex_b(bytes(part)) for part in parts])
        whole = Packet(b"".join(_START_CODE + unit for unit in units))
        whole.stream, whole.time_base = first.stream, first.time_base
        whole.pts = next((part.pts for part in parts if part.pts is not None), None)
        whole.dts = next((part.dts for part in parts if part.dts is not None), None)
        if first.duration:
            whole.duration = first.duration
        whole.is_keyframe = first.is_keyframe
        whole.is_corrupt = any(part.is_corrupt for part in parts)
        return whole


def _time_of(packet: Any) -> int | None:
    time: int | None = packet.dts if packet.pts is None else packet.pts
    return time


def _is_same(time: int | None, other: int | None) -> bool:
    """The first packets of RTSP may have no time."""
    return time is None or other is None or time == other


def parts_of(stream: Any, *, is_decoded: bool) -> Parts | None:
    """``None``: a stream of which no picture comes in parts: each has its length in the container."""
    codec = codec_named(stream.codec_context.codec.canonical_name)
    if codec not in ("h264", "h265") or bytes(stream.codec_context.extradata or b"")[:1] == b"\1":
        return None
    return Parts(codec, is_decoded=is_decoded)


def whole(packets: Iterator[Any], parts: Mapping[int, Parts]) -> Iterator[Any]:
    """The packets of an input with whole pictures; ``parts`` by the streams' indexes."""
    try:
        for packet in packets:
            if (own := parts.get(packet.stream.index)) is None:
                yield packet
            else:
                yield from own.add(packet)
    except Exception:
        for own in parts.values():
            yield from own.rest()
        raise
