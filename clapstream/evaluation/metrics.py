"""Metrics of a classifier of sounds, as plain functions of arrays.

Scores are `(clips, labels)`; any numbers will do, cosines for example, as long as higher means likelier. Truth is
`(clips,)`: the index of each clip's label.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]


def top1(scores: Floats, truth: Integers) -> float:
    """Top-1 accuracy: the share of clips whose highest score is that of their own label.

    Raises ValueError when there are no clips.
    """
    if len(truth) == 0:
        raise ValueError("top-1 needs at least one clip")
    return float(np.mean(scores.argmax(axis=1) == truth))


def recalls(scores: Floats, truth: Integers) -> Floats:
    """The recall of each label `(labels,)`: top-1 accuracy of its own clips; NaN for a label without clips."""
    right = scores.argmax(axis=1) == truth
    own = [truth == label for label in range(scores.shape[1])]
    return np.array([right[clips].mean() if clips.any() else np.nan for clips in own])


def macro_recall(scores: Floats, truth: Integers) -> float:
    """Mean recall of the labels that have clips, each label counting the same.

    This is scikit-learn's `balanced_accuracy_score`. Raises ValueError when there are no clips.
    """
    if len(truth) == 0:
        raise ValueError("macro recall needs at least one clip")
    return float(np.nanmean(recalls(scores, truth)))


def average_precision(scores: Floats, relevant: NDArray[np.bool_]) -> float:
    """Average precision of one ranking: scores and relevant are `(clips,)`.

    AP = sum over the distinct scores n, from the highest down, of (R_n - R_(n-1)) * P_n, with precision P_n and
    recall R_n of the clips that score at least n. Clips of equal score enter together, so their order does not
    matter. This is scikit-learn's `average_precision_score`. Raises ValueError when no clip is relevant.
    """
    if not relevant.any():
        raise ValueError("average precision needs at least one relevant clip")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(relevant[order])
    last_of_ties = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = hits[last_of_ties]
    precision = hits / (last_of_ties + 1)
    recall_gain = np.diff(hits, prepend=0) / hits[-1]
    return float(np.sum(precision * recall_gain))


def average_precisions(scores: Floats, truth: Integers) -> Floats:
    """The average precision of each label `(labels,)`, which ranks all clips; NaN for a label without clips."""
    own = [truth == label for label in range(scores.shape[1])]
    rankings = zip(scores.T, own, strict=True)
    return np.array([average_precision(ranking, clips) if clips.any() else np.nan for ranking, clips in rankings])


def mean_average_precision(scores: Floats, truth: Integers) -> float:
    """Mean average precision (mAP): the mean of `average_precisions` over the labels that have clips.

    This is the macro average by which AudioSet is evaluated (Gemmeke et al., 2017) and scikit-learn's
    `average_precision_score(..., average="macro")`. Raises ValueError when there are no clips.
    """
    if len(truth) == 0:
        raise ValueError("mean average precision needs at least one clip")
    return float(np.nanmean(average_precisions(scores, truth)))


def confusion(predicted: Integers, truth: Integers, labels: int) -> Integers:
    """Confusion matrix `(labels, labels)`: how many clips of each true label (row) each label (column) got.

    Rows and columns are as in scikit-learn's `confusion_matrix`.
    """
    counts = np.zeros((labels, labels), dtype=np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts
