"""Cuts a whole file into windows, so that every sample is in one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clapstream.audio.block import Block
from clapstream.audio.source import SourceError
from clapstream.audio.windower import Window, Windower


def file_windows(blocks: Iterable[Block], window_samples: int, hop_samples: int) -> Iterator[Window]:
    """The windows of a file: one every hop, and one that ends with the sound, so that every sample is in one.

    Partial windows appear only where no whole one contains the samples: in sound shorter than a window, or at its
    start when a window is no whole number of hops. A SourceError of `blocks` is raised after the windows before it.
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
    """Pass on blocks; a SourceError ends them and is added to `failures`."""
    try:
        yield from blocks
    except SourceError as error:
        failures.append(error)


def _cut(blocks: Iterable[Block], windower: Windower) -> Iterator[Window]:
    """Cut windows; an extra one ends where the sound ends or has a gap, unless a window ends there anyway."""
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
