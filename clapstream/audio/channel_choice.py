"""Mono out of what a device, a stream or a pipe delivers, as the user chose for the source."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.cancellation import CancellationWatch
from clapstream.audio.samples import choose_channel


class ChannelChoice:
    """The channel that a source listens to; warns once where the mix of all channels cancels out."""

    def __init__(self, source: str, channel: str | int) -> None:
        """Take the source's name and mix, left, right or a channel index from 0."""
        self._channel = channel
        self._cancellation = CancellationWatch(source)

    def mono(self, samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        """Return `(frames,)` of samples `(frames, channels)`; LookupError if there is no such channel."""
        chosen = choose_channel(samples, self._channel)
        if self._channel == "mix":
            self._cancellation.hear(samples, chosen, rate_hz)
        return chosen
