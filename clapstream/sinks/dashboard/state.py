"""What the dashboard knows: a plain value, folded from updates.

The value is immutable, so the thread that draws reads a consistent picture while the event loop replaces it.
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

MOST_EVENTS = 100
MOST_PAST_WINDOWS = 120
MOST_NOTICES = 3
PEAK_WINDOWS = 24
"""The peak mark of the level meter holds over this many windows: a minute with the default hop."""


@dataclass(frozen=True, slots=True)
class PastWindow:
    """What remains of an older window: its level, and whether an event was going on."""

    level_dbfs: float
    active: bool


@dataclass(frozen=True, slots=True)
class SourceState:
    """One source. `online` is None until it was heard of; `heard` is None while there is nothing to show.

    `failed`: it is offline and not tried again.
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
        """Highest level of the latest windows."""
        return max((window.level_dbfs for window in self.past[-PEAK_WINDOWS:]), default=None)


@dataclass(frozen=True, slots=True)
class Notice:
    """A log line that must not be missed."""

    at: datetime
    severe: bool
    text: str


@dataclass(frozen=True, slots=True)
class DashboardState:
    """Everything that is drawn. `active` and `ended` events are in order of their start and end."""

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
    """The state before anything was heard."""
    return DashboardState(
        node=node,
        model=model,
        device=device,
        broker=broker,
        sources=MappingProxyType({source.name: SourceState(source.name) for source in sources}),
    )


def apply(state: DashboardState, update: Update) -> DashboardState:
    """The state after an update; a source that was not known so far is added."""
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
    """The state with one more notice; only the latest few are kept."""
    return replace(state, notices=(*state.notices, notice)[-MOST_NOTICES:])


def _apply_end(state: DashboardState, event: Event) -> DashboardState:
    still_active = {key: other for key, other in state.active.items() if key != event.id}
    return replace(
        state,
        active=MappingProxyType(still_active),
        ended=(*state.ended, event)[-MOST_EVENTS:],
        ended_count=state.ended_count + 1,
    )


def _apply_labels(state: DashboardState, update: SourceLabels) -> DashboardState:
    """Labels that are gone must not linger until the next window."""
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
                source, online=True, reason="", heard=update, past=(*source.past, past)[-MOST_PAST_WINDOWS:]
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
