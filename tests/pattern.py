"""Reads back what ``test:`` draws and plays; shares only the layout's constants with the drawing."""

import math
from array import array
from collections.abc import Iterator, Sequence

from recsvc.capture.pattern import BLACK, COLUMNS, COUNTER_HEIGHT_MIN, COUNTER_WIDTH_MIN, ROWS, WHITE

# A cell this near to the middle between black and white is not read: better no number than a wrong one.
DOUBT = 30
# Points looked at per cell and direction.
POINTS = 6


def read_counter(luma: object, width: int, height: int, stride: int | None = None) -> int | None:
    """The frame number (0 to 65535) in a picture's luma plane, ``None`` when it cannot be read for certain.

    ``luma``: a buffer of at least ``stride * height`` bytes, 8 bits a pixel, limited range.
    """
    if width < COUNTER_WIDTH_MIN or height < COUNTER_HEIGHT_MIN:
        return None
    view = memoryview(luma).cast("B")  # type: ignore[arg-type]
    stride = stride or width
    bits = []
    for level in _cell_levels(view, width, height, stride):
        if abs(level - (BLACK + WHITE) / 2) < DOUBT:
            return None
        bits.append(level > (BLACK + WHITE) / 2)
    high, low, check = (sum(bit << 7 - n for n, bit in enumerate(bits[row * 8 : row * 8 + 8])) for row in range(3))
    number = high << 8 | low
    return number if _crc8(bytes([high, low])) == check else None


def tone_frequency(samples: object, rate: int, *, channels: int = 1, sample_format: str = "s16") -> float:
    """The frequency in Hz of a steady tone, from the first channel; 0.0 for silence.

    It is the mean of the periods between zero crossings, without those that a gap or a click made wrong.
    """
    values = channel_values(samples, channels=channels, sample_format=sample_format)
    loudest = max((abs(value) for value in values), default=0)
    if loudest == 0:
        return 0.0
    crossings: list[float] = []
    armed = False
    for n in range(1, len(values)):
        armed = armed or values[n - 1] < -loudest / 4
        if armed and values[n - 1] < 0 <= values[n]:
            crossings.append(n - values[n] / (values[n] - values[n - 1]))
            armed = False
    periods = sorted(b - a for a, b in zip(crossings, crossings[1:], strict=False))
    if not periods:
        return 0.0
    middle = periods[len(periods) // 2]
    sound = [period for period in periods if abs(period - middle) < middle / 10]
    return rate * len(sound) / sum(sound)


def channel_values(
    samples: object, *, channels: int = 1, channel: int = 0, sample_format: str = "s16"
) -> Sequence[float]:
    """The values of one channel of interleaved samples."""
    values: array[int] | array[float] = array("h" if sample_format == "s16" else "f")
    values.frombytes(bytes(samples))  # type: ignore[call-overload]
    return values[channel::channels]


def loudness(samples: object, *, channels: int = 1, sample_format: str = "s16") -> float:
    """The root mean square of the first channel, 1.0 for a square wave at full scale."""
    values = channel_values(samples, channels=channels, sample_format=sample_format)
    scale = 32768.0 if sample_format == "s16" else 1.0
    return math.sqrt(sum(value * value for value in values) / max(1, len(values))) / scale


def _cell_levels(view: memoryview, width: int, height: int, stride: int) -> Iterator[float]:
    """The mean brightness of the middle of each cell, in reading order."""
    cell_width, cell_height = width // COLUMNS, height // 2 // ROWS
    for row in range(ROWS):
        for column in range(COLUMNS):
            total = 0
            for y in range(POINTS):
                line = row * cell_height + cell_height // 4 + y * (cell_height // 2) // POINTS
                start = line * stride + column * cell_width + cell_width // 4
                total += sum(view[start + x * (cell_width // 2) // POINTS] for x in range(POINTS))
            yield total / POINTS**2


def _crc8(data: bytes) -> int:
    remainder = 0
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder << 1 ^ 0x07) & 0xFF if remainder & 0x80 else remainder << 1
    return remainder
