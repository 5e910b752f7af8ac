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
from dataclasses import dataclass
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.channel_choice import ChannelChoice
from clapstream.audio.source import BLOCK_SECONDS, SourceError

_logger = logging.getLogger(__name__)

INT16_BYTES = 2
FULL_SCALE = np.float32(32_768.0)


@dataclass(frozen=True, slots=True)
class PcmFormat:
    """The format of an input of interleaved 16-bit little-endian samples."""

    rate_hz: int
    channels: int

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one sample of every channel."""
        return INT16_BYTES * self.channels


class PcmInput:
    """Gives mono samples of a pipe, or of a file, which never blocks for long. Open it as a context manager."""

    def __init__(
        self, name: str, pcm_format: PcmFormat, channel: ChannelChoice, input_stream: BinaryIO | None = None
    ) -> None:
        """Take the source's name, the input's format and channel; `input_stream` None is standard input."""
        self._name = name
        self._format = pcm_format
        self._channel = channel
        self._input_stream = input_stream

    def __enter__(self) -> Self:
        """Open the input; SourceError if it is a terminal."""
        input_stream = self._input_stream or sys.stdin.buffer
        if input_stream.isatty():
            raise SourceError(f"source {self._name}: standard input is a terminal; pipe 16-bit samples into it")
        self._rest = b""
        self._descriptor = os.dup(input_stream.fileno())
        self._was_blocking = os.get_blocking(self._descriptor)
        os.set_blocking(self._descriptor, False)
        return self

    def __exit__(self, *_: object) -> None:
        """Close this end; standard input itself stays as it was."""
        os.set_blocking(self._descriptor, self._was_blocking)
        os.close(self._descriptor)

    @property
    def rate_hz(self) -> int:
        """The sample rate of the input."""
        return self._format.rate_hz

    async def read(self) -> NDArray[np.float32] | None:
        """Wait for samples and return them, `(samples,)`, at most a block; None at the end."""
        await asyncio.sleep(0)  # an input that is never exhausted must not starve the loop
        size = self._format.bytes_per_sample * round(self._format.rate_hz * BLOCK_SECONDS)
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
        whole = len(data) - len(data) % self._format.bytes_per_sample
        data, self._rest = data[:whole], data[whole:]
        sound = np.frombuffer(data, dtype="<i2").reshape(-1, self._format.channels).astype(np.float32) / FULL_SCALE
        return self._channel.mono(sound, self._format.rate_hz)

    def _warn_of_rest(self) -> None:
        """Warn once if the input ended within a sample."""
        if self._rest:
            self._rest = b""
            _logger.warning("source %s: the input ended in the middle of a sample", self._name)

    async def _readable(self) -> None:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._descriptor, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._descriptor)
