"""Sound files in any format that libsndfile reads: as a source, as a stream of blocks, or whole."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.resampling import StreamResampler
from clapstream.audio.samples import choose_channel, sane_samples
from clapstream.audio.source import BLOCK_SECONDS, SourceError

__all__ = ["Recording", "SourceError", "claimed_seconds", "read_audio", "recording_blocks"]

_logger = logging.getLogger(__name__)

SHORTEST_SECONDS = 0.01
"""Less than this is no sound: repeated to fill a window, it would be a buzz."""

MOST_SAMPLES_READ = 2**20
"""At a time, all channels together: a file with a thousand channels must not cost gigabytes."""


def recording_blocks(path: Path) -> Generator[Block, None, None]:
    """Read a file of any length as mono blocks of a tenth of a second; SourceError says what is wrong with it.

    Samples that are no finite number become silence, which is reported once.
    """
    with _opened(path) as file:
        resampler = StreamResampler(file.samplerate)
        frame, replaced = 0, 0
        try:
            for sound in _read(path, file):
                sound, bad_samples = sane_samples(sound)
                replaced += bad_samples
                yield from resampler.push(frame, choose_channel(sound, "mix"))
                frame += len(sound)
        finally:
            if replaced:
                _logger.warning("%s: %d samples that are no finite number are taken as silence", path, replaced)
        yield from resampler.finish()


def read_audio(path: Path) -> NDArray[np.float32]:
    """Read a whole file as mono float32 `(frames,)` at `RATE_HZ`; SourceError says what is wrong with it."""
    return np.concatenate([block.samples for block in recording_blocks(path)])


def claimed_seconds(path: Path) -> float:
    """How long a file says that it is; SourceError says what is wrong with it."""
    with _opened(path) as file:
        return float(file.frames / file.samplerate)


class Recording:
    """A source that plays a file, in real time or as fast as its consumer takes it; it never drops a block."""

    def __init__(
        self, name: str, path: Path, pace: Literal["realtime", "fast"] = "realtime", loop: bool = False
    ) -> None:
        """Take the file; `loop` plays it again and again as one endless stream."""
        self.name = name
        self.dropped_blocks = 0
        self.reconnects = 0
        self.silent = False
        self._path = path
        self._pace = pace
        self._loop = loop

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        """Give the file's blocks; SourceError says what is wrong with it."""
        clock = asyncio.get_running_loop().time
        started, origin = datetime.now(UTC), clock()
        opened = False
        end_frame = 0
        for _ in itertools.count() if self._loop else range(1):
            start_frame = end_frame
            blocks = recording_blocks(self._path)
            try:
                while (block := await _next_block(blocks)) is not None:
                    if not opened:
                        opened = True
                        yield StreamOpened(started)
                    end_frame = start_frame + block.end_frame
                    if self._pace == "realtime":
                        await asyncio.sleep(origin + end_frame / RATE_HZ - clock())
                    yield Block(start_frame + block.first_frame, block.samples)
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


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from front to back: soundfile seeks after every read, which tears holes into MP3."""

    def seekable(self) -> bool:
        """Tell soundfile to leave the position alone."""
        return False


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a file; SourceError says what is wrong with it."""
    if not path.exists():
        raise SourceError(f"{path}: no such file")
    if not path.is_file():
        raise SourceError(f"{path}: not a file")
    try:
        if not path.stat().st_size:
            raise SourceError(f"{path}: the file is empty")
        file = _SequentialFile(path)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:  # TypeError: a raw format without parameters
        raise SourceError(f"{path}: not a sound file that libsndfile reads: {_cause(error)}") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        try:
            StreamResampler(file.samplerate)
        except ValueError as error:
            raise SourceError(f"{path}: {error}") from error
        yield file


def _read(path: Path, file: soundfile.SoundFile) -> Iterator[NDArray[np.float32]]:
    """Give samples `(frames, channels)` until the end, whatever length the header claims."""
    shortest = math.ceil(file.samplerate * SHORTEST_SECONDS)
    frames = max(shortest, min(round(file.samplerate * BLOCK_SECONDS), MOST_SAMPLES_READ // file.channels))
    position = 0
    while True:
        try:
            sound = file.read(frames, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise SourceError(
                f"{path}: broken after {position / file.samplerate:.1f} s: {_cause(error)}"
            ) from error
        if position == 0 and len(sound) < shortest:
            raise SourceError(f"{path}: only {len(sound)} frame(s) of sound; at least {shortest} are needed")
        if not len(sound):
            return
        position += len(sound)
        yield sound


def _cause(error: Exception) -> str:
    """Return libsndfile's own words, without the path that soundfile puts before them."""
    return error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
