"""The checkpoint's feature extractor: clapstream's own, with the settings of the published unfused checkpoint."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.clap import ClapFeatureExtractor

EXTRACTOR = ClapFeatureExtractor(
    frequency_min=50,
    frequency_max=14_000,
    truncation="rand_trunc",
    padding="repeatpad",
    # Only kept in the file, as in the published one.
    chunk_length_s=10,
    n_fft=1024,
    nb_max_frames=1000,
    processor_class="ClapProcessor",
)


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-mel power in dB `(1001, 64)` of a window of 480 000 samples."""
    spectrogram: NDArray[np.float32] = EXTRACTOR.log_mel(torch.from_numpy(samples)[None])[0].numpy()
    return spectrogram
