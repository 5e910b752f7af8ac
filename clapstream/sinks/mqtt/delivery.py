"""How delivery to the broker stands, and a small file beside the spool from which `clapstream check` can say it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from clapstream.sinks.mqtt.payloads import to_json

DELIVERY_FILE = "delivery.json"
WRITE_SECONDS = 30.0
"""Between two writes where only numbers changed: a memory card wears out."""
MOST_KEPT = 1_000
MOST_PUBLISHED = 20
MOST_NAMED = 5
"""Topics in the file, in diagnostics and in a line of `check`; those of detections come first."""


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
                "refused_topics": self._first_topics(MOST_PUBLISHED),
                "spooled": self.waiting,
                "dropped_detections": self.dropped_detections,
                "lost_events": self.lost_events,
            }
        )

    def record(self) -> str:
        """What another program should know as JSON; empty where nothing is refused or lost."""
        if self.kinds == Delivery().kinds:
            return ""
        return to_json(
            {
                "refused_topics": self._first_topics(MOST_KEPT),
                "dropped_detections": self.dropped_detections,
                "lost_events": self.lost_events,
            }
        )

    def _first_topics(self, most: int) -> dict[str, str]:
        by_weight = sorted(self.refused_topics.items(), key=lambda refused: not refused[0].endswith("/detection"))
        return dict(by_weight[:most])


class DeliveryFile:
    """Writes the state of delivery by `write`, at once for another kind of loss, else at times."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._written: str | None = None
        self._kinds: tuple[object, ...] | None = None
        self._written_at = 0.0

    def note(self, delivery: Delivery, *, at_once: bool = False) -> None:
        """Write what changed; an empty text says that nothing is wrong."""
        at_once = at_once or delivery.kinds != self._kinds
        if not at_once and self._clock() - self._written_at < WRITE_SECONDS:
            return
        text = delivery.record()
        if text != self._written:
            self._written, self._kinds, self._written_at = text, delivery.kinds, self._clock()
            self._write(text)


def delivery_notes(spool_path: Path) -> Iterator[str]:
    """Say what waits in a spool, and what its daemon could not deliver; only reads, also while the daemon runs."""
    try:
        count, oldest = _waiting(spool_path)
        if count:
            since = datetime.fromtimestamp(oldest).isoformat(" ", "seconds")
            yield f"detections waiting for the broker: {count}, the oldest since {since}"
    except (sqlite3.Error, OSError, ValueError, OverflowError, TypeError) as error:
        yield f"cannot read the spool {spool_path} ({error})"
    left = _read(spool_path.with_name(DELIVERY_FILE))
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for topic, reason in left.refused_topics.items():
        by_reason[reason].append(topic)
    for reason, topics in by_reason.items():
        more = f" and {len(topics) - MOST_NAMED} more" if len(topics) > MOST_NAMED else ""
        yield f"the broker refuses messages on {', '.join(topics[:MOST_NAMED])}{more} ({reason})"
    if left.dropped_detections:
        yield f"detections dropped because the spool was full or they were too old: {left.dropped_detections}"
    if left.lost_events:
        yield f"events not fired because the broker was too slow: {left.lost_events}"


def _waiting(spool_path: Path) -> tuple[int, float]:
    """How many detections wait, and since when in seconds since the epoch; raises sqlite3.Error and OSError."""
    if not spool_path.exists():
        return 0, 0.0
    with contextlib.closing(sqlite3.connect(f"{spool_path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        row: tuple[int, float] = connection.execute("SELECT COUNT(*), MIN(stored) FROM detections").fetchone()
    return row


def _read(path: Path) -> Delivery:
    """What a daemon left; a file that is not ours says nothing."""
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
