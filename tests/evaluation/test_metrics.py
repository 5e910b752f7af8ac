"""The figures of merit against values computed by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from clapstream.evaluation.metrics import average_precision, confusion, top1


def test_top1_is_the_share_of_clips_whose_own_label_scores_highest() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    assert top1(scores, np.array([0, 1, 1, 1])) == 0.75


def test_top1_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one clip"):
        top1(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))


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


def test_confusion_counts_true_rows_and_predicted_columns() -> None:
    counts = confusion(np.array([0, 1, 1, 2, 1]), np.array([0, 0, 1, 2, 0]), labels=3)
    np.testing.assert_array_equal(counts, [[1, 2, 0], [0, 1, 0], [0, 0, 1]])
