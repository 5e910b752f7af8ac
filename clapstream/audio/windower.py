"""Cuts the blocks of one stream into overlapping windows, exact to the sample. Pure: no clocks, no threads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import Block


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A stretch of sound for the model: `samples` is float32 `(samples,)`, its own copy.

    `partial` tells that the stream (or the sound since a hole) is shorter than a window, so that `samples` is too.
    The newest `hop_samples` samples were in no earlier window.
    """

    first_sample: int
    samples: NDArray[np.float32]
    partial: bool
    hop_samples: int

    @property
    def end_sample(self) -> int:
        """Index of the sample after the last one."""
        return self.first_sample + len(self.samples)

    @property
    def newest_hop_first_sample(self) -> int:
        """Index of the first sample that no earlier window had."""
        return self.end_sample - self.hop_samples


class Windower:
    """Gives a window every hop from the start of the stream, partial ones until a whole window was heard.

    A jump of `first_sample` between blocks is a hole: the windower starts over after it, so that no window contains
    sound from both sides. It keeps one window of sound, for blocks of any size.
    """

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        """Take sizes in samples; ValueError unless 1 <= hop <= window."""
        if not 1 <= hop_samples <= window_samples:
            raise ValueError(f"hop must be 1 to {window_samples} samples (one window), not {hop_samples}")
        self._hop_samples = hop_samples
        self._ring = np.zeros(window_samples, dtype=np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next block starts a new stream."""
        self._origin: int | None = None
        self._end = 0
        self._due = 0

    def push(self, block: Block) -> list[Window]:
        """Take the next block and return the windows that end in it, oldest first."""
        if self._origin is None or block.first_sample != self._end:
            self._origin = self._end = block.first_sample
            self._due = self._end + self._hop_samples
        windows = []
        remaining = block.samples
        while len(remaining):
            taken = remaining[: self._due - self._end]
            self._write(taken)
            remaining = remaining[len(taken) :]
            if self._end == self._due:
                windows.append(self._cut(self._origin, self._hop_samples))
                self._due += self._hop_samples
        return windows

    def flush(self) -> Window | None:
        """Return what was heard since the last window as a last one (None if nothing was), and reset."""
        last = None
        newest_samples = self._end - (self._due - self._hop_samples)
        if self._origin is not None and newest_samples:
            last = self._cut(self._origin, newest_samples)
        self.reset()
        return last

    def _write(self, samples: NDArray[np.float32]) -> None:
        """Append sound `(samples,)`, at most a hop of it, to the ring."""
        position = self._end % len(self._ring)
        head = samples[: len(self._ring) - position]
        self._ring[position : position + len(head)] = head
        self._ring[: len(samples) - len(head)] = samples[len(head) :]
        self._end += len(samples)

    def _cut(self, origin: int, newest_samples: int) -> Window:
        """Copy the newest window out of the ring."""
        first = max(origin, self._end - len(self._ring))
        samples = np.empty(self._end - first, dtype=np.float32)
        position = first % len(self._ring)
        head = self._ring[position : position + len(samples)]
        samples[: len(head)] = head
        samples[len(head) :] = self._ring[: len(samples) - len(head)]
        return Window(first, samples, len(samples) < len(self._ring), newest_samples)
