"""Detection on one stream: embeddings of its windows in, scores and events out.

Everything that finds events is put together here, for every caller: the daemon live, a command or a training step
from files. Positions are samples of one unbroken stream; nothing here knows a clock, a model or a thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.windower import Window
from clapstream.detection.band_levels import STRETCH_SAMPLES, band_levels
from clapstream.detection.events import EventRule, EventTracker, Transition
from clapstream.detection.gate import Gate, GateRule
from clapstream.updates import LabelInfo, LabelScore

Floats = NDArray[np.float32]


class EmbeddingScorer(Protocol):
    """Scores embeddings against labels: `Scorer`."""

    def score(self, audio: Floats) -> Floats:
        """Scores 0..1 `(batch, labels)` of unit-length embeddings `(batch, dim)`."""


@dataclass(frozen=True, slots=True)
class ListenedLabels:
    """What a source listens for: a rule for each label, and the scorer that has the labels in the same order."""

    rules: tuple[EventRule, ...]
    scorer: EmbeddingScorer

    @property
    def infos(self) -> tuple[LabelInfo, ...]:
        """The labels as sinks see them."""
        return tuple(rule.label for rule in self.rules)


@dataclass(frozen=True, slots=True)
class DetectorRule:
    """Sizes of windows in samples, and the limits of the gate (None: every window is scored)."""

    window_samples: int
    hop_samples: int
    gate: GateRule | None = None


class Detector:
    """Finds the events of one stream. Windows come in order; some may be missing."""

    def __init__(self, labels: ListenedLabels, rule: DetectorRule) -> None:
        self._labels = labels
        self._tracker = EventTracker(labels.rules)
        self._gate = Gate(rule.gate, rule.window_samples, rule.hop_samples) if rule.gate else None
        self._scores: tuple[LabelScore, ...] = ()

    @property
    def scores(self) -> tuple[LabelScore, ...]:
        """Every label in the newest window that was scored, highest score first; empty before the first."""
        return self._scores

    def is_nothing(self, window: Window) -> bool:
        """Whether the gate finds background noise alone in a window, so that it need not be embedded.

        Every window has to be shown, since the gate learns the noise floor from them. While an event is going on or
        waits for its confirmation nothing is skipped.
        """
        if self._gate is None or window.partial or any(rule.always_score for rule in self._labels.rules):
            return False
        levels = band_levels(window.samples[-(self._gate.span_samples + STRETCH_SAMPLES) :])
        nothing = self._gate.hear(window.first_sample, window.end_sample, window.newest_hop_first_sample, levels)
        return nothing and self._tracker.idle

    def skip(self, first_sample: int, end_sample: int) -> None:
        """Take a window that `is_nothing` without an embedding: no label is in it."""
        self._tracker.skip(first_sample, end_sample)

    def update(self, first_sample: int, end_sample: int, embedding: Floats) -> list[Transition]:
        """Score the window `[first_sample, end_sample)` by its embedding `(dim,)`.

        Returns the events that start or end with it. Raises ValueError for a window that does not move forward.
        """
        scores = self._labels.scorer.score(embedding[None])[0]
        transitions = self._tracker.update(first_sample, end_sample, scores.tolist())
        self._scores = self._label_scores(scores)
        if self._gate is not None:
            loudest = max((each.score / each.label.start for each in self._scores), default=0.0)
            self._gate.scored(end_sample, loudest)
        return transitions

    def replace_labels(self, labels: ListenedLabels) -> list[Transition]:
        """Listen for other labels from the next window on; events of removed labels end now."""
        self._labels = labels
        if self._gate is not None:
            self._gate.distrust()
        return self._tracker.replace_rules(labels.rules)

    def finish(self) -> list[Transition]:
        """The stream is over: active events end."""
        return self._tracker.finish()

    def _label_scores(self, scores: Floats) -> tuple[LabelScore, ...]:
        active = self._tracker.active
        rows = [
            LabelScore(rule.label, float(score), rule.label.slug in active)
            for rule, score in zip(self._labels.rules, scores, strict=True)
        ]
        return tuple(sorted(rows, key=lambda row: -row.score))
