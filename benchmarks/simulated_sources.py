"""Sources of sound in memory that stand in for recordings and microphones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened

Floats = NDArray[np.float32]
START = datetime(2026, 1, 1, tzinfo=UTC)
"""When every recording begins, so that the times of its events compare."""
MICROPHONE_BLOCK_SAMPLES = RATE_HZ // 20


class SimulatedRecording:
    """Mono 48 kHz samples `(samples,)`, read as fast as the model takes them."""

    dropped_blocks = 0
    reconnects = 0
    silent = False

    def __init__(self, name: str, samples: Floats) -> None:
        self.name = name
        self._samples = samples

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        """The whole recording in blocks of a second."""
        yield StreamOpened(START)
        for first in range(0, len(self._samples), RATE_HZ):
            yield Block(first, self._samples[first : first + RATE_HZ])


class SimulatedMicrophone(SimulatedRecording):
    """The samples over and over in real time, a block every 50 ms.

    The first comes `delay_seconds` late, so that several microphones do not run in step. `latest_seconds` is the
    most that the event loop was late with a block.
    """

    def __init__(self, name: str, samples: Floats, delay_seconds: float) -> None:
        super().__init__(name, samples)
        self.latest_seconds = 0.0
        self._delay_seconds = delay_seconds

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        """Blocks without end."""
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._delay_seconds)
        yield StreamOpened(datetime.now(UTC))
        started, first = clock(), 0
        while True:
            due = started + (first + MICROPHONE_BLOCK_SAMPLES) / RATE_HZ
            await asyncio.sleep(due - clock())
            self.latest_seconds = max(self.latest_seconds, clock() - due)
            place = first % (len(self._samples) - MICROPHONE_BLOCK_SAMPLES)
            yield Block(first, self._samples[place : place + MICROPHONE_BLOCK_SAMPLES])
            first += MICROPHONE_BLOCK_SAMPLES
