"""Recordings (sound files of any format): as a source, as a stream of blocks, or whole."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.channel_choice import ChannelChoice
from clapstream.audio.files.file_reader import BrokenFileError, Sound, shown_name
from clapstream.audio.files.mono_blocks import Mono, MonoBlocks, mix
from clapstream.audio.files.sound_file import NotSoundError, opened
from clapstream.audio.source import LosslessSource, SourceError

__all__ = ["Recording", "SourceError", "claimed_seconds", "read_audio", "recording_blocks", "recording_problem"]

_logger = logging.getLogger(__name__)

SHORTEST_SECONDS = 0.01
"""Less than this is refused: repeated to fill a window, it would be a buzz."""


def recording_blocks(path: Path, mono: Mono = mix, shown: str | None = None) -> Generator[Block, None, None]:
    """Read a file of any length as mono blocks of about a tenth of a second; `shown` is its name in messages.

    SourceError says what is wrong with it; for a file that is broken it comes after the sound before the damage.
    Samples that are not finite numbers become silence, which is reported once.
    """
    shown = shown_name(path) if shown is None else shown
    broken: BrokenFileError | None = None
    with opened(path, shown) as reader:
        converter = MonoBlocks(shown, mono)
        try:
            for sound in _long_enough(reader.sounds(), shown):
                yield from converter.push(sound)
        except BrokenFileError as error:
            broken = error
        finally:
            if converter.replaced:
                _logger.warning(
                    "%s: %d samples are not finite numbers; replaced by silence", shown, converter.replaced
                )
        yield from converter.finish()
    if broken is not None:
        kind = SourceError if converter.heard else NotSoundError
        raise kind(f"{shown}: {broken}") from broken


def read_audio(path: Path) -> NDArray[np.float32]:
    """Read a whole file as mono float32 `(samples,)` at `RATE_HZ`; SourceError says what is wrong with it."""
    return np.concatenate([block.samples for block in recording_blocks(path)])


def claimed_seconds(path: Path) -> float:
    """How long a file says that it is, 0.0 if it does not say; SourceError says what is wrong with it."""
    with opened(path, shown_name(path)) as reader:
        return reader.claimed_seconds


def recording_problem(path: Path, channel: str | int = "mix") -> str | None:
    """Return why a file cannot be played as a source, judged by its beginning; None if it can."""
    try:
        with closing(recording_blocks(path, ChannelChoice(path.name, channel).mono)) as blocks:
            next(blocks, None)
    except SourceError as error:
        return str(error)
    return None


class Recording(LosslessSource):
    """A source that plays a file, in real time or as fast as its consumer takes it."""

    def __init__(
        self,
        name: str,
        path: Path,
        pace: Literal["realtime", "fast"] = "realtime",
        loop: bool = False,
        channel: str | int = "mix",
    ) -> None:
        """Take the file and mix, left, right or a channel index from 0; `loop` plays it as one endless stream."""
        super().__init__(name)
        self._path = path
        self._pace = pace
        self._loop = loop
        self._channel = ChannelChoice(name, channel)

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        """Give the file's blocks; SourceError says what is wrong with it, after the sound before a damage."""
        clock = asyncio.get_running_loop().time
        started, origin = datetime.now(UTC), clock()
        opened = False
        end_sample = 0
        for _ in itertools.count() if self._loop else range(1):
            start_sample = end_sample
            blocks = recording_blocks(self._path, self._channel.mono)
            try:
                while (block := await _next_block(blocks)) is not None:
                    if not opened:
                        opened = True
                        yield StreamOpened(started)
                    end_sample = start_sample + block.end_sample
                    if self._pace == "realtime":
                        await asyncio.sleep(origin + end_sample / RATE_HZ - clock())
                    yield Block(start_sample + block.first_sample, block.samples)
            finally:
                blocks.close()


async def _next_block(blocks: Iterator[Block]) -> Block | None:
    """Read in a thread, because disks can be slow; waits for it also when cancelled, so that the file can close."""
    reading = asyncio.get_running_loop().run_in_executor(None, next, blocks, None)
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.gather(reading, return_exceptions=True)
        raise


def _long_enough(sounds: Iterator[Sound], shown: str) -> Iterator[Sound]:
    """Pass on a file's sound; NotSoundError if it is shorter than `SHORTEST_SECONDS`."""
    waiting: list[Sound] = []
    sample_count = 0
    for sound in sounds:
        waiting.append(sound)
        sample_count += len(sound.samples)
        if sample_count >= math.ceil(sound.rate_hz * SHORTEST_SECONDS):
            break
    else:
        least = math.ceil((waiting[0].rate_hz if waiting else RATE_HZ) * SHORTEST_SECONDS)
        raise NotSoundError(f"{shown}: only {sample_count} sample(s) of sound; at least {least} are needed")
    yield from waiting
    yield from sounds
