"""Scores that a test sets itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clapstream.config import LabelSet
from clapstream.detection.detector import ListenedLabels
from clapstream.detection.events import EventRule
from clapstream.detection.rules import event_rules

Floats = NDArray[np.float32]


class EmbeddingIsScores:
    """Takes an embedding for the scores, one a label."""

    def score(self, audio: Floats) -> Floats:
        return audio


class SameScore:
    """Gives every label the first number of an embedding."""

    def __init__(self, labels: int) -> None:
        self._labels = labels

    def score(self, audio: Floats) -> Floats:
        return np.repeat(audio[:, :1], self._labels, axis=1)


class AlwaysDetects:
    """A scorer of windows that finds its only label in each."""

    def score(self, windows: Sequence[Floats]) -> Floats:
        return np.ones((len(windows), 1), dtype=np.float32)


def listened(rules: Sequence[EventRule]) -> ListenedLabels:
    """Labels whose scores are the embedding."""
    return ListenedLabels(tuple(rules), EmbeddingIsScores())


def same_score(label_set: LabelSet) -> ListenedLabels:
    """Labels that all score the first number of the embedding."""
    return ListenedLabels(event_rules(label_set), SameScore(len(label_set.labels)))
