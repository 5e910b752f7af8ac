"""Turns the channels of a source into mono, as the user chose, and watches for silence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.cancellation import CancellationWatch
from clapstream.audio.samples import choose_channel

DIGITAL_SILENCE = (0.0, 8 / 32_768)
"""The level of samples without a sound: G.711's A-law has no 0, its least level is 8 of 32768."""


class ChannelChoice:
    """The channel that a source listens to; warns once where the mix of all channels cancels out."""

    def __init__(self, source: str, channel: str | int) -> None:
        """Take the source's name and mix, left, right or a channel index from 0."""
        self.silent_seconds = 0.0
        """For how long there has been nothing but digital silence."""
        self._channel = channel
        self._cancellation = CancellationWatch(source)

    def mono(self, samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        """Return mono `(samples,)` of sound `(samples, channels)`; LookupError if there is no such channel."""
        chosen = choose_channel(samples, self._channel)
        if self._channel == "mix":
            self._cancellation.hear(samples, chosen, rate_hz)
        if len(samples):
            heard = samples if self._channel == "mix" else chosen  # channels may cancel each other out
            silent = abs(heard.flat[0]) in DIGITAL_SILENCE and np.all(heard == heard.flat[0])
            self.silent_seconds = self.silent_seconds + len(samples) / rate_hz if silent else 0.0
        return chosen
