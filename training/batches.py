"""Batches for the audio tower: windows of the bank, spliced, cropped, mixed and coloured anew each time."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.bank import PLAIN_FROM, SHARD_WINDOWS
from training.texts import company, label_classes
from training.vocabulary import Phrases
from training.yamnet import PATCH_HOP_SECONDS, PATCH_SECONDS, WINDOW_PATCHES

NEPERS = math.log(10) / 10
"""Logarithm of a power ratio of one dB."""
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
PATCH_FRAMES = 48
"""Mel frames from one of the teacher's patches to the next."""
TOKENS = 16
TOKEN_SECONDS = 10 / TOKENS
MISTAKEN = 2.0
"""How much less the teacher's logit counts where it hears another label in a single clip than the clip's own."""
WEAK_CLASSES = ("Silence", "Sound effect", "Inside, small room", "Environmental noise", "Noise")
"""What the teacher says about everything quiet or unsure: no news about the sound, so it weighs less."""


@dataclass(slots=True)
class Known:
    """A window and what is known of it: `mel` dB `(1001, 64)`, the teacher's `logits` `(20, classes)` and
    `embeddings` `(20, 1024)`, and how surely each label is heard `(labels,)`."""

    mel: NDArray[np.float16]
    logits: NDArray[np.float16]
    embeddings: NDArray[np.float16]
    true: NDArray[np.float32]


