"""Finds the gaps in an audio track by its time stamps."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.files.file_reader import Sound

if TYPE_CHECKING:
    import av

GAP_SECONDS = 0.1
"""Time stamps that jump by more leave a gap: less is rounding, or the delay of an encoder."""

SILENT_GAP_SECONDS = 1.0
"""A gap up to this is silence: encoders for speech leave packets out while nobody talks."""

LONGEST_GAP_SECONDS = 3600.0
"""A longer jump is a broken time stamp."""


class GapFinder:
    """Finds the gaps in a track: short ones become silence, longer ones skipped samples.

    `position` is where the sound ends so far, in seconds; `first_gap` describes the first longer gap within it.
    """

    def __init__(self, container: av.container.InputContainer) -> None:
        """Take the open file."""
        self.position = Fraction(0)
        self.first_gap: str | None = None
        self._container = container
        self._offset: Fraction | None = None

    def placed(self, frame: av.AudioFrame, samples: NDArray[np.float32]) -> Iterator[Sound]:
        """Give a frame's samples, and what is missing before them."""
        gap = self._gap_before(frame)
        missing = round(gap * frame.sample_rate)
        skipped = 0
        if gap > SILENT_GAP_SECONDS:
            skipped = missing
            if self.position and self.first_gap is None:
                start, end = float(self.position), float(self.position + gap)
                self.first_gap = f"no sound from {start:.1f} to {end:.1f} s: the file has a gap there or is damaged"
        elif missing:
            yield Sound(np.zeros((missing, samples.shape[1]), dtype=np.float32), frame.sample_rate)
        yield Sound(samples, frame.sample_rate, skipped)
        self.position += Fraction(missing + len(samples), frame.sample_rate)

    def _gap_before(self, frame: av.AudioFrame) -> Fraction:
        """Return how many seconds are missing before a frame, by time stamps that count from the file's start."""
        if frame.pts is None or frame.time_base is None:
            return Fraction(0)
        stamp = frame.pts * frame.time_base
        if self._offset is None:
            start = self._container.start_time
            self._offset = -stamp if start is None else Fraction(-start, 1_000_000)
        gap = stamp + self._offset - self.position
        if GAP_SECONDS < gap < LONGEST_GAP_SECONDS:
            return gap
        if abs(gap) > GAP_SECONDS:  # back, or absurdly far: count from here
            self._offset -= gap
        return Fraction(0)
