"""Notices when the mix of a sound's channels is silence because they cancel each other out."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

_logger = logging.getLogger(__name__)

JUDGED_SECONDS = 5.0
"""How much sound has to cancel out without a break."""

LEAST_SHARE = 0.05
"""How much power the mix keeps, as a share of what it keeps of unrelated channels: 1/2 of two, 1/8 of eight."""

LEAST_POWER = 1e-6
"""Mean power of the channels (-60 dBFS) above which there is a sound to judge."""


class CancellationWatch:
    """Warns once when channels are each other's inverse, as of a balanced microphone on a stereo input."""

    def __init__(self, source: str) -> None:
        """Take the name of the source for the warning."""
        self._source = source
        self._cancelled_seconds = 0.0
        self._warned = False

    def hear(self, samples: NDArray[np.float32], mixed: NDArray[np.float32], rate_hz: int) -> None:
        """Take sound `(samples, channels)` and its mix `(samples,)`; sound too quiet to tell is ignored."""
        channels = samples.shape[1]
        if self._warned or channels < 2 or not len(samples):
            return
        power = float(np.mean(np.square(samples)))
        if power < LEAST_POWER:
            return
        cancels = float(np.mean(np.square(mixed))) < LEAST_SHARE * power / channels
        self._cancelled_seconds = self._cancelled_seconds + len(samples) / rate_hz if cancels else 0.0
        if self._cancelled_seconds >= JUDGED_SECONDS:
            self._warned = True
            choices = "left or right" if channels == 2 else f"one of 0 to {channels - 1}"
            _logger.warning(
                "source %s: its %d channels cancel each other out, so that their mix is silence; set channel to %s",
                self._source, channels, choices,
            )  # fmt: skip
