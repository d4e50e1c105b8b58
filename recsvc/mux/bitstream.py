"""What packets of encoded media are made of: NAL units, OBUs, ADTS frames; which are key frames; how long sound lasts.

After ISO/IEC 14496-15 and H.264, H.265 (Annex B), the AV1 bitstream specification, RFC 6386 (VP8), the VP9 bitstream
specification, RFC 6716 (Opus), ISO/IEC 14496-3 (ADTS).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Bits:
    """Reads a bit string from its beginning. ``ValueError``: it ends before."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("the data end within a header")
        return (self._value >> self._left) & ((1 << count) - 1)

    def exp_golomb(self) -> int:
        """ue(v) of H.264 and H.265."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("no Exp-Golomb number")
        return (1 << zeros) - 1 + self.take(zeros)


# --- NAL units ------------------------------------------------------------------------------------

H264_SPS, H264_PPS = 7, 8
H265_VPS, H265_SPS, H265_PPS = 32, 33, 34
PARAMETER_SETS = {"h264": (H264_SPS, H264_PPS), "h265": (H265_VPS, H265_SPS, H265_PPS)}
"""The kinds of units without which no picture of a codec can be decoded."""


def split_annex_b(data: bytes) -> list[bytes]:
    """The NAL units of a byte stream with start codes. ``ValueError``: it does not begin with one."""
    begin = data.find(b"\0\0\1")
    if begin < 0 or data[:begin].strip(b"\0"):
        raise ValueError("no start code at the beginning")
    units = []
    while begin >= 0:
        end = data.find(b"\0\0\1", begin + 3)
        unit = data[begin + 3 : end if end >= 0 else len(data)].rstrip(b"\0")
        if unit:
            units.append(unit)
        begin = end
    if not units:
        raise ValueError("no NAL unit")
    return units


def split_lengths(data: bytes, length_bytes: int) -> list[bytes]:
    """The NAL units of a packet in which each has its length before it. ``ValueError``: they do not fill it."""
    units, at = [], 0
    while at < len(data):
        begin = at + length_bytes
        at = begin + int.from_bytes(data[at:begin], "big")
        if begin > len(data) or at > len(data) or at == begin:
            raise ValueError("the lengths of the NAL units do not add up to the packet's")
        units.append(data[begin:at])
    if not units:
        raise ValueError("no NAL unit")
    return units


def with_lengths(units: list[bytes]) -> bytes:
    """NAL units with lengths of four bytes before them."""
    parts: list[bytes] = []
    for unit in units:
        parts += (len(unit).to_bytes(4, "big"), unit)
    return b"".join(parts)


def without_emulation(unit: bytes) -> bytes:
    """What a NAL unit says, without the bytes that keep start codes out of it."""
    return unit.replace(b"\0\0\3", b"\0\0")


def h264_type(unit: bytes) -> int:
    return unit[0] & 31


def h265_type(unit: bytes) -> int:
    return unit[0] >> 1 & 63


def _is_recovery_point(unit: bytes) -> bool:
    """Whether an SEI unit of H.264 has a recovery point message of no frames: an open group of pictures begins."""
    data, at = without_emulation(unit), 1
    while at + 2 < len(data):
        kind = size = 0
        while data[at] == 255 and at + 2 < len(data):
            kind, at = kind + 255, at + 1
        kind, at = kind + data[at], at + 1
        while data[at] == 255 and at + 1 < len(data):
            size, at = size + 255, at + 1
        size, at = size + data[at], at + 1
        if kind == 6:
            return data[at : at + 1] >= b"\x80"  # recovery_frame_cnt 0
        at += size
    return False


def is_h264_key(units: list[bytes]) -> bool:
    """Whether decoding can begin here, given the parameter sets. Not with the later slices of a key frame, which
    libavformat takes for a picture of their own where a sender repeats the parameter sets before each slice."""
    types = [h264_type(unit) for unit in units]
    if 5 in types:
        return any(kind == 5 and _begins(unit, 1) for kind, unit in zip(types, units, strict=True))
    return 1 in types and any(kind == 6 and _is_recovery_point(unit) for kind, unit in zip(types, units, strict=True))


def is_h265_key(units: list[bytes]) -> bool:
    """As ``is_h264_key``."""
    return any(16 <= h265_type(unit) <= 21 and _begins(unit, 2) for unit in units)


def _begins(slice_unit: bytes, head_bytes: int) -> bool:
    """Whether a slice is its picture's first: the bit after the unit's head says it in both codecs."""
    return slice_unit[head_bytes : head_bytes + 1] >= b"\x80"


def begins_picture(codec: str, data: bytes) -> bool | None:
    """Whether the first slice in a byte stream of ``h264`` or ``h265`` is its picture's first; ``None``: there is
    none."""
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 3:
        kind = data[at + 3] & 31 if codec == "h264" else data[at + 3] >> 1 & 63
        if kind in (1, 2, 5) if codec == "h264" else kind < 32:
            return _begins(data[at + 3 : at + 6], 1 if codec == "h264" else 2)
        at = data.find(b"\0\0\1", at + 3)
    return None


def joined_units(codec: str, parts: list[list[bytes]]) -> list[bytes]:
    """The NAL units of a picture that came in parts. What a sender repeats before its later slices is left out: a
    delimiter, or parameter sets, would say that another picture begins."""
    repeated = PARAMETER_SETS[codec]
    delimiter = 9 if codec == "h264" else 35
    units = list(parts[0])
    for unit in (unit for part in parts[1:] for unit in part):
        kind = h264_type(unit) if codec == "h264" else h265_type(unit)
        if kind != delimiter and not (kind in repeated and unit in units):
            units.append(unit)
    return units


# --- the others -----------------------------------------------------------------------------------


class Obu(NamedTuple):
    """One open bitstream unit of AV1; ``data`` is all of it, ``content`` without header and size."""

    kind: int
    data: bytes
    content: bytes


OBU_SEQUENCE, OBU_DELIMITER = 1, 2
_OBU_FRAMES = (3, 6)


def split_obus(data: bytes) -> Iterator[Obu]:
    """``ValueError`` where they do not fill the data exactly."""
    at = 0
    while at < len(data):
        begin, head = at, data[at]
        at += 2 if head & 4 else 1
        if head & 0x80:
            raise ValueError("the forbidden bit of an OBU is set")
        size = len(data) - at
        if head & 2:
            size, shift = 0, 0
            while True:
                if at >= len(data) or shift > 28:
                    raise ValueError("an OBU ends within its header")
                size |= (data[at] & 127) << shift
                at, shift = at + 1, shift + 7
                if not data[at - 1] & 128:
                    break
        if size < 0 or at + size > len(data):
            raise ValueError("an OBU is longer than its packet")
        yield Obu(head >> 3 & 15, data[begin : at + size], data[at : at + size])
        at += size


def is_av1_key(data: bytes) -> bool:
    has_sequence = False
    for obu in split_obus(data):
        has_sequence |= obu.kind == OBU_SEQUENCE
        if obu.kind in _OBU_FRAMES and obu.content:
            return has_sequence and obu.content[0] & 0xE0 == 0  # shown, and a key frame
    return False


def is_vp8_key(data: bytes) -> bool:
    """``ValueError``: it is no frame."""
    is_key = not data[0] & 1
    head_bytes, first_bytes = 10 if is_key else 3, int.from_bytes(data[:3], "little") >> 5
    if len(data) < head_bytes + first_bytes or not first_bytes or (is_key and data[3:6] != b"\x9d\x01\x2a"):
        raise ValueError("no frame of VP8")
    return is_key


def is_vp9_key(data: bytes) -> bool:
    """Whether its first frame is one (of a superframe, in which those that are not shown come first). ``ValueError``:
    it is no frame."""
    bits = Bits(data[:5])
    if bits.take(2) != 2:
        raise ValueError("no frame of VP9")
    profile = bits.take(1) | bits.take(1) << 1
    if profile == 3:
        bits.take(1)
    is_key = not bits.take(1) and not bits.take(1)  # it shows a frame that was there, or it is another kind
    if is_key:
        bits.take(2)
        if bits.take(24) != 0x498342:
            raise ValueError("no key frame of VP9")
    return is_key


_OPUS_SAMPLES = (
    *(480, 960, 1920, 2880) * 3,
    *(480, 960) * 2,
    *(120, 240, 480, 960) * 4,
)


def opus_samples(data: bytes) -> int:
    """How many samples at 48 kHz a packet of Opus has (RFC 6716 section 3.1)."""
    code = data[0] & 3
    if code == 3 and len(data) < 2:
        raise ValueError("an Opus packet ends within its header")
    frames = 1 if code == 0 else 2 if code < 3 else data[1] & 63
    samples = frames * _OPUS_SAMPLES[data[0] >> 3]
    if not 0 < samples <= 5760:
        raise ValueError(f"an Opus packet of {samples} samples")
    return samples


class Adts(NamedTuple):
    """The header of an ADTS frame of AAC."""

    object_type: int
    rate_index: int
    channels: int
    header_bytes: int


def adts_header(data: bytes) -> Adts:
    """``ValueError`` where the packet is not one ADTS frame."""
    bits = Bits(data[:7])
    if bits.take(12) != 0xFFF:
        raise ValueError("no ADTS frame")
    bits.take(3)
    is_unprotected = bits.take(1)
    object_type, rate_index = bits.take(2) + 1, bits.take(4)
    bits.take(1)
    channels = bits.take(3)
    bits.take(4)
    size = bits.take(13)
    bits.take(11)
    if size != len(data) or bits.take(2):
        raise ValueError(f"a packet of {len(data)} bytes with an ADTS frame of {size}: expected one frame in each")
    return Adts(object_type, rate_index, channels, 7 if is_unprotected else 9)