class Bank:
    """Windows of the shards, and batches of them."""

    def __init__(self, folder: Path, phrases: Phrases) -> None:
        self._phrases = phrases
        shards = sorted(path for path in folder.iterdir() if path.suffix == "")
        self._mels = [np.load(path / "mel.npy", mmap_mode="r") for path in shards]
        self._logits = [np.load(path / "logits.npy", mmap_mode="r") for path in shards]
        self._embeddings = [np.load(path / "embeddings.npy", mmap_mode="r") for path in shards]
        self._events: list[list[tuple[str, float, float, float]]] = [
            window for path in shards for window in json.loads((path / "events.json").read_text())
        ]
        self._plain = plain = np.repeat([int(path.name) >= PLAIN_FROM for path in shards], SHARD_WINDOWS)
        single = [len(window) == 1 and window[0][3] >= -30 for window in self._events]
        self._pools = [
            np.flatnonzero(plain),
            np.flatnonzero(np.logical_and(single, ~plain)),
            np.flatnonzero(~np.logical_or(single, plain)),
        ]
        index = {name: number for number, name in enumerate(phrases.classes)}
        self._implied = [[index[name] for name in label_classes()[label]] for label in phrases.labels]
        self._label_index = {label: number for number, label in enumerate(phrases.labels)}
        self._mistaken = np.stack([mistaken(label, phrases.classes) for label in phrases.labels])
        self._tokens = token_weights()
        self._shift, self.weight = self._calibrate()
        self.mel_mean, self.mel_variance = self._mel_statistics()
        self._mean, self._whiten = self._whitening()

    def _calibrate(self) -> tuple[Tensor, Tensor]:
        """Per class: a shift of the teacher's logit so that one window in 300 counts as heard; a loss weight."""
        peaks = np.concatenate([shard.max(1) for shard in self._logits]).astype(np.float32)
        shift = (0.85 - np.quantile(peaks, 0.997, axis=0)).clip(0, 2.0)
        frequency = scipy.special.expit(peaks + shift).mean(0)
        weight = (0.02 / frequency).clip(0.2, 4) ** 0.35
        for name in WEAK_CLASSES:
            weight[self._phrases.classes.index(name)] = 0.15
        label_weight = np.full(len(self._phrases.labels), 1.5)
        return torch.from_numpy(shift).float(), torch.from_numpy(np.concatenate([weight, label_weight])).float()

    def _whitening(self) -> tuple[Tensor, Tensor]:
        """Mean of the teacher's embeddings and a matrix `(1024, directions)` that makes the main ones weigh alike.

        As they are, three quarters of their variance is a single direction: whether there is sound at all.
        """
        stacked = np.concatenate([shard[::8, ::2] for shard in self._embeddings]).astype(np.float32)
        stacked = stacked.reshape(-1, stacked.shape[-1])
        mean = stacked.mean(0)
        values, vectors = np.linalg.eigh(np.cov(stacked - mean, rowvar=False))
        values, vectors = values[-TEACHER_DIRECTIONS:], vectors[:, -TEACHER_DIRECTIONS:]
        whiten = vectors * (values + 0.01 * values[-2]) ** -0.5
        return torch.from_numpy(mean), torch.from_numpy(whiten.astype(np.float32))

    def _mel_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each mel band `(64,)` in dB over the shards, digital silence left out."""
        some = torch.from_numpy(np.concatenate([mel[::16, ::10] for mel in self._mels]).astype(np.float32))
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
        mel = alter(power, random).clamp_(min=1e-10).log_().div_(NEPERS)
        return {
            "mel": mask_some(mel, random)[:, None],
            "tokens": torch.einsum("tp,bpc->btc", self._tokens, heard),
            "window": self._window_targets(heard, true),
            "labels": true,
            "embeddings": (embeddings - self._mean) @ self._whiten * known,
            "unmixed": torch.arange(size) >= number - size,
        }

    def _draw(self, random: np.random.Generator, spliced: float) -> Known:
        """A window as it lies in the bank, or several spliced, or a stretch of one repeated."""
        pool = self._pools[random.choice(3, p=[PLAIN, SINGLE, 1 - PLAIN - SINGLE])]
        draw = random.random()
        if draw < spliced:
            # The teacher hears a second at a time: what it said of the parts is what it would say of the whole.
            borders = [0, *cuts(random), WINDOW_PATCHES]
            return joined([self._part(int(random.choice(pool)), *ends) for ends in pairwise(borders)])
        index = int(random.choice(pool))
        if draw < spliced + CROPPED:
            patches = int(random.integers(2, 12))
            first = int(random.integers(WINDOW_PATCHES - patches))
            return joined([self._part(index, first, first + patches)] * (WINDOW_PATCHES // patches))
        return self._part(index, 0, WINDOW_PATCHES)

    def _part(self, index: int, first: int, last: int) -> Known:
        """What lies between two of the teacher's patches of a window of the bank."""
        shard, row = divmod(index, SHARD_WINDOWS)
        end = None if last == WINDOW_PATCHES else last * PATCH_FRAMES
        logits = self._logits[shard][row, first:last]
        if self._plain[index]:
            logits = logits - self._mistaken[self._label_index[self._events[index][0][0]]]
        return Known(
            mel=self._mels[shard][row, first * PATCH_FRAMES : end],
            logits=logits,
            embeddings=self._embeddings[shard][row, first:last],
            true=self._true(self._events[index], first * PATCH_HOP_SECONDS, last * PATCH_HOP_SECONDS + 0.4),
        )

    def _true(self, events: list[tuple[str, float, float, float]], begin: float, end: float) -> NDArray[np.float32]:
        """How surely each label is heard between two moments `(labels,)`: by its level and what is left of it."""
        found = np.zeros(len(self._phrases.labels), np.float32)
        for label, started, ended, level in events:
            left = (min(end, ended) - max(begin, started)) / max(0.05, min(1.0, ended - started))
            sure = float(np.clip((level + 40) / 14, 0, 1) * np.clip(left, 0, 1))
            found[self._label_index[label]] = max(found[self._label_index[label]], sure)
        return found

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


def mistaken(label: str, classes: list[str]) -> NDArray[np.float16]:
    """What to take from the teacher's logits `(classes,)` of a clip of `label`: they stand for labels it is not."""
    meant = {"Speech", "Animal", "Vehicle"}  # somebody may always speak, and much is an animal or an engine
    meant |= {name for other, names in label_classes().items() if other in company()[label] for name in names}
    others = {names[0] for names in label_classes().values() if names} - meant
    return np.array([MISTAKEN * (name in others) for name in classes], np.float16)


