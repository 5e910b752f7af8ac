"""Detections that wait for the broker, kept over restarts.

The queue is in memory; a small SQLite file mirrors it on a thread of its own, so that the event loop never waits
for a disk. Both are bounded in number, bytes and age: the oldest is dropped first. While the disk fails, the queue
goes on in memory, and the file is rewritten once the disk works again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from clapstream.config import SpoolSettings
from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.detection import Detection, Key
from clapstream.sinks.mqtt.spool_file import SpoolFile, Waiting

_logger = logging.getLogger(__name__)


ROWS_WITHOUT_FILE = 100
MIN_AGE_SECONDS = 60.0
"""Detections on their way to a broker that is connected are never too old."""


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """How much may wait: number of detections, bytes of their payloads, and age."""

    rows: int = 10_000
    bytes: int = 4 << 20
    age_seconds: float = 7 * 86_400.0


class Spool:
    """A bounded queue of detections, oldest first, that survives the process if it has a path."""

    def __init__(
        self, path: Path | None, *, limits: SpoolLimits | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._limits = limits or SpoolLimits()
        self._clock = clock
        self._rows: OrderedDict[Key, Waiting] = OrderedDict()
        self._bytes = 0
        self._dropping = False
        self._dropped_before = 0
        self._disk = SpoolFile(path) if path is not None else None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self.dropped = 0

    @classmethod
    def configured(cls, settings: SpoolSettings, path: Path | None) -> Spool:
        """A spool of the configured size; one of size 0 passes a few detections through memory, without a file."""
        rows = settings.max_messages
        age_seconds = max(settings.max_age_seconds, MIN_AGE_SECONDS)
        limits = SpoolLimits(rows=rows or ROWS_WITHOUT_FILE, age_seconds=age_seconds)
        return cls(path if rows else None, limits=limits)

    async def open(self) -> None:
        """Load what an earlier process left; it comes before what was appended meanwhile."""
        if self._disk is None:
            return
        arrived = list(self._rows.values())
        for waiting in await asyncio.wrap_future(self._thread.submit(self._disk.load)):
            if waiting.detection.key not in self._rows:
                self._add(waiting)
        for waiting in arrived:
            self._rows.move_to_end(waiting.detection.key)
        self._trim()

    async def close(self) -> None:
        """Wait until everything is in the file."""
        if self._disk is not None:
            await asyncio.wrap_future(self._thread.submit(self._disk.close))
        self._thread.shutdown()

    async def wait_for_disk(self, timeout_seconds: float) -> None:
        """Wait until the file has every change so far, or until the time is up: the disk may hang."""
        if self._disk is not None:
            await asyncio.wait({asyncio.wrap_future(self._thread.submit(_nothing))}, timeout=timeout_seconds)

    def append(self, detection: Detection) -> None:
        """Queue a detection; one that waits already is not queued again."""
        if detection.key in self._rows:
            return
        waiting = Waiting(detection, self._clock())
        self._add(waiting)
        self._mirror(lambda disk: disk.insert(waiting))
        self._trim()

    def first(self, ready: Callable[[Detection], bool] = lambda detection: True) -> Waiting | None:
        """The oldest detection that is `ready` and not too old to be published, if there is one."""
        self._trim()
        return next((waiting for waiting in self._rows.values() if ready(waiting.detection)), None)

    def sources(self) -> Counter[str]:
        """How many detections wait, by the name of their source."""
        return Counter(waiting.detection.source.name for waiting in self._rows.values())

    def remove(self, key: Key) -> bool:
        """Remove a detection that was delivered; False if it does not wait."""
        waiting = self._rows.pop(key, None)
        if waiting is None:
            return False
        self._bytes -= payloads.detection_bytes(waiting.detection)
        self._dropping = self._dropping and bool(self._rows)
        self._mirror(lambda disk: disk.delete(key))
        return True

    def mark_late(self) -> None:
        """Mark all that waits now: the broker was away when it happened."""
        for waiting in self._rows.values():
            waiting.late = True

    def __len__(self) -> int:
        return len(self._rows)

    def _add(self, waiting: Waiting) -> None:
        self._rows[waiting.detection.key] = waiting
        self._bytes += payloads.detection_bytes(waiting.detection)

    def _trim(self) -> None:
        oldest = self._clock() - self._limits.age_seconds
        while self._rows:
            first = next(iter(self._rows.values()))
            full = len(self._rows) > self._limits.rows or self._bytes > self._limits.bytes
            if not full and first.stored >= oldest:
                return
            self._drop(first.detection, "is full" if full else "holds detections that are too old")

    def _drop(self, detection: Detection, why: str) -> None:
        if not self._dropping:
            _logger.warning("spool %s: dropping the oldest detections", why)
            self._dropped_before = self.dropped
        self.dropped += 1
        self.remove(detection.key)
        self._dropping = True

    def log_dropped(self) -> None:
        """Log how many detections were dropped since the last time, once the broker accepts them again."""
        if self.dropped > self._dropped_before:
            _logger.warning("%d detections were dropped from the spool", self.dropped - self._dropped_before)
        self._dropped_before = self.dropped

    def write_delivery(self, text: str) -> None:
        """Write the record of delivery beside the file; an empty text deletes it."""
        if self._disk is not None:
            self._thread.submit(self._disk.write_delivery, text).add_done_callback(_raise_failure)

    def _mirror(self, change: Callable[[SpoolFile], None]) -> None:
        disk = self._disk
        if disk is None:
            return
        if disk.failed:
            rows = tuple(self._rows.values())
            self._thread.submit(disk.rewrite, rows).add_done_callback(_raise_failure)
        else:
            self._thread.submit(disk.apply, change).add_done_callback(_raise_failure)


def _nothing() -> None:
    """Once the thread has run it, all that was submitted before has ended."""


def _raise_failure(done: Future[None]) -> None:
    """Errors of the disk are handled on its thread; any other is a bug, which is logged with its traceback."""
    done.result()
