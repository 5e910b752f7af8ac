"""Batches for the audio tower: windows of the bank, spliced, cropped, mixed and equalised at random each time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import scipy.special
import torch
from torch import Tensor

from training.augment import NEPERS, equalise, mask, mix
from training.shards import Known, Shards, joined
from training.texts import label_classes
from training.vocabulary import Vocabulary
from training.yamnet import PATCH_HOP_SECONDS, PATCH_SECONDS, WINDOW_PATCHES

PLAIN, SINGLE = 0.35, 0.25
"""Shares of windows drawn among single clips, hardly changed, and among composed ones with one labelled sound."""
SPLICED, SPLICED_AT_FIRST = 0.2, 0.6
"""Share of windows made of two or more, one after the other, at the end of training and at its beginning: they show
more in the same time, but a daemon hears windows of one thing."""
MOST_PARTS, SHORTEST_PART = 5, 3
"""Parts of such a window, and patches in each."""
CROPPED = 0.12
"""Share of windows made of a stretch of one, repeat-padded."""
MIXED = 0.12
"""Share of windows that get another one mixed in: most of the bank's are mixtures already."""
TEACHER_DIRECTIONS = 256
"""Main directions of the teacher's embeddings that the student learns to predict."""
TOKENS = 16
TOKEN_SECONDS = 10 / TOKENS
WEAK_CLASSES = ("Silence", "Sound effect", "Inside, small room", "Environmental noise", "Noise")
"""What the teacher says about everything quiet or unsure: no news about the sound, so it weighs less."""


