"""Moves detections out of the spool of earlier versions, which all nodes of a state directory shared."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from clapstream.sinks.mqtt.spool_file import INSERT, SCHEMA, parse

_logger = logging.getLogger(__name__)

OLD_SPOOL = "spool.sqlite3"

Row = tuple[int, str, str, str, float]


def drain_old_spool(old: Path, new: Path, sources: Collection[str]) -> None:
    """Move detections of `sources` (names) from `old` to `new`; the rest stays for the node that has their source.

    The empty file is deleted. A file that cannot be read or written is left as it is.
    """
    try:
        with contextlib.closing(sqlite3.connect(new)) as connection:
            connection.execute("ATTACH DATABASE ? AS old", (str(old),))
            moved, left = _move(connection, frozenset(sources))
        if not left:
            old.unlink()
    except (sqlite3.Error, OSError) as error:
        _logger.warning("cannot read detections from %s, the spool of an earlier version (%s)", old, error)
        return
    if moved:
        _logger.info("moved %d detections of an earlier version to %s", moved, new)
    if left:
        names = ", ".join(sorted(left))
        _logger.warning("%d detections stay in %s: this node has no source named %s", left.total(), old, names)


def _move(connection: sqlite3.Connection, sources: frozenset[str]) -> tuple[int, Counter[str]]:
    """Change both files, or neither; returns how many were moved, and how many are left by source."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(SCHEMA)
        rows: list[Row] = connection.execute(
            "SELECT sequence, id, phase, payload, stored FROM old.detections ORDER BY sequence"
        ).fetchall()
        names = {row[0]: _source_of(row) for row in rows}
        ours = [row for row in rows if names[row[0]] in sources]
        connection.executemany(INSERT, [row[1:] for row in ours])
        gone = [(row[0],) for row in rows if names[row[0]] is None or names[row[0]] in sources]
        connection.executemany("DELETE FROM old.detections WHERE sequence = ?", gone)
    return len(ours), Counter(name for name in names.values() if name is not None and name not in sources)


def _source_of(row: Row) -> str | None:
    """The source of a row, None for one that we never wrote."""
    detection = parse(row[3])
    return None if detection is None else detection.source.name
