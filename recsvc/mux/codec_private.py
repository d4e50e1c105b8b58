"""How the packets of each codec stand in Matroska, and what the track's entry says of them (CodecPrivate).

After "Matroska Media Container Codec Specifications", ISO/IEC 14496-15 (avcC, hvcC), the AV1 codec's ISO media file
format binding (av1C), RFC 7845 (OpusHead) and ISO/IEC 14496-3 (AudioSpecificConfig). Parameter sets may come in band,
then packets of H.264 and H.265 have start codes; or out of it, in a ``description`` as WebCodecs and MP4 have it.
"""

from __future__ import annotations

import struct
from typing import Final

from ..common.media import OPUS_RATE
from ..common.packet_limits import PARAMETER_SETS_BYTES_MAX
from . import bitstream as bits
from .entries import CODEC_IDS
from .parameter_sets import av1c, avcc, hvcc, sets_of

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_AAC_SAMPLES = 1024
_SETS_BYTES_MAX = 16 * PARAMETER_SETS_BYTES_MAX
"""What is collected of them until each kind has come; of a stream that brings no more than one kind the rest is
damaged."""
_AAC_LOW_DELAY = (23, 39)
_WAVE_TAGS = {"alaw": 6, "ulaw": 7}


class Form:
    """Packets that stand in the file as they come, and have no private data: VP8 and VP9."""

    codec_id: str
    delay_samples: int = 0
    """At the decoder's beginning, which are not played (Opus, at 48 kHz)."""

    def __init__(self, codec: str) -> None:
        self.codec: Final = codec
        self.private: bytes | None = b""
        """``None``: it is not known yet, but will be with the first key frame."""

    def repack(self, packet: bytes) -> bytes:
        """The packet as it stands in the file; finds what is needed for ``private``.
        ``ValueError``, ``IndexError``: it is damaged."""
        if not packet:
            raise ValueError("an empty packet")
        self.is_key(packet)
        return packet

    def is_key(self, packet: bytes) -> bool:
        """Whether decoding can begin with it. ``ValueError``, ``IndexError``: it is damaged."""
        return bits.is_vp8_key(packet) if self.codec == "vp8" else bits.is_vp9_key(packet)

    def samples(self, packet: bytes) -> tuple[int, int]:
        """How much sound it holds: samples, and their rate. ``ValueError``: it is damaged."""
        raise NotImplementedError


class _NalForm(Form):
    """H.264 and H.265: with start codes, or with lengths where the description says so."""

    def __init__(self, codec: str, description: bytes) -> None:
        super().__init__(codec)
        self._is_h264 = codec == "h264"
        self._length_bytes = 0  # 0: start codes
        self._sets: list[bytes] = []
        self.private = None
        if description[:3] == b"\0\0\1" or description[:4] == b"\0\0\0\1":
            self._collect(bits.split_annex_b(description))
        elif description:
            at = 4 if self._is_h264 else 21
            if len(description) <= at + 1:
                raise ValueError(f"no {'avcC' if self._is_h264 else 'hvcC'} in the description")
            self._length_bytes, _ = sets_of(codec, description)
            self.private = description

    def _units(self, packet: bytes) -> list[bytes]:
        return bits.split_lengths(packet, self._length_bytes) if self._length_bytes else bits.split_annex_b(packet)

    def repack(self, packet: bytes) -> bytes:
        units = self._units(packet)
        if self._length_bytes:
            return packet
        if self.private is None:
            self._collect(units)
        return bits.with_lengths(units)

    def is_key(self, packet: bytes) -> bool:
        units = self._units(packet)
        return bits.is_h264_key(units) if self._is_h264 else bits.is_h265_key(units)

    def _collect(self, units: list[bytes]) -> None:
        kind_of = bits.h264_type if self._is_h264 else bits.h265_type
        needed = set(bits.PARAMETER_SETS[self.codec])
        sets = [unit for unit in dict.fromkeys(units) if kind_of(unit) in needed]
        if {kind_of(unit) for unit in sets} < needed:  # what came before may have the rest
            sets = [*self._sets, *(unit for unit in sets if unit not in self._sets)]
        self._sets = []  # nothing that is damaged is kept for the next ones
        if {kind_of(unit) for unit in sets} == needed:
            self.private = avcc(sets) if self._is_h264 else hvcc(sets)
        elif sum(map(len, sets)) > _SETS_BYTES_MAX:
            raise ValueError(f"parameter sets of more than {_SETS_BYTES_MAX} bytes, and one kind of them is missing")
        else:
            self._sets = sets


class _Av1Form(Form):
    def __init__(self, description: bytes) -> None:
        super().__init__("av1")
        if description:
            if description[0] != 0x81 or len(description) < 4:
                raise ValueError("no av1C in the description")
            list(bits.split_obus(description[4:]))
        self.private = description or None

    def repack(self, packet: bytes) -> bytes:
        obus = list(bits.split_obus(packet))
        if self.private is None:
            sequence = next((obu for obu in obus if obu.kind == bits.OBU_SEQUENCE), None)
            self.private = av1c(sequence) if sequence is not None else None
        kept = [obu.data for obu in obus if obu.kind != bits.OBU_DELIMITER]
        if not kept:
            raise ValueError("an empty packet")
        return packet if len(kept) == len(obus) else b"".join(kept)

    def is_key(self, packet: bytes) -> bool:
        return bits.is_av1_key(packet)


