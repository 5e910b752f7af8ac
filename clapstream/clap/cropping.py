"""Fits sounds and spectrograms to the model's length: padding, random crops, and fusion's four views."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FUSED_VIEWS = 4
"""What fusion gives the tower: the whole sound shrunk, and a crop from its first, middle and last third."""

RandomGenerator = np.random.Generator | np.random.RandomState


def fit(clip: Tensor, length: int, padding: str, generator: RandomGenerator) -> Tensor:
    """Pad or crop a sound to exactly `length` samples."""
    if len(clip) > length:
        start = int(generator.choice(len(clip) - length + 1))
        return clip[start : start + length]
    if padding == "repeat":
        return clip.repeat(length // len(clip) + 1)[:length]
    if padding == "repeatpad":
        clip = clip.repeat(length // len(clip))
    return torch.nn.functional.pad(clip, (0, length - len(clip)))


def fuse(spectrogram: Tensor, frames: int, generator: RandomGenerator) -> Tensor:
    """Four views `(4, frames, mels)` of a longer spectrogram: shrunk, and a random crop of each third of it."""
    size = (frames, spectrogram.shape[-1])
    shrunk = torch.nn.functional.interpolate(spectrogram[None, None], size=size, mode="bilinear")[0, 0]
    starts = np.array_split(np.arange(len(spectrogram) - frames + 1), FUSED_VIEWS - 1)
    crops = [pick(third, generator) for third in starts]
    return torch.stack([shrunk, *(spectrogram[start : start + frames] for start in crops)])


def pick(starts: NDArray[np.intp], generator: RandomGenerator) -> int:
    """A random start within a third of the sound; 0 where the third has none (the sound is barely too long)."""
    return int(starts[generator.choice(len(starts))]) if len(starts) else 0
