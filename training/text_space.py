"""The space that sounds and texts share: the sentence encoder's vectors, centred, partly whitened, then fixed.

A text projection that learns beside the audio tower collapses: most pairs of a window and a class do not match, and
making all texts alike and all windows their opposite is the cheapest way to say so. Fixed targets cannot. Whitening
takes away what all texts about sounds have in common, which else would fill most of every cosine.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

POWER = 0.25
"""0 leaves the spread of the vectors as it is, 0.5 makes it the same in every direction."""
SEED = 3


class TextSpace:
    """The map from the sentence encoder's unit vectors to the shared space, fitted to phrases of sounds."""

    def __init__(self, phrases: Tensor, dimensions: int = 512) -> None:
        self._mean = phrases.mean(0)
        centred = phrases - self._mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(phrases))
        values = values.clamp(min=float(values.max()) * 1e-3)
        turn = torch.linalg.qr(torch.randn(dimensions, phrases.shape[1], generator=torch.manual_seed(SEED))).Q
        self._map = vectors * values**-POWER @ vectors.T @ turn.T

    def __call__(self, vectors: Tensor) -> Tensor:
        """Unit embeddings `(texts, 512)` of the sentence encoder's vectors `(texts, 384)`."""
        return functional.normalize((vectors - self._mean) @ self._map, dim=-1)
