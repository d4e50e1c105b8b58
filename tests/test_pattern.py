"""The picture of ``test:``: exact for machines in any size, and something to see for people."""

import random

import numpy as np
import pytest
from pattern import read_counter

from recsvc.capture.figures import LINE_FIGURES, Band, time_text
from recsvc.capture.pattern import BLACK, WHITE, Pattern


def luma(pattern: Pattern, number: int, width: int, height: int) -> np.ndarray:
    return np.frombuffer(pattern.picture(number), np.uint8)[: width * height].reshape(height, width)


def test_pictures_of_any_size_are_whole_and_numbered() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    source = random.Random(seed)
    sizes = [(1, 1), (63, 47), (64, 48), (65, 49), (1920, 1081), (9, 900), (900, 9)]
    sizes += [(source.randrange(1, 400), source.randrange(1, 400)) for _ in range(200)]
    for width, height in sizes:
        pattern = Pattern("counter", width, height, source.randrange(9))
        number = source.randrange(1 << 16)
        picture = pattern.picture(number)
        assert len(picture) == width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2), (width, height)
        expected = number if width >= 64 and height >= 48 else None
        assert read_counter(picture[: width * height], width, height) == expected, (width, height)


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "00:00.000"), (4_100, "00:04.100"), (3_599_999, "59:59.999"), (3_600_000, "1:00:00.0"),
        (36_000_000, "10:00:00 "), (360_000_000, "100:00:00"),
    ],
)  # fmt: skip
def test_the_time_has_always_as_many_figures(time_ms: int, text: str) -> None:
    assert time_text(time_ms) == text
    assert len(text) == LINE_FIGURES


def test_figures_are_what_they_show() -> None:
    """As points of the smallest size, and the same larger."""
    band = Band(80, 1, BLACK, WHITE)
    rows = b"".join(band.rows(123, 0))
    points = np.frombuffer(rows, np.uint8).reshape(-1, 80) == WHITE
    assert points.shape == (band.height, 80)
    shown = ["".join("#" if point else "." for point in row[44:56]) for row in points[1:8]]
    assert shown == [
        ".###...###..",
        "#...#.#...#.",
        "....#.....#.",
        "..##....##..",
        ".#........#.",
        "#.....#...#.",
        "#####..###..",
    ]  # the 2 and the 3 of 000000123
    large = np.frombuffer(b"".join(Band(240, 3, BLACK, WHITE).rows(123, 0)), np.uint8).reshape(-1, 240) == WHITE
    assert np.array_equal(large, points.repeat(3, 0).repeat(3, 1))
    glyphs = {b"".join(band._glyphs[figure]) for figure in "0123456789:. "}
    assert len(glyphs) == 13


def test_number_time_and_hand_go_on() -> None:
    width, height = 160, 120
    pattern = Pattern("counter", width, height, 0, 30.0)
    band = [luma(pattern, n, width, height)[60:94] for n in range(31)]
    for one, following in zip(band, band[1:], strict=False):
        assert not np.array_equal(one[:, :116], following[:, :116])  # the figures
        assert not np.array_equal(one[:, 120:], following[:, 120:])  # the hand
    assert np.array_equal(band[0][:, 120:], band[30][:, 120:])  # a second later


def test_the_bars_have_their_colours() -> None:
    for width, height in ((640, 480), (163, 121)):
        picture = np.frombuffer(Pattern("counter", width, height, 0).picture(7), np.uint8)
        chroma = (height + 1) // 2, (width + 1) // 2
        y, u, v = np.split(picture, [width * height, width * height + chroma[0] * chroma[1]])
        colours = []
        for bar in range(7):
            x = (2 * bar + 1) * width // 14
            u_value, v_value = (int(plane.reshape(chroma)[-1, x // 2]) - 128 for plane in (u, v))
            light = 1.164 * (int(y.reshape(height, width)[-1, x]) - 16)
            rgb = light + 1.596 * v_value, light - 0.392 * u_value - 0.813 * v_value, light + 2.017 * u_value
            colours.append(tuple(round(value / 191) for value in rgb))
        assert colours == [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1)]