def cuts(random: np.random.Generator) -> list[int]:
    """The patches that a window is cut before, in order, so that no part is too short."""
    parts = int(random.integers(2, MOST_PARTS + 1))
    spare = WINDOW_PATCHES - SHORTEST_PART * parts
    places = np.sort(random.integers(spare + 1, size=parts - 1))
    return [int(place) + SHORTEST_PART * part for part, place in enumerate(places, 1)]


def joined(parts: list[Known]) -> Known:
    """Parts one after the other, each label as surely as in the part where it is surest.

    After the last comes silence, with zeros for embeddings.
    """
    mel = np.concatenate([part.mel for part in parts])[:1001]
    silent = ((0, WINDOW_PATCHES - sum(len(part.logits) for part in parts)), (0, 0))
    return Known(
        mel=np.pad(mel, ((0, 1001 - len(mel)), (0, 0)), constant_values=-100.0),
        logits=np.pad(np.concatenate([part.logits for part in parts]), silent, constant_values=-20),
        embeddings=np.pad(np.concatenate([part.embeddings for part in parts]), silent),
        true=np.max([part.true for part in parts], axis=0),
    )


def token_weights() -> Tensor:
    """Matrix `(16, 20)` that averages the teacher's patches over each token, by overlap in time."""
    token = (np.arange(TOKENS) + 0.5) * TOKEN_SECONDS
    patch = np.arange(WINDOW_PATCHES) * PATCH_HOP_SECONDS + PATCH_SECONDS / 2
    overlap = np.maximum(0, 0.72 - np.abs(token[:, None] - patch))
    return torch.from_numpy((overlap / overlap.sum(1, keepdims=True)).astype(np.float32))


def mix(
    power: Tensor, heard: Tensor, true: Tensor, size: int, random: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Add the windows after `size` to the first ones, at random level; what is heard is the union."""
    count = len(power) - size
    level = torch.from_numpy(random.uniform(-18, 3, count).astype(np.float32))
    sure = ((level + 18) / 12).clamp(0, 1)  # how much of the added one is still heard
    fade = (1 - (level + 3) / 15).clamp(max=1)  # and of the first, once it is the weaker
    gain = power[:count].mean((1, 2)) / power[size:].mean((1, 2)).clamp(min=1e-9) * 10 ** (level / 10)
    power[:count] += power[size:] * gain[:, None, None]
    heard[:count] = torch.maximum(heard[:count] * fade[:, None, None], heard[size:] * sure[:, None, None])
    true[:count] = torch.maximum(true[:count] * fade[:, None], true[size:] * sure[:, None])
    return power[:size], heard[:size], true[:size]


def alter(power: Tensor, random: np.random.Generator) -> Tensor:
    """Random gain and equalisation of each window, and a little noise floor."""
    size = len(power)
    knots = random.normal(0, 3, (size, 6)) * (random.random((size, 1)) < 0.6) + random.normal(0, 5, (size, 1))
    curve = functional.interpolate(torch.from_numpy(knots.astype(np.float32))[:, None], 64, mode="linear")
    power *= curve.mul_(NEPERS).exp_()
    for row in np.flatnonzero(random.random(size) < 0.25):
        power[row] += float(10 ** random.uniform(-9.5, -5)) * torch.empty_like(power[row]).exponential_()
    return power


def mask_some(mel: Tensor, random: np.random.Generator) -> Tensor:
    """Blank a band or a moment of some windows, at the window's quietest level."""
    for row in np.flatnonzero(random.random(len(mel)) < 0.5):
        quiet = mel[row].amin()
        if random.random() < 0.5:
            first, width = int(random.integers(60)), int(random.integers(2, 10))
            mel[row, :, first : first + width] = quiet
        else:
            first, width = int(random.integers(950)), int(random.integers(5, 60))
            mel[row, first : first + width] = quiet
    return mel
