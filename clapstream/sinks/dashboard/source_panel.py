"""The panel of one source: its level now and before, its labels with their scores, its counters."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.cells import set_cell_size
from rich.console import RenderableType
from rich.text import Text

from clapstream.sinks.dashboard.border import BORDER_COLUMNS, BORDER_ROWS, bordered
from clapstream.sinks.dashboard.source_status import status, why_no_scores
from clapstream.sinks.dashboard.state import PastWindow, SourceState
from clapstream.sinks.dashboard.style import ABOVE, ACTIVE, BAD, BELOW, GOOD, NAME, QUIET, TRACK, WARNING
from clapstream.sinks.dashboard.text import bar, cell_at, duration, joined, name_columns, one_line, runs
from clapstream.updates import Event, LabelScore, WindowHeard

MIN_DBFS = -80.0
"""The left end of the level meter; its right end is 0 dBFS."""
LOUD_DBFS = -18.0
CLIPPING_DBFS = -6.0
READOUT_COLUMNS = 15
"""For the figures to the right of a bar."""
HISTORY_ROWS = 9
"""A panel of fewer rows does not show the levels of past windows."""

_HEIGHTS = "▁▂▃▄▅▆▇█"


def source_panel(
    source: SourceState, active: Mapping[str, Event], now: datetime, width: int, rows: int
) -> RenderableType:
    """The panel; `width` and `rows` include its border, `active` are the active events of all sources."""
    word, colour = status(source, now)
    title = Text.assemble((f"{one_line(source.name)} ", f"bold {NAME}"), (f"● {word}", colour))
    if source.diagnostics is not None and source.diagnostics.gated_windows:
        title.append(f" · {source.diagnostics.gated_windows} gated", QUIET)
    inner = width - BORDER_COLUMNS
    if source.heard is None:
        lines = [Text(line, QUIET) for line in ["", *textwrap.wrap(why_no_scores(source), inner)]]
    else:
        since = {event.label.slug: event.started for event in active.values() if event.source.name == source.name}
        lines = _score_lines(source, source.heard, since, now, inner, rows)
    return bordered(title, joined(lines), _counters(source))


def top_scores(scores: Sequence[LabelScore], count: int) -> list[LabelScore]:
    """Up to `count` scores, highest first: the active ones, even if others are higher, then the highest."""
    chosen = sorted(scores, key=lambda score: (not score.active, -score.score))[: max(count, 0)]
    return sorted(chosen, key=lambda score: -score.score)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Widths of the name and of the bar in each line, which begins with a mark and ends with figures."""

    name: int
    bar: int

    @classmethod
    def of(cls, names: Sequence[str], width: int) -> _Columns:
        name = name_columns(names, width)
        return cls(name, width - name - READOUT_COLUMNS - 3)

    def head(self, name: str) -> str:
        """The name, cut or padded to its column."""
        return set_cell_size(one_line(name), self.name)


def _score_lines(
    source: SourceState, window: WindowHeard, since: Mapping[str, datetime], now: datetime, width: int, rows: int
) -> list[Text]:
    with_history = rows >= HISTORY_ROWS
    scores = top_scores(window.scores, rows - BORDER_ROWS - (2 if with_history else 1))
    columns = _Columns.of([score.label.name for score in scores], width)
    lines = [_level_line(window.level_dbfs, source.peak_dbfs, columns)]
    if with_history:
        lines.append(_history_line(source.past, columns))
    return [*lines, *(_label_line(score, since.get(score.label.slug), now, columns) for score in scores)]


def _label_line(score: LabelScore, since: datetime | None, now: datetime, columns: _Columns) -> Text:
    """` ● dog barking  ██████▌──│────  0.87  12 s`: the marks are the stop and start thresholds."""
    above = score.score >= score.label.stop
    colour = ACTIVE if score.active else ABOVE if above else BELOW
    name_style = f"bold {ACTIVE}" if score.active else NAME if above else QUIET
    marks = {
        cell_at(score.label.stop, columns.bar): ("╎", QUIET),
        cell_at(score.label.start, columns.bar): ("│", NAME),
    }
    lasted = duration((now - since).total_seconds()) if since is not None else ""
    return Text.assemble(
        ("● " if score.active else "  ", ACTIVE),
        (columns.head(score.label.name), name_style),
        " ",
        bar(score.score, columns.bar, colour, marks),
        (f"  {score.score:.2f}", name_style),
        (f"{lasted:>{READOUT_COLUMNS - 6}}", ACTIVE),
    )


def _level_line(level_dbfs: float, peak_dbfs: float | None, columns: _Columns) -> Text:
    """`  level  ██████▌──┃────  -28 dBFS ▴-22`: the mark is the peak of the latest windows."""
    peak = peak_dbfs if peak_dbfs is not None else level_dbfs
    marks = {cell_at(_level_fraction(peak), columns.bar): ("┃", _level_colour(peak))}
    readout = f"  {level_dbfs:.0f} dBFS ▴{peak:.0f}"
    return Text.assemble(
        (f"  {columns.head('level')}", QUIET),
        " ",
        bar(_level_fraction(level_dbfs), columns.bar, _level_colour(level_dbfs), marks),
        (f"{readout:<{READOUT_COLUMNS}}", QUIET),
    )


def _history_line(past: Sequence[PastWindow], columns: _Columns) -> Text:
    """The levels of past windows, newest at the right; the colour marks those with an active event."""
    shown = past[-columns.bar :] if columns.bar > 0 else ()
    cells = [(_HEIGHTS[cell_at(_level_fraction(window.level_dbfs), 8)], _past_colour(window)) for window in shown]
    head = f"  {columns.head('before')}{' ' * (1 + columns.bar - len(shown))}"
    return Text.assemble((head, QUIET), runs(cells))


def _counters(source: SourceState) -> Text | None:
    """`341 windows · 0 dropped · 0 skipped · 0 reconnects`; losses are coloured."""
    counters = source.diagnostics
    if counters is None:
        return None
    line = Text(f"{counters.windows} windows", QUIET)
    losses = {
        "dropped": counters.dropped_blocks,
        "skipped": counters.skipped_windows,
        "reconnects": counters.reconnects,
    }
    for name, count in losses.items():
        line.append(" · ", QUIET)
        line.append(f"{count} {name}", WARNING if count else QUIET)
    return line


def _past_colour(window: PastWindow) -> str:
    if window.active:
        return ACTIVE
    return BELOW if window.level_dbfs > MIN_DBFS else TRACK


def _level_fraction(level_dbfs: float) -> float:
    return 0.0 if math.isnan(level_dbfs) else min(max(1.0 - level_dbfs / MIN_DBFS, 0.0), 1.0)


def _level_colour(level_dbfs: float) -> str:
    return BAD if level_dbfs > CLIPPING_DBFS else WARNING if level_dbfs > LOUD_DBFS else GOOD
