"""A detection on its way to the broker: the start or the end of an event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from clapstream.updates import Event, SourceInfo

Phase = Literal["start", "end"]
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Detection:
    """What is published of one phase of an event; `ended` and `duration_seconds` are None at its start."""

    id: str
    phase: Phase
    source: SourceInfo
    label: str
    score: float
    peak_score: float
    started: datetime
    ended: datetime | None = None
    duration_seconds: float | None = None

    @classmethod
    def of(cls, event: Event, phase: Phase) -> Detection:
        """The start or the end of this event."""
        return cls(
            event.id,
            phase,
            event.source,
            event.label.name,
            event.score,
            event.peak_score,
            event.started,
            event.ended,
            event.duration_seconds,
        )

    @property
    def key(self) -> Key:
        """What no other detection has: the id of the event and the phase."""
        return self.id, self.phase
