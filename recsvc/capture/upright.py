"""Pictures that are stored turned or mirrored, as phones do, and how they get upright."""

from __future__ import annotations

import itertools
import math
import struct
from fractions import Fraction
from typing import Any

import av.filter

from .ffmpeg import OPEN_ERRORS, opened

_FILTERS: dict[tuple[int, ...], tuple[tuple[str, str | None], ...]] = {
    (0, 1, -1, 0): (("transpose", "clock"),),
    (0, 1, 1, 0): (("transpose", "cclock_flip"),),
    (0, -1, 1, 0): (("transpose", "cclock"),),
    (0, -1, -1, 0): (("transpose", "clock_flip"),),
    (-1, 0, 0, 1): (("hflip", None),),
    (-1, 0, 0, -1): (("hflip", None), ("vflip", None)),
    (1, 0, 0, -1): (("vflip", None),),
}
"""What FFmpeg's own programs do for a display matrix (AVDisplayMatrix: rows of three, what is shown = stored x matrix),
by its upper left four numbers; FFmpeg's filters with their argument."""

_ANGLE_SINE = math.sin(math.radians(1))
"""A matrix that is less than a degree away is meant to be one of these."""


class Turn:
    """A quarter turn, a half turn or a mirroring. Not thread-safe."""

    def __init__(self, matrix: tuple[int, ...]) -> None:
        self.is_quarter = not matrix[0]
        """Width and height change places."""
        self._filters = _FILTERS[matrix]
        self._graph: Any = None
        self._form: tuple[int, int, str] | None = None

    def applied(self, frame: Any) -> Any:
        """The picture upright, in the same pixel format."""
        form = frame.width, frame.height, frame.format.name
        if form != self._form:
            self._graph, self._form = self._made(*form), form
        self._graph.push(frame)
        return self._graph.pull()

    def _made(self, width: int, height: int, pixel_format: str) -> Any:
        graph: Any = av.filter.Graph()
        chain = [graph.add_buffer(width=width, height=height, format=pixel_format, time_base=Fraction(1, 1000))]
        # Without "format" the end of the graph could choose another one.
        chain += [graph.add(*step) for step in (*self._filters, ("format", pixel_format), ("buffersink", None))]
        for one, following in itertools.pairwise(chain):
            one.link_to(following)
        graph.configure()
        return graph


def turn_of(frame: Any) -> Turn | None:
    """What a decoded picture's display matrix asks for; ``None``: nothing. Angles in between are left as they are."""
    found = [bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"]
    if not found or len(found[0]) < 36:
        return None
    a, b, _, c, d = struct.unpack("=5i", found[0][:20])
    across, down = math.hypot(a, c), math.hypot(b, d)
    if not (across and down):
        return None
    scaled = a / across, b / down, c / across, d / down
    matrix = tuple(round(value) for value in scaled)
    is_near = all(abs(value - whole) <= _ANGLE_SINE for value, whole in zip(scaled, matrix, strict=True))
    return Turn(matrix) if is_near and matrix in _FILTERS else None


def turn_of_file(path: str, stream_index: int) -> Turn | None:
    """The same of a file's first picture, for which it is opened once more: only decoded pictures have it."""
    try:
        with opened("file:" + path) as container:
            stream: Any = container.streams[stream_index]
            stream.codec_context.thread_count = 1
            return next((turn_of(frame) for frame in container.decode(stream)), None)
    except OPEN_ERRORS:
        return None  # Reading the file fails with the reason.
