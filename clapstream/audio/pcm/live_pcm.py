"""Live sound on standard input, as `arecord`, `ffmpeg` or a receiver writes it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.live.live_source import LiveSource
from clapstream.audio.live.pace import AHEAD_SECONDS, BURST_SECONDS, Pace
from clapstream.audio.pcm.pcm_input import PcmInput
from clapstream.audio.resampling import StreamResampler
from clapstream.audio.source import BLOCK_SECONDS
from clapstream.process.backoff import Backoff

STALL_SECONDS = 5.0
"""A pipe that delivers nothing for this long is lost, as a network stream is."""

LATE_SECONDS = 0.5
"""Sound that is missing after a wait was lost, if it is more than this."""

CATCH_UP_SECONDS = 0.3
"""How long late sound may take to come after a wait."""


class _InputEndedError(Exception):
    """The pipe was closed: the source ends."""


class LivePcm(LiveSource):
    """A source of 16-bit little-endian samples from a pipe that is written in real time; it ends with its input.

    Only the time shows where samples are missing: a wait that is not followed by as much sound is a hole. What was
    written while nobody listened is discarded.
    """

    def __init__(self, pcm: PcmInput, *, stall_seconds: float = STALL_SECONDS) -> None:
        """Take the input to read, and after how long without samples it is lost."""
        super().__init__(pcm.name, pcm.channel, Backoff(0.0, 0.0), stall_seconds)  # a pipe needs no delay
        self._input = pcm

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        """Give the pipe's blocks until it is closed; SourceError if it is a terminal."""
        with self._input:
            self._input.discard_waiting()
            with contextlib.suppress(_InputEndedError):
                async with aclosing(super().items()) as items:
                    async for item in items:
                        yield item

    async def _stream(self) -> AsyncGenerator[StreamOpened | Block, None]:
        """Give what is written until a stall; _InputEndedError when the pipe is closed."""
        rate_hz = self._input.rate_hz
        resampler, end = StreamResampler(rate_hz), 0
        sound = await self._read_for(BURST_SECONDS)
        if not len(sound):
            raise _InputEndedError
        heard_at = time.monotonic()
        yield StreamOpened(datetime.now(UTC) - timedelta(seconds=len(sound) / rate_hz))
        pace = Pace()
        while len(sound):
            for block in resampler.push(end, sound):
                yield block
            end += len(sound)
            await asyncio.sleep(pace.wait_seconds(end * RATE_HZ // rate_hz))
            sound = await self._read_for(0.0)
            if time.monotonic() - heard_at > LATE_SECONDS:
                sound = np.concatenate([sound, await self._read_for(CATCH_UP_SECONDS)])
                missing_seconds = time.monotonic() - heard_at - len(sound) / rate_hz
                end += round(missing_seconds * rate_hz) if missing_seconds > LATE_SECONDS else 0
            heard_at = time.monotonic()
        for block in resampler.finish():
            yield block
        raise _InputEndedError

    async def _read_for(self, seconds: float) -> NDArray[np.float32]:
        """Wait for samples and return them with what comes within so many seconds; none at the end."""
        gathered, most = [np.zeros(0, dtype=np.float32)], round(AHEAD_SECONDS / BLOCK_SECONDS)
        deadline: float | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as limit:
                while len(gathered) < most and (samples := await self._input.read()) is not None:
                    gathered.append(samples)
                    deadline = deadline or asyncio.get_running_loop().time() + seconds
                    limit.reschedule(deadline)
                    if asyncio.get_running_loop().time() >= deadline:
                        break
        return np.concatenate(gathered)

    def _stall_reason(self) -> str:
        return f"standard input: no audio received for {self._stall_seconds:g} s"
