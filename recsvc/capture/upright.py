"""Pictures that are stored turned or mirrored, as phones do, and how they get upright."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any, NamedTuple

import av
import av.error
import av.filter


class _Steps(NamedTuple):
    """FFmpeg's filters with their argument."""

    filters: tuple[tuple[str, str | None], ...]
    is_quarter: bool


class Turn:
    """A quarter turn, a half turn or a mirroring. Not thread-safe."""

    def __init__(self, steps: _Steps) -> None:
        self.is_quarter = steps.is_quarter
        """Width and height change places."""
        self._steps = steps
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
        chain += [graph.add(name, argument) for name, argument in self._steps.filters]
        # Without it the end of the graph could choose another format.
        chain += [graph.add("format", pixel_format), graph.add("buffersink")]
        for one, following in zip(chain, chain[1:], strict=False):
            one.link_to(following)
        graph.configure()
        return graph


def turn_of(frame: Any) -> Turn | None:
    """What a decoded picture's display matrix asks for; ``None``: nothing. Angles in between are left as they are."""
    found = [bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"]
    steps = _steps(struct.unpack("=9i", found[0][:36])) if found and len(found[0]) >= 36 else None
    return None if steps is None else Turn(steps)


def turn_of_file(path: str, stream_index: int) -> Turn | None:
    """The same of a file's first picture, for which it is opened once more: only decoded pictures tell."""
    try:
        with av.open("file:" + path) as container:
            stream: Any = container.streams[stream_index]
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                return turn_of(frame)
    except (av.error.FFmpegError, OSError, ValueError):
        pass  # who reads the file says what is wrong with it
    return None


def _steps(matrix: tuple[int, ...]) -> _Steps | None:
    """As FFmpeg's own programs read it (AVDisplayMatrix: rows of three, what is shown = stored x matrix)."""
    a, b, _, c, d = matrix[:5]
    across, down = math.hypot(a, c), math.hypot(b, d)
    if not (across and down):
        return None
    angle = math.degrees(math.atan2(b / down, a / across)) % 360
    if abs(angle - 90) < 1:
        return _Steps((("transpose", "cclock_flip" if c > 0 else "clock"),), True)
    if abs(angle - 270) < 1:
        return _Steps((("transpose", "clock_flip" if c < 0 else "cclock"),), True)
    if abs(angle - 180) < 1:
        mirrored = [("hflip", None)] if a < 0 else []
        mirrored += [("vflip", None)] if d < 0 else []
        return _Steps(tuple(mirrored), False)
    if min(angle, 360 - angle) < 1 and d < 0:
        return _Steps((("vflip", None),), False)
    return None
