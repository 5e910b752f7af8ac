"""What `clapstream tag` does: score a whole file window by window, as fast as the machine can."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block
from clapstream.audio.files.file_reader import shown_name
from clapstream.audio.source import SourceError
from clapstream.audio.windower import Window, Windower

Floats = NDArray[np.float32]
_WINDOWS_AT_ONCE = 8


class ScoresWindows(Protocol):
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

    def as_json(self, encoding: str = "utf-8") -> str:
        """One line for programs to read; characters that `encoding` does not have are escaped."""
        fields = {
            "file": self.file,
            "start": round(self.start_seconds, 3),
            "end": round(self.end_seconds, 3),
            "label": self.label,
            "score": round(self.score, 4),
        }
        line = json.dumps(fields, ensure_ascii=False)
        try:
            line.encode(encoding)
        except UnicodeEncodeError:  # also of a file name that is no text
            return json.dumps(fields)
        return line

    def as_text(self) -> str:
        """One line for people to read."""
        times = f"{self.start_seconds:8.2f} {self.end_seconds:8.2f}"
        return f"{shown_name(self.file)}  {times}  {self.score:.2f}  {self.label}"


def file_windows(blocks: Iterable[Block], window_samples: int, hop_samples: int) -> Iterator[Window]:
    """The windows of a file: one every hop, and one that ends with the sound, so that every frame is in one.

    Partial windows appear only where no whole one has the frames: in sound shorter than a window, or at its start
    when a window is no whole number of hops. A SourceError of `blocks` is raised after the windows before it.
    """
    partial: Window | None = None
    failures: list[SourceError] = []
    for window in _cut(_until_failure(blocks, failures), Windower(window_samples, hop_samples)):
        if partial is not None and window.first_sample != partial.first_sample:
            yield partial
        partial = window if window.partial else None
        if not window.partial:
            yield window
    if partial is not None:
        yield partial
    if failures:
        raise failures[0]


def _until_failure(blocks: Iterable[Block], failures: list[SourceError]) -> Iterator[Block]:
    """Pass on blocks; a SourceError ends them and is put into `failures`."""
    try:
        yield from blocks
    except SourceError as error:
        failures.append(error)


def _cut(blocks: Iterable[Block], windower: Windower) -> Iterator[Window]:
    """Cut windows; one more ends where the sound ends or has a hole, if the last one ended before."""
    end_sample = 0
    for block in blocks:
        if block.first_sample != end_sample:
            yield from _rest(windower)
        yield from windower.push(block)
        end_sample = block.end_sample
    yield from _rest(windower)


def _rest(windower: Windower) -> Iterator[Window]:
    last = windower.flush()
    if last is not None:
        yield last


def tag_blocks(
    file: str,
    blocks: Iterable[Block],
    detector: ScoresWindows,
    thresholds: Sequence[tuple[str, float]],
    *,
    window_samples: int,
    hop_samples: int,
) -> Iterator[list[Tag]]:
    """The tags of each window of a file, in order; `thresholds` gives the labels and their least scores.

    A SourceError of `blocks` is raised after the tags of what came before it.
    """
    for batch in _batches(file_windows(blocks, window_samples, hop_samples)):
        for window, row in zip(batch, detector.score([window.samples for window in batch]), strict=True):
            start, end = window.first_sample / RATE_HZ, window.end_sample / RATE_HZ
            yield [
                Tag(file, start, end, label, float(score))
                for (label, threshold), score in zip(thresholds, row, strict=True)
                if score >= threshold
            ]


def _batches(windows: Iterator[Window]) -> Iterator[list[Window]]:
    """Gather windows to score at once; those before a SourceError come before it."""
    batch: list[Window] = []
    try:
        for window in windows:
            batch.append(window)
            if len(batch) == _WINDOWS_AT_ONCE:
                yield batch
                batch = []
    except SourceError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
