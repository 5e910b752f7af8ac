"""The SQLite file that mirrors the spool, and the record of delivery beside it. No error of the disk is raised."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.delivery import DELIVERY_FILE
from clapstream.sinks.mqtt.detection import Detection, Key

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


@dataclass(slots=True)
class Waiting:
    """A detection in the spool: since when, in seconds since the epoch, and whether the broker was away then."""

    detection: Detection
    stored: float
    late: bool = False


class SpoolFile:
    """The SQLite file; every method runs on the spool's thread. `failed`: changes could not be written to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self.failed = False

    def load(self) -> Sequence[Waiting]:
        """What an earlier process left; a damaged file is renamed."""
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

    def apply(self, change: Callable[[SpoolFile], None]) -> None:
        """Make one change in the file."""
        try:
            change(self)
        except (sqlite3.Error, OSError) as error:
            self._fail(error)

    def rewrite(self, rows: Sequence[Waiting]) -> None:
        """Bring the file up to date after a failure."""
        try:
            with self._open() as connection:
                connection.execute("DELETE FROM detections")
                connection.executemany(INSERT, [_row(waiting) for waiting in rows])
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        else:
            self.failed = False
            _logger.info("the spool %s can be written again", self._path)

    def insert(self, waiting: Waiting) -> None:
        """Add a detection; raises sqlite3.Error or OSError."""
        with self._open() as connection:
            connection.execute(INSERT, _row(waiting))

    def delete(self, key: Key) -> None:
        """Remove a detection; raises sqlite3.Error or OSError."""
        with self._open() as connection:
            connection.execute("DELETE FROM detections WHERE id = ? AND phase = ?", key)

    def write_delivery(self, text: str) -> None:
        """Write or delete the record of delivery."""
        path = self._path.with_name(DELIVERY_FILE)
        try:
            if not text:
                path.unlink(missing_ok=True)
                return
            temporary = path.with_suffix(".new")
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
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

    def _read(self) -> Sequence[Waiting]:
        """Every row that we wrote; others are left out."""
        rows = self._open().execute("SELECT id, phase, payload, stored FROM detections ORDER BY sequence")
        return [waiting for row in rows if (waiting := _waiting(*row)) is not None]

    def _start_anew(self, error: sqlite3.DatabaseError) -> Sequence[Waiting]:
        self.close()
        aside = self._path.with_name(self._path.name + ".damaged")
        _logger.warning(
            "the spool %s is damaged (%s): renamed to %s, starting with an empty one", self._path, error, aside.name
        )
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


def parse(payload: object) -> Detection | None:
    """The detection in a row that may hold anything."""
    if not isinstance(payload, str):
        return None
    try:
        return payloads.read_detection(payload)
    except ValueError:
        return None


def _row(waiting: Waiting) -> tuple[str, str, str, float]:
    detection = waiting.detection
    return detection.id, detection.phase, payloads.to_json(payloads.detection(detection)), waiting.stored


def _waiting(id: object, phase: object, payload: object, stored: object) -> Waiting | None:
    detection = parse(payload)
    if detection is None or detection.key != (id, phase) or not isinstance(stored, float):
        return None
    return Waiting(detection, stored)
