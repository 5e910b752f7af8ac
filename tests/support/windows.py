"""Settings and windows of sound for tests of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clapstream.config import ModelSettings


def model_settings(checkpoint: Path, precision: str = "fp32", device: str = "cpu") -> ModelSettings:
    return ModelSettings.model_validate({"checkpoint": str(checkpoint), "device": device, "precision": precision})


def noise_windows(count: int, samples: int = 480_000) -> list[NDArray[np.float32]]:
    """Windows of noise, each a tenth as loud as the one before."""
    generator = np.random.default_rng(1)
    loudness = 10.0 ** -np.arange(count)[:, None]
    return list((generator.standard_normal((count, samples)) * loudness).astype(np.float32))
