"""How the dashboard looks: a state and a moment in, something rich can print out. No clock, no terminal in here."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from rich.box import ROUNDED
from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from clapstream.sinks.dashboard.state import DashboardState, Notice, PastWindow, SourceState
from clapstream.sinks.dashboard.text import TRACK, bar, cell_at, clock_time, duration, fit, one_line, runs, spread
from clapstream.updates import Event, LabelScore, WindowHeard

FRAME = "grey37"
QUIET = "grey58"
NAME = "grey85"
BELOW = "steel_blue"
ABOVE = "light_sky_blue1"
ACTIVE = "orange1"
GOOD = "green3"
WARNING = "yellow3"
BAD = "red1"

WIDE_COLUMNS = 120
"""From this width on, events stand beside the sources instead of below them."""
QUIETEST_DBFS = -80.0
LOUD_DBFS = -18.0
CLIPPING_DBFS = -6.0
READOUT_COLUMNS = 15
SOURCE_COLUMNS = 10
LEAST_PANEL_ROWS = 4
STALE_SECONDS = 15.0
"""A window older than this is worth a word: the default hop is 2.5 s."""

NO_FAULT = ("ended", "stopped")
"""Reasons for being offline that are no loss: a recording's end, the daemon's own."""

_HEIGHTS = "▁▂▃▄▅▆▇█"


def render(state: DashboardState, now: datetime, width: int, height: int) -> RenderableType:
    """A picture of `width` by `height` cells; times are shown in the time zone of `now`."""
    notices = state.notices[-(3 if height >= 30 else 1) :] if height >= 12 else ()
    delivery = _delivery(state) if height >= 12 else []
    rows = max(height - 1 - len(delivery) - len(notices), 4)
    body = _side_by_side(state, now, width, rows) if width >= WIDE_COLUMNS else _stacked(state, now, width, rows)
    footer = [*(fit(line, width) for line in delivery), *(_notice(notice, now, width) for notice in notices)]
    return Group(_header(state, now, width), body, *footer)


def _side_by_side(state: DashboardState, now: datetime, width: int, rows: int) -> RenderableType:
    left = width - min(width * 48 // 100, 64)
    columns = Table.grid()
    columns.add_column(width=left)
    columns.add_column(width=width - left)
    columns.add_row(_sources(state, now, left, rows), _events(state, now, width - left, rows))
    return columns


def _stacked(state: DashboardState, now: datetime, width: int, rows: int) -> RenderableType:
    """The events get a third of the rows, less with several sources, and what a list of sources leaves over."""
    count = len(state.sources)
    event_rows = min(max(rows // (4 if count > 1 else 3), 5), rows // 2)
    if _listed(count, rows - event_rows):
        event_rows = max(event_rows, rows - count - 2)
    return Group(_sources(state, now, width, rows - event_rows), _events(state, now, width, event_rows))


def _header(state: DashboardState, now: datetime, width: int) -> Text:
    left = Text.assemble((" clapstream ", f"bold grey3 on {ACTIVE}"), " ", (state.node, f"bold {NAME}"))
    facts = [state.model, state.device]
    newest = max((source.heard for source in state.sources.values() if source.heard), key=_end, default=None)
    if newest is not None:
        facts.append(f"{newest.inference_ms:.0f} ms")
    right = Text.assemble((" · ".join(facts), QUIET), "  ")
    if state.broker is not None:
        colour = {"online": GOOD, "connecting": WARNING}.get(state.broker_state, BAD)
        right.append_text(Text.assemble(("● ", colour), (f"mqtt {state.broker_state}", colour), "  "))
    right.append(f"{now:%H:%M:%S} ", NAME)
    return spread(left, right, width)


def _delivery(state: DashboardState) -> list[Text]:
    """` mqtt: 3 topics refused · 12 detections waiting`, where anything is refused, held up or lost."""
    delivery = state.delivery
    counts = {
        "topics refused": len(delivery.refused_topics),
        "detections waiting": delivery.waiting if delivery.refused_topics or state.broker_state != "online" else 0,
        "detections dropped": delivery.dropped_detections,
        "events not fired": delivery.lost_events,
    }
    words = [
        f"{count} {what}" if count > 1 else f"1 {what.replace('s ', ' ')}"
        for what, count in counts.items()
        if count
    ]
    return [Text(f" mqtt: {' · '.join(words)}", WARNING)] if words else []


def _end(heard: WindowHeard) -> datetime:
    return heard.ended


def _notice(notice: Notice, now: datetime, width: int) -> Text:
    colour = BAD if notice.severe else WARNING
    at = notice.at.astimezone(now.tzinfo)
    line = Text.assemble((f" ▲ {at:%H:%M:%S} ", f"bold {colour}"), (one_line(notice.text), colour))
    return fit(line, width)


def _listed(count: int, rows: int) -> bool:
    """Whether so many sources get a line each, because panels would not fit."""
    return count == 0 or rows // count < LEAST_PANEL_ROWS


def _sources(state: DashboardState, now: datetime, width: int, rows: int) -> RenderableType:
    sources = list(state.sources.values())
    if _listed(len(sources), rows):
        lines = list(_source_lines(sources, now, width - 4, rows - 2))
        return _framed(Text(f"{len(sources)} sources", NAME), lines, width, rows)
    share, left_over = divmod(rows, len(sources))
    return Group(
        *(
            _source_panel(source, state.active, now, width, share + (index < left_over))
            for index, source in enumerate(sources)
        )
    )


def _source_panel(
    source: SourceState, active: Mapping[str, Event], now: datetime, width: int, rows: int
) -> RenderableType:
    word, colour = _status(source, now)
    title = Text.assemble((f"{one_line(source.name)} ", f"bold {NAME}"), (f"● {word}", colour))
    if source.diagnostics is not None and source.diagnostics.gated_windows:
        title.append(f" · {source.diagnostics.gated_windows} gated", QUIET)
    inner = width - 4
    lines: list[Text] = []
    if source.heard is None:
        lines.extend(Text(line, QUIET) for line in ["", *textwrap.wrap(_why_nothing(source), inner)])
    else:
        since = {event.label.slug: event.started for event in active.values() if event.source.name == source.name}
        label_rows = rows - 3 - (1 if rows >= 9 else 0)
        scores = _shown(source.heard.scores, label_rows)
        name_columns = _name_columns([score.label.name for score in scores], inner)
        lines.append(_level_line(source, inner, name_columns))
        if rows >= 9:
            lines.append(_past_line(source.past, inner, name_columns))
        lines.extend(_label_line(score, since.get(score.label.slug), now, inner, name_columns) for score in scores)
    return _framed(title, lines, width, rows, _counters(source))


def _status(source: SourceState, now: datetime) -> tuple[str, str]:
    """A word for how the source is, and its colour."""
    if not source.listening:
        return "switched off", QUIET
    if source.online is None:
        return "starting", WARNING
    if not source.online:
        return (source.reason, QUIET) if source.reason in NO_FAULT else ("failed" if source.failed else "lost", BAD)
    if source.diagnostics is not None and source.diagnostics.silent:
        return "silent: muted?", WARNING
    if source.heard is not None and (now - source.heard.ended).total_seconds() > STALE_SECONDS:
        return f"nothing new for {duration((now - source.heard.ended).total_seconds())}", WARNING
    if source.heard is not None and source.heard.partial:
        return "listening, first window filling", GOOD
    if source.heard is not None and source.heard.gated:
        return "listening, quiet", GOOD
    return "listening", GOOD


def _why_nothing(source: SourceState) -> str:
    if not source.listening:
        return "the source is closed until it is switched on"
    if source.online is False:
        reason = one_line(source.reason)
        if reason in NO_FAULT:
            return "there is nothing more to hear"
        return reason if source.failed else f"{reason}; trying again"
    return "waiting for the first window"


def _shown(scores: Sequence[LabelScore], rows: int) -> list[LabelScore]:
    """The highest scores that fit, and whatever is active even when it is not among them."""
    best = sorted(scores, key=lambda score: (not score.active, -score.score))[: max(rows, 0)]
    return sorted(best, key=lambda score: -score.score)


def _label_line(score: LabelScore, since: datetime | None, now: datetime, width: int, name_columns: int) -> Text:
    """` ● dog barking  ██████▌──│────  0.87  12 s`: the marks are where an event starts and where it stops."""
    columns = width - name_columns - READOUT_COLUMNS - 3
    colour = ACTIVE if score.active else ABOVE if score.score >= score.label.stop else BELOW
    name_style = f"bold {ACTIVE}" if score.active else NAME if score.score >= score.label.stop else QUIET
    marks = {cell_at(score.label.stop, columns): ("╎", QUIET), cell_at(score.label.start, columns): ("│", NAME)}
    lasted = duration((now - since).total_seconds()) if since is not None else ""
    return Text.assemble(
        ("● " if score.active else "  ", ACTIVE),
        (set_cell_size(one_line(score.label.name), name_columns), name_style),
        " ",
        bar(score.score, columns, colour, marks),
        (f"  {score.score:.2f}", name_style),
        (f"{lasted:>{READOUT_COLUMNS - 6}}", ACTIVE),
    )


def _level_line(source: SourceState, width: int, name_columns: int) -> Text:
    columns = width - name_columns - READOUT_COLUMNS - 3
    level = source.heard.level_dbfs if source.heard is not None else QUIETEST_DBFS
    peak = source.peak_dbfs if source.peak_dbfs is not None else level
    marks = {cell_at(_level_fraction(peak), columns): ("┃", _level_colour(peak))}
    readout = f"  {level:.0f} dBFS ▴{peak:.0f}"
    return Text.assemble(
        ("  " + set_cell_size("level", name_columns), QUIET),
        " ",
        bar(_level_fraction(level), columns, _level_colour(level), marks),
        (f"{readout:<{READOUT_COLUMNS}}", QUIET),
    )


def _past_line(past: Sequence[PastWindow], width: int, name_columns: int) -> Text:
    """Levels of the windows before, newest at the right; those with an event are marked by colour."""
    columns = width - name_columns - READOUT_COLUMNS - 3
    shown = past[-columns:] if columns > 0 else ()
    cells = [(_HEIGHTS[cell_at(_level_fraction(window.level_dbfs), 8)], _past_colour(window)) for window in shown]
    head = "  " + set_cell_size("before", name_columns) + " " * (1 + columns - len(shown))
    return Text.assemble((head, QUIET), runs(cells))


def _past_colour(window: PastWindow) -> str:
    if window.active:
        return ACTIVE
    return BELOW if window.level_dbfs > QUIETEST_DBFS else TRACK


def _counters(source: SourceState) -> Text:
    """`341 windows · 0 dropped · 0 skipped · 0 reconnects`, losses in colour."""
    counters = source.diagnostics
    if counters is None:
        return Text()
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


def _source_lines(sources: Sequence[SourceState], now: datetime, width: int, rows: int) -> Iterator[Text]:
    """One line a source: name, level, best labels; the last says how many had no room."""
    fitting = sources if len(sources) <= rows else sources[: rows - 1]
    name_columns = _name_columns([source.name for source in sources], width)
    for source in fitting:
        word, colour = _status(source, now)
        line = Text.assemble(("● ", colour), (set_cell_size(one_line(source.name), name_columns), NAME), " ")
        if source.heard is None:
            line.append(f"{word}: {_why_nothing(source)}", colour)
        else:
            line.append(f"{source.heard.level_dbfs:4.0f} dBFS  ", QUIET)
            for score in _shown(source.heard.scores, 2):
                style = ACTIVE if score.active else QUIET
                line.append(f"{one_line(score.label.name)} {score.score:.2f}  ", style)
        yield fit(line, width)
    if len(fitting) < len(sources):
        yield Text(f"and {len(sources) - len(fitting)} more", QUIET)


def _events(state: DashboardState, now: datetime, width: int, rows: int) -> RenderableType:
    """Events that go on first, then those that ended, newest first."""
    events = [*reversed(list(state.active.values())), *reversed(state.ended)][: max(rows - 2, 0)]
    lines = [_event_line(event, now, width - 4, len(state.sources) > 1) for event in events]
    if not lines:
        lines = [Text("  nothing so far", QUIET)]
    title = Text.assemble(("events", f"bold {NAME}"))
    if state.active:
        title.append(f" ● {len(state.active)} now", ACTIVE)
    return _framed(title, lines, width, rows, Text(f"{state.ended_count} ended", QUIET))


def _event_line(event: Event, now: datetime, width: int, several: bool) -> Text:
    """`● 21:04:12  dog barking  kitchen  12 s  0.92`: when, what, where, how long, how surely at its peak."""
    seconds = event.duration_seconds
    if seconds is None:
        seconds = (now - event.started).total_seconds()
    active = event.ended is None
    left = Text.assemble(
        ("● " if active else "  ", ACTIVE),
        (f"{clock_time(event.started, now)}  ", QUIET),
        (one_line(event.label.name), f"bold {ACTIVE}" if active else NAME),
    )
    source = set_cell_size(one_line(event.source.name), SOURCE_COLUMNS) if several else ""
    right = Text.assemble(
        (f"  {source}", QUIET),
        (f"{duration(seconds):>8}", ACTIVE if active else NAME),
        (f"  {event.peak_score:.2f}", QUIET),
    )
    return spread(left, right, width)


def _level_fraction(level_dbfs: float) -> float:
    return 0.0 if math.isnan(level_dbfs) else min(max(1.0 - level_dbfs / QUIETEST_DBFS, 0.0), 1.0)


def _level_colour(level_dbfs: float) -> str:
    return BAD if level_dbfs > CLIPPING_DBFS else WARNING if level_dbfs > LOUD_DBFS else GOOD


def _name_columns(names: Sequence[str], width: int) -> int:
    """Cells for the names: as many as the longest needs, within reason."""
    longest = max((cell_len(name) for name in names), default=0)
    return min(max(longest, 10), max(width // 3, 6))


def _framed(
    title: Text, lines: Sequence[Text], width: int, rows: int, subtitle: Text | None = None
) -> RenderableType:
    return Panel(
        Group(*(fit(line, width - 4) for line in lines[: max(rows - 2, 0)])),
        box=ROUNDED,
        title=title,
        title_align="left",
        subtitle=subtitle if subtitle else None,
        subtitle_align="right",
        border_style=FRAME,
        width=width,
        height=max(rows, 2),
        padding=(0, 1),
    )
