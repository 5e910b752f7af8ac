"""Fits the Platt scaling of a checkpoint's scores: slope and offset from a label's evidence to its score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from clapstream.detection.scorer import Calibration

Array = NDArray[np.float64]

START = 0.6
"""The default start threshold of a label."""
BETA = 0.5
"""What recall counts beside precision in van Rijsbergen's F."""
DOUBT = np.array([1.0, 0.1])
"""Regularisation of slope and offset, so that the slope stays finite where the two classes do not overlap."""


def fit(evidence: Array, truth: Array) -> Calibration:
    """Slope by logistic regression, offset by the best F0.5 at the start threshold.

    `evidence` and `truth` are `(windows, labels)`; truth is 1 heard, 0 not, NaN where it is left out.
    """
    certain = ~np.isnan(truth)
    values, heard = evidence[certain], truth[certain]
    slope = fit_slope(values, heard)
    threshold, precision, recall, windows = best_threshold(values, heard)
    print(
        f"calibration: {len(evidence)} windows, {int(heard.sum())} label hits; start threshold at evidence "
        f"{threshold:.2f}: precision {precision:.3f}, recall {recall:.3f}, "
        f"false label-windows {(1 - precision) * windows / (len(heard) - heard.sum()):.4f}"
    )
    return Calibration(slope=slope, offset=float(np.log(START / (1 - START)) - slope * threshold))


def fit_slope(values: Array, heard: Array) -> float:
    """The slope of a logistic regression of `heard` `(n,)` on `values` `(n,)`, by damped Newton steps."""
    slope, offset = 1.0, 0.0
    for _ in range(100):
        probability = expit(slope * values + offset)
        weight = probability * (1 - probability) + 1e-9
        error = heard - probability
        gradient = np.array([(error * values).sum(), error.sum()]) - DOUBT * [slope, offset]
        curvature = np.array(
            [[(weight * values**2).sum(), (weight * values).sum()], [(weight * values).sum(), weight.sum()]]
        )
        step = np.linalg.solve(curvature + np.diag(DOUBT), gradient).clip(-0.5, 0.5)
        slope, offset = slope + step[0], offset + step[1]
    return float(slope)


def best_threshold(values: Array, heard: Array) -> tuple[float, float, float, int]:
    """The threshold with the best F0.5, its precision and recall, and how many values reach it."""
    order = np.argsort(-values)
    hits = np.cumsum(heard[order])
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / heard.sum()
    score = (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall + 1e-9)
    best = int(np.argmax(score))
    return float(values[order][best]), float(precision[best]), float(recall[best]), best + 1
