"""Scores into events: two thresholds, confirmation and hold, with times read off the geometry of the windows.

A 10 s window is scored every hop, so a sound that is in one window but was not in the one before must have entered
in the samples that are new, and a sound that is missing from a window must have left by that window's first sample.
Both times are therefore known to one hop, although the window is long. A sound that fills only the edge of a window
scores low in it, though: `start` and `stop` decide whether there is an event, but when it began and ended is read
off the windows around it that score at least half of `stop`, its traces. Everything here is integer samples of
one stream; nothing here knows a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clapstream.updates import LabelInfo

TRACE = 0.5
"""Share of `stop` that a window next to an event must score to count as having some of its sound.

A quarter and a half make no difference to the figures of training/scenes.py.
At `stop` itself most lasting sounds are dated late.
"""


@dataclass(frozen=True, slots=True)
class EventRule:
    """When an event of one label starts and stops.

    It starts once `confirm_windows` windows in a row score at least `label.start`, and stops once every window for
    `hold_samples` has scored below `label.stop`. With `always_score` no window may be taken for nothing unscored.
    """

    label: LabelInfo
    confirm_windows: int = 1
    hold_samples: int = 0
    always_score: bool = False

    @property
    def trace(self) -> float:
        """The score from which a window next to an event has some of its sound."""
        return TRACE * self.label.stop


@dataclass(frozen=True, slots=True)
class Transition:
    """An event started, or ended if `end_sample` is set. `score` is that of the window that confirmed it."""

    label: LabelInfo
    start_sample: int
    end_sample: int | None
    score: float
    peak_score: float


@dataclass(frozen=True, slots=True)
class _Span:
    """Samples `[first, end)` of a scored window."""

    first: int
    end: int


@dataclass(slots=True)
class _LabelState:
    rule: EventRule
    run_length: int = 0
    trace_start: int | None = None
    start_sample: int = 0
    earliest_end: int = 0
    score: float = 0.0
    peak_score: float = 0.0
    active: bool = False
    last_with: _Span | None = None
    first_without: _Span | None = None
    first_below: _Span | None = None

    def forget(self) -> None:
        self.run_length = 0
        self.trace_start = None
        self.active = False
        self.peak_score = 0.0
        self.last_with = None
        self.first_without = None
        self.first_below = None


class EventTracker:
    """The events of one stream: every start it returns is followed by one end, at the latest by `finish`."""

    def __init__(self, rules: Sequence[EventRule]) -> None:
        self._states = [_LabelState(rule) for rule in rules]
        self._previous: _Span | None = None

    @property
    def active(self) -> frozenset[str]:
        """Slugs of the labels with an active event."""
        return frozenset(state.rule.label.slug for state in self._states if state.active)

    @property
    def idle(self) -> bool:
        """Whether no event is active and none waits for confirmation."""
        return not any(state.active or state.run_length for state in self._states)

    def update(self, first_sample: int, end_sample: int, scores: Sequence[float]) -> list[Transition]:
        """Take the scores (0..1, in the order of the rules) of the window `[first_sample, end_sample)`.

        Windows come in order; some may be missing. Raises ValueError for a window that does not move forward or
        for the wrong number of scores.
        """
        if len(scores) != len(self._states):
            raise ValueError(f"{len(scores)} scores for {len(self._states)} labels")
        window = _Span(first_sample, end_sample)
        if window.end <= window.first or (self._previous is not None and window.end <= self._previous.end):
            raise ValueError(f"window [{first_sample}, {end_sample}) does not follow {self._previous}")
        entered = window.first if self._previous is None else max(window.first, self._previous.end)
        transitions = [
            transition
            for state, score in zip(self._states, scores, strict=True)
            if (transition := _advance(state, window, entered, float(score))) is not None
        ]
        self._previous = window
        return transitions

    def skip(self, first_sample: int, end_sample: int) -> None:
        """Take a window that is certainly nothing, as if every label had scored 0 in it.

        Raises ValueError for one that does not move forward, and while the tracker is not idle.
        """
        if not self.idle:
            raise ValueError(f"window [{first_sample}, {end_sample}) cannot be skipped: an event is active")
        self.update(first_sample, end_sample, [0.0] * len(self._states))

    def finish(self) -> list[Transition]:
        """End active events where they were last heard; the next stream counts samples from 0."""
        transitions = [_end(state) for state in self._states if state.active]
        for state in self._states:
            state.forget()
        self._previous = None
        return transitions

    def replace_rules(self, rules: Sequence[EventRule]) -> list[Transition]:
        """Change the label set while listening: labels that stay keep their events, those of removed labels end."""
        kept = {state.rule.label.slug: state for state in self._states}
        self._states = []
        for rule in rules:
            state = kept.pop(rule.label.slug, None)
            if state is None:
                state = _LabelState(rule)
            state.rule = rule
            self._states.append(state)
        return [_end(state) for state in kept.values() if state.active]


def _advance(state: _LabelState, window: _Span, entered: int, score: float) -> Transition | None:
    if state.active:
        return _advance_active(state, window, score)
    if score < state.rule.trace:
        state.trace_start = None
    elif state.trace_start is None:
        state.trace_start = entered
        state.earliest_end = window.end
    if score < state.rule.label.start:
        state.run_length = 0
        return None
    if state.run_length == 0:
        assert state.trace_start is not None, "a window that starts an event is a trace of it"
        state.start_sample = max(state.trace_start, window.first)  # what left before this window is another sound
        state.peak_score = 0.0
    state.run_length += 1
    state.peak_score = max(state.peak_score, score)
    state.last_with = window
    if state.run_length < state.rule.confirm_windows:
        return None
    state.active = True
    state.score = score
    state.first_without = state.first_below = None
    return Transition(state.rule.label, state.start_sample, None, score, state.peak_score)


def _advance_active(state: _LabelState, window: _Span, score: float) -> Transition | None:
    if score >= state.rule.trace:
        state.first_without = None
    elif state.first_without is None:
        state.first_without = window
    if score >= state.rule.label.stop:
        state.peak_score = max(state.peak_score, score)
        state.last_with = window
        state.first_below = None
        return None
    if state.first_below is None:
        state.first_below = window
    if window.end - state.first_below.end < state.rule.hold_samples:
        return None
    if state.first_without is None:
        state.first_without = window  # traces go on, but the event is over
    transition = _end(state)
    state.forget()
    return transition


def _end(state: _LabelState) -> Transition:
    """The end of an active event: by the first window without the sound, else with the last one that had it."""
    last_with = state.last_with
    assert last_with is not None, "an active event was heard in some window"
    left_by = last_with.end if state.first_without is None else min(state.first_without.first, last_with.end)
    # The sound came in the newest hop of the first window that had it, so it cannot have left before that window
    # ended; a score that flickers would otherwise give an end before the start.
    end_sample = max(left_by, state.earliest_end)
    return Transition(state.rule.label, state.start_sample, end_sample, state.score, state.peak_score)
