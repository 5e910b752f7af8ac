"""What flows from the pipeline to the sinks: plain values that any sink can show, publish or store.

All times are aware datetimes in UTC. Durations come from sample counts, so a jump of the clock never bends them.
What comes in from outside is in `control`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clapstream.slugs import slugify


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """A source as sinks see it: the user's name for it, and its topic-safe slug."""

    name: str
    slug: str

    @classmethod
    def of(cls, name: str) -> SourceInfo:
        """The source with this name."""
        return cls(name, slugify(name))


@dataclass(frozen=True, slots=True)
class LabelInfo:
    """A label as sinks see it: its name, its topic-safe slug, its thresholds (0..1)."""

    name: str
    slug: str
    start: float
    stop: float


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How surely the newest window contains a label (0..1), and whether an event of it is going on."""

    label: LabelInfo
    score: float
    active: bool


@dataclass(frozen=True, slots=True)
class Event:
    """A label that started and, once `ended` is set, stopped.

    `id` is unique over restarts. `score` is the score of the window that confirmed it, `peak_score` the highest
    so far. `duration_seconds` is None until the event has ended.
    """

    id: str
    source: SourceInfo
    label: LabelInfo
    score: float
    peak_score: float
    started: datetime
    ended: datetime | None = None
    duration_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class WindowHeard:
    """One window was heard. `scores` is every label, highest score first; `level_dbfs` its RMS level.

    `partial` tells that the stream is younger than a window and the sound was repeat-padded. `gated` tells that the
    gate took it for nothing: the model did not run, and scores and `inference_ms` are those of the last
    window that it scored.
    """

    source: SourceInfo
    started: datetime
    ended: datetime
    partial: bool
    level_dbfs: float
    inference_ms: float
    scores: tuple[LabelScore, ...]
    gated: bool = False


@dataclass(frozen=True, slots=True)
class EventStarted:
    """An event was confirmed."""

    event: Event


@dataclass(frozen=True, slots=True)
class EventEnded:
    """An event stopped (silence, a lost source, a removed label or shutdown): exactly one per `EventStarted`."""

    event: Event


ENDED, STOPPED = "ended", "stopped"
"""Reasons why a source is offline though nothing was lost: a recording came to its end, the daemon stops."""


@dataclass(frozen=True, slots=True)
class SourceAvailability:
    """A source came online or was lost; `reason` is empty when online.

    `failed`: the source is not retried until it is switched off and on.
    """

    source: SourceInfo
    online: bool
    reason: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class SourceListening:
    """The user's switch: OFF closes the microphone."""

    source: SourceInfo
    listening: bool


@dataclass(frozen=True, slots=True)
class SourceDiagnostics:
    """Counters of one source since the daemon started. `silent`: only digital silence for 60 s (muted?).

    `windows` were scored, `skipped_windows` were lost because the model was busy, `gated_windows` were let pass
    because they were certainly nothing.
    """

    source: SourceInfo
    inference_ms: float
    windows: int
    dropped_blocks: int
    skipped_windows: int
    reconnects: int
    silent: bool = False
    gated_windows: int = 0


@dataclass(frozen=True, slots=True)
class SourceLabels:
    """The labels that a source listens for: its first update, and sent again after a reload that changed them.

    Events of removed labels have ended before.
    """

    source: SourceInfo
    labels: tuple[LabelInfo, ...]


Update = (
    SourceLabels
    | WindowHeard
    | EventStarted
    | EventEnded
    | SourceAvailability
    | SourceListening
    | SourceDiagnostics
)
