"""The last lines of the dashboard: what is not delivered to the broker, and warnings from the log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich.text import Text

from clapstream.sinks.dashboard.state import DashboardState, Notice
from clapstream.sinks.dashboard.style import BAD, WARNING
from clapstream.sinks.dashboard.text import one_line

MIN_HEIGHT = 12
"""A screen of fewer rows has no footer."""
TALL_HEIGHT = 30
"""A screen of so many rows shows all notices, a lower one the latest."""


def footer_lines(state: DashboardState, now: datetime, height: int) -> list[Text]:
    """The lines for a screen of `height` rows."""
    if height < MIN_HEIGHT:
        return []
    notices = state.notices if height >= TALL_HEIGHT else state.notices[-1:]
    return [*_delivery(state), *(_notice(notice, now) for notice in notices)]


def _delivery(state: DashboardState) -> Iterator[Text]:
    """` mqtt: 3 topics refused · 12 detections waiting`, if anything is refused, waiting or lost."""
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
    if words:
        yield Text(f" mqtt: {' · '.join(words)}", WARNING, no_wrap=True, overflow="ellipsis")


def _notice(notice: Notice, now: datetime) -> Text:
    colour = BAD if notice.severe else WARNING
    at = notice.at.astimezone(now.tzinfo)
    return Text.assemble(
        (f" ▲ {at:%H:%M:%S} ", f"bold {colour}"),
        (one_line(notice.text), colour),
        no_wrap=True,
        overflow="ellipsis",
    )
