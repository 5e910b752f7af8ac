"""One unbroken stream of a source: its clock, its detector, and what it publishes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from clapstream.audio.block import RATE_HZ
from clapstream.audio.clock import StreamClock
from clapstream.audio.level import level_dbfs
from clapstream.audio.windower import Window, Windower
from clapstream.detection.detector import Detector, DetectorRule, ListenedLabels
from clapstream.detection.events import Transition
from clapstream.inference.worker import EmbeddedWindow
from clapstream.updates import Event, EventEnded, EventStarted, SourceInfo, Update, WindowHeard

Publish = Callable[[Update], None]


class OpenStream:
    """Windows, clock, detector and events of one stream. It ends with `close`, and so does every event of it."""

    def __init__(
        self, source: SourceInfo, started: datetime, labels: ListenedLabels, rule: DetectorRule, publish: Publish
    ) -> None:
        self.windower = Windower(rule.window_samples, rule.hop_samples)
        self.clock = StreamClock(started)
        self.waiting = 0
        """Windows passed to the model whose embeddings have not arrived."""
        self._source = source
        self._detector = Detector(labels, rule)
        self._publish = publish
        self._events: dict[str, Event] = {}
        self._inference_ms = 0.0

    def is_nothing(self, window: Window) -> bool:
        """Whether a window need not be embedded. Windows that the model still has must be scored before it."""
        return self._detector.is_nothing(window) and not self.waiting

    def skip(self, window: Window) -> None:
        """Take a window of background noise alone, without scoring it."""
        self._detector.skip(window.first_sample, window.end_sample)
        self._publish_window(window, gated=True)

    def update(self, window: Window, embedded: EmbeddedWindow) -> None:
        """Score a window by its embedding."""
        self.waiting -= 1
        self._inference_ms = embedded.inference_ms
        found = self._detector.update(window.first_sample, window.end_sample, embedded.embedding)
        self._publish_transitions(found)
        self._publish_window(window, gated=False)

    def replace_labels(self, labels: ListenedLabels) -> None:
        """Listen for other labels; events of removed labels end now."""
        self._publish_transitions(self._detector.replace_labels(labels))

    def close(self) -> None:
        """End the active events."""
        self._publish_transitions(self._detector.finish())

    def _publish_window(self, window: Window, *, gated: bool) -> None:
        self._publish(
            WindowHeard(
                source=self._source,
                started=self.clock.utc(window.first_sample),
                ended=self.clock.utc(window.end_sample),
                partial=window.partial,
                level_dbfs=level_dbfs(window.samples),
                inference_ms=self._inference_ms,
                scores=self._detector.scores,
                gated=gated,
            )
        )

    def _publish_transitions(self, transitions: Iterable[Transition]) -> None:
        for transition in transitions:
            slug = transition.label.slug
            if transition.end_sample is None:
                self._events[slug] = self._started(transition)
                self._publish(EventStarted(self._events[slug]))
            else:
                self._publish(EventEnded(_ended(self._events.pop(slug), transition, transition.end_sample)))

    def _started(self, transition: Transition) -> Event:
        return Event(
            id=uuid.uuid4().hex,
            source=self._source,
            label=transition.label,
            score=transition.score,
            peak_score=transition.peak_score,
            started=self.clock.utc(transition.start_sample),
        )


def _ended(event: Event, transition: Transition, end_sample: int) -> Event:
    """The event with its end; the duration is counted in samples, so no clock can make it negative."""
    duration_seconds = (end_sample - transition.start_sample) / RATE_HZ
    return replace(
        event,
        peak_score=transition.peak_score,
        ended=event.started + timedelta(seconds=duration_seconds),
        duration_seconds=duration_seconds,
    )
