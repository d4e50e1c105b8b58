"""Figures and a clock's hand for the picture of ``test:``, drawn in coarse points, for people to read."""

import math

FIGURE_WIDTH, FIGURE_HEIGHT = 6, 8
"""Points of one figure, with the space to its right and below."""

LINE_FIGURES = 9
HEIGHT = 2 * FIGURE_HEIGHT - 1
"""Two lines of figures, the space below the second left out; the clock is as high."""

WIDTH = 2 + LINE_FIGURES * FIGURE_WIDTH + 2 + HEIGHT + 2
"""What the band needs across: two points left and right, the lines, a space, the clock."""

POSITIONS = 60
"""Hand positions of one turn, which takes a second: enough for the usual frame rates."""

_FIGURES = {
    "0": " ###  #   # #  ## # # # ##  # #   #  ### ",
    "1": "  #    ##     #     #     #     #    ### ",
    "2": " ###  #   #     #   ##   #    #     #####",
    "3": " ###  #   #     #   ##      # #   #  ### ",
    "4": "   #    ##   # #  #  #  #####    #     # ",
    "5": "##### #     ####      #     # #   #  ### ",
    "6": " ###  #     #     ####  #   # #   #  ### ",
    "7": "#####     #    #    #    #     #     #   ",
    "8": " ###  #   # #   #  ###  #   # #   #  ### ",
    "9": " ###  #   # #   #  ####     #     #  ### ",
    ":": "        #     #           #     #        ",
    ".": "                                ##    ## ",
    " ": " " * 41,
}  # fmt: skip


class Band:
    """The frame number above the time, and the clock at the right; as rows of luma of a picture's width."""

    def __init__(self, width: int, scale: int, dark: int, light: int) -> None:
        """``scale``: pixels of a point; ``width`` is at least ``WIDTH * scale`` pixels."""
        self.scale = scale
        colours = {" ": bytes([dark]) * scale, "#": bytes([light]) * scale}
        self._glyphs = {figure: _rows(points, colours) for figure, points in _FIGURES.items()}
        self._left = colours[" "] * 2
        self._between = bytes([dark]) * (width - (WIDTH - 2) * scale)
        right = colours[" "] * 2
        self._clock = [[_painted(line, colours) + right for line in _clock(n)] for n in range(POSITIONS)]
        self._empty = bytes([dark]) * width
        self.height = (HEIGHT + 2) * scale

    def rows(self, number: int, time_ms: int) -> list[bytes]:
        """The band's rows, in pieces of several."""
        lines = self._line(f"{number % 10**LINE_FIGURES:0{LINE_FIGURES}d}")
        lines += [self._empty[: len(lines[0])], *self._line(time_text(time_ms))]
        clock = self._clock[time_ms % 1000 * POSITIONS // 1000]
        between, scale, margin = self._between, self.scale, self._empty * self.scale
        return [margin, *((line + between + hand) * scale for line, hand in zip(lines, clock, strict=True)), margin]

    def _line(self, text: str) -> list[bytes]:
        glyphs = [self._glyphs[figure] for figure in text]
        return [self._left + b"".join(parts) for parts in zip(*glyphs, strict=True)]


def time_text(time_ms: int) -> str:
    """Always of ``LINE_FIGURES`` figures: MM:SS.mmm, from an hour on H:MM:SS.m, and so on."""
    seconds, ms = divmod(time_ms, 1000)
    hours, minutes = divmod(seconds // 60, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds % 60:02d}.{ms:03d}"[:LINE_FIGURES].rstrip(".").ljust(LINE_FIGURES)
    return f"{minutes:02d}:{seconds % 60:02d}.{ms:03d}"


def _rows(points: str, colours: dict[str, bytes]) -> list[bytes]:
    """The seven rows of a figure, each with the space to its right."""
    width = FIGURE_WIDTH
    return [_painted(f"{points[start : start + width]:<{width}}", colours) for start in range(0, 7 * width, width)]


def _painted(line: str, colours: dict[str, bytes]) -> bytes:
    return b"".join(colours[point] for point in line)


_MIDDLE = HEIGHT // 2
_RING = [
    [abs(math.hypot(x - _MIDDLE, y - _MIDDLE) - _MIDDLE) < 0.5 for x in range(HEIGHT)] for y in range(HEIGHT)
]  # fmt: skip


def _clock(position: int) -> list[str]:
    """A ring with a hand, as points."""
    angle = 2 * math.pi * position / POSITIONS
    across, down = math.sin(angle), -math.cos(angle)
    lines = [["#" if point else " " for point in row] for row in _RING]
    for half in range(2 * _MIDDLE - 3):
        lines[round(_MIDDLE + half / 2 * down)][round(_MIDDLE + half / 2 * across)] = "#"
    return ["".join(line) for line in lines]
