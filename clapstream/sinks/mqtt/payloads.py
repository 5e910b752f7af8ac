"""What is written on the MQTT topics: times as ISO 8601 in UTC with milliseconds, scores with three decimals."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime

from clapstream.sinks.mqtt.detection import Detection, Key
from clapstream.updates import Event, SourceDiagnostics, SourceInfo, WindowHeard

JsonObject = Mapping[str, object]

ONLINE, OFFLINE = "online", "offline"
ON, OFF = "ON", "OFF"

TOP_LABELS = 5
"""How many labels `heard` names."""

DETECTION_BYTES = 256
"""Of a detection's JSON, besides what its texts take: keys, numbers and times."""

QUIETEST_DBFS = -120.0
"""Digital silence has no level; subscribers get a number that they can plot."""


def to_json(value: JsonObject | str) -> str:
    """One compact line of JSON that UTF-8 can carry; raises ValueError on NaN and infinity, which are no JSON."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(errors="replace").decode()


def online(value: bool) -> str:
    """The payload of availability topics."""
    return ONLINE if value else OFFLINE


def switch(value: bool) -> str:
    """The payload of states and switches."""
    return ON if value else OFF


def timestamp(time: datetime | None) -> str | None:
    """An aware time as `2026-03-01T07:08:09.123Z`."""
    if time is None:
        return None
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read_timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def attributes(event: Event) -> JsonObject:
    """The newest event of a label, as the attributes of its state."""
    return {
        "score": _score(event.score),
        "started": timestamp(event.started),
        "ended": timestamp(event.ended),
        "duration_seconds": _seconds(event.duration_seconds),
    }


def event_fired(event: Event, model: str) -> JsonObject:
    """A start, in the shape that Home Assistant's MQTT event entity reads."""
    return {
        "event_type": event.label.slug,
        "id": event.id,
        "label": event.label.name,
        "score": _score(event.score),
        "started": timestamp(event.started),
        "source": event.source.name,
        "model": model,
    }


def detection(detection: Detection) -> JsonObject:
    """A start or an end as the spool keeps it; `id` and `phase` together are unique."""
    return {
        "id": detection.id,
        "phase": detection.phase,
        "source": detection.source.name,
        "label": detection.label,
        "score": _score(detection.score),
        "peak_score": _score(detection.peak_score),
        "started": timestamp(detection.started),
        "ended": timestamp(detection.ended),
        "duration_seconds": _seconds(detection.duration_seconds),
    }


def detection_published(waiting: Detection, late: bool) -> JsonObject:
    """A start or an end as it is published; `late`: the broker was away when it happened."""
    return {**detection(waiting), "late": late}


def detection_bytes(detection: Detection) -> int:
    """At most how many bytes the JSON of a detection takes, without making it."""
    return DETECTION_BYTES + sum(
        len(to_json(text).encode()) for text in (detection.id, detection.source.name, detection.label)
    )


def read_detection(text: str) -> Detection:
    """A detection from its JSON; raises ValueError for anything else."""
    try:
        value = json.loads(text)
        names = value["id"], value["source"], value["label"]
        if value["phase"] not in ("start", "end") or not all(isinstance(name, str) for name in names):
            raise ValueError("not a detection")
        return Detection(
            id=value["id"],
            phase=value["phase"],
            source=SourceInfo.of(value["source"]),
            label=value["label"],
            score=float(value["score"]),
            peak_score=float(value["peak_score"]),
            started=_read_timestamp(value["started"]),
            ended=None if value["ended"] is None else _read_timestamp(value["ended"]),
            duration_seconds=None if value["duration_seconds"] is None else float(value["duration_seconds"]),
        )
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError("not a detection") from error


def detection_key(payload: bytes) -> Key | None:
    """`id` and `phase` of a detection that the broker sent; None for anything else."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    key = (value.get("id"), value.get("phase")) if isinstance(value, dict) else (None, None)
    return (key[0], key[1]) if isinstance(key[0], str) and isinstance(key[1], str) else None


def heard(update: WindowHeard) -> JsonObject:
    """The top labels of a window with their scores."""
    return {
        "started": timestamp(update.started),
        "ended": timestamp(update.ended),
        "partial": update.partial,
        "gated": update.gated,
        "labels": [
            {"label": item.label.name, "score": _score(item.score), "active": item.active}
            for item in update.scores[:TOP_LABELS]
        ],
    }


def level(update: WindowHeard) -> str:
    """The level in dBFS with one decimal."""
    return f"{_number(update.level_dbfs, 1, QUIETEST_DBFS):.1f}"


def diagnostics(update: SourceDiagnostics) -> JsonObject:
    """The counters of a source."""
    return {
        "inference_ms": _number(update.inference_ms, 1, 0.0),
        "windows": update.windows,
        "dropped_blocks": update.dropped_blocks,
        "skipped_windows": update.skipped_windows,
        "reconnects": update.reconnects,
        "silent": update.silent,
        "gated_windows": update.gated_windows,
    }


def _score(score: float) -> float:
    return _number(score, 3, 0.0)


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else _number(seconds, 3, 0.0)


def _number(value: float, decimals: int, instead: float) -> float:
    """A rounded number; `instead` where the value is NaN or infinite or lies below it."""
    return max(round(float(value), decimals), instead) if math.isfinite(value) else instead
