"""Completes Ogg files of our own muxer (``ogg.py``). After RFC 3533 and RFC 7845."""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..common.media import OPUS_RATE
from ..errors import NotReadableError
from .ogg import FIRST_PAGE, LAST_PAGE, sign
from .repair import File

_PAGE_MAX = 27 + 255 + 255 * 255  # RFC 3533 section 6


class _Page(NamedTuple):
    at: int
    begin: int
    end: int
    flags: int
    granule: int
    serial: int
    number: int


class Ogg:
    """A file as it is found. ``NotReadableError`` where it is none of ours, or ends within its header."""

    mime_type = "audio/ogg;codecs=opus"

    def __init__(self, file: File) -> None:
        self._file = file
        pages = []
        at = 0
        for start in (b"OpusHead", b"OpusTags\x06\0\0\0recsvc"):
            page = self._page(at)
            if page is None or page.end > file.size:
                raise NotReadableError(
                    f"{file.path} has {file.size} bytes and ends within its header: nothing was recorded in it yet"
                )
            if file.read(page.begin, len(start)) != start:
                raise NotReadableError(f"{file.path} is no recording of recsvc")
            pages.append(page)
            at = page.end
        head = file.read(pages[0].begin, 12)
        if not pages[0].flags & FIRST_PAGE or len(head) < 12:
            raise NotReadableError(f"{file.path} is no recording of recsvc")
        self._pre_skip = int.from_bytes(head[10:12], "little")
        self._headers = pages
        self.duration = 0.0
        last = self._last_page()
        self.finished = False
        if last is not None and last.flags & LAST_PAGE:
            stored, (_, right) = self._crcs(last)
            self.finished = stored == right
            self._set_duration(last)

    def complete(self) -> None:
        """Cuts the torn page off, and marks the last one. Sets ``duration`` (s)."""
        file = self._file
        pages = self._walk()
        while pages and not self._is_intact(pages[-1]):  # a power failure may leave other content
            pages.pop()
        end = pages[-1].end if pages else self._headers[-1].end
        file.check_torn(end, 2 * _PAGE_MAX, b"OggS\0", self._is_whole)
        file.cut(end)
        if pages:
            last = pages[-1]
            page = bytearray(file.read(last.at, last.end - last.at))
        else:  # a recording without sound ends with an empty packet
            last = _Page(end, end + 28, end + 28, 0, 0, self._headers[0].serial, 2)
            page = bytearray(struct.pack("<4sBBqIIIBB", b"OggS", 0, 0, 0, last.serial, last.number, 0, 1, 0))
        page[5] |= LAST_PAGE
        sign(page)
        # The flag and the checksum. Should a part of them reach the disk, _is_intact() takes the page all the same.
        file.write(last.at, bytes(page[:28] if not pages else page[:26]))
        file.sync()
        self._set_duration(last)

    def _set_duration(self, last: _Page) -> None:
        self.duration = max(last.granule - self._pre_skip, 0) / OPUS_RATE

    def _walk(self) -> list[_Page]:
        """The complete pages after the headers."""
        pages: list[_Page] = []
        before = self._headers[-1]
        while (page := self._page(before.end)) is not None:
            if page.end > self._file.size or (page.serial, page.number) != (before.serial, before.number + 1):
                break
            pages.append(page)
            before = page
        return pages

    def _page(self, at: int) -> _Page | None:
        """The page that begins there; it may end after the file's end."""
        head = self._file.read(at, 282)
        if len(head) < 27 or head[:5] != b"OggS\0":
            return None
        flags, granule, serial, number, _, count = struct.unpack_from("<BqIIIB", head, 5)
        if len(head) < 27 + count:
            return None
        begin = at + 27 + count
        return _Page(at, begin, begin + sum(head[27 : 27 + count]), flags, granule, serial, number)

    def _last_page(self) -> _Page | None:
        """The page that ends where the file does, without a walk."""
        start = max(self._file.size - _PAGE_MAX, self._headers[-1].end)
        data = self._file.read(start, self._file.size - start)
        at = data.rfind(b"OggS\0")
        while at >= 0:
            page = self._page(start + at)
            if page is not None and page.end == self._file.size and page.serial == self._headers[0].serial:
                return page
            at = data.rfind(b"OggS\0", 0, at)
        return None

    def _crcs(self, page: _Page) -> tuple[bytes, list[bytes]]:
        """The stored checksum; those of the page as it would be in the middle and at the end of a file."""
        data = bytearray(self._file.read(page.at, page.end - page.at))
        stored = bytes(data[22:26])
        right = []
        for flags in (page.flags & ~LAST_PAGE, page.flags | LAST_PAGE):
            data[5] = flags
            sign(data)
            right.append(bytes(data[22:26]))
        return stored, right

    def _is_intact(self, page: _Page) -> bool:
        """Whether the checksum is right, or a mixture: while a page is marked as the last one, any part of the mark
        and of the new checksum may be on the disk."""
        stored, right = self._crcs(page)
        return all(byte in either for byte, *either in zip(stored, *right, strict=True))

    def _is_whole(self, at: int) -> bool:
        page = self._page(at)
        return page is not None and page.end <= self._file.size and self._is_intact(page)
