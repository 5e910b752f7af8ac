"""The list of events: the active ones first, then those that ended, newest first."""

from __future__ import annotations

from datetime import datetime
from itertools import chain, islice

from rich.cells import set_cell_size
from rich.console import RenderableType
from rich.text import Text

from clapstream.sinks.dashboard.border import BORDER_ROWS, bordered
from clapstream.sinks.dashboard.state import DashboardState
from clapstream.sinks.dashboard.style import ACTIVE, NAME, QUIET
from clapstream.sinks.dashboard.text import clock_time, duration, one_line, two_columns
from clapstream.updates import Event

SOURCE_COLUMNS = 10


def event_list(state: DashboardState, now: datetime, rows: int) -> RenderableType:
    """As many events as fit in `rows`, which include the border."""
    newest_first = chain(reversed(list(state.active.values())), reversed(state.ended))
    with_source = len(state.sources) > 1
    lines = [_event_line(event, now, with_source) for event in islice(newest_first, max(rows - BORDER_ROWS, 0))]
    title = Text("events", f"bold {NAME}")
    if state.active:
        title = Text.assemble(title, (f" ● {len(state.active)} now", ACTIVE))
    content = two_columns(lines) if lines else Text("  no events yet", QUIET)
    return bordered(title, content, Text(f"{state.ended_count} ended", QUIET))


def _event_line(event: Event, now: datetime, with_source: bool) -> tuple[Text, Text]:
    """`● 21:04:12  dog barking` and `  kitchen  12 s  0.92`: start and label; source, duration and peak score."""
    seconds = event.duration_seconds
    if seconds is None:
        seconds = (now - event.started).total_seconds()
    active = event.ended is None
    left = Text.assemble(
        ("● " if active else "  ", ACTIVE),
        (f"{clock_time(event.started, now)}  ", QUIET),
        (one_line(event.label.name), f"bold {ACTIVE}" if active else NAME),
    )
    source = set_cell_size(one_line(event.source.name), SOURCE_COLUMNS) if with_source else ""
    right = Text.assemble(
        (f"  {source}", QUIET),
        (f"{duration(seconds):>8}", ACTIVE if active else NAME),
        (f"  {event.peak_score:.2f}", QUIET),
    )
    return left, right