class Batches:
    """Random batches of a bank's windows, with targets and their statistics."""

    def __init__(self, folder: Path, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._shards = Shards(folder, vocabulary)
        plain = self._shards.plain
        single = [len(window) == 1 and window[0][3] >= -30 for window in self._shards.events]
        self._pools = [
            np.flatnonzero(plain),
            np.flatnonzero(np.logical_and(single, ~plain)),
            np.flatnonzero(~np.logical_or(single, plain)),
        ]
        index = {name: number for number, name in enumerate(vocabulary.classes)}
        self._implied = [[index[name] for name in label_classes()[label]] for label in vocabulary.labels]
        self._tokens = token_weights()
        self._shift, self.weight = self._calibrate()
        self.mel_mean, self.mel_variance = self._mel_statistics()
        self._mean, self._whiten = self._whitening()

    def _calibrate(self) -> tuple[Tensor, Tensor]:
        """Per class: a shift of the teacher's logit so that one window in 300 counts as heard; a loss weight."""
        peaks = np.concatenate([shard.max(1) for shard in self._shards.logits]).astype(np.float32)
        shift = (0.85 - np.quantile(peaks, 0.997, axis=0)).clip(0, 2.0)
        frequency = scipy.special.expit(peaks + shift).mean(0)
        weight = (0.02 / frequency).clip(0.2, 4) ** 0.35
        for name in WEAK_CLASSES:
            weight[self._vocabulary.classes.index(name)] = 0.15
        label_weight = np.full(len(self._vocabulary.labels), 1.5)
        return torch.from_numpy(shift).float(), torch.from_numpy(np.concatenate([weight, label_weight])).float()

    def _whitening(self) -> tuple[Tensor, Tensor]:
        """Mean of the teacher's embeddings and a matrix `(1024, directions)` that makes the main ones weigh alike.

        As they are, three quarters of their variance is a single direction: whether there is sound at all.
        """
        stacked = np.concatenate([shard[::8, ::2] for shard in self._shards.embeddings]).astype(np.float32)
        stacked = stacked.reshape(-1, stacked.shape[-1])
        mean = stacked.mean(0)
        values, vectors = np.linalg.eigh(np.cov(stacked - mean, rowvar=False))
        values, vectors = values[-TEACHER_DIRECTIONS:], vectors[:, -TEACHER_DIRECTIONS:]
        whiten = vectors * (values + 0.01 * values[-2]) ** -0.5
        return torch.from_numpy(mean), torch.from_numpy(whiten.astype(np.float32))

    def _mel_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each mel band `(64,)` in dB over the shards, digital silence left out."""
        some = torch.from_numpy(np.concatenate([mel[::16, ::10] for mel in self._shards.mels]).astype(np.float32))
        sounding = some[some.amax(-1) > -80]
        return sounding.mean(0), sounding.var(0)

    def batch(self, random: np.random.Generator, size: int, done: float = 1.0) -> dict[str, Tensor]:
        """`mel` `(size, 1, 1001, 64)`, targets `window` `(size, classes + labels)`, `tokens` `(size, 16, classes)`,
        `labels` `(size, labels)`, `embeddings` `(size, 16, directions)` and `unmixed` `(size,)`: where these hold.

        `done` 0..1 says how far training is.
        """
        number = size + int(MIXED * size)  # the last ones are mixed into the first ones
        spliced = SPLICED_AT_FIRST + (SPLICED - SPLICED_AT_FIRST) * done
        windows = [self._draw(random, spliced) for _ in range(number)]
        power = torch.from_numpy(np.stack([window.mel for window in windows])).float().mul_(NEPERS).exp_()
        logits = torch.from_numpy(np.stack([window.logits for window in windows])).float()
        heard = logits.add_(self._shift).sigmoid_()
        true = torch.from_numpy(np.stack([window.true for window in windows]))
        embeddings = torch.from_numpy(np.stack([window.embeddings for window in windows[:size]])).float()
        embeddings = torch.einsum("tp,bpc->btc", self._tokens, embeddings)
        known = embeddings.any(-1, keepdim=True)  # silence behind the last part has no embedding
        power, heard, true = mix(power, heard, true, size, random)
        mel = equalise(power, random).clamp_(min=1e-10).log_().div_(NEPERS)
        return {
            "mel": mask(mel, random)[:, None],
            "tokens": torch.einsum("tp,bpc->btc", self._tokens, heard),
            "window": self._window_targets(heard, true),
            "labels": true,
            "embeddings": (embeddings - self._mean) @ self._whiten * known,
            "unmixed": torch.arange(size) >= number - size,
        }

    def _draw(self, random: np.random.Generator, spliced: float) -> Known:
        """A window as it is in the bank, or several spliced, or a stretch of one repeated."""
        pool = self._pools[random.choice(3, p=[PLAIN, SINGLE, 1 - PLAIN - SINGLE])]
        draw = random.random()
        if draw < spliced:
            # The teacher hears a second at a time: what it said of the parts is what it would say of the whole.
            borders = [0, *cuts(random), WINDOW_PATCHES]
            return joined([self._shards.part(int(random.choice(pool)), *ends) for ends in pairwise(borders)])
        index = int(random.choice(pool))
        if draw < spliced + CROPPED:
            patches = int(random.integers(2, 12))
            first = int(random.integers(WINDOW_PATCHES - patches))
            return joined([self._shards.part(index, first, first + patches)] * (WINDOW_PATCHES // patches))
        return self._shards.part(index, 0, WINDOW_PATCHES)

    def _window_targets(self, heard: Tensor, true: Tensor) -> Tensor:
        """Targets `(batch, classes + labels)`: the teacher's patches pooled, true labels on top."""
        pooled = 0.5 * (heard.square().sum(1) / heard.sum(1).clamp(min=1e-6) + heard.amax(1))
        labels = torch.empty_like(true)
        for number, implied in enumerate(self._implied):
            labels[:, number] = 0.95 * true[:, number]
            if implied:  # where nobody said so, the teacher's nearest class hints at the label
                labels[:, number] = torch.maximum(labels[:, number], 0.8 * pooled[:, implied[0]])
            for place, index in enumerate(implied):
                pooled[:, index] = torch.maximum(pooled[:, index], (0.85 if place == 0 else 0.7) * true[:, number])
        return torch.cat([pooled, labels], dim=1)


def cuts(random: np.random.Generator) -> list[int]:
    """The patches that a window is cut before, in order, so that no part is too short."""
    parts = int(random.integers(2, MOST_PARTS + 1))
    spare = WINDOW_PATCHES - SHORTEST_PART * parts
    places = np.sort(random.integers(spare + 1, size=parts - 1))
    return [int(place) + SHORTEST_PART * part for part, place in enumerate(places, 1)]


def token_weights() -> Tensor:
    """Matrix `(16, 20)` that averages the teacher's patches over each token, by overlap in time."""
    token = (np.arange(TOKENS) + 0.5) * TOKEN_SECONDS
    patch = np.arange(WINDOW_PATCHES) * PATCH_HOP_SECONDS + PATCH_SECONDS / 2
    overlap = np.maximum(0, 0.72 - np.abs(token[:, None] - patch))
    return torch.from_numpy((overlap / overlap.sum(1, keepdims=True)).astype(np.float32))
