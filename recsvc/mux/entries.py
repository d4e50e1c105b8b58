"""What a Matroska file's header says of its tracks (TrackEntry). After RFC 9559 and the codec specifications."""

from __future__ import annotations

import struct

from ..common.limits import S
from ..common.media import OPUS_RATE
from ..common.packet_limits import PARAMETER_SETS_BYTES_MAX
from .ebml import element, size_of, uint, void
from .packets import AUDIO, VIDEO
from .spool import AudioEntry, CopiedEntry, VideoEntry, opus_head

_TRACKS = 0x1654AE6B

CODEC_IDS = {
    "vp8": "V_VP8",
    "vp9": "V_VP9",
    "av1": "V_AV1",
    "h264": "V_MPEG4/ISO/AVC",
    "h265": "V_MPEGH/ISO/HEVC",
    "opus": "A_OPUS",
    "aac": "A_AAC",
    "pcm": "A_PCM/INT/LIT",
    "alaw": "A_MS/ACM",
    "ulaw": "A_MS/ACM",
}
"""Matroska's names for the codecs of media that comes encoded."""
CODEC_OF_ID = {name: codec for codec, name in CODEC_IDS.items() if name != "A_MS/ACM"}
"""A-law and µ-law share a name; their private data tell which it is."""


def tracks(video: VideoEntry | CopiedEntry | None, audio: AudioEntry | CopiedEntry | None, size: int = 0) -> bytes:
    """The Tracks element, with a Void after it that makes both ``size`` bytes; 0: as long as is needed, with room for
    private data that are not known yet. ``ValueError``: it does not fit."""
    content = _entry_of(VIDEO, video) + _entry_of(AUDIO, audio)
    made = element(_TRACKS, content)
    if not size:
        awaited = sum(isinstance(one, CopiedEntry) and one.private is None for one in (video, audio))
        return made + void(PARAMETER_SETS_BYTES_MAX) if awaited else made
    room = size - len(made)
    if room == 1:  # too little for a Void
        length = len(size_of(len(content))) + 1
        made = _TRACKS.to_bytes(4, "big") + (len(content) | 1 << 7 * length).to_bytes(length, "big") + content
        room = 0
    if room < 0:
        raise ValueError(
            f"the description of the tracks is longer by {-room} bytes than {PARAMETER_SETS_BYTES_MAX} bytes"
        )
    return made + void(room) if room else made


def _entry_of(track: int, entry: VideoEntry | AudioEntry | CopiedEntry | None) -> bytes:
    if entry is None:
        return b""
    if isinstance(entry, VideoEntry):
        return _video(entry)
    return _audio(entry) if isinstance(entry, AudioEntry) else _copied(track, entry)


def _video(entry: VideoEntry) -> bytes:
    matrix, primaries, transfer = entry.colours.matrix, entry.colours.primaries, entry.colours.transfer
    limited_range = 1
    colour = uint(0x55B1, matrix) + uint(0x55B9, limited_range) + uint(0x55BA, transfer) + uint(0x55BB, primaries)
    picture = element(0xE0, _size(entry.width, entry.height, entry.display) + element(0x55B0, colour))
    return _entry(VIDEO, b"V_" + entry.codec.upper().encode(), picture)


def _audio(entry: AudioEntry) -> bytes:
    delay_ns = (entry.pre_skip_samples * S + OPUS_RATE // 2) // OPUS_RATE
    sound = element(0xB5, struct.pack(">d", OPUS_RATE)) + uint(0x9F, entry.channel_count)
    # CodecDelay is the pre-skip; SeekPreRoll is 80 ms for every Opus stream (RFC 7845 section 4.6).
    # Always as many bytes, for another pre-skip.
    delays = element(0x56AA, delay_ns.to_bytes(4, "big")) + uint(0x56BB, 80_000_000)
    return _entry(AUDIO, b"A_OPUS", element(0x63A2, opus_head(entry)) + delays + element(0xE1, sound))


def _copied(track: int, entry: CopiedEntry) -> bytes:
    """The colours of pictures stand in their packets."""
    private = element(0x63A2, entry.private) if entry.private else b""
    if track == VIDEO:
        return _entry(
            VIDEO, entry.codec_id.encode(), private + element(0xE0, _size(entry.width, entry.height, entry.display))
        )
    delays = b""
    if entry.codec_id == "A_OPUS":
        delays = uint(0x56AA, entry.delay_ns) + uint(0x56BB, 80_000_000)
    sound = element(0xB5, struct.pack(">d", entry.sample_rate)) + uint(0x9F, entry.channel_count)
    if entry.bits:
        sound += uint(0x6264, entry.bits)
    return _entry(AUDIO, entry.codec_id.encode(), private + delays + element(0xE1, sound))


def _size(width: int, height: int, display: tuple[int, int] | None) -> bytes:
    size = uint(0xB0, width) + uint(0xBA, height)
    return size if display is None else size + uint(0x54B0, display[0]) + uint(0x54BA, display[1])


def _entry(track: int, codec: bytes, more: bytes) -> bytes:
    """A TrackEntry: number, UID and type are one; no lacing; language undetermined."""
    numbers = uint(0xD7, track) + uint(0x73C5, track) + uint(0x83, track) + uint(0x9C, 0)
    return element(0xAE, numbers + element(0x22B59C, b"und") + element(0x86, codec) + more)
