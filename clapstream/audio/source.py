"""What every source of sound has in common. (The protocol that sources follow lives with its consumer.)"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK_SECONDS = 0.1
"""How much sound a source hands over at a time."""


class SourceError(Exception):
    """A source that can never work: the message says which, what is wrong and what to do, for a person to read."""


def sane_samples(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Return samples of any shape limited to full scale, and how many were not finite: those become 0.

    Floating-point formats can hold anything; past full scale a converter clips, and so does CLAP's own
    preparation of its training sound (laion_clap, `training/data.py`, float32_to_int16).
    """
    finite = np.isfinite(samples)
    replaced = int(samples.size - np.count_nonzero(finite))
    if replaced:
        samples = np.where(finite, samples, np.float32(0.0))
    return np.clip(samples, -1.0, 1.0), replaced
