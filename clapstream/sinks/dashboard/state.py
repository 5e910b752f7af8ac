"""The state of the dashboard: a plain value, and functions from a state and an update to the next state.

The value is immutable, so that the drawing thread reads a consistent state while the event loop replaces it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from clapstream.sinks.mqtt.delivery import Delivery
from clapstream.updates import (
    Event,
    EventEnded,
    EventStarted,
    SourceAvailability,
    SourceDiagnostics,
    SourceInfo,
    SourceLabels,
    SourceListening,
    Update,
    WindowHeard,
)

MAX_EVENTS = 100
MAX_PAST_WINDOWS = 120
MAX_NOTICES = 3
PEAK_WINDOWS = 24
"""The peak of the level meter is that of so many windows: a minute with the default hop."""


@dataclass(frozen=True, slots=True)
class PastWindow:
    """What is kept of an earlier window: its level, and whether an event was active."""

    level_dbfs: float
    active: bool


@dataclass(frozen=True, slots=True)
class SourceState:
    """One source. `online` is None until its first update; `heard` is None while there are no scores to show.

    `failed`: it is offline and not retried.
    """

    name: str
    online: bool | None = None
    reason: str = ""
    failed: bool = False
    listening: bool = True
    heard: WindowHeard | None = None
    past: tuple[PastWindow, ...] = ()
    diagnostics: SourceDiagnostics | None = None

    @property
    def peak_dbfs(self) -> float | None:
        """The highest level of the latest windows."""
        return max((window.level_dbfs for window in self.past[-PEAK_WINDOWS:]), default=None)


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning or an error from the log."""

    at: datetime
    severe: bool
    text: str


@dataclass(frozen=True, slots=True)
class DashboardState:
    """Everything that is drawn. `active` events are in order of their start, `ended` ones of their end."""

    node: str
    model: str
    device: str
    broker: str | None = None
    broker_state: str = "connecting"
    delivery: Delivery = field(default_factory=Delivery)
    sources: Mapping[str, SourceState] = field(default_factory=dict)
    active: Mapping[str, Event] = field(default_factory=dict)
    ended: tuple[Event, ...] = ()
    ended_count: int = 0
    notices: tuple[Notice, ...] = ()


def initial_state(
    *, node: str, model: str, device: str, sources: Sequence[SourceInfo], broker: str | None
) -> DashboardState:
    """The state before the first update."""
    return DashboardState(
        node=node,
        model=model,
        device=device,
        broker=broker,
        sources=MappingProxyType({source.name: SourceState(source.name) for source in sources}),
    )


def apply(state: DashboardState, update: Update) -> DashboardState:
    """The state after an update; an unknown source is added."""
    match update:
        case EventStarted(event):
            return replace(state, active=MappingProxyType({**state.active, event.id: event}))
        case EventEnded(event):
            return _apply_end(state, event)
        case SourceLabels():
            return _apply_labels(state, update)
        case _:
            name = update.source.name
            source = state.sources.get(name, SourceState(name))
            return _with_source(state, _apply_to_source(source, update))


def add_notice(state: DashboardState, notice: Notice) -> DashboardState:
    """The state with one more notice; only the latest `MAX_NOTICES` are kept."""
    return replace(state, notices=(*state.notices, notice)[-MAX_NOTICES:])


def _apply_end(state: DashboardState, event: Event) -> DashboardState:
    still_active = {key: other for key, other in state.active.items() if key != event.id}
    return replace(
        state,
        active=MappingProxyType(still_active),
        ended=(*state.ended, event)[-MAX_EVENTS:],
        ended_count=state.ended_count + 1,
    )


def _apply_labels(state: DashboardState, update: SourceLabels) -> DashboardState:
    """Remove the scores of removed labels at once, not only with the next window."""
    source = state.sources.get(update.source.name)
    if source is None or source.heard is None:
        return state
    slugs = {label.slug for label in update.labels}
    scores = tuple(score for score in source.heard.scores if score.label.slug in slugs)
    return _with_source(state, replace(source, heard=replace(source.heard, scores=scores)))


def _apply_to_source(
    source: SourceState, update: WindowHeard | SourceAvailability | SourceListening | SourceDiagnostics
) -> SourceState:
    match update:
        case WindowHeard():
            past = PastWindow(update.level_dbfs, any(score.active for score in update.scores))
            return replace(
                source, online=True, reason="", heard=update, past=(*source.past, past)[-MAX_PAST_WINDOWS:]
            )
        case SourceAvailability(_, online, reason, failed):
            heard = source.heard if online else None
            return replace(source, online=online, reason=reason, failed=failed, heard=heard)
        case SourceListening(_, listening):
            return replace(source, listening=listening, heard=source.heard if listening else None)
        case SourceDiagnostics():
            return replace(source, diagnostics=update)


def _with_source(state: DashboardState, source: SourceState) -> DashboardState:
    return replace(state, sources=MappingProxyType({**state.sources, source.name: source}))
