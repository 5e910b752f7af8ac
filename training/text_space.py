"""The space that sounds and texts share: the sentence encoder's vectors, centred, partly whitened, then fixed.

A text projection that is trained together with the audio tower collapses: most pairs of a window and a class do not
match, and the loss falls fastest if all texts become alike and all windows their opposite. Fixed targets cannot
collapse. Whitening removes what all texts about sounds have in common, which would dominate every cosine.

Most of what a text says is not about its sound. Texts that are no known phrase had a cosine of 0.2 with the name of
their sound: closer to it than to other such texts in three of four cases, but less than every wrong name. `Meaning`
keeps the part that the known phrases of sounds share.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

POWER = 0.25
"""0 leaves the spread of the vectors as it is, 0.5 makes it the same in every direction."""
SEED = 3
NEARNESS, MEANING = 12.0, 0.85
"""How much nearer phrases count more, and the share of a text's embedding that comes from them. Within 0.001 of
the best by phrases of labels, left out of what is known one by one, on recordings that training left out."""


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


class Meaning:
    """The map from embeddings of texts to what they mean as sounds: the classes whose phrases are close.

    A text becomes mostly the mean of the classes, weighted by how near each of their phrases is (one read of a
    modern Hopfield network, Ramsauer et al. 2020, equation 3, whose stored patterns are the phrases).
    """

    def __init__(self, phrases: Tensor, spans: list[tuple[int, int]]) -> None:
        """`phrases` `(texts, 512)`; `spans`: the first and last of each class."""
        self._keys = phrases
        means = [functional.normalize(phrases[first:last].mean(0), dim=0) for first, last in spans]
        self._values = torch.cat(
            [mean.expand(last - first, -1) for mean, (first, last) in zip(means, spans, strict=True)]
        )

    def __call__(self, texts: Tensor) -> Tensor:
        """Unit embeddings `(texts, 512)` of unit embeddings `(texts, 512)`."""
        parts = []
        for part in torch.split(texts, 4096):
            near = (NEARNESS * part @ self._keys.T).softmax(-1)
            sound = functional.normalize(near @ self._values, dim=-1)
            parts.append(functional.normalize((1 - MEANING) * part + MEANING * sound, dim=-1))
        return torch.cat(parts)
