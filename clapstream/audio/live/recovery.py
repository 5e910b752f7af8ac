"""Opens a stream again whenever hardware or a network breaks it, with growing delays."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamLost, StreamOpened
from clapstream.process.backoff import Backoff

_logger = logging.getLogger(__name__)

RECOVERED_SAMPLES = 10 * RATE_HZ
"""Only sound for this long resets the delay: a device that fails right after each start is not opened too often."""


class StreamBrokenError(Exception):
    """The stream was lost; the message tells the user why. Another attempt may succeed."""


async def keep_streaming(
    name: str, connect: Callable[[], AsyncGenerator[SourceItem, None]], backoff: Backoff
) -> AsyncGenerator[SourceItem, None]:
    """Pass on what `connect()` gives, and call it again whenever it ends or raises `StreamBrokenError`.

    A loss is reported once, however many attempts fail after it, also if no stream was open before.
    """
    lost = False
    while True:
        try:
            async with aclosing(connect()) as stream:
                async for item in stream:
                    if isinstance(item, StreamOpened):
                        lost = False
                    elif isinstance(item, Block) and item.end_sample >= RECOVERED_SAMPLES:
                        backoff.reset()
                    yield item
            reason = "the stream ended"
        except StreamBrokenError as error:
            reason = str(error)
        delay = backoff.next_seconds()
        _logger.debug("source %s: %s; retrying in %.1f s", name, reason, delay)
        if not lost:
            lost = True
            yield StreamLost(reason)
        await asyncio.sleep(delay)
