"""Frames as a sender has them."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar


class Picture(NamedTuple):
    """A video frame on its way. The payload (bytes, or a contiguous buffer) is read only until ``send`` returns; the
    sender of a device keeps it, and it must not change any more."""

    captured_ns: int
    payload: Any
    pixel_format: str
    width: int
    height: int

    @property
    def units(self) -> int:
        """What it counts for where it is dropped."""
        return 1


class Block(NamedTuple):
    """A sound block on its way: interleaved samples, the first one captured at ``captured_ns``."""

    captured_ns: int
    payload: Any
    sample_count: int

    @property
    def units(self) -> int:
        """What it counts for where it is dropped."""
        return self.sample_count


class Packet(NamedTuple):
    """An encoded packet on its way, of sound or a picture; what it says is as in ``messages.PacketFrame``. One that is
    ``damaged`` is not sent, but counted."""

    captured_ns: int
    payload: bytes
    key_frame: bool = True
    duration_ns: int = 0
    offset_ns: int = 0
    damaged: bool = False
    padding_ns: int = 0

    @property
    def units(self) -> int:
        """What it counts for where it is dropped."""
        return 1


F = TypeVar("F", bound=Picture | Block | Packet)
"""A sender and its routes have frames of one kind."""
