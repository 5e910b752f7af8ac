"""The first line of the dashboard: node, model, device, connection to the broker, time."""

from __future__ import annotations

from datetime import datetime

from rich.console import RenderableType
from rich.text import Text

from clapstream.sinks.dashboard.state import DashboardState
from clapstream.sinks.dashboard.style import ACTIVE, BAD, GOOD, NAME, QUIET, WARNING
from clapstream.sinks.dashboard.text import two_columns


def header(state: DashboardState, now: datetime) -> RenderableType:
    """One line; the time is that of `now`."""
    left = Text.assemble((" clapstream ", f"bold grey3 on {ACTIVE}"), " ", (state.node, f"bold {NAME}"))
    facts = [state.model, state.device]
    windows = [source.heard for source in state.sources.values() if source.heard is not None]
    if windows:
        newest = max(windows, key=lambda window: window.ended)
        facts.append(f"{newest.inference_ms:.0f} ms")
    right = Text.assemble((" · ".join(facts), QUIET), "  ")
    if state.broker is not None:
        colour = {"online": GOOD, "connecting": WARNING}.get(state.broker_state, BAD)
        right.append(f"● mqtt {state.broker_state}  ", colour)
    right.append(f"{now:%H:%M:%S} ", NAME)
    return two_columns([(left, right)])
