"""A queue of blocks from the thread that reads a stream to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from clapstream.audio.block import RATE_HZ, Block, StreamOpened
from clapstream.audio.live.pace import BURST_SECONDS

T = TypeVar("T")


class Handover:
    """A bounded queue from a reader's thread to the loop. When it is full, the oldest block is dropped.

    The end of the burst with which a stream opens counts as heard now, which tells when sample 0 was heard. The
    reader may end at any time; so may the listener, which sets `closed`.
    """

    def __init__(self, most_blocks: int) -> None:
        """Take how many blocks to keep for a consumer that is late."""
        self.closed = threading.Event()
        self.overflowed = False
        self.received = False
        self.received_at = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._most_blocks = most_blocks
        self._blocks: deque[Block] = deque(maxlen=most_blocks)
        self._put_blocks = 0
        self._newest_heard = datetime.now(UTC)
        self._burst_taken = threading.Event()
        self._end: Exception | None = None
        self._changed = asyncio.Event()

    async def opened(self) -> StreamOpened:
        """Wait for the stream's first sound; raise what ended the reader before it."""
        await self._until_ready()
        deadline = self._loop.time() + BURST_SECONDS
        while self._end is None and self._loop.time() < deadline and len(self._blocks) < self._most_blocks:
            await self._changed_before(deadline)
        self._burst_taken.set()
        return StreamOpened(self._newest_heard - timedelta(seconds=self._blocks[-1].end_sample / RATE_HZ))

    async def get(self) -> Block:
        """Return the next block; raise what ended the reader once all were taken."""
        await self._until_ready()
        return self._blocks.popleft()

    def close(self) -> None:
        """Let the reader end: no one takes blocks any more."""
        self.closed.set()
        self._burst_taken.set()

    def received_from_thread(self) -> None:
        """Note that data of any kind came."""
        self.received = True
        self.received_at = time.monotonic()

    def put_from_thread(self, block: Block) -> None:
        """Queue a block; in the burst at the start, wait while the queue is full."""
        self._call(self._put, block)
        self._put_blocks += 1
        if self._put_blocks >= self._most_blocks:
            self._burst_taken.wait()

    def end_from_thread(self, error: Exception) -> None:
        """Give the reason why no more blocks come."""
        self._call(self._finish, error)

    async def _until_ready(self) -> None:
        while not self._blocks:
            if self._end is not None:
                raise self._end
            await self._changed_before(None)

    async def _changed_before(self, deadline: float | None) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()

    def _call(self, function: Callable[[T], None], argument: T) -> None:
        if not self.closed.is_set():  # else the loop may be gone
            self._loop.call_soon_threadsafe(function, argument)

    def _put(self, block: Block) -> None:
        self.overflowed = self.overflowed or len(self._blocks) == self._most_blocks
        self._blocks.append(block)
        self._newest_heard = datetime.now(UTC)
        self._changed.set()

    def _finish(self, error: Exception) -> None:
        self._end = error
        self._changed.set()
