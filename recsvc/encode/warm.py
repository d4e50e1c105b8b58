"""Makes a worker's first recording begin as fast as the others: what codecs set up at their first use is set up
before."""

from __future__ import annotations

from . import native

_SIDE = 64


def warm() -> None:
    """Encodes a little with each codec. Takes some 10 ms."""
    with native.AudioEncoder(48_000, 2, "s16") as sound:
        sound.encode_silence(1_920)
    for codec in ("vp8", "vp9"):
        with native.VideoEncoder(codec, _SIDE, _SIDE, bits_per_second=100_000) as pictures:
            pictures.encode(None, "i420", _SIDE, _SIDE, 0, 33_333)
