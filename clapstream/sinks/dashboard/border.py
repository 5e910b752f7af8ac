"""The border around each part of the dashboard."""

from __future__ import annotations

from rich.box import ROUNDED
from rich.console import RenderableType
from rich.panel import Panel
from rich.text import Text

from clapstream.sinks.dashboard.style import BORDER

BORDER_COLUMNS, BORDER_ROWS = 4, 2
"""Columns and rows that a border takes."""


def bordered(title: Text, content: RenderableType, subtitle: Text | None = None) -> Panel:
    """A bordered panel that fills its area; content that does not fit is cut off at the bottom."""
    return Panel(
        content,
        box=ROUNDED,
        title=title,
        title_align="left",
        subtitle=subtitle or None,
        subtitle_align="right",
        border_style=BORDER,
        padding=(0, 1),
    )
