"""The frame around each part of the dashboard."""

from __future__ import annotations

from rich.box import ROUNDED
from rich.console import RenderableType
from rich.panel import Panel
from rich.text import Text

from clapstream.sinks.dashboard.style import FRAME

FRAME_COLUMNS, FRAME_ROWS = 4, 2
"""How much of its place a frame takes from its content."""


def framed(title: Text, content: RenderableType, subtitle: Text | None = None) -> Panel:
    """A frame that fills its place; content that does not fit is cut off at the bottom."""
    return Panel(
        content,
        box=ROUNDED,
        title=title,
        title_align="left",
        subtitle=subtitle or None,
        subtitle_align="right",
        border_style=FRAME,
        padding=(0, 1),
    )
