"""Draws the table of ``recsvc/common/state.py`` into ``docs/state.svg``: ``python tools/draw_state.py``.

Only the places of the phases stand here; arrows, words and public states come from the table.
"""

from __future__ import annotations

import textwrap
from html import escape
from math import hypot
from pathlib import Path

from recsvc.common.state import PUBLIC, TABLE, Phase

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "state.svg"

WIDTH, HEIGHT = 900, 430
BOX_WIDTH, BOX_HEIGHT = 132, 52
PLACES = {
    Phase.OPENING: (100, 110),
    Phase.RECORDING: (450, 110),
    Phase.PAUSED: (800, 110),
    Phase.IDLE: (100, 300),
    Phase.STOPPING: (450, 300),
}
"""The middle of each box. An arrow to the same phase hangs below it in the lower half, else above it."""
APART = 13
"""Arrows to and fro between two phases run this far to the right of the line between their middles."""
FONT, SMALL_FONT = 15, 13
LINE_HEIGHT = 17
LOOP_WIDTH, LOOP_HEIGHT = 44, 44
COLOURS = {"inactive": "#eceff1", "recording": "#fde0dc", "paused": "#fff3cd"}

HEAD = f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" \
font-family="sans-serif" font-size="{SMALL_FONT}" text-anchor="middle" fill="#222">
<title>The phases of a recording</title>
<style>path {{ fill: none; stroke: #555; stroke-width: 1.4; marker-end: url(#tip) }}
.word {{ stroke: white; stroke-width: 10; stroke-linejoin: round; paint-order: stroke }}</style>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">\
<polygon points="0,1 10,5 0,9" fill="#555"/></marker></defs>
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>
"""

Point = tuple[float, float]


def draw() -> str:
    """The picture as SVG."""
    inputs: dict[tuple[Phase, Phase], list[str]] = {}
    for (before, happened), after in TABLE.items():
        inputs.setdefault((before, after), []).append(happened.value)
    arrows, words = [], []
    for (before, after), names in inputs.items():
        arrow, word = loop(before, names) if before is after else line(before, after, names, (after, before) in inputs)
        arrows.append(arrow)
        words.append(word)
    # The words come last, so that no arrow runs through them.
    return HEAD + "".join([*arrows, *map(box, Phase), *words]) + "</svg>\n"


def box(phase: Phase) -> str:
    x, y = PLACES[phase]
    left, top = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
    return (
        f'<rect x="{left:g}" y="{top:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="9" '
        f'fill="{COLOURS[PUBLIC[phase]]}" stroke="#555"/>\n'
        f'<text x="{x}" y="{y - 3}" font-size="{FONT}" font-weight="bold">{escape(phase.value)}</text>\n'
        f'<text x="{x}" y="{y + 15}" fill="#666">state “{escape(PUBLIC[phase])}”</text>\n'
    )


def line(before: Phase, after: Phase, names: list[str], both_ways: bool) -> tuple[str, str]:
    """An arrow from edge to edge, and its words in the middle."""
    (x1, y1), (x2, y2) = PLACES[before], PLACES[after]
    length = hypot(x2 - x1, y2 - y1)
    away_x, away_y = (y1 - y2) / length, (x2 - x1) / length
    shift = APART if both_ways else 0
    start, end = (x1 + shift * away_x, y1 + shift * away_y), (x2 + shift * away_x, y2 + shift * away_y)
    begin_x, begin_y = edge(PLACES[before], start, end)
    end_x, end_y = edge(PLACES[after], end, start)
    arrow = f'<path d="M{begin_x:.1f} {begin_y:.1f} L{end_x:.1f} {end_y:.1f}"/>\n'
    x, y = (begin_x + end_x) / 2, (begin_y + end_y) / 2
    if not both_ways:
        return arrow, text(x, y, names)
    # Of two arrows beside each other each has its words on its outer side.
    if abs(away_x) > abs(away_y):
        anchor = "start" if away_x > 0 else "end"
        return arrow, text(x + 8 * away_x, y, names, anchor)
    return arrow, text(x, y + away_y * (7 + LINE_HEIGHT * len(names) / 2), names)


def edge(middle: Point, start: Point, towards: Point) -> Point:
    """Where a line that starts inside the box around ``middle`` leaves it."""
    shares = []
    for centre, begin, end, half in zip(middle, start, towards, (BOX_WIDTH / 2, BOX_HEIGHT / 2), strict=True):
        if end != begin:
            side = centre + half if end > begin else centre - half
            shares.append((side - begin) / (end - begin))
    share = min(shares)
    return start[0] + share * (towards[0] - start[0]), start[1] + share * (towards[1] - start[1])


def loop(phase: Phase, names: list[str]) -> tuple[str, str]:
    x, y = PLACES[phase]
    out = 1 if y > HEIGHT / 2 else -1
    near, far = y + out * BOX_HEIGHT / 2, y + out * (BOX_HEIGHT / 2 + LOOP_HEIGHT)
    left, right = x - LOOP_WIDTH / 2, x + LOOP_WIDTH / 2
    arrow = f'<path d="M{left:g} {near:g} C{left - 12:g} {far:g} {right + 12:g} {far:g} {right:g} {near:g}"/>\n'
    rows = textwrap.wrap(", ".join(names), 32)
    reach = near + out * (LOOP_HEIGHT * 3 / 4 + 6 + LINE_HEIGHT * len(rows) / 2)
    return arrow, text(x, reach, rows)


def text(x: float, y: float, rows: list[str], anchor: str = "middle") -> str:
    """Rows of words around a point, with a white edge that sets them off from arrows."""
    top = y - LINE_HEIGHT * (len(rows) - 1) / 2 + SMALL_FONT * 0.35
    return "".join(
        f'<text class="word" x="{x:.1f}" y="{top + LINE_HEIGHT * number:.1f}" text-anchor="{anchor}">'
        f"{escape(row.replace('_', ' '))}</text>\n"
        for number, row in enumerate(rows)
    )


if __name__ == "__main__":
    PICTURE.write_text(draw())