class _SoundForm(Form):
    """Every packet is a key frame: PCM, A-law and µ-law, and what the others have in common."""

    def __init__(self, codec: str, sample_rate: int, channel_count: int) -> None:
        super().__init__(codec)
        self._rate = sample_rate
        self._frame_bytes = channel_count * (2 if codec == "pcm" else 1)
        if codec in _WAVE_TAGS:
            rates = (sample_rate, sample_rate * channel_count)
            self.private = struct.pack("<HHIIHHH", _WAVE_TAGS[codec], channel_count, *rates, channel_count, 8, 0)

    def is_key(self, packet: bytes) -> bool:
        return True

    def samples(self, packet: bytes) -> tuple[int, int]:
        if not packet or len(packet) % self._frame_bytes:
            raise ValueError(
                f"{len(packet)} bytes: expected a multiple of {self._frame_bytes}, of which one is a sample"
            )
        return len(packet) // self._frame_bytes, self._rate


class _OpusForm(_SoundForm):
    def __init__(self, sample_rate: int, channel_count: int, description: bytes) -> None:
        super().__init__("opus", OPUS_RATE, channel_count)
        if description:
            _check_opus_head(description)
        if not description and channel_count > 2:
            raise ValueError(f"Opus with {channel_count} channels: its OpusHead is needed as description")
        self.private = description or struct.pack("<8sBBHIhB", b"OpusHead", 1, channel_count, 0, sample_rate, 0, 0)
        self.delay_samples = int.from_bytes(self.private[10:12], "little")

    def samples(self, packet: bytes) -> tuple[int, int]:
        if not packet:
            raise ValueError("an empty packet")
        return bits.opus_samples(packet), OPUS_RATE


class _AacForm(_SoundForm):
    """As it stands in MP4, with an AudioSpecificConfig as description; or, without, in ADTS frames."""

    def __init__(self, sample_rate: int, channel_count: int, description: bytes) -> None:
        super().__init__("aac", sample_rate, channel_count)
        self._is_adts = not description
        self.private = description or None
        self._samples = _AAC_SAMPLES, sample_rate
        if description:
            self._samples = _aac_samples(description)

    def repack(self, packet: bytes) -> bytes:
        if not self._is_adts:
            return super().repack(packet)
        header = bits.adts_header(packet)
        config = (header.object_type << 11 | header.rate_index << 7 | header.channels << 3).to_bytes(2, "big")
        if self.private is None:
            self.private = config
        elif self.private != config:
            raise ValueError("a frame of another rate or of other channels than the first, by which all are decoded")
        return packet[header.header_bytes :]

    def samples(self, packet: bytes) -> tuple[int, int]:
        if self._is_adts:  # spectral band replication doubles the rate, but not the one that stands here
            return _AAC_SAMPLES, AAC_RATES[bits.adts_header(packet).rate_index]
        return self._samples


def _check_opus_head(head: bytes) -> None:
    """``ValueError``: a decoder would refuse it."""
    if head[:8] != b"OpusHead" or len(head) < 19:
        raise ValueError("no OpusHead in the description")
    channels, family = head[9], head[18]
    if family == 0:
        if not 1 <= channels <= 2:
            raise ValueError(f"an OpusHead with {channels} channels and no mapping of them to streams")
    elif channels == 0 or len(head) < 21 + channels:
        raise ValueError(f"an OpusHead of {len(head)} bytes with {channels} channels: their mapping is missing")
    elif family != 3:  # in which a matrix stands there
        streams, coupled = head[19], head[20]
        if coupled > streams or any(streams + coupled <= one != 255 for one in head[21 : 21 + channels]):
            raise ValueError(f"an OpusHead that maps channels to others than its {streams} streams have")


def _aac_samples(config: bytes) -> tuple[int, int]:
    """How many samples an AudioSpecificConfig says that a packet has, and of which rate: with spectral band replication
    half as many as are heard, of half the rate. ``ValueError``: it is none."""
    reader = bits.Bits(config)
    kind = reader.take(5)
    kind = 32 + reader.take(6) if kind == 31 else kind
    index = reader.take(4)
    rate = reader.take(24) if index == 15 else AAC_RATES[index] if index < len(AAC_RATES) else 0
    if not kind or not rate:
        raise ValueError("no AudioSpecificConfig in the description")
    reader.take(4)
    if kind in (5, 29):  # then what is replicated, and of what
        index = reader.take(4)
        reader.take(24 if index == 15 else 0)
        reader.take(5)
    is_short = reader.take(1)
    samples = 512 if kind in _AAC_LOW_DELAY else _AAC_SAMPLES
    return (samples - samples // 16 if is_short else samples), rate


def form_of(codec: str, sample_rate: int = 0, channel_count: int = 0, description: bytes = b"") -> Form:
    """``ValueError``: the description is not one of this codec."""
    form: Form
    if codec in ("h264", "h265"):
        form = _NalForm(codec, description)
    elif codec == "av1":
        form = _Av1Form(description)
    elif codec == "opus":
        form = _OpusForm(sample_rate, channel_count, description)
    elif codec == "aac":
        form = _AacForm(sample_rate, channel_count, description)
    elif codec in ("vp8", "vp9"):
        form = Form(codec)
    else:
        form = _SoundForm(codec, sample_rate, channel_count)
    form.codec_id = CODEC_IDS[codec]
    return form
