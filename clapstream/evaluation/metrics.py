"""Figures of merit of a zero-shot classifier, as plain functions of arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]


def top1(scores: Floats, truth: Integers) -> float:
    """Share of clips whose highest score is their label's: scores `(clips, labels)`, truth `(clips,)`."""
    if len(truth) == 0:
        raise ValueError("top-1 needs at least one clip")
    return float(np.mean(scores.argmax(axis=1) == truth))


def average_precision(scores: Floats, relevant: NDArray[np.bool_]) -> float:
    """Area under the precision-recall steps of a ranking: scores and relevant are `(clips,)`.

    Clips of equal score enter together, so their order does not matter (as in scikit-learn's
    `average_precision_score`). Raises ValueError when no clip is relevant.
    """
    if not relevant.any():
        raise ValueError("average precision needs at least one relevant clip")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(relevant[order])
    last_of_ties = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = hits[last_of_ties]
    precision = hits / (last_of_ties + 1)
    newly_recalled = np.diff(hits, prepend=0) / hits[-1]
    return float(np.sum(precision * newly_recalled))


def confusion(predicted: Integers, truth: Integers, labels: int) -> Integers:
    """How often each label (row) was taken for each label (column): `(labels, labels)` counts."""
    counts = np.zeros((labels, labels), dtype=np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts
