"""Keeps a stream going that hardware or a network may break: reconnect for ever, never in a storm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamLost, StreamOpened
from clapstream.process.backoff import Backoff

_logger = logging.getLogger(__name__)

RECOVERED_SAMPLES = 10 * RATE_HZ
"""Only sound for this long counts as recovery: a device that dies right after each start must not be hammered."""


class StreamBrokenError(Exception):
    """The stream cannot go on; the message tells a person why. Another attempt may succeed."""


async def keep_streaming(
    name: str, connect: Callable[[], AsyncGenerator[SourceItem, None]], backoff: Backoff
) -> AsyncGenerator[SourceItem, None]:
    """Pass on what `connect()` gives, and begin anew for ever when it raises `StreamBrokenError`.

    A loss is reported once, also if there was no stream in the first place, however many attempts fail after it.
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
