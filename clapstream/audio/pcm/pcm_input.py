"""Reads raw samples from a pipe without blocking the event loop."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import os
import stat
import termios
from dataclasses import dataclass
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.channel_choice import ChannelChoice
from clapstream.audio.source import BLOCK_SECONDS, SourceError

INT16_BYTES = 2
FULL_SCALE = np.float32(32_768.0)


@dataclass(frozen=True, slots=True)
class PcmFormat:
    """What is written: 16-bit little-endian samples, interleaved."""

    rate_hz: int
    channels: int

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one sample of all channels."""
        return INT16_BYTES * self.channels


class PcmInput:
    """Gives mono samples of a pipe, or of a file, which never blocks for long. A context manager."""

    def __init__(self, name: str, source: BinaryIO, pcm_format: PcmFormat, channel: ChannelChoice) -> None:
        """Take the source's name, its input and the channel to hear; SourceError if the input is a terminal."""
        if source.isatty():
            raise SourceError(f"source {name}: standard input is a terminal; pipe 16-bit samples into it")
        self._format = pcm_format
        self._channel = channel
        self._rest = b""
        self._descriptor = os.dup(source.fileno())
        self._loop = asyncio.get_running_loop()
        self._was_blocking = os.get_blocking(self._descriptor)
        os.set_blocking(self._descriptor, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close this end; standard input itself stays as it was."""
        os.set_blocking(self._descriptor, self._was_blocking)
        os.close(self._descriptor)

    @property
    def torn(self) -> bool:
        """Whether the newest sample is incomplete."""
        return bool(self._rest)

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
                return None
            if len(samples := self._samples(received)):
                return samples

    def discard_waiting(self) -> None:
        """Throw away what waits in the pipe; nothing of a file."""
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            waiting = array.array("i", [0])
            with contextlib.suppress(OSError):  # not every device knows
                fcntl.ioctl(self._descriptor, termios.FIONREAD, waiting)
                self._samples(os.read(self._descriptor, waiting[0]))

    def _samples(self, received: bytes) -> NDArray[np.float32]:
        data = self._rest + received
        whole = len(data) - len(data) % self._format.bytes_per_sample
        data, self._rest = data[:whole], data[whole:]
        sound = np.frombuffer(data, dtype="<i2").reshape(-1, self._format.channels).astype(np.float32) / FULL_SCALE
        return self._channel.mono(sound, self._format.rate_hz)

    async def _readable(self) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(self._descriptor, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(self._descriptor)
