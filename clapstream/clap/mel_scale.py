"""The mel scales: frequencies in Hz to mels and back. Needs no torch."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

MelScale = Literal["htk", "slaney"]

SLANEY_LINEAR_HZ = 200.0 / 3
SLANEY_BREAK_HZ = 1000.0
SLANEY_LOG_STEP = np.log(6.4) / 27.0


def hertz_to_mel(hertz: float, scale: MelScale) -> float:
    """A frequency on the HTK scale (O'Shaughnessy 1987) or on that of Slaney's Auditory Toolbox (1998)."""
    if scale == "htk":
        return float(2595.0 * np.log10(1.0 + hertz / 700.0))
    if hertz < SLANEY_BREAK_HZ:
        return hertz / SLANEY_LINEAR_HZ
    return float(SLANEY_BREAK_HZ / SLANEY_LINEAR_HZ + np.log(hertz / SLANEY_BREAK_HZ) / SLANEY_LOG_STEP)


def mel_to_hertz(mels: NDArray[np.float64], scale: MelScale) -> NDArray[np.float64]:
    """The inverse of `hertz_to_mel`."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    break_mel = SLANEY_BREAK_HZ / SLANEY_LINEAR_HZ
    return np.where(
        mels < break_mel, mels * SLANEY_LINEAR_HZ, SLANEY_BREAK_HZ * np.exp(SLANEY_LOG_STEP * (mels - break_mel))
    )
