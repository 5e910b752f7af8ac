"""Raw sound on standard input, as recorders and converters write it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from clapstream.audio.block import SourceItem, StreamOpened
from clapstream.audio.pcm.pcm_input import PcmInput
from clapstream.audio.resampling import StreamResampler
from clapstream.audio.source import LosslessSource


class Pcm(LosslessSource):
    """A source of 16-bit little-endian samples from a pipe or file; it ends with its input."""

    def __init__(self, pcm: PcmInput) -> None:
        """Take the input to read."""
        super().__init__(pcm.name)
        self._input = pcm

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        """Give the input's blocks; SourceError if it is a terminal."""
        resampler = StreamResampler(self._input.rate_hz)
        opened, end = False, 0
        with self._input:
            while (samples := await self._input.read()) is not None:
                if not opened:
                    opened = True
                    yield StreamOpened(datetime.now(UTC))
                for block in resampler.push(end, samples):
                    yield block
                end += len(samples)
            for block in resampler.finish():
                yield block
