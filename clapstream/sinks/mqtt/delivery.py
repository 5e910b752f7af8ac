"""What waits for the broker, what it refuses and what was lost, and how `clapstream check` shows it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from clapstream.sinks.mqtt.payloads import to_json

DELIVERY_FILE = "delivery.json"
MAX_KEPT = 1_000
MAX_PUBLISHED = 20
MAX_NAMED = 5
"""How many topics are named in the file, in diagnostics, in a line of `check`; those of detections come first."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What waits for the broker, what it refuses now (reasons by topic) and what was lost since the start."""

    waiting: int = 0
    refused: int = 0
    refused_topics: Mapping[str, str] = field(default_factory=dict)
    dropped_detections: int = 0
    lost_events: int = 0

    @property
    def kinds(self) -> tuple[object, ...]:
        """What is refused or lost, without the numbers."""
        return frozenset(self.refused_topics), self.dropped_detections > 0, self.lost_events > 0

    def diagnostics(self) -> str:
        """The node's own diagnostics as they are published."""
        return to_json(
            {
                "refused": self.refused,
                "refused_topics": self._first_topics(MAX_PUBLISHED),
                "spooled": self.waiting,
                "dropped_detections": self.dropped_detections,
                "lost_events": self.lost_events,
            }
        )

    def record(self) -> str:
        """What `clapstream check` reads, as JSON; empty if nothing is refused or lost."""
        if self.kinds == Delivery().kinds:
            return ""
        return to_json(
            {
                "refused_topics": self._first_topics(MAX_KEPT),
                "dropped_detections": self.dropped_detections,
                "lost_events": self.lost_events,
            }
        )

    def _first_topics(self, limit: int) -> dict[str, str]:
        detections_first = sorted(
            self.refused_topics.items(), key=lambda refused: not refused[0].endswith("/detection")
        )
        return dict(detections_first[:limit])


def delivery_notes(spool_path: Path) -> Iterator[str]:
    """Lines about what waits in a spool and what its daemon could not deliver; read-only, also while it runs."""
    try:
        count, oldest = _waiting(spool_path)
        if count:
            since = datetime.fromtimestamp(oldest).isoformat(" ", "seconds")
            yield f"detections waiting for the broker: {count}, the oldest since {since}"
    except (sqlite3.Error, OSError, ValueError, OverflowError, TypeError) as error:
        yield f"cannot read the spool {spool_path} ({error})"
    recorded = _read(spool_path.with_name(DELIVERY_FILE))
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for topic, reason in recorded.refused_topics.items():
        by_reason[reason].append(topic)
    for reason, topics in by_reason.items():
        more = f" and {len(topics) - MAX_NAMED} more" if len(topics) > MAX_NAMED else ""
        yield f"the broker refuses messages on {', '.join(topics[:MAX_NAMED])}{more} ({reason})"
    if recorded.dropped_detections:
        yield f"detections dropped because the spool was full or they were too old: {recorded.dropped_detections}"
    if recorded.lost_events:
        yield f"events not fired because the broker was too slow: {recorded.lost_events}"


def _waiting(spool_path: Path) -> tuple[int, float]:
    """How many detections wait, and when the oldest was stored (seconds since the epoch); raises sqlite3.Error."""
    if not spool_path.exists():
        return 0, 0.0
    with contextlib.closing(sqlite3.connect(f"{spool_path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        row: tuple[int, float] = connection.execute("SELECT COUNT(*), MIN(stored) FROM detections").fetchone()
    return row


def _read(path: Path) -> Delivery:
    """What a daemon wrote; nothing if the file is missing or invalid."""
    with contextlib.suppress(OSError, ValueError, RecursionError, TypeError, AttributeError, KeyError):
        value = json.loads(path.read_bytes())
        refused = {
            " ".join(topic.split()): " ".join(str(why).split()) for topic, why in value["refused_topics"].items()
        }
        return Delivery(
            refused_topics=refused,
            dropped_detections=int(value["dropped_detections"]),
            lost_events=int(value["lost_events"]),
        )
    return Delivery()
