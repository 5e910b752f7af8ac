"""How well known events were detected: event-based F1 and false events an hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from training.paths import RATE_HZ
from training.scene import COMPANIONS, Scene, SceneEvent

COLLAR_SECONDS = 2.5
"""One hop of the windows: times of events cannot be more precise."""


@dataclass(slots=True)
class LabelFigures:
    """Events of one label: in truth, reported, and reported about when they were."""

    events: int = 0
    reported: int = 0
    found: int = 0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 without events."""
        total = self.events + self.reported
        return 2 * self.found / total if total else 0.0


@dataclass(slots=True)
class EventFigures:
    """Figures of a run: `f1` asks for start and end within the collar, `onset_f1` and `labels` for the start only.

    A false event overlaps no event of its label, collar included; by kind of background, and hours listened there.
    """

    f1: float = 0.0
    onset_f1: float = 0.0
    labels: dict[str, LabelFigures] = field(default_factory=dict)
    false_events: dict[str, list[str]] = field(default_factory=dict)
    hours: dict[str, float] = field(default_factory=dict)


def compare(results: Sequence[tuple[Scene, Sequence[SceneEvent]]]) -> EventFigures:
    """Compare the reported events of each scene with the true ones, without those that `unexplained` leaves out."""
    judged = [(scene, unexplained(scene, reported)) for scene, reported in results]
    figures = EventFigures()
    for scene, reported in judged:
        kind = scene.background.name
        figures.hours[kind] = figures.hours.get(kind, 0.0) + len(scene.samples) / RATE_HZ / 3600
        false_events = [event.label for event in reported if not _overlaps_own(event, scene)]
        figures.false_events.setdefault(kind, []).extend(false_events)
    figures.labels = match_labels(judged, ends=False)
    figures.onset_f1 = overall(figures.labels).f1
    figures.f1 = overall(match_labels(judged, ends=True)).f1
    return figures


def match_labels(judged: Sequence[tuple[Scene, Sequence[SceneEvent]]], *, ends: bool) -> dict[str, LabelFigures]:
    """Counts by label; with `ends` the end of an event has to be within the collar as well."""
    figures = {}
    for label in sorted({event.label for scene, reported in judged for event in [*scene.events, *reported]}):
        figures[label] = LabelFigures()
        for scene, reported in judged:
            true = [event for event in scene.events if event.label == label]
            found = [event for event in reported if event.label == label]
            figures[label].events += len(true)
            figures[label].reported += len(found)
            figures[label].found += count_matches(true, found, ends=ends)
    return figures


def count_matches(true: Sequence[SceneEvent], reported: Sequence[SceneEvent], *, ends: bool) -> int:
    """How many pairs of a true and a reported event match, each event in one pair at most and as many as possible.

    The event-based metric of Mesaros, Heittola and Virtanen, "Metrics for polyphonic sound event detection" (2016),
    with the maximum matching that sed_eval uses.
    """
    if not true or not reported:
        return 0
    matches = np.array([[_match(one, other, ends=ends) for other in reported] for one in true])
    return int((maximum_bipartite_matching(csr_array(matches), perm_type="column") >= 0).sum())


def overall(figures: dict[str, LabelFigures]) -> LabelFigures:
    """The sum over the labels."""
    total = LabelFigures()
    for label in figures.values():
        total.events += label.events
        total.reported += label.reported
        total.found += label.found
    return total


def unexplained(scene: Scene, reported: Sequence[SceneEvent]) -> list[SceneEvent]:
    """The reported events without those that the background itself or a companion of a true event explains."""

    def explained(event: SceneEvent) -> bool:
        return event.label in scene.background.own_labels or any(
            event.label in COMPANIONS.get(true.label, ()) and _overlap(event, true) for true in scene.events
        )

    return [event for event in reported if not explained(event)]


def render(figures: EventFigures) -> str:
    """The figures as text."""
    lines = [
        f"event-based F1, start within {COLLAR_SECONDS} s:          {figures.onset_f1:.2f}",
        f"event-based F1, start and end within {COLLAR_SECONDS} s:  {figures.f1:.2f}",
        "",
        render_false_events(figures),
        "",
        f"{'label':<22}  events  reported  found  F1 (start)",
    ]
    for name, label in figures.labels.items():
        lines.append(f"{name:<22}  {label.events:>6}  {label.reported:>8}  {label.found:>5}  {label.f1:>10.2f}")
    return "\n".join(lines)


def render_false_events(figures: EventFigures) -> str:
    """The false events as text, a line for each kind of background."""
    lines = [f"{'background':<12}  minutes  false events  an hour  which"]
    for kind, hours in figures.hours.items():
        which = Counter(figures.false_events[kind]).most_common()
        lines.append(_false_events_line(kind, hours, which))
    total = Counter(label for labels in figures.false_events.values() for label in labels)
    lines.append(_false_events_line("all", sum(figures.hours.values()), total.most_common()))
    return "\n".join(lines)


def _false_events_line(kind: str, hours: float, which: Sequence[tuple[str, int]]) -> str:
    count = sum(times for _, times in which)
    named = ", ".join(f"{label} {times}" for label, times in which)
    return f"{kind:<12}  {hours * 60:>7.0f}  {count:>12}  {count / hours:>7.1f}  {named}".rstrip()


def _match(true: SceneEvent, reported: SceneEvent, *, ends: bool) -> bool:
    starts = abs(true.start_seconds - reported.start_seconds) <= COLLAR_SECONDS
    return starts and (not ends or abs(true.end_seconds - reported.end_seconds) <= COLLAR_SECONDS)


def _overlaps_own(event: SceneEvent, scene: Scene) -> bool:
    return any(event.label == true.label and _overlap(event, true) for true in scene.events)


def _overlap(one: SceneEvent, other: SceneEvent) -> bool:
    return (
        one.start_seconds < other.end_seconds + COLLAR_SECONDS
        and other.start_seconds < one.end_seconds + COLLAR_SECONDS
    )
