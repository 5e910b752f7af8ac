"""How loud sound is in each band of frequencies: what the gate compares with the noise floor of a source."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ
from clapstream.clap.mel import hertz_to_mel, mel_to_hertz

BANDS = 24
"""Narrow enough that a faint tone shows beside noise, wide enough that noise itself is steady in them."""

LOWEST_HZ, HIGHEST_HZ = 50.0, 14_000.0
"""What the published checkpoints' features reach."""

STRETCH_SAMPLES = 2048
"""43 ms: a knock fills a good part of it."""

STEP_SAMPLES = STRETCH_SAMPLES // 2

FLOOR_DBFS = -120.0
"""What silence reads in each band: below the noise of any converter."""


def band_levels(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Levels `(2, BANDS)` in dBFS of samples `(frames,)`: of the loudest stretch in each band, and of all together.

    The loudest stretch shows a knock, the mean a faint sound that goes on. Stretches overlap by half, since each
    fades in and out. Raises ValueError for less than one stretch.
    """
    if len(samples) < STRETCH_SAMPLES:
        raise ValueError(f"{len(samples)} frames are less than a stretch of {STRETCH_SAMPLES}")
    fade, first_bins, bands = _tables()
    with torch.inference_mode():
        stretches = torch.from_numpy(samples).unfold(0, STRETCH_SAMPLES, STEP_SAMPLES) * fade
        spectrum = torch.view_as_real(torch.fft.rfft(stretches)[:, :bands])
        powers = spectrum.square().sum(-1).numpy()
    in_bands = np.add.reduceat(powers, first_bins, axis=1)
    levels = 10.0 * np.log10(np.stack([in_bands.max(axis=0), in_bands.mean(axis=0)]) + 10 ** (FLOOR_DBFS / 10))
    return np.asarray(levels, dtype=np.float32)


@functools.cache
def _tables() -> tuple[torch.Tensor, NDArray[np.intp], int]:
    """Fade `(STRETCH_SAMPLES,)`, scaled for dBFS; each band's first bin; the bin behind the last band."""
    low, high = hertz_to_mel(LOWEST_HZ, "htk"), hertz_to_mel(HIGHEST_HZ, "htk")
    edges_hz = mel_to_hertz(np.linspace(low, high, BANDS + 1), "htk")
    edges = np.round(edges_hz * STRETCH_SAMPLES / RATE_HZ).astype(np.intp)
    fade = torch.hann_window(STRETCH_SAMPLES, periodic=True)
    # Two for the negative frequencies: a full-scale sine then has -3 dBFS in its band, as its RMS level has.
    fade *= (2.0 / (STRETCH_SAMPLES * fade.square().sum())) ** 0.5
    return fade, edges[:-1], int(edges[-1])
