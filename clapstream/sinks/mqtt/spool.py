"""Detections that wait for the broker, kept over restarts.

The queue in memory is what counts; a small SQLite file mirrors it on a thread of its own, so that the event loop
never waits for a disk. Both are bounded in number, bytes and age: the oldest goes first. When the disk fails, the
queue goes on in memory, and the file is rewritten once the disk works again.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import sqlite3
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from clapstream.sinks.mqtt.delivery import DELIVERY_FILE
from clapstream.sinks.mqtt.payloads import source_name

_logger = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS detections (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL, phase TEXT NOT NULL, payload TEXT NOT NULL, stored REAL NOT NULL,
    UNIQUE (id, phase)
)
"""
INSERT = "INSERT OR IGNORE INTO detections (id, phase, payload, stored) VALUES (?, ?, ?, ?)"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """How much may wait: number of detections, bytes of their payloads, and age."""

    rows: int = 10_000
    bytes: int = 4 << 20
    age_seconds: float = 7 * 86_400.0


@dataclass(frozen=True)
class Detection:
    """A start or an end as JSON; `id` and `phase` name it. `stored` is in seconds since the epoch."""

    id: str
    phase: str
    payload: str
    stored: float

    @functools.cached_property
    def source(self) -> str:
        """The name of the source that heard it."""
        return source_name(self.payload)

    @property
    def key(self) -> Key:
        """What makes it unique."""
        return self.id, self.phase


