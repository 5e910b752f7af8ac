"""A queue from a driver's thread, which must not wait, to a pipe that may be full."""

from __future__ import annotations

import queue
from typing import BinaryIO

from clapstream.audio.microphone.capture_messages import write_sound


class SoundQueue:
    """Counts samples and queues blocks; when nobody reads, new blocks are dropped, which leaves a hole."""

    def __init__(self, most_blocks: int) -> None:
        """Take how many blocks are kept for a reader that is late."""
        self._most_blocks = most_blocks
        self._queue: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        self._next_sample = 0
        self._end_reason = ""

    def put(self, sample_count: int, data: bytes) -> None:
        """Take one block: interleaved float32."""
        if self._queue.qsize() < self._most_blocks:
            self._queue.put((self._next_sample, data))
        self._next_sample += sample_count

    def skip(self, sample_count: int) -> None:
        """Leave a hole for samples that were lost, so that sound from both sides is not joined."""
        self._next_sample += sample_count

    def end(self, reason: str) -> None:
        """Let `write_to` return once it has written what is queued."""
        self._end_reason = self._end_reason or reason
        self._queue.put(None)

    def write_to(self, out: BinaryIO) -> str:
        """Write blocks until the end, and return its reason."""
        while (block := self._queue.get()) is not None:
            write_sound(out, *block)
        return self._end_reason
