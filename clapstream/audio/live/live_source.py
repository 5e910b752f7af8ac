"""What all sources of live sound share: they are watched, and opened again whenever they are lost."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.channel_choice import ChannelChoice
from clapstream.audio.live.recovery import StreamBrokenError, keep_streaming
from clapstream.audio.source import BLOCK_SECONDS
from clapstream.process.backoff import Backoff

_logger = logging.getLogger(__name__)

SILENT_SECONDS = 60.0
"""Digital silence for this long means that the microphone is muted: a real one always has noise of its own."""

BLOCK_SAMPLES = round(BLOCK_SECONDS * RATE_HZ)


class LiveSource(ABC):
    """A source whose sound cannot wait: a microphone, a network stream or a live pipe.

    A stream that delivers no sound for `stall_seconds` is lost, even if other data still arrives. A jump of
    `first_sample` is lost sound, which is counted.
    """

    def __init__(self, name: str, channel: ChannelChoice, backoff: Backoff, stall_seconds: float) -> None:
        """Take the user's name for the source, its channel, and how long it may deliver no sound.

        `backoff` gives the delays between attempts to open it.
        """
        self.name = name
        self.dropped_blocks = 0
        self.silent = False
        self._channel = channel
        self._backoff = backoff
        self._stall_seconds = stall_seconds
        self._opened = 0

    @property
    def reconnects(self) -> int:
        """How often the stream opened again after it was lost."""
        return max(0, self._opened - 1)

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        """Give the stream without end; SourceError where another attempt cannot succeed."""
        async with aclosing(keep_streaming(self.name, self._watched_stream, self._backoff)) as items:
            async for item in items:
                yield item

    @abstractmethod
    def _stream(self) -> AsyncGenerator[StreamOpened | Block, None]:
        """Open and give one stream; StreamBrokenError when it is lost. Opening has its own time limit."""

    @abstractmethod
    def _stall_reason(self) -> str:
        """Tell the user that no sound came for `_stall_seconds`."""

    async def _watched_stream(self) -> AsyncGenerator[SourceItem, None]:
        opened = False
        end_sample = 0
        async with aclosing(self._stream()) as stream:
            while True:
                try:
                    async with asyncio.timeout(self._stall_seconds if opened else None):
                        item = await anext(stream)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise StreamBrokenError(self._stall_reason()) from None
                if isinstance(item, Block):
                    self._count_dropped(item.first_sample - end_sample)
                    self._watch_silence()
                    end_sample = item.end_sample
                else:
                    self._opened += 1
                    opened = True
                yield item

    def _count_dropped(self, missing_samples: int) -> None:
        if missing_samples > 0:
            self.dropped_blocks += -(-missing_samples // BLOCK_SAMPLES)

    def _watch_silence(self) -> None:
        was_silent, self.silent = self.silent, self._channel.silent_seconds >= SILENT_SECONDS
        if self.silent and not was_silent:
            _logger.warning(
                "source %s: digital silence for %g s; is the microphone muted?", self.name, SILENT_SECONDS
            )
