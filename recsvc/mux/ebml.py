"""EBML elements, written and read. After RFC 8794."""

from typing import NamedTuple

UNKNOWN_SIZE = b"\x01" + b"\xff" * 7


def size_of(value: int) -> bytes:
    """An element's size, on as few bytes as it needs (RFC 8794 section 4)."""
    if value < 127:
        return bytes((value | 0x80,))
    length = 2
    while value >= (1 << 7 * length) - 1:
        length += 1
    return (value | 1 << 7 * length).to_bytes(length, "big")


def long_size(value: int) -> bytes:
    """The same on 8 bytes, in place of ``UNKNOWN_SIZE``."""
    return (value | 1 << 56).to_bytes(8, "big")


def element(identifier: int, content: bytes) -> bytes:
    return identifier.to_bytes((identifier.bit_length() + 7) // 8, "big") + size_of(len(content)) + content


def uint(identifier: int, value: int) -> bytes:
    return element(identifier, value.to_bytes((value.bit_length() + 7) // 8 or 1, "big"))


def void(size: int) -> bytes:
    """Room for an element of ``size`` bytes, at least two."""
    length = 1
    while size - 1 - length >= (1 << 7 * length) - 1:
        length += 1
    content_size = size - 1 - length
    return b"\xec" + (content_size | 1 << 7 * length).to_bytes(length, "big") + bytes(content_size)


class Element(NamedTuple):
    """One that was read; ``begin`` and ``end`` are those of its content."""

    identifier: int
    at: int
    begin: int
    end: int


def read_size(data: bytes, at: int) -> tuple[int, int]:
    """An element's size, and where its content begins. IndexError: the data end before."""
    length = 9 - data[at].bit_length()
    if length > 8:
        raise ValueError(f"no size at {at}")
    data[at + length - 1]
    return int.from_bytes(data[at : at + length], "big") - (1 << 7 * length), at + length


def read(data: bytes, at: int) -> Element:
    """The element there, which must be complete: IndexError where the data end before it does."""
    length = 9 - data[at].bit_length()
    if length > 4:
        raise ValueError(f"no element at {at}")
    size, begin = read_size(data, at + length)
    if begin + size > len(data):
        raise IndexError(f"the element at {at} is not complete")
    return Element(int.from_bytes(data[at : at + length], "big"), at, begin, begin + size)


def children(data: bytes, at: int, end: int) -> list[Element]:
    """The elements that fill this range exactly."""
    found = []
    while at < end:
        found.append(read(data, at))
        at = found[-1].end
    if at != end:
        raise ValueError("an element is longer than its parent")
    return found


def content(data: bytes, elements: list[Element], identifier: int) -> bytes:
    """Of the first element with this identifier; ValueError where there is none."""
    for one in elements:
        if one.identifier == identifier:
            return data[one.begin : one.end]
    raise ValueError(f"no element {identifier:x}")
