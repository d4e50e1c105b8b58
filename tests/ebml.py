"""A walker over WebM and Matroska files for tests, written from RFC 8794 and RFC 9559, without any library.

``read(data)`` takes a finished file, or what was written of an unfinished one (Segment of unknown size, a cut
last element), and raises ``ValueError`` for anything that is not as the RFCs want it.
"""

import struct
import zlib
from dataclasses import dataclass, field

EBML, SEGMENT, VOID = 0x1A45DFA3, 0x18538067, 0xEC
SEEK_HEAD, INFO, TRACKS, TAGS, CLUSTER, CUES = (
    0x114D9B74,
    0x1549A966,
    0x1654AE6B,
    0x1254C367,
    0x1F43B675,
    0x1C53BB6B,
)
_NAMES = {
    SEEK_HEAD: "SeekHead",
    INFO: "Info",
    TRACKS: "Tracks",
    TAGS: "Tags",
    CLUSTER: "Cluster",
    CUES: "Cues",
}


@dataclass
class Element:
    identifier: int
    at: int  # file position of the element's first byte
    begin: int  # of its content
    end: int  # of its end, as its size says


@dataclass
class Block:
    track: int
    ms: int  # absolute
    is_key_frame: bool
    data: bytes
    cluster: Element
    at: int
    duration_ms: int | None = None
    discard_padding_ns: int = 0


@dataclass
class Cue:
    ms: int
    track: int
    cluster_at: int  # file position
    block_at: int | None


@dataclass
class File:
    doc_type: str = ""
    segment_size_known: bool = False
    duration_ms: float | None = None
    tracks: dict[int, dict[str, object]] = field(default_factory=dict)
    seek_head: dict[str, int] = field(default_factory=dict)  # name -> file position
    level_1: dict[str, list[int]] = field(default_factory=dict)  # name -> file positions
    clusters: list[tuple[int, list[Block]]] = field(default_factory=list)  # Timestamp in ms, blocks
    cues: list[Cue] = field(default_factory=list)
    header_end: int = 0  # where the first cluster, or the end, is
    complete_end: int = 0  # end of the last complete element

    @property
    def blocks(self) -> list[Block]:
        return [block for _, blocks in self.clusters for block in blocks]

    def of(self, kind: int) -> list[Block]:
        """The blocks of the video (1) or audio (2) track."""
        numbers = [number for number, track in self.tracks.items() if track["type"] == kind]
        return [block for block in self.blocks if block.track in numbers]


def read(data: bytes) -> File:
    file = File()
    head, segment = _children(data, 0, len(data))[:2]
    if head.identifier != EBML or segment.identifier != SEGMENT:
        raise ValueError("no EBML head and Segment")
    file.doc_type = _value(data, head, 0x4282).decode()
    file.segment_size_known = data[segment.at + 4 : segment.begin] != b"\x01" + b"\xff" * 7
    if file.segment_size_known and segment.end != len(data):
        raise ValueError(f"the Segment ends at {segment.end}, the file at {len(data)}")
    file.header_end = segment.begin
    for element in _children(data, segment.begin, len(data)):
        if element.end > len(data):
            if file.segment_size_known:
                raise ValueError(f"the element at {element.at} is cut")
            break
        file.complete_end = element.end
        if element.identifier == VOID:
            continue
        if data[element.begin] == 0xBF:  # CRC-32 of what follows it in its parent (RFC 8794 section 11.3.1)
            if zlib.crc32(data[element.begin + 6 : element.end]) != _uint_le(data, element.begin + 2):
                raise ValueError(f"the CRC-32 of the element at {element.at} is wrong")
            element.begin += 6
        file.level_1.setdefault(_NAMES[element.identifier], []).append(element.at)
        if element.identifier == CLUSTER:
            _read_cluster(data, element, file)
        else:
            _READERS[element.identifier](data, element, file, segment.begin)
        if not file.clusters:
            file.header_end = element.end
    return file


def _number(data: bytes, at: int, *, keep_marker: bool) -> tuple[int, int]:
    """A variable-size integer and where it ends (RFC 8794 section 4)."""
    length = 1
    while length <= 8 and not data[at] & 0x80 >> length - 1:
        length += 1
    if length > 8 or at + length > len(data):
        raise ValueError(f"no variable-size integer at {at}")
    value = int.from_bytes(data[at : at + length], "big")
    return (value if keep_marker else value - (1 << 7 * length)), at + length


def _head(data: bytes, at: int) -> Element:
    identifier, size_at = _number(data, at, keep_marker=True)
    size, begin = _number(data, size_at, keep_marker=False)
    if size == (1 << 7 * (begin - size_at)) - 1:
        if identifier != SEGMENT:
            raise ValueError(f"element {identifier:x} at {at} has unknown size")
        size = len(data) - begin
    return Element(identifier, at, begin, begin + size)


