"""Arranges the dashboard on the screen: header, sources, events, footer. It uses no clock and no terminal."""

from __future__ import annotations

from datetime import datetime

from rich.layout import Layout

from clapstream.sinks.dashboard.events import event_list
from clapstream.sinks.dashboard.footer import footer_lines
from clapstream.sinks.dashboard.header import header
from clapstream.sinks.dashboard.source_list import source_list
from clapstream.sinks.dashboard.source_panel import source_panel
from clapstream.sinks.dashboard.state import DashboardState

WIDE_COLUMNS = 120
"""From this width on, events are beside the sources instead of below them."""
MIN_PANEL_ROWS = 4
"""With less room for each source, they are listed in one line each."""


def render(state: DashboardState, now: datetime, width: int, height: int) -> Layout:
    """A picture of `width` by `height` cells; times are shown in the time zone of `now`."""
    footer = footer_lines(state, now, height)
    rows = max(height - 1 - len(footer), 4)
    body = _side_by_side(state, now, width, rows) if width >= WIDE_COLUMNS else _stacked(state, now, width, rows)
    screen = Layout()
    screen.split_column(Layout(header(state, now), size=1), body, *(Layout(line, size=1) for line in footer))
    return screen


def _side_by_side(state: DashboardState, now: datetime, width: int, rows: int) -> Layout:
    event_columns = min(width * 48 // 100, 64)
    body = Layout(size=rows)
    body.split_row(
        _sources(state, now, width - event_columns, rows), Layout(event_list(state, now, rows), size=event_columns)
    )
    return body


def _stacked(state: DashboardState, now: datetime, width: int, rows: int) -> Layout:
    """Events get a third of the rows, a quarter with several sources, and what a list of sources does not need."""
    count = len(state.sources)
    event_rows = min(max(rows // (4 if count > 1 else 3), 5), rows // 2)
    if _is_listed(count, rows - event_rows):
        event_rows = max(event_rows, rows - count - 2)
    body = Layout(size=rows)
    body.split_column(
        _sources(state, now, width, rows - event_rows),
        Layout(event_list(state, now, event_rows), size=event_rows),
    )
    return body


def _is_listed(count: int, rows: int) -> bool:
    """Whether `rows` are too few for a panel of each of `count` sources."""
    return count == 0 or rows // count < MIN_PANEL_ROWS


def _sources(state: DashboardState, now: datetime, width: int, rows: int) -> Layout:
    sources = list(state.sources.values())
    if _is_listed(len(sources), rows):
        return Layout(source_list(sources, now, width, rows))
    share, remainder = divmod(rows, len(sources))
    heights = [share + (index < remainder) for index in range(len(sources))]
    panels = Layout()
    panels.split_column(
        *(
            Layout(source_panel(source, state.active, now, width, height), size=height)
            for source, height in zip(sources, heights, strict=True)
        )
    )
    return panels
