"""How well known events were heard: event-based F1 (sed_eval) and false events per hour."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from training.paths import RATE_HZ
from training.scenes import COMPANIONS, Scene, SceneEvent

COLLAR_SECONDS = 2.5
"""One hop: what the geometry of the windows can tell."""


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
    """Figures of a run. F1 by sed_eval: `f1` wants start and end within the collar, `onset_f1` the start only.

    A false event overlaps no event of its label, collar included; by kind of background, and hours listened there.
    """

    f1: float = 0.0
    onset_f1: float = 0.0
    labels: dict[str, LabelFigures] = field(default_factory=dict)
    false_events: dict[str, list[str]] = field(default_factory=dict)
    hours: dict[str, float] = field(default_factory=dict)


def compare(results: Sequence[tuple[Scene, Sequence[SceneEvent]]]) -> EventFigures:
    """Compare the reported events of each scene with its own, leaving out those that count neither way."""
    judged = [(scene, judge(scene, reported)) for scene, reported in results]
    figures = EventFigures()
    for scene, reported in judged:
        kind = scene.background.name
        figures.hours[kind] = figures.hours.get(kind, 0.0) + len(scene.samples) / RATE_HZ / 3600
        false_events = [event.label for event in reported if not _overlaps_own(event, scene)]
        figures.false_events.setdefault(kind, []).extend(false_events)
    labels = sorted({event.label for scene, reported in judged for event in [*scene.events, *reported]})
    if labels:
        figures.onset_f1, figures.labels = _sed_eval(judged, labels, offsets=False)
        figures.f1, _ = _sed_eval(judged, labels, offsets=True)
    return figures


def judge(scene: Scene, reported: Sequence[SceneEvent]) -> list[SceneEvent]:
    """The reported events without those that the background itself, or a clip's companion sound, explains."""

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


def _sed_eval(
    judged: Sequence[tuple[Scene, Sequence[SceneEvent]]], labels: list[str], *, offsets: bool
) -> tuple[float, dict[str, LabelFigures]]:
    with warnings.catch_warnings():
        # dcase_util, which sed_eval needs, imports the deprecated pkg_resources.
        warnings.simplefilter("ignore")
        import sed_eval
    metrics = sed_eval.sound_event.EventBasedMetrics(
        event_label_list=labels, t_collar=COLLAR_SECONDS, percentage_of_length=0.0, evaluate_offset=offsets
    )
    for scene, reported in judged:
        metrics.evaluate(_rows(scene.name, scene.events), _rows(scene.name, reported))
    by_label = {
        label: LabelFigures(int(counts["Nref"]), int(counts["Nsys"]), int(counts["Ntp"]))
        for label, counts in metrics.class_wise.items()
    }
    overall = metrics.results_overall_metrics()["f_measure"]["f_measure"]
    # sed_eval has no precision, and so no F1, where nothing was reported; everything was missed then.
    return (0.0 if math.isnan(overall) else float(overall)), by_label


def _rows(name: str, events: Sequence[SceneEvent]) -> list[dict[str, str | float]]:
    return [
        {"file": name, "event_label": event.label, "onset": event.start_seconds, "offset": event.end_seconds}
        for event in events
    ]


def _overlaps_own(event: SceneEvent, scene: Scene) -> bool:
    return any(event.label == true.label and _overlap(event, true) for true in scene.events)


def _overlap(one: SceneEvent, other: SceneEvent) -> bool:
    return (
        one.start_seconds < other.end_seconds + COLLAR_SECONDS
        and other.start_seconds < one.end_seconds + COLLAR_SECONDS
    )
