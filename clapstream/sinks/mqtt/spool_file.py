"""The file that mirrors the spool: SQLite, and a record of delivery beside it. Every failure is borne."""

from __future__ import annotations

import functools
import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
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


class SpoolFile:
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

    def apply(self, change: Callable[[SpoolFile], None]) -> None:
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