def _children(data: bytes, at: int, end: int) -> list[Element]:
    found = []
    while at < end:
        try:
            element = _head(data, at)
        except (IndexError, ValueError):
            if end == len(data):  # cut while the element's head was written
                break
            raise
        if end < len(data) and element.end > end:
            raise ValueError(f"element {element.identifier:x} at {at} is longer than its parent")
        found.append(element)
        at = element.end
    return found


def _value(data: bytes, parent: Element, identifier: int) -> bytes:
    """The content of the one such child; empty when there is none."""
    found = [child for child in _children(data, parent.begin, parent.end) if child.identifier == identifier]
    if len(found) > 1:
        raise ValueError(f"element {identifier:x} is {len(found)} times in the one at {parent.at}")
    return data[found[0].begin : found[0].end] if found else b""


def _uint(data: bytes, parent: Element, identifier: int) -> int:
    return int.from_bytes(_value(data, parent, identifier), "big")


def _uint_le(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _read_seek_head(data: bytes, element: Element, file: File, base: int) -> None:
    for seek in _children(data, element.begin, element.end):
        if seek.identifier != VOID:
            name = _NAMES[_uint(data, seek, 0x53AB)]
            file.seek_head[name] = base + _uint(data, seek, 0x53AC)


def _read_info(data: bytes, element: Element, file: File, base: int) -> None:
    if _uint(data, element, 0x2AD7B1) != 1_000_000:
        raise ValueError("the time unit is not 1 ms")
    duration = _value(data, element, 0x4489)
    file.duration_ms = struct.unpack(">d", duration)[0] if duration else None


def _read_tracks(data: bytes, element: Element, file: File, base: int) -> None:
    for entry in _children(data, element.begin, element.end):
        track: dict[str, object] = {
            "type": _uint(data, entry, 0x83),
            "codec": _value(data, entry, 0x86).decode(),
            "language": _value(data, entry, 0x22B59C).decode() or "eng",
            "private": _value(data, entry, 0x63A2),
            "codec_delay_ns": _uint(data, entry, 0x56AA),
            "seek_pre_roll_ns": _uint(data, entry, 0x56BB),
        }
        for child in _children(data, entry.begin, entry.end):
            if child.identifier == 0xE0:
                track["size"] = (_uint(data, child, 0xB0), _uint(data, child, 0xBA))
                for colour in _children(data, child.begin, child.end):
                    if colour.identifier == 0x55B0:
                        track["matrix"], track["range"] = (
                            _uint(data, colour, 0x55B1),
                            _uint(data, colour, 0x55B9),
                        )
            elif child.identifier == 0xE1:
                track["rate"] = struct.unpack(">d", _value(data, child, 0xB5))[0]
                track["channels"] = _uint(data, child, 0x9F)
        file.tracks[_uint(data, entry, 0xD7)] = track


def _read_cues(data: bytes, element: Element, file: File, base: int) -> None:
    for point in _children(data, element.begin, element.end):
        ms = _uint(data, point, 0xB3)
        for child in _children(data, point.begin, point.end):
            if child.identifier == 0xB7:
                cluster_at = base + _uint(data, child, 0xF1)
                cluster = _head(data, cluster_at)
                relative = _value(data, child, 0xF0)
                if cluster.identifier != CLUSTER:
                    raise ValueError(f"the Cue at {child.at} points to no Cluster")
                block_at = cluster.begin + int.from_bytes(relative, "big") if relative else None
                file.cues.append(Cue(ms, _uint(data, child, 0xF7), cluster_at, block_at))


def _read_cluster(data: bytes, cluster: Element, file: File) -> None:
    timestamp, blocks = _uint(data, cluster, 0xE7), list[Block]()
    for child in _children(data, cluster.begin, cluster.end):
        if child.identifier == 0xA3:  # SimpleBlock
            blocks.append(_block(data, child, child, cluster, timestamp, key=None))
        elif child.identifier == 0xA0:  # BlockGroup: a key frame where it refers to no other block
            parts = {part.identifier: part for part in _children(data, child.begin, child.end)}
            block = _block(data, parts[0xA1], child, cluster, timestamp, key=0xFB not in parts)
            if 0x9B in parts:
                block.duration_ms = _uint(data, child, 0x9B)
            block.discard_padding_ns = int.from_bytes(_value(data, child, 0x75A2), "big", signed=True)
            blocks.append(block)
    file.clusters.append((timestamp, blocks))


def _block(data: bytes, at: Element, outer: Element, cluster: Element, base_ms: int, key: bool | None) -> Block:
    track, time_at = _number(data, at.begin, keep_marker=False)
    relative_ms, flags = struct.unpack_from(">hB", data, time_at)
    if flags & 0x06:
        raise ValueError(f"the block at {at.at} has lacing")
    key = bool(flags & 0x80) if key is None else key
    return Block(track, base_ms + relative_ms, key, data[time_at + 3 : at.end], cluster, outer.at)


_READERS = {
    SEEK_HEAD: _read_seek_head,
    INFO: _read_info,
    TRACKS: _read_tracks,
    TAGS: lambda *_: None,
    CUES: _read_cues,
}
