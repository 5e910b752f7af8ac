"""Audio embeddings into scores: how surely a window contains each label, independent of the other labels.

CLAP's cosine alone means little: unrelated captions share a large part of it, and a softmax over the user's labels
would give a single label 1.0 for ever. So every label competes only with the background prompts::

    evidence = s * cos(audio, label) - logsumexp over background of s * cos(audio, background)
    score    = sigmoid(slope * evidence + offset)

where `s` is the checkpoint's logit scale. With slope 1 and offset 0 this is exactly the softmax probability of the
label among itself and the background (Wu et al., arXiv 2211.06687, section 4 uses the same softmax over classes).
The second line is Platt scaling (Platt, "Probabilistic outputs for support vector machines", 1999); a checkpoint
may bring its own parameters (`calibration.json`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PlattScaling:
    """How evidence maps to a score; the default is the plain softmax against the background."""

    slope: float = 1.0
    offset: float = 0.0


class Scorer:
    """Scores audio embeddings against one label set.

    `prompts` holds for each label the unit-length embeddings of its prompts, `(prompts, dim)`; a label is as close
    as its closest prompt. `background` is `(background prompts, dim)`, at least one.
    Raises ValueError when shapes do not fit.
    """

    def __init__(
        self,
        prompts: Sequence[Floats],
        background: Floats,
        logit_scale: float,
        scaling: PlattScaling | None = None,
    ) -> None:
        if background.ndim != 2 or len(background) == 0:
            raise ValueError(f"background must be (prompts, dim) with at least one row, got {background.shape}")
        for rows in prompts:
            if rows.ndim != 2 or len(rows) == 0 or rows.shape[1] != background.shape[1]:
                raise ValueError(f"each label needs (prompts, {background.shape[1]}) embeddings, got {rows.shape}")
        self._background = np.ascontiguousarray(background, dtype=np.float32)
        self._prompts = (
            np.concatenate([np.asarray(rows, dtype=np.float32) for rows in prompts])
            if prompts
            else np.zeros((0, background.shape[1]), dtype=np.float32)
        )
        lengths = np.array([len(rows) for rows in prompts], dtype=np.int64)
        self._first_prompt = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if prompts else lengths
        self._logit_scale = float(logit_scale)
        self._scaling = scaling or PlattScaling()

    def score(self, audio: Floats) -> Floats:
        """Scores 0..1 `(batch, labels)` of unit-length audio embeddings `(batch, dim)`."""
        if len(self._first_prompt) == 0:
            return np.zeros((len(audio), 0), dtype=np.float32)
        similarity = audio @ self._prompts.T
        label = np.maximum.reduceat(similarity, self._first_prompt, axis=1) * self._logit_scale
        background = audio @ self._background.T * self._logit_scale
        evidence = label - _logsumexp(background)
        logits = self._scaling.slope * evidence + self._scaling.offset
        return (1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))).astype(np.float32)


def _logsumexp(values: Floats) -> Floats:
    """Over the last axis, kept: `(batch, n)` -> `(batch, 1)`."""
    peak = values.max(axis=-1, keepdims=True)
    total: Floats = peak + np.log(np.exp(values - peak).sum(axis=-1, keepdims=True))
    return total
