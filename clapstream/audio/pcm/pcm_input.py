"""Reads raw samples from a pipe without blocking the event loop."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import logging
import os
import stat
import sys
import termios
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.channel_choice import ChannelChoice
from clapstream.audio.source import BLOCK_SECONDS, SourceError

_logger = logging.getLogger(__name__)

INT16_BYTES = 2
FULL_SCALE = np.float32(32_768.0)


class PcmInput:
    """Gives mono samples of a pipe, or of a file, which never blocks for long. Open it as a context manager."""

    def __init__(
        self,
        name: str,
        rate_hz: int = 48_000,
        channels: int = 1,
        channel: str | int = "mix",
        *,
        input_stream: BinaryIO | None = None,
    ) -> None:
        """Take the source's name, the input's format and the channel to listen to.

        The samples are 16-bit little-endian, interleaved; `input_stream` None is standard input.
        """
        self.name = name
        self.rate_hz = rate_hz
        self.channel = ChannelChoice(name, channel)
        self._channels = channels
        self._bytes_per_sample = INT16_BYTES * channels
        self._input_stream = input_stream

    def __enter__(self) -> Self:
        """Open the input; SourceError if it is a terminal."""
        input_stream = self._input_stream or sys.stdin.buffer
        if input_stream.isatty():
            raise SourceError(f"source {self.name}: standard input is a terminal; pipe 16-bit samples into it")
        self._rest = b""
        self._descriptor = os.dup(input_stream.fileno())
        self._was_blocking = os.get_blocking(self._descriptor)
        os.set_blocking(self._descriptor, False)
        return self

    def __exit__(self, *_: object) -> None:
        """Close this end; standard input itself stays as it was."""
        os.set_blocking(self._descriptor, self._was_blocking)
        os.close(self._descriptor)

    async def read(self) -> NDArray[np.float32] | None:
        """Wait for samples and return them, `(samples,)`, at most a block; None at the end."""
        await asyncio.sleep(0)  # an input that is never exhausted must not starve the loop
        size = self._bytes_per_sample * round(self.rate_hz * BLOCK_SECONDS)
        while True:
            try:
                received = os.read(self._descriptor, size)
            except BlockingIOError:
                await self._readable()
                continue
            if not received:
                self._warn_of_rest()
                return None
            if len(samples := self._samples(received)):
                return samples

    def discard_waiting(self) -> None:
        """Throw away what waits in the pipe; nothing of a file."""
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            waiting = array.array("i", [0])
            with contextlib.suppress(OSError):  # not every device supports it
                fcntl.ioctl(self._descriptor, termios.FIONREAD, waiting)
                self._samples(os.read(self._descriptor, waiting[0]))

    def _samples(self, received: bytes) -> NDArray[np.float32]:
        data = self._rest + received
        whole = len(data) - len(data) % self._bytes_per_sample
        data, self._rest = data[:whole], data[whole:]
        sound = np.frombuffer(data, dtype="<i2").reshape(-1, self._channels).astype(np.float32) / FULL_SCALE
        return self.channel.mono(sound, self.rate_hz)

    def _warn_of_rest(self) -> None:
        """Warn once if the input ended within a sample."""
        if self._rest:
            self._rest = b""
            _logger.warning("source %s: the input ended in the middle of a sample", self.name)

    async def _readable(self) -> None:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._descriptor, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._descriptor)
