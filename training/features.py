"""CLAP's unfused features of one 10 s window, in float32: what `ClapFeatureExtractor` computes, for one window."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.audio_utils import mel_filter_bank

_FILTERS = torch.from_numpy(
    mel_filter_bank(513, 64, 50.0, 14_000.0, 48_000, norm="slaney", mel_scale="slaney").astype(np.float32)
)
_HANN = torch.hann_window(1024)


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-mel power in dB `(1001, 64)` of 480 000 samples."""
    spectrum = torch.stft(torch.from_numpy(samples), 1024, 480, 1024, _HANN, return_complex=True)
    power = (spectrum.real**2 + spectrum.imag**2).T @ _FILTERS
    return (10 * torch.log10(power.clamp(min=1e-10))).numpy()
