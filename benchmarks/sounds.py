"""Sound to compare with: the same for every peer, with something in every band."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
WINDOW_SAMPLES = 480_000


def hop_samples(rate_hz: int) -> int:
    """The hop of the default configuration, 2.5 s."""
    return rate_hz * 5 // 2


def window(first_sample: int) -> Floats:
    """Ten seconds of an endless stream: chirps and hum over noise that belongs to its place."""
    places = np.arange(first_sample, first_sample + WINDOW_SAMPLES)
    seconds = places / 48_000
    hum = 0.02 * np.sin(2 * np.pi * 50 * seconds)
    chirps = 0.2 * np.sin(2 * np.pi * (300 + 2500 * (seconds % 1.3)) * (seconds % 1.3))
    noise = 0.01 * np.sin(places * 12.9898) * np.modf(np.sin(places * 78.233) * 43758.5453)[0]
    samples: Floats = (hum + chirps + noise).astype(np.float32)
    return samples


def windows(count: int) -> list[Floats]:
    """Several windows, no two alike."""
    return [window(70_001 * index) for index in range(count)]
