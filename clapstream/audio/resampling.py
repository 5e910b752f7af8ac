"""Resamples a stream of sound to blocks at 48 kHz."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block

MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 768_000


class StreamResampler:
    """Resamples mono sound from `rate_hz` to `RATE_HZ`, each block stamped with its exact place.

    Output sample k is input time k / `RATE_HZ`: soxr compensates for its own delay, so the first blocks come out
    shorter and `finish()` returns what is still inside. A jump of `first_sample` in the input is a hole; the
    filter starts anew after it, and the output jumps too.
    """

    def __init__(self, rate_hz: int, start_sample: int = 0) -> None:
        """Take the rate of the input and where its output starts at `RATE_HZ`; ValueError if the rate is absurd."""
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise ValueError(f"a sample rate of {rate_hz} Hz is not between {MIN_RATE_HZ} and {MAX_RATE_HZ} Hz")
        self._rate_hz = rate_hz
        self._input_end = 0
        self._start_sample = start_sample
        self._output_end = start_sample
        self._filter = self._new_filter()

    @property
    def end_sample(self) -> int:
        """Where the output ends so far, at `RATE_HZ`."""
        return self._output_end

    def push(self, first_sample: int, samples: NDArray[np.float32]) -> list[Block]:
        """Take sound `(samples,)` that starts at `first_sample`, at the input rate; return what is ready."""
        blocks = []
        if first_sample != self._input_end:
            blocks = self.finish()
            place = self._start_sample - (-first_sample * RATE_HZ // self._rate_hz)
            self._output_end = max(self._output_end, place)
        self._input_end = first_sample + len(samples)
        return blocks + self._emit(self._resample(samples, last=False))

    def finish(self) -> list[Block]:
        """Return what is still inside the filter; a later `push` starts anew."""
        tail = self._emit(self._resample(np.zeros(0, dtype=np.float32), last=True))
        self._filter = self._new_filter()
        return tail

    def _new_filter(self) -> soxr.ResampleStream | None:
        if self._rate_hz == RATE_HZ:
            return None
        return soxr.ResampleStream(self._rate_hz, RATE_HZ, 1, dtype="float32", quality="HQ")

    def _resample(self, samples: NDArray[np.float32], last: bool) -> NDArray[np.float32]:
        if self._filter is None:
            return samples
        resampled: NDArray[np.float32] = self._filter.resample_chunk(np.ascontiguousarray(samples), last)
        return resampled.clip(-1.0, 1.0)  # the filter overshoots beside steps

    def _emit(self, samples: NDArray[np.float32]) -> list[Block]:
        """Return sound `(samples,)` at `RATE_HZ` as a block in its place; none if there is no sound."""
        if not len(samples):
            return []
        block = Block(self._output_end, samples)
        self._output_end = block.end_sample
        return [block]
