"""Writes the dashboard as an SVG picture, for the documentation."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from clapstream.sinks.dashboard.layout import render
from clapstream.sinks.dashboard.state import DashboardState


def export_svg(
    state: DashboardState, path: Path, *, now: datetime | None = None, width: int = 100, height: int = 32
) -> None:
    """Write the picture of `state`, which any browser shows; rich's links to web fonts are removed."""
    moment = now if now is not None else datetime.now(UTC).astimezone()
    console = Console(width=width, height=height, record=True, file=io.StringIO(), force_terminal=True)
    console.print(render(state, moment, width, height))
    picture = console.export_svg(title=f"clapstream · {state.node}")
    path.write_text(re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL), encoding="utf-8")
