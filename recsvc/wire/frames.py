"""Frames as a sender has them, and the headers that go before them."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import errors
from . import messages
from .route import Route


class Picture(NamedTuple):
    """A video frame on its way. The payload (bytes, or a contiguous buffer) is read only until ``send`` returns; with
    ``by_capture_time`` it is kept and must not change any more."""

    captured_ns: int
    payload: Any
    pixel_format: str
    width: int
    height: int


class Block(NamedTuple):
    """A sound block on its way: interleaved samples, the first one captured at ``captured_ns``."""

    captured_ns: int
    payload: Any
    sample_count: int


def picture_header(
    route: Route,
    picture: Picture,
    since: tuple[int, int],
    muted: bool,
    counted: dict[str, int],
    place: tuple[int, int] | None,
) -> bytes:
    """``since``: when its unpaused interval began, and what was paused before; ``place``: in the shared memory."""
    return messages.encode(
        messages.VideoFrame(
            route=route.name,
            sequence=route.sequence,
            captured_ns=picture.captured_ns,
            paused_ns=since[1],
            since_ns=since[0],
            muted=muted,
            dropped=route.dropped,
            counted=counted,
            pixel_format=picture.pixel_format,
            width=picture.width,
            height=picture.height,
            ring=place[0] if place else 0,
            offset=place[1] if place else 0,
        )
    )


def block_header(
    route: Route,
    block: Block,
    since: tuple[int, int],
    muted: bool,
    counted: dict[str, int],
    audio_format: tuple[str, int, int] | None,
) -> bytes:
    """``since``: as for a picture; ``audio_format``: sample format, sample rate, channel count."""
    if audio_format is None:
        raise errors.InvalidStateError("sound was sent before its format was set")
    sample_format, sample_rate, channel_count = audio_format
    return messages.encode(
        messages.AudioFrame(
            route=route.name,
            sequence=route.sequence,
            captured_ns=block.captured_ns,
            paused_ns=since[1],
            since_ns=since[0],
            muted=muted,
            dropped=route.dropped,
            counted=counted,
            sample_format=sample_format,
            sample_rate=sample_rate,
            channel_count=channel_count,
            sample_count=block.sample_count,
            last=route.last,
        )
    )
