"""Keeps a stream going that hardware or a network may break: reconnect for ever, never in a storm."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamLost, StreamOpened

_logger = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0

RECOVERED_FRAMES = 10 * RATE_HZ
"""Only sound for this long counts as recovery: a device that dies right after each start must not be hammered."""


class StreamBrokenError(Exception):
    """The stream cannot go on; the message tells a person why. Another attempt may succeed."""


class Backoff:
    """Delays between attempts: doubling up to a cap, half of each random, so that many do not retry in step."""

    def __init__(
        self,
        first_seconds: float = FIRST_DELAY_SECONDS,
        longest_seconds: float = LONGEST_DELAY_SECONDS,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        """Take the first and the longest delay; `random_fraction` gives 0..1."""
        self._first = first_seconds
        self._longest = longest_seconds
        self._random_fraction = random_fraction
        self.reset()

    def reset(self) -> None:
        """Start over after a recovery."""
        self._ceiling = self._first

    def next_seconds(self) -> float:
        """Return how long to wait now; the next wait is longer."""
        delay = self._ceiling * (0.5 + 0.5 * self._random_fraction())
        self._ceiling = min(self._longest, self._ceiling * 2)
        return delay


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
                    elif isinstance(item, Block) and item.end_frame >= RECOVERED_FRAMES:
                        backoff.reset()
                    yield item
            reason = "the stream ended"
        except StreamBrokenError as error:
            reason = str(error)
        delay = backoff.next_seconds()
        _logger.debug("source %s: %s; trying again in %.1f s", name, reason, delay)
        if not lost:
            lost = True
            yield StreamLost(reason)
        await asyncio.sleep(delay)
