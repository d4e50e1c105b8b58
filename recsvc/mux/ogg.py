"""Ogg with one Opus stream: pages. After RFC 3533 (Ogg) and RFC 7845 (Opus in Ogg)."""

import os
import struct
import zlib

from ..common.limits import S
from ..common.media import OPUS_RATE
from .packets import AudioPacket, Packet
from .spool import AudioEntry, SpoolFile, Written, opus_head

PAGE_MS = 400
"""Length of an Ogg page; players seek to pages, and each costs some 50 bytes."""

FIRST_PAGE, LAST_PAGE = 2, 4
"""Flags of a page."""

_SEGMENTS_MAX = 255
_HEADER_PAGES = 2


class OggWriter:
    """Pages of one Opus stream in ``spool``."""

    header = b""
    """Nothing of the file ever changes but, after a failure, the last page's flag."""

    def __init__(self, spool: SpoolFile, track: AudioEntry) -> None:
        self.written_until_ns = 0
        self.written = Written(0)
        self._last_page: tuple[int, bytearray] | None = None  # of sound: where it is, and its bytes
        self._spool = spool
        self._pre_skip = track.pre_skip_samples
        # Random, since chained recordings must not share a serial number (RFC 3533 section 4).
        self._serial = int.from_bytes(os.urandom(4), "little")
        self._page_number = 0
        self._lacing = bytearray()  # of the open page: the packets' lengths (RFC 3533 section 6)
        self._packets: list[bytes] = []
        self._page_samples = 0
        self._granule = 0
        for header, flags in (
            (opus_head(track), FIRST_PAGE),
            (b"OpusTags" + struct.pack("<I6sI", 6, b"recsvc", 0), 0),
        ):
            self._lacing.append(len(header))
            self._packets.append(header)
            self._close_page(flags)

    def put(self, ms: int, packet: Packet) -> None:
        """Takes the next packet."""
        assert isinstance(packet, AudioPacket)
        data = packet.data
        lacing = b"\xff" * (len(data) // 255) + bytes([len(data) % 255])
        if len(lacing) > _SEGMENTS_MAX:
            raise ValueError(f"no Opus packet has {len(data)} bytes")
        is_full = self._page_samples >= PAGE_MS * OPUS_RATE // 1000
        if is_full or len(self._lacing) + len(lacing) > _SEGMENTS_MAX:
            self._close_page(0)
        self._lacing += lacing
        self._packets.append(data)
        self._page_samples += packet.duration_samples
        # Counts the skipped samples too; without the padding it is the recording's end, by which players trim
        # (RFC 7845 sections 4.2 and 4.4).
        self._granule = packet.start_samples + packet.duration_samples - packet.padding_samples

    def flush(self) -> None:
        """There is always one more packet in an encoder, so that ``finish()`` has one to mark as the last."""
        if self._packets:
            self._close_page(0)

    def finish(self, duration_ns: int | None) -> None:
        if not self._packets and self._last_page is None:  # a recording without sound ends with an empty packet
            self._lacing += b"\0"
        self._close_page(LAST_PAGE)

    def salvage(self, least: int) -> None:
        """After a write that failed: cuts off what is torn, and marks the last page as such, unless it belongs to the
        first ``least`` bytes. ``OSError``: it stays as a crash would have left it."""
        self._spool.size = self.written.size
        self._spool.cut(self.written.size)
        if self._last_page is None:
            self._lacing[:], self._packets[:], self._granule = b"\0", [], 0
            self._close_page(LAST_PAGE)
        elif self._last_page[0] >= least:
            at, page = self._last_page
            page[5] |= LAST_PAGE
            sign(page)
            self._spool.patch(at, bytes(page[:26]))

    def _close_page(self, flags: int) -> None:
        """Writes the open page (RFC 3533 section 6)."""
        page = bytearray(
            struct.pack("<4sBBqIIIB", b"OggS", 0, flags, self._granule, self._serial, self._page_number, 0,
                        len(self._lacing))
        )  # fmt: skip
        page += self._lacing + b"".join(self._packets)
        sign(page)
        self._spool.write(page)
        if self._packets and self._page_number >= _HEADER_PAGES:
            self._last_page = self.written.size, page
        self._page_number += 1
        self._lacing.clear()
        self._packets.clear()
        self._page_samples = 0
        self.written_until_ns = max(self._granule - self._pre_skip, 0) * S // OPUS_RATE
        self.written = Written(self._spool.size, 0, self._granule, self.written_until_ns)


_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def sign(page: bytearray) -> None:
    """Writes a page's checksum into it: Ogg's CRC-32 is zlib's with every bit order reversed, and without its
    inversions."""
    page[22:26] = bytes(4)
    crc = zlib.crc32(page.translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    page[22:26] = int(f"{crc:032b}"[::-1], 2).to_bytes(4, "little")
