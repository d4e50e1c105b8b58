"""Pictures to measure rate control with: drawn from a seed, the same on every machine.

- ``still``: a detailed picture that stays
- ``moving``: a camera that pans over it, at 3 pixels a frame
- ``noisy``: the same in the dark: fresh noise in each frame, which takes whatever bits there are
- ``person``: still and slightly noisy, something moves in the middle: a web camera
- ``cuts``: ``moving``, to another place each 1.5 s, without a key frame
- ``wakes``: ``still`` for 4 s, then ``moving``
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy

SCENES = ("still", "moving", "noisy", "person", "cuts", "wakes")
CUT_FRAMES, STILL_FRAMES = 45, 120
NOISE_DARK, NOISE_ROOM = 6.0, 1.5
SLACK = 256  # how far a camera can pan


def texture(generator: Any, width: int, height: int) -> Any:
    """Luma with detail of every size, as of photographs: amplitude falls with frequency."""
    spectrum = numpy.fft.rfft2(generator.standard_normal((height, width)))
    rows, columns = numpy.fft.fftfreq(height)[:, None], numpy.fft.rfftfreq(width)[None, :]
    spectrum /= numpy.maximum(numpy.hypot(rows, columns), 2 / width) ** 1.2
    picture = numpy.fft.irfft2(spectrum, (height, width))
    return numpy.clip(125 + 45 * picture / picture.std(), 16, 235)


def pictures(scene: str, width: int, height: int, count: int, seed: int = 7) -> Iterator[bytes]:
    """I420, sides even."""
    generator = numpy.random.default_rng(seed)
    big = texture(generator, width + SLACK, height + SLACK)
    noise = generator.standard_normal((height + SLACK, width + SLACK))
    chroma = numpy.clip(128 + (big[::2, ::2] - 125) / 4, 16, 240).astype(numpy.uint8)
    for number in range(count):
        x, y = _bounce(3 * number), _bounce(number)
        if scene in ("still", "person") or (scene == "wakes" and number < STILL_FRAMES):
            x = y = 0
        if scene == "cuts":
            x, y = _bounce(x + 101 * (number // CUT_FRAMES)), _bounce(y + 57 * (number // CUT_FRAMES))
        luma = big[y : y + height, x : x + width]
        if scene == "person":
            luma = _with_person(luma, big, number)
        strength = {"noisy": NOISE_DARK, "person": NOISE_ROOM}.get(scene, 0.0)
        if strength:
            down, right = generator.integers(0, SLACK, 2)
            luma = luma + strength * noise[down : down + height, right : right + width]
        pair = chroma[y // 2 : y // 2 + height // 2, x // 2 : x // 2 + width // 2].tobytes()
        yield numpy.clip(luma, 0, 255).astype(numpy.uint8).tobytes() + pair + pair


def _bounce(position: int) -> int:
    """To and fro between 0 and ``SLACK``."""
    position %= 2 * SLACK
    return min(position, 2 * SLACK - position)


def _with_person(luma: Any, big: Any, number: int) -> Any:
    """A head that sways before the background."""
    height, width = luma.shape
    high, wide = height // 2, width // 4
    left = int(width * (0.4 + 0.06 * numpy.sin(number / 9)))
    top = int(height * (0.3 + 0.03 * numpy.sin(number / 5)))
    luma = luma.copy()
    luma[top : top + high, left : left + wide] = big[-high:, -wide:]
    return luma
