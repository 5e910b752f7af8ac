"""What `clapstream tag` does: score a whole file window by window, as fast as the machine can."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block
from clapstream.audio.windower import Window, Windower

Floats = NDArray[np.float32]
_WINDOWS_AT_ONCE = 8


class WindowScorer(Protocol):
    """Scores `(windows, labels)` of mono 48 kHz samples `(frames,)` each."""

    def score(self, windows: Sequence[Floats]) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Tag:
    """How surely a label is in a window of a file; times count from the start of the file."""

    file: str
    start_seconds: float
    end_seconds: float
    label: str
    score: float

    def as_json(self) -> str:
        """One line for programs to read."""
        return json.dumps(
            {
                "file": self.file,
                "start": round(self.start_seconds, 3),
                "end": round(self.end_seconds, 3),
                "label": self.label,
                "score": round(self.score, 4),
            },
            ensure_ascii=False,
        )

    def as_text(self) -> str:
        """One line for people to read."""
        return f"{self.file}  {self.start_seconds:8.2f} {self.end_seconds:8.2f}  {self.score:.2f}  {self.label}"


def file_windows(blocks: Iterable[Block], window_frames: int, hop_frames: int) -> Iterator[Window]:
    """The windows of a file: one every hop, and one that ends with the file, so that every frame is in one.

    Partial windows appear only where no whole one has the frames: in a file shorter than a window, or at the start
    when a window is no whole number of hops.
    """
    partial: Window | None = None
    for window in _cut(blocks, Windower(window_frames, hop_frames)):
        if window.partial:
            partial = window
            continue
        if partial is not None and window.first_frame > 0:
            yield partial
        partial = None
        yield window
    if partial is not None:
        yield partial


def _cut(blocks: Iterable[Block], windower: Windower) -> Iterator[Window]:
    for block in blocks:
        yield from windower.push(block)
    last = windower.flush()
    if last is not None:
        yield last


def tag_blocks(
    file: str,
    blocks: Iterable[Block],
    detector: WindowScorer,
    thresholds: Sequence[tuple[str, float]],
    *,
    window_frames: int,
    hop_frames: int,
) -> Iterator[list[Tag]]:
    """The tags of each window of a file, in order; `thresholds` gives the labels and their least scores."""
    windows = file_windows(blocks, window_frames, hop_frames)
    while batch := list(itertools.islice(windows, _WINDOWS_AT_ONCE)):
        for window, row in zip(batch, detector.score([window.samples for window in batch]), strict=True):
            start, end = window.first_frame / RATE_HZ, window.end_frame / RATE_HZ
            yield [
                Tag(file, start, end, label, float(score))
                for (label, threshold), score in zip(thresholds, row, strict=True)
                if score >= threshold
            ]
