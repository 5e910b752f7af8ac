"""Turns the sound of a file into blocks of mono at 48 kHz."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block
from clapstream.audio.files.file_reader import Sound
from clapstream.audio.resampling import StreamResampler
from clapstream.audio.samples import choose_channel, sane_samples
from clapstream.audio.source import SourceError

Mono = Callable[[NDArray[np.float32], int], NDArray[np.float32]]
"""Makes mono `(samples,)` of `(samples, channels)` at a rate in Hz; LookupError if there is no such channel."""


def mix(samples: NDArray[np.float32], _rate_hz: int) -> NDArray[np.float32]:
    """Return the mean of all channels."""
    return choose_channel(samples, "mix")


class MonoBlocks:
    """Mixes or chooses channels and resamples to `RATE_HZ`, also where a file's rate changes.

    `replaced` counts samples that were not finite numbers.
    """

    def __init__(self, shown: str, mono: Mono) -> None:
        """Take the file's name for messages, and what makes mono of its channels."""
        self.replaced = 0
        self._shown = shown
        self._to_mono = mono
        self._rate_hz = 0
        self._resampler = StreamResampler(RATE_HZ)
        self._position = 0  # samples at the file's rate, since that rate began

    @property
    def heard(self) -> bool:
        """Whether there was any sound."""
        return self._resampler.end_sample > 0

    def push(self, sound: Sound) -> list[Block]:
        """Return the blocks that are ready; SourceError for an absurd rate or a channel that the file lacks."""
        blocks = []
        if sound.rate_hz != self._rate_hz:
            blocks = self.finish()
            self._change_rate(sound.rate_hz)
        samples, replaced = sane_samples(sound.samples)
        self.replaced += replaced
        self._position += sound.skipped_samples
        blocks += self._resampler.push(self._position, self._mono(samples))
        self._position += len(samples)
        return blocks

    def finish(self) -> list[Block]:
        """Return what is still inside the resampler."""
        return self._resampler.finish()

    def _change_rate(self, rate_hz: int) -> None:
        try:
            self._resampler = StreamResampler(rate_hz, self._resampler.end_sample)
        except ValueError as error:
            raise SourceError(f"{self._shown}: {error}") from error
        self._rate_hz, self._position = rate_hz, 0

    def _mono(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            return self._to_mono(samples, self._rate_hz)
        except LookupError as error:
            raise SourceError(f"{self._shown}: {error}") from error
