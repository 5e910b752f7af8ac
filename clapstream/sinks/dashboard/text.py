"""Lines of text for the dashboard: bars, durations, ends that meet the margins. No state in here."""

from __future__ import annotations

import itertools
import string
from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.text import Text

TRACK = "grey23"

_FILLED, _EMPTY = "▆", "▁"
"""Not the full block: the gap keeps the bars of neighbouring rows apart. Both can be told without colour."""


_OF_ONE_WIDTH = dict.fromkeys((0xFE0E, 0xFE0F, *range(0x1F3FB, 0x1F400))) | {
    0x1F1E6 + index: letter for index, letter in enumerate(string.ascii_uppercase)
}
"""Variation selectors and skin tones are left out, flags become letters: terminals disagree about their width."""


def bar(fraction: float, columns: int, colour: str, marks: Mapping[int, tuple[str, str]]) -> Text:
    """A bar of `columns` cells, with styled characters standing at some of them."""
    filled = round(min(max(fraction, 0.0), 1.0) * columns)
    cells = [(_FILLED, colour) if cell < filled else (_EMPTY, TRACK) for cell in range(columns)]
    return runs([marks.get(index, cell) for index, cell in enumerate(cells)])


def runs(cells: Sequence[tuple[str, str]]) -> Text:
    """Text of styled characters; neighbours of one style become one run, which is far less to draw."""
    by_style = itertools.groupby(cells, key=lambda cell: cell[1])
    return Text.assemble(*(("".join(character for character, _ in run), style) for style, run in by_style))


def cell_at(fraction: float, columns: int) -> int:
    """The cell of a bar in which a fraction lies."""
    return min(int(fraction * columns), columns - 1)


def duration(seconds: float) -> str:
    """`3.2 s`, `45 s`, `2m 05s`, `1h 05m`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    return f"{minutes}m {rest:02}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02}m"


def clock_time(at: datetime, now: datetime) -> str:
    """Local time, or the date where it was not today: always eight cells."""
    local = at.astimezone(now.tzinfo)
    return f"{local:%H:%M:%S}" if local.date() == now.date() else f"{local:%b %d}".rjust(8)


def spread(left: Text, right: Text, width: int) -> Text:
    """`left` and `right` at both ends of a line; what does not fit is cut from `left`."""
    room = width - right.cell_len
    left = fit(left, room)
    return fit(Text.assemble(left, " " * (room - left.cell_len), right), width)


def fit(line: Text, width: int) -> Text:
    """A copy of the line in at most `width` cells, with an ellipsis where it was cut."""
    line = line.copy()
    line.no_wrap = True
    line.truncate(max(width, 0), overflow="ellipsis")
    return line


def one_line(text: str) -> str:
    """Text that cannot move the cursor, and whose width all terminals agree about."""
    return "".join(character if character.isprintable() else " " for character in text.translate(_OF_ONE_WIDTH))
