"""Raw sound on standard input, as recorders and converters write it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import BinaryIO

import numpy as np

from clapstream.audio.block import SourceItem, StreamOpened
from clapstream.audio.resampling import StreamResampler
from clapstream.audio.samples import choose_channel
from clapstream.audio.source import BLOCK_SECONDS, SourceError

_logger = logging.getLogger(__name__)

BYTES_PER_SAMPLE = 2
FULL_SCALE = np.float32(32_768.0)


class Pcm:
    """A source of 16-bit little-endian samples from a pipe or file; it ends with its input.

    It reads no faster than its blocks are taken: whoever writes has to wait. It never drops a block.
    """

    def __init__(
        self, name: str, rate_hz: int = 48_000, channels: int = 1, *, input_stream: BinaryIO | None = None
    ) -> None:
        """Take rate and channels, which the input cannot tell; `input_stream` None is standard input."""
        self.name = name
        self.dropped_blocks = 0
        self.reconnects = 0
        self.silent = False
        self._rate_hz = rate_hz
        self._channels = channels
        self._input = input_stream

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        """Give the input's blocks; SourceError if it is a terminal."""
        source = self._input or sys.stdin.buffer
        if source.isatty():
            raise SourceError(f"source {self.name}: standard input is a terminal; pipe 16-bit samples into it")
        resampler = StreamResampler(self._rate_hz)
        frame_bytes = BYTES_PER_SAMPLE * self._channels
        reader = _Reader(source, frame_bytes * round(self._rate_hz * BLOCK_SECONDS))
        frame, rest = 0, b""
        try:
            while received := await reader.read():
                if not frame and not rest:
                    yield StreamOpened(datetime.now(UTC))
                data = rest + received
                whole = len(data) - len(data) % frame_bytes
                data, rest = data[:whole], data[whole:]
                sound = np.frombuffer(data, dtype="<i2").reshape(-1, self._channels).astype(np.float32) / FULL_SCALE
                for block in resampler.push(frame, choose_channel(sound, "mix")):
                    yield block
                frame += len(sound)
            for block in resampler.finish():
                yield block
        finally:
            reader.close()
        if rest:
            _logger.warning("source %s: the input ended in the middle of a frame", self.name)


class _Reader:
    """Reads pipes without blocking the loop, and files, which never block for long, directly."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        """Take the input and how many bytes to read at most."""
        self._descriptor = os.dup(source.fileno())
        self._size = size
        self._loop = asyncio.get_running_loop()
        self._was_blocking = os.get_blocking(self._descriptor)
        os.set_blocking(self._descriptor, False)

    async def read(self) -> bytes:
        """Return what there is, waiting for it; nothing at the end."""
        await asyncio.sleep(0)  # an input that is never exhausted must not starve the loop
        while True:
            try:
                return os.read(self._descriptor, self._size)
            except BlockingIOError:
                await self._readable()

    def close(self) -> None:
        """Close this end; standard input itself stays as it was."""
        os.set_blocking(self._descriptor, self._was_blocking)
        os.close(self._descriptor)

    async def _readable(self) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(self._descriptor, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(self._descriptor)
