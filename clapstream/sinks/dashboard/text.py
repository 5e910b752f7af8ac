"""Building blocks of text for the dashboard: bars, durations, times, lines cut to their place."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from clapstream.sinks.dashboard.style import TRACK

_FILLED, _EMPTY = "▆", "▁"
"""Not the full block: the gap separates the bars of adjacent rows. They differ in shape, not only in colour."""

_OF_ONE_WIDTH = dict.fromkeys((0xFE0E, 0xFE0F, *range(0x1F3FB, 0x1F400))) | {
    0x1F1E6 + index: letter for index, letter in enumerate(string.ascii_uppercase)
}
"""Terminals disagree about their width: variation selectors and skin tones are removed, flags become letters."""


def bar(fraction: float, columns: int, colour: str, marks: Mapping[int, tuple[str, str]]) -> Text:
    """A bar of `columns` cells; `marks` are styled characters that replace some of them."""
    filled = round(min(max(fraction, 0.0), 1.0) * columns)
    cells = [(_FILLED, colour) if cell < filled else (_EMPTY, TRACK) for cell in range(columns)]
    return runs([marks.get(index, cell) for index, cell in enumerate(cells)])


def runs(cells: Sequence[tuple[str, str]]) -> Text:
    """Text of styled characters; adjacent ones of the same style become one run, which is much faster to draw."""
    by_style = itertools.groupby(cells, key=lambda cell: cell[1])
    return Text.assemble(*(("".join(character for character, _ in run), style) for style, run in by_style))


def cell_at(fraction: float, columns: int) -> int:
    """The cell of a bar of `columns` cells that a fraction falls into."""
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
    """The time in the time zone of `now`, or the date if it was not today; always eight cells."""
    local = at.astimezone(now.tzinfo)
    return f"{local:%H:%M:%S}" if local.date() == now.date() else f"{local:%b %d}".rjust(8)


def two_columns(rows: Iterable[tuple[Text, Text]]) -> Table:
    """Rows with text at both ends; the left text is cut if they do not fit."""
    table = Table.grid(expand=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True, overflow="ellipsis")
    for left, right in rows:
        table.add_row(left, right)
    return table


def joined(lines: Iterable[Text]) -> Text:
    """The lines as one text; those that are too long for their place are cut."""
    text = Text("\n").join(lines)
    text.no_wrap = True
    text.overflow = "ellipsis"
    return text


def name_columns(names: Iterable[str], width: int) -> int:
    """The cells that names get in lines of `width` cells: those of the longest, up to a third."""
    longest = max((cell_len(name) for name in names), default=0)
    return min(max(longest, 10), max(width // 3, 6))


def one_line(text: str) -> str:
    """The text without control characters, and without those whose width terminals disagree about."""
    return "".join(character if character.isprintable() else " " for character in text.translate(_OF_ONE_WIDTH))
