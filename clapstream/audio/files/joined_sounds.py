"""Joins the short pieces that decoders give into blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clapstream.audio.files.file_reader import BrokenFileError, Sound
from clapstream.audio.source import BLOCK_SECONDS


def joined(sounds: Iterator[Sound]) -> Iterator[Sound]:
    """Join sounds to about a block at a time; what came before a BrokenFileError is given before it."""
    waiting: list[Sound] = []
    try:
        for sound in sounds:
            if waiting and (sound.skipped_samples or not _alike(waiting[0], sound)):
                yield _concatenated(waiting)
                waiting = []
            waiting.append(sound)
            if sum(len(each.samples) for each in waiting) >= BLOCK_SECONDS * sound.rate_hz:
                yield _concatenated(waiting)
                waiting = []
    except BrokenFileError:
        if waiting:
            yield _concatenated(waiting)
        raise
    if waiting:
        yield _concatenated(waiting)


def _alike(one: Sound, other: Sound) -> bool:
    return one.rate_hz == other.rate_hz and one.samples.shape[1] == other.samples.shape[1]


def _concatenated(sounds: list[Sound]) -> Sound:
    first = sounds[0]
    return Sound(np.concatenate([each.samples for each in sounds]), first.rate_hz, first.skipped_samples)
