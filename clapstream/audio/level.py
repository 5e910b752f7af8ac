"""The level of sound."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FLOOR_DBFS = -120.0
"""The level of silence: below the noise of any converter."""


def level_dbfs(samples: NDArray[np.float32]) -> float:
    """Return the RMS level of sound `(samples,)` in dBFS: a full-scale square wave is 0, silence `FLOOR_DBFS`."""
    if not len(samples):
        return FLOOR_DBFS
    mean_square = float(np.mean(np.square(samples, dtype=np.float64)))
    if mean_square <= 0.0:
        return FLOOR_DBFS
    return max(FLOOR_DBFS, 10.0 * math.log10(mean_square))
