"""The list of sources, one line each: for more sources than there is room for panels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.cells import set_cell_size
from rich.console import RenderableType
from rich.text import Text

from clapstream.sinks.dashboard.border import BORDER_COLUMNS, BORDER_ROWS, bordered
from clapstream.sinks.dashboard.source_panel import top_scores
from clapstream.sinks.dashboard.source_status import status, why_no_scores
from clapstream.sinks.dashboard.state import SourceState
from clapstream.sinks.dashboard.style import ACTIVE, NAME, QUIET
from clapstream.sinks.dashboard.text import joined, name_columns, one_line

LABELS = 2
"""How many labels are shown of each source."""


def source_list(sources: Sequence[SourceState], now: datetime, width: int, rows: int) -> RenderableType:
    """Name, level and top labels of each source; `width` and `rows` include the border."""
    lines = _lines(sources, now, width - BORDER_COLUMNS, rows - BORDER_ROWS)
    return bordered(Text(f"{len(sources)} sources", NAME), joined(lines))


def _lines(sources: Sequence[SourceState], now: datetime, width: int, rows: int) -> Iterator[Text]:
    shown = sources if len(sources) <= rows else sources[: max(rows - 1, 0)]
    columns = name_columns([source.name for source in sources], width)
    for source in shown:
        word, colour = status(source, now)
        line = Text.assemble(("● ", colour), (set_cell_size(one_line(source.name), columns), NAME), " ")
        if source.heard is None:
            line.append(f"{word}: {why_no_scores(source)}", colour)
        else:
            line.append(f"{source.heard.level_dbfs:4.0f} dBFS  ", QUIET)
            for score in top_scores(source.heard.scores, LABELS):
                style = ACTIVE if score.active else QUIET
                line.append(f"{one_line(score.label.name)} {score.score:.2f}  ", style)
        yield line
    if len(shown) < len(sources):
        yield Text(f"and {len(sources) - len(shown)} more", QUIET)
