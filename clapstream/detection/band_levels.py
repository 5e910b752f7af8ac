"""How loud sound is in each band of frequencies: what the gate compares with the noise floor of a source."""

from __future__ import annotations

import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ
from clapstream.clap.mel_scale import hertz_to_mel, mel_to_hertz

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
    """Levels `(2, BANDS)` in dBFS of samples `(samples,)`: of the loudest stretch in each band, and of the whole.

    The loudest stretch shows a knock, the mean a faint sound that goes on. Stretches overlap by half, since each
    fades in and out. Raises ValueError for less than one stretch.
    """
    if len(samples) < STRETCH_SAMPLES:
        raise ValueError(f"{len(samples)} samples are less than a stretch of {STRETCH_SAMPLES}")
    fade, first_bins, bands = _tables()
    stretches = sliding_window_view(samples, STRETCH_SAMPLES)[::STEP_SAMPLES] * fade
    spectrum = np.fft.rfft(stretches)[:, :bands]
    powers = spectrum.real**2 + spectrum.imag**2
    in_bands = np.add.reduceat(powers, first_bins, axis=1)
    levels = 10.0 * np.log10(np.stack([in_bands.max(axis=0), in_bands.mean(axis=0)]) + 10 ** (FLOOR_DBFS / 10))
    return np.asarray(levels, dtype=np.float32)


@functools.cache
def _tables() -> tuple[NDArray[np.float32], NDArray[np.intp], int]:
    """Fade `(STRETCH_SAMPLES,)`, scaled for dBFS; each band's first bin; the bin behind the last band."""
    low, high = hertz_to_mel(LOWEST_HZ, "htk"), hertz_to_mel(HIGHEST_HZ, "htk")
    edges_hz = mel_to_hertz(np.linspace(low, high, BANDS + 1), "htk")
    edges = np.round(edges_hz * STRETCH_SAMPLES / RATE_HZ).astype(np.intp)
    fade = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(STRETCH_SAMPLES) / STRETCH_SAMPLES)  # Hann's window
    # Two for the negative frequencies: a full-scale sine then has -3 dBFS in its band, as its RMS level has.
    fade *= (2.0 / (STRETCH_SAMPLES * np.square(fade).sum())) ** 0.5
    return fade.astype(np.float32), edges[:-1], int(edges[-1])
