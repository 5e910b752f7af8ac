"""What `clapstream tag` does: score a whole file window by window, as fast as the machine can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ

Floats = NDArray[np.float32]
_WINDOWS_AT_ONCE = 8


class WindowScorer(Protocol):
    """Scores `(windows, labels)` of mono 48 kHz samples `(frames,)` each."""

    def score(self, windows: Sequence[Floats]) -> Floats: ...


@dataclass(frozen=True, slots=True, eq=False)
class TaggedWindow:
    """Scores 0..1 `(labels,)` of the frames `[first_frame, end_frame)` of a file."""

    first_frame: int
    end_frame: int
    scores: Floats

    @property
    def start_seconds(self) -> float:
        """Start, from the start of the file."""
        return self.first_frame / RATE_HZ

    @property
    def end_seconds(self) -> float:
        """End, from the start of the file."""
        return self.end_frame / RATE_HZ


def window_spans(frames: int, window_frames: int, hop_frames: int) -> list[tuple[int, int]]:
    """Where the windows of a file lie: one every hop, the last one ending with the file, so that all is covered.

    A file shorter than a window is one window. Raises ValueError for an empty file.
    """
    if frames <= 0:
        raise ValueError("an empty file has no windows")
    if frames <= window_frames:
        return [(0, frames)]
    firsts = list(range(0, frames - window_frames + 1, hop_frames))
    if firsts[-1] + window_frames < frames:
        firsts.append(frames - window_frames)
    return [(first, first + window_frames) for first in firsts]


def tag_samples(
    samples: Floats, detector: WindowScorer, *, window_frames: int, hop_frames: int
) -> Iterator[TaggedWindow]:
    """Score a mono 48 kHz file `(frames,)`; windows come out in order."""
    spans = window_spans(len(samples), window_frames, hop_frames)
    for position in range(0, len(spans), _WINDOWS_AT_ONCE):
        batch = spans[position : position + _WINDOWS_AT_ONCE]
        scores = detector.score([samples[first:end] for first, end in batch])
        for (first, end), row in zip(batch, scores, strict=True):
            yield TaggedWindow(first, end, row)
