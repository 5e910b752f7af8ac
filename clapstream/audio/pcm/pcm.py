"""Raw sound on standard input, as recorders and converters write it."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import BinaryIO

from clapstream.audio.block import SourceItem, StreamOpened
from clapstream.audio.channel_choice import ChannelChoice
from clapstream.audio.pcm.pcm_input import PcmFormat, PcmInput
from clapstream.audio.resampling import StreamResampler

_logger = logging.getLogger(__name__)


class Pcm:
    """A source of 16-bit little-endian samples from a pipe or file; it ends with its input.

    It reads no faster than its blocks are taken: whoever writes has to wait. It never drops a block.
    """

    def __init__(
        self,
        name: str,
        rate_hz: int = 48_000,
        channels: int = 1,
        channel: str | int = "mix",
        *,
        input_stream: BinaryIO | None = None,
    ) -> None:
        """Take what the input cannot tell, and which channel is heard; `input_stream` None is standard input."""
        self.name = name
        self.dropped_blocks = 0
        self.reconnects = 0
        self.silent = False
        self._format = PcmFormat(rate_hz, channels)
        self._channel = ChannelChoice(name, channel)
        self._input = input_stream

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        """Give the input's blocks; SourceError if it is a terminal."""
        resampler = StreamResampler(self._format.rate_hz)
        opened, end = False, 0
        source = self._input or sys.stdin.buffer
        with PcmInput(self.name, source, self._format, self._channel) as pcm:
            while (samples := await pcm.read()) is not None:
                if not opened:
                    opened = True
                    yield StreamOpened(datetime.now(UTC))
                for block in resampler.push(end, samples):
                    yield block
                end += len(samples)
            for block in resampler.finish():
                yield block
            if pcm.torn:
                _logger.warning("source %s: the input ended in the middle of a sample", self.name)
