"""Random changes to batches of spectrograms: mixing, gain and equalisation, noise, masking."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

NEPERS = math.log(10) / 10
"""Natural logarithm of a power ratio of one dB."""


def mix(
    power: Tensor, heard: Tensor, true: Tensor, size: int, random: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Add the windows after `size` to the first ones at a random level; the targets become those of both."""
    count = len(power) - size
    level = torch.from_numpy(random.uniform(-18, 3, count).astype(np.float32))
    sure = ((level + 18) / 12).clamp(0, 1)  # how much of the added one is still heard
    fade = (1 - (level + 3) / 15).clamp(max=1)  # and of the first, once it is the weaker
    gain = power[:count].mean((1, 2)) / power[size:].mean((1, 2)).clamp(min=1e-9) * 10 ** (level / 10)
    power[:count] += power[size:] * gain[:, None, None]
    heard[:count] = torch.maximum(heard[:count] * fade[:, None, None], heard[size:] * sure[:, None, None])
    true[:count] = torch.maximum(true[:count] * fade[:, None], true[size:] * sure[:, None])
    return power[:size], heard[:size], true[:size]


def equalise(power: Tensor, random: np.random.Generator) -> Tensor:
    """Random gain and equalisation of each window, and a noise floor for some."""
    size = len(power)
    knots = random.normal(0, 3, (size, 6)) * (random.random((size, 1)) < 0.6) + random.normal(0, 5, (size, 1))
    curve = functional.interpolate(torch.from_numpy(knots.astype(np.float32))[:, None], 64, mode="linear")
    power *= curve.mul_(NEPERS).exp_()
    for row in np.flatnonzero(random.random(size) < 0.25):
        power[row] += float(10 ** random.uniform(-9.5, -5)) * torch.empty_like(power[row]).exponential_()
    return power


def mask(mel: Tensor, random: np.random.Generator) -> Tensor:
    """Mask a band or a stretch of time of about half the windows, with the window's lowest level."""
    for row in np.flatnonzero(random.random(len(mel)) < 0.5):
        quiet = mel[row].amin()
        if random.random() < 0.5:
            first, width = int(random.integers(60)), int(random.integers(2, 10))
            mel[row, :, first : first + width] = quiet
        else:
            first, width = int(random.integers(950)), int(random.integers(5, 60))
            mel[row, first : first + width] = quiet
    return mel
