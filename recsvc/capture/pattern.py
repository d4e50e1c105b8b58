"""The pictures of ``test:``: above the frame number in black and white cells, for machines; below, for people, the same
and the time in figures, a clock's hand that turns once a second, a moving texture, and colour bars.

The number's 16 bits and an 8-bit check fill ``ROWS`` rows of ``COLUMNS`` cells, most significant bit first,
white for 1: the number's high byte, its low byte, the check. The cells take the upper half of the picture,
large enough to survive heavy compression. The check notices a picture of which only a part was renewed.

Pure Python, and still about 0.3 ms for 1280x720: a picture is put together from few large, precomputed
pieces.
"""

import random
from typing import NamedTuple

from .figures import HEIGHT, WIDTH, Band

COLUMNS, ROWS = 8, 3
COUNTER_PERIOD = 1 << 16

BLACK, WHITE = 16, 235
"""Of the limited range that video codecs are made for."""
GREY = 128

COUNTER_WIDTH_MIN, COUNTER_HEIGHT_MIN = 64, 48
"""Below this size cells get smaller than 8x8 (what a codec transforms at once): no number, pattern only."""

PATTERNS = ("counter", "solid", "noise")

TEXTURE_STEP_ROWS = 2
"""Rows per frame: fast enough to see motion, slow enough for any codec's motion search."""

TEXTURE_PERIOD = 64
"""Even, and more than a macroblock: a soft texture that compresses well."""

NOISE_STEP, NOISE_OFFSETS = 7919, 65_521
"""Primes, so that each offset is reached before one comes again."""

BARS = (
    (180, 128, 128), (162, 44, 142), (131, 156, 44), (112, 72, 58), (84, 184, 198), (65, 100, 212), (35, 212, 114),
)  # fmt: skip
"""75 % bars in BT.601, limited range: white, yellow, cyan, green, magenta, red, blue."""


class Cells(NamedTuple):
    """The size of each cell in pixels; they begin in the upper left corner."""

    width: int
    height: int


def cells(width: int, height: int) -> Cells | None:
    """The size of a cell in a picture of this size; ``None`` where no number is drawn."""
    if width < COUNTER_WIDTH_MIN or height < COUNTER_HEIGHT_MIN:
        return None
    return Cells(width // COLUMNS, height // 2 // ROWS)


def check_byte(number: int) -> int:
    """CRC-8 (x⁸+x²+x+1) of a 16-bit number: any three wrong bits are noticed."""
    remainder = (number & 0xFFFF) << 8
    for bit in range(23, 7, -1):
        if remainder >> bit & 1:
            remainder ^= 0x107 << (bit - 8)
    return remainder


class Pattern:
    """Draws I420 pictures of one size. ``picture(n)`` depends on the arguments alone.

    ``name``: ``counter`` (described above), ``solid`` (grey), ``noise`` (incompressible). ``frame_rate``: pictures
    per second, for the time that is shown.
    """

    def __init__(self, name: str, width: int, height: int, seed: int, frame_rate: float = 30.0) -> None:
        chroma_size = ((width + 1) // 2, (height + 1) // 2)
        self._cells = cells(width, height) if name == "counter" else None
        self._frame_rate = frame_rate
        above = self._cells.height * ROWS if self._cells else 0
        self._band = _band(width, height, height - above) if self._cells else None
        if self._band is not None:
            above += self._band.height
        chroma_above = (above + 1) // 2
        below = _bars_height(height, height - above) if self._cells else 0
        chroma_below = chroma_size[1] - (height - below) // 2 if below else 0
        source = random.Random(seed)
        self._width = width
        self._luma = _Window(name, width, height - above - below, source, 60, 190)
        chroma_rows = chroma_size[1] - chroma_above - chroma_below
        self._chroma = [_Window(name, chroma_size[0], chroma_rows, source, 90, 166) for _ in "uv"]
        self._grey = bytes([GREY]) * (chroma_size[0] * chroma_above)
        sizes = ((width, below), (chroma_size[0], chroma_below), (chroma_size[0], chroma_below))
        self._bars = [_bars(plane, *size) for plane, size in enumerate(sizes)]

    def picture(self, number: int) -> bytes:
        """Frame ``number``, tightly packed; a new object that nobody changes."""
        grey, bars = self._grey, self._bars
        u, v = (window.at(number // 2) for window in self._chroma)
        band = [] if self._band is None else self._band.rows(number, int(number * 1000 / self._frame_rate))
        pieces = [*self._counter(number), *band, self._luma.at(number), bars[0], grey, u, bars[1], grey, v, bars[2]]
        return b"".join(pieces)

    def _counter(self, number: int) -> list[bytes]:
        if self._cells is None:
            return []
        number %= COUNTER_PERIOD
        colours = bytes([BLACK]) * self._cells.width, bytes([WHITE]) * self._cells.width
        margin = bytes([BLACK]) * (self._width - COLUMNS * self._cells.width)
        rows = []
        for byte in (number >> 8, number & 0xFF, check_byte(number)):
            line = b"".join(colours[byte >> bit & 1] for bit in range(COLUMNS - 1, -1, -1)) + margin
            rows.append(line * self._cells.height)
        return rows


def _band(width: int, height: int, rows: int) -> Band | None:
    """What is for people to read, in the best size: at most 3/5 of the rows below the cells, and the width."""
    scale = min(rows * 3 // 5 // (HEIGHT + 2), width // WIDTH, max(2, height // 120))
    return Band(width, scale, BLACK, WHITE) if scale else None


def _bars_height(height: int, rows: int) -> int:
    """An eighth of the rows that are left; they begin at an even one, as chroma does."""
    return rows // 8 + (height - rows // 8) % 2 if rows >= 16 else 0


def _bars(plane: int, width: int, rows: int) -> bytes:
    return bytes(BARS[x * len(BARS) // width][plane] for x in range(width)) * rows


class _Window:
    """A view that moves over a texture of twice its height."""

    def __init__(self, name: str, width: int, height: int, source: random.Random, low: int, high: int) -> None:
        self._size = width * height
        self._step, self._period = 0, 1
        if name == "solid":
            self._texture = bytes([GREY]) * self._size
        elif name == "noise":
            self._texture = source.randbytes(self._size + NOISE_OFFSETS)
            self._step, self._period = NOISE_STEP, NOISE_OFFSETS
        else:
            self._texture = _texture(width, height, source, low, high)
            self._step, self._period = TEXTURE_STEP_ROWS * width, TEXTURE_PERIOD * width

    def at(self, number: int) -> bytes:
        offset = number * self._step % self._period
        return self._texture[offset : offset + self._size]


def _texture(width: int, height: int, source: random.Random, low: int, high: int) -> bytes:
    """Soft diagonal stripes that repeat every ``TEXTURE_PERIOD`` rows; slope and phase come from the seed."""
    half = TEXTURE_PERIOD // 2
    wave = bytes(low + (high - low) * (n if n < half else TEXTURE_PERIOD - n) // half for n in range(TEXTURE_PERIOD))
    ramp = wave * (width // TEXTURE_PERIOD + 2)
    phase, slope = source.randrange(TEXTURE_PERIOD), source.choice((-3, -1, 1, 3))
    lines = [ramp[(start := (phase + slope * row) % TEXTURE_PERIOD) : start + width] for row in range(TEXTURE_PERIOD)]
    once = b"".join(lines)
    return once * (height // TEXTURE_PERIOD + 2)
