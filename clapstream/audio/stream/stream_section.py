"""A stretch of a network stream whose rate stays the same."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import Block
from clapstream.audio.live.recovery import StreamBrokenError
from clapstream.audio.resampling import StreamResampler
from clapstream.audio.source import BLOCK_SECONDS
from clapstream.audio.stream.decoding import DecodedSound
from clapstream.audio.stream.timestamps import TimestampPlacer


class StreamSection:
    """The sound of one rate: gathered to blocks, resampled, placed by its time stamps from `start_sample` on."""

    def __init__(self, rate_hz: int, start_sample: int) -> None:
        """Start now; StreamBrokenError if the rate is absurd."""
        try:
            self._resampler = StreamResampler(rate_hz, start_sample)
        except ValueError as error:
            raise StreamBrokenError(str(error)) from error
        self.rate_hz = rate_hz
        self._began = time.monotonic()
        self._placer = TimestampPlacer(rate_hz)
        self._gathered: list[NDArray[np.float32]] = []
        self._first = self._end = 0  # of what is gathered

    @property
    def end_sample(self) -> int:
        """Where the section ends so far, at `RATE_HZ`."""
        return self._resampler.end_sample

    def push(self, sound: DecodedSound) -> Iterator[Block]:
        """Take decoded sound that came just now; give the blocks that are ready."""
        now = round((time.monotonic() - self._began) * self.rate_hz)
        place = self._placer.place(sound.pts, len(sound.samples), now)
        if place is None:
            return
        first, skipped = place
        if first != self._end:
            yield from self._flush()
            self._first = self._end = first
        self._gathered.append(sound.samples[skipped:])
        self._end = first + len(sound.samples) - skipped
        if self._end - self._first >= BLOCK_SECONDS * self.rate_hz:
            yield from self._flush()

    def finish(self) -> Iterator[Block]:
        """Give what is left."""
        yield from self._flush()
        yield from self._resampler.finish()

    def _flush(self) -> Iterator[Block]:
        if self._gathered:
            samples = np.concatenate(self._gathered)
            self._gathered.clear()
            yield from self._resampler.push(self._first, samples)
            self._first = self._end