class Spool:
    """A bounded queue of detections, oldest first, that survives the process if it has a path."""

    def __init__(
        self, path: Path | None, *, limits: SpoolLimits | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._limits = limits or SpoolLimits()
        self._clock = clock
        self._rows: OrderedDict[Key, Detection] = OrderedDict()
        self._bytes = 0
        self._late: set[Key] = set()
        self._dropping = False
        self._dropped_before = 0
        self._disk = _Disk(path) if path is not None else None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self.dropped = 0

    async def open(self) -> None:
        """Put what an earlier process left before whatever is here already."""
        if self._disk is None:
            return
        arrived = list(self._rows.values())
        for detection in await asyncio.wrap_future(self._thread.submit(self._disk.load)):
            if detection.key not in self._rows:
                self._add(detection)
        for detection in arrived:
            self._rows.move_to_end(detection.key)
        self._trim()

    async def close(self) -> None:
        """Wait until the disk has everything."""
        if self._disk is not None:
            await asyncio.wrap_future(self._thread.submit(self._disk.close))
        self._thread.shutdown()

    async def settled(self, timeout_seconds: float) -> None:
        """Wait until the disk knows what was done so far, or until the time is up: it may hang."""
        if self._disk is not None:
            await asyncio.wait({asyncio.wrap_future(self._thread.submit(_nothing))}, timeout=timeout_seconds)

    def append(self, id: str, phase: str, payload: str) -> None:
        """Queue a detection; one that waits already is not queued again."""
        detection = Detection(id, phase, payload, self._clock())
        if detection.key in self._rows:
            return
        self._add(detection)
        self._mirror(lambda disk: disk.insert(detection))
        self._trim()

    def first(self, ready: Callable[[Detection], bool] = lambda detection: True) -> Detection | None:
        """The oldest detection that is `ready` and not too old to be told, if there is one."""
        self._trim()
        return next((detection for detection in self._rows.values() if ready(detection)), None)

    def sources(self) -> Counter[str]:
        """How many detections wait, by the name of their source."""
        return Counter(detection.source for detection in self._rows.values())

    def remove(self, key: Key) -> bool:
        """Take out a detection that was delivered; False if it is not here."""
        detection = self._rows.pop(key, None)
        if detection is None:
            return False
        self._bytes -= len(detection.payload)
        self._late.discard(key)
        self._dropping = self._dropping and bool(self._rows)
        self._mirror(lambda disk: disk.delete(key))
        return True

    def mark_late(self) -> None:
        """The broker was away for everything that waits now."""
        self._late.update(self._rows)

    def is_late(self, key: Key) -> bool:
        """Whether the broker was away when the detection happened."""
        return key in self._late

    def __len__(self) -> int:
        return len(self._rows)

    def _add(self, detection: Detection) -> None:
        self._rows[detection.key] = detection
        self._bytes += len(detection.payload)

    def _trim(self) -> None:
        oldest = self._clock() - self._limits.age_seconds
        while self._rows:
            first = next(iter(self._rows.values()))
            full = len(self._rows) > self._limits.rows or self._bytes > self._limits.bytes
            if not full and first.stored >= oldest:
                return
            self._drop(first, "is full" if full else "holds detections that are too old")

    def _drop(self, detection: Detection, why: str) -> None:
        if not self._dropping:
            _logger.warning("spool %s: dropping the oldest detections", why)
            self._dropped_before = self.dropped
        self.dropped += 1
        self.remove(detection.key)
        self._dropping = True

    def tell_dropped(self) -> None:
        """Log how many detections were dropped since the last time, once the broker takes them again."""
        if self.dropped > self._dropped_before:
            _logger.warning("%d detections were dropped from the spool", self.dropped - self._dropped_before)
        self._dropped_before = self.dropped

    def keep_record(self, text: str) -> None:
        """Keep how delivery stands beside the file, for other programs to read; an empty text deletes it."""
        if self._disk is not None:
            self._thread.submit(self._disk.keep_record, text).add_done_callback(_tell)

    def _mirror(self, change: Callable[[_Disk], None]) -> None:
        disk = self._disk
        if disk is None:
            return
        if disk.failed:
            rows = tuple(self._rows.values())
            self._thread.submit(disk.rewrite, rows).add_done_callback(_tell)
        else:
            self._thread.submit(disk.apply, change).add_done_callback(_tell)


def _nothing() -> None:
    """Work whose end tells that all before it has ended."""


def _tell(done: Future[None]) -> None:
    """Faults of the disk are handled on its thread; a mistake of ours ends up here and is logged in full."""
    done.result()


class _Disk:
    """The SQLite file; every method runs on the spool's thread. `failed` tells that memory knows more than it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self.failed = False

    def load(self) -> Sequence[Detection]:
        """What an earlier process left; a damaged file is put aside."""
        try:
            return self._read()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in _DAMAGED:
                self._fail(error)
                return ()
            return self._start_anew(error)
        except OSError as error:
            self._fail(error)
            return ()

    def apply(self, change: Callable[[_Disk], None]) -> None:
        """Mirror one change."""
        try:
            change(self)
        except (sqlite3.Error, OSError) as error:
            self._fail(error)

    def rewrite(self, rows: Sequence[Detection]) -> None:
        """Bring the file up to date after a failure."""
        try:
            with self._open() as connection:
                connection.execute("DELETE FROM detections")
                connection.executemany(INSERT, [_row(detection) for detection in rows])
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        else:
            self.failed = False
            _logger.info("the spool %s can be written again", self._path)

    def insert(self, detection: Detection) -> None:
        """Add a detection; raises sqlite3.Error or OSError."""
        with self._open() as connection:
            connection.execute(INSERT, _row(detection))

    def delete(self, key: Key) -> None:
        """Remove a detection; raises sqlite3.Error or OSError."""
        with self._open() as connection:
            connection.execute("DELETE FROM detections WHERE id = ? AND phase = ?", key)

    def keep_record(self, text: str) -> None:
        """Write or delete the record of delivery."""
        path = self._path.with_name(DELIVERY_FILE)
        try:
            if not text:
                path.unlink(missing_ok=True)
                return
            beside = path.with_suffix(".new")
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            _logger.debug("cannot write %s (%s)", path, error)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._path, check_same_thread=False)
            # Deleted rows give their space back, so that the file stays as small as what waits.
            self._connection.execute("PRAGMA auto_vacuum = FULL")
            self._connection.execute(SCHEMA)
        return self._connection

    def _read(self) -> Sequence[Detection]:
        rows = self._open().execute("SELECT id, phase, payload, stored FROM detections ORDER BY sequence")
        return [Detection(*row) for row in rows if _is_sound(row)]

    def _start_anew(self, error: sqlite3.DatabaseError) -> Sequence[Detection]:
        self.close()
        aside = self._path.with_name(self._path.name + ".damaged")
        _logger.warning("the spool %s is damaged (%s): it is kept as %s", self._path, error, aside.name)
        try:
            self._path.replace(aside)
            return self._read()
        except (sqlite3.Error, OSError) as second:
            self._fail(second)
            return ()

    def _fail(self, error: Exception) -> None:
        self.close()
        if not self.failed:
            _logger.warning("cannot write the spool %s (%s): detections wait in memory only", self._path, error)
        self.failed = True


def _row(detection: Detection) -> tuple[str, str, str, float]:
    return detection.id, detection.phase, detection.payload, detection.stored


def _is_sound(row: tuple[object, ...]) -> bool:
    """Whether a row of the file is as we wrote it."""
    *texts, stored = row
    if not all(isinstance(text, str) for text in texts) or not isinstance(stored, float):
        return False
    try:
        detection = json.loads(str(texts[-1]))
    except (ValueError, RecursionError):
        return False
    return isinstance(detection, dict) and isinstance(detection.get("source"), str)
