"""The metrics against values computed by hand and against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from clapstream.evaluation.metrics import (
    average_precision,
    average_precisions,
    confusion,
    macro_recall,
    mean_average_precision,
    recalls,
    top1,
)

SCORES = np.array([[0.9, 0.1, 0.5], [0.8, 0.2, 0.0], [0.6, 0.4, 0.0], [0.3, 0.7, 0.1]])
TRUTH = np.array([0, 1, 1, 1])
"""No clip has the third label."""


def test_top1_is_the_share_of_clips_whose_own_label_scores_highest() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    assert top1(scores, np.array([0, 1, 1, 1])) == 0.75


def test_each_label_has_its_recall_and_the_macro_average_counts_labels_alike() -> None:
    np.testing.assert_allclose(recalls(SCORES, TRUTH), [1.0, 1 / 3, np.nan])
    assert macro_recall(SCORES, TRUTH) == pytest.approx(2 / 3)


def test_mean_average_precision_is_over_the_labels_that_have_clips() -> None:
    np.testing.assert_allclose(average_precisions(SCORES, TRUTH), [1.0, 1.0, np.nan])
    scores = SCORES.copy()
    scores[0, 1] = 1.0  # the wrong clip now comes first in the second label's ranking
    expected = (1 / 2 + 2 / 3 + 3 / 4) / 3
    assert average_precisions(scores, TRUTH)[1] == pytest.approx(expected)
    assert mean_average_precision(scores, TRUTH) == pytest.approx((1.0 + expected) / 2)


@pytest.mark.parametrize("metric", [top1, macro_recall, mean_average_precision])
def test_a_metric_of_no_clips_is_refused(metric: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match="at least one clip"):
        metric(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))


@pytest.mark.parametrize(
    ("scores", "relevant", "expected"),
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 0], 1.0),
        ([0.9, 0.8, 0.7, 0.6], [0, 0, 1, 1], (1 / 3 + 2 / 4) / 2),
        ([0.6, 0.9, 0.7, 0.8], [1, 0, 1, 0], (1 / 3 + 2 / 4) / 2),
        ([0.9, 0.8, 0.7], [1, 0, 1], (1 + 2 / 3) / 2),
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0], 1 / 4),  # all enter together
        ([0.9, 0.5, 0.5, 0.1], [0, 1, 0, 1], (1 / 3 + 2 / 4) / 2),
    ],
)
def test_average_precision_by_hand(scores: list[float], relevant: list[int], expected: float) -> None:
    assert average_precision(np.array(scores), np.array(relevant, dtype=bool)) == pytest.approx(expected)


def test_average_precision_needs_a_relevant_clip() -> None:
    with pytest.raises(ValueError, match="at least one relevant clip"):
        average_precision(np.zeros(3), np.zeros(3, dtype=bool))


@pytest.mark.parametrize("levels", [3, 1000], ids=["many ties", "few ties"])
def test_average_precision_is_that_of_scikit_learn(levels: int) -> None:
    reference = pytest.importorskip("sklearn.metrics").average_precision_score
    random = np.random.default_rng(levels)
    for clips in (1, 2, 17, 200):
        scores = random.integers(0, levels, clips) / levels
        relevant = random.random(clips) < 0.3
        relevant[0] = True
        assert average_precision(scores, relevant) == pytest.approx(reference(relevant, scores), abs=1e-12)


def test_averages_over_labels_are_those_of_scikit_learn() -> None:
    reference = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(5)
    scores, truth = random.integers(0, 20, (80, 4)) / 20 + np.eye(4)[random.integers(0, 4, 80)], np.arange(80) % 4
    predicted = scores.argmax(axis=1)
    assert macro_recall(scores, truth) == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    assert mean_average_precision(scores, truth) == pytest.approx(
        reference.average_precision_score(np.eye(4)[truth], scores, average="macro")
    )
    np.testing.assert_array_equal(confusion(predicted, truth, 4), reference.confusion_matrix(truth, predicted))


def test_confusion_counts_true_rows_and_predicted_columns() -> None:
    counts = confusion(np.array([0, 1, 1, 2, 1]), np.array([0, 0, 1, 2, 0]), labels=3)
    np.testing.assert_array_equal(counts, [[1, 2, 0], [0, 1, 0], [0, 0, 1]])
