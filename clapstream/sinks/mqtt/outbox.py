"""What the broker should know, folded from updates.

What lasts (states, attributes, availability, listening) is kept as a snapshot that every connection starts from.
While connected, changes wait in a bounded queue in their order; where only the newest value matters (heard, level,
diagnostics) one waits per topic. When the queue is full the broker is too slow for history: it gets the snapshot
instead, so that a backlog never grows and the last state always arrives.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import (
    Event,
    EventEnded,
    EventStarted,
    LabelInfo,
    SourceAvailability,
    SourceDiagnostics,
    SourceInfo,
    SourceLabels,
    SourceListening,
    Update,
    WindowHeard,
)

_logger = logging.getLogger(__name__)

QUEUE_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class Message:
    """One publication; an empty retained payload deletes what the broker retains."""

    topic: str
    payload: str
    retain: bool = False


class Outbox:
    """Collects the messages of one node."""

    def __init__(
        self,
        topics: Topics,
        *,
        sources: Sequence[SourceInfo],
        model: str,
        limit: int = QUEUE_LIMIT,
    ) -> None:
        self._topics = topics
        self._model = model
        self._limit = limit
        self._lasting: dict[str, str] = {}
        self._changes: deque[Message] = deque()
        self._newest: dict[str, str] = {}
        self.open = False
        self.overflows = 0
        self.lost_events = 0
        for source in sources:
            # Until a source says that it delivers sound, nobody should rely on it.
            self._lasting[topics.availability(source.slug)] = payloads.OFFLINE
            self._lasting[topics.listening(source.slug)] = payloads.ON

    def put(self, update: Update, *, with_level: bool = True) -> None:
        """Fold one update in; the level of a window may be left out."""
        match update:
            case WindowHeard(source):
                self._replace(self._topics.heard(source.slug), payloads.to_json(payloads.heard(update)))
                if with_level:
                    self.put_level(update)
            case EventStarted(event):
                self._put_event(event, payloads.ON)
                fired = payloads.to_json(payloads.event_fired(event, self._model))
                self._last(self._topics.last_label(event.source.slug), fired)
                self._change(Message(self._topics.event(event.source.slug), fired))
            case EventEnded(event):
                self._put_event(event, payloads.OFF)
            case SourceAvailability(source, is_online):
                self._last(self._topics.availability(source.slug), payloads.online(is_online))
            case SourceListening(source, listening):
                self._last(self._topics.listening(source.slug), payloads.switch(listening))
            case SourceDiagnostics(source):
                text = payloads.to_json(payloads.diagnostics(update))
                self._replace(self._topics.diagnostics(source.slug), text)
            case SourceLabels(source, labels):
                self._remove_labels(source, labels)
                self._add_labels(source, labels)

    def put_level(self, window: WindowHeard) -> None:
        """Fold in the level of a window only."""
        self._replace(self._topics.level(window.source.slug), payloads.level(window))

    def start(self) -> list[Message]:
        """A connection is there: collect changes from now on; returns the snapshot that they build on."""
        self.open = True
        return self.snapshot()

    def stop(self) -> None:
        """The connection is gone: only what lasts is remembered."""
        self.open = False
        self._changes.clear()
        self._newest.clear()

    def snapshot(self) -> list[Message]:
        """Everything that lasts, as retained messages."""
        return [Message(topic, payload, retain=True) for topic, payload in self._lasting.items()]

    def repeat(self, topic: str) -> None:
        """Say once more what lasts on a topic."""
        if topic in self._lasting:
            self._change(Message(topic, self._lasting[topic], retain=True))

    def take(self, most: int) -> list[Message]:
        """Up to `most` messages in their order, changes before values of the moment."""
        taken = [self._changes.popleft() for _ in range(min(most, len(self._changes)))]
        for topic in list(self._newest)[: most - len(taken)]:
            taken.append(Message(topic, self._newest.pop(topic)))
        return taken

    @property
    def has_changes(self) -> bool:
        """Whether states or events wait, not only values of the moment."""
        return bool(self._changes)

    def __len__(self) -> int:
        return len(self._changes) + len(self._newest)

    def _put_event(self, event: Event, state: str) -> None:
        source = event.source.slug
        attributes = payloads.to_json(payloads.attributes(event))
        self._last(self._topics.attributes(source, event.label.slug), attributes)
        self._last(self._topics.state(source, event.label.slug), state)

    def _add_labels(self, source: SourceInfo, labels: Sequence[LabelInfo]) -> None:
        for topic in self._state_topics(source, labels):
            if topic not in self._lasting:
                self._last(topic, payloads.OFF)

    def _remove_labels(self, source: SourceInfo, kept: Sequence[LabelInfo]) -> None:
        keep = set(self._state_topics(source, kept))
        own = [topic for topic in self._lasting if self._topics.split(topic)[0] == source.slug]
        for topic in [topic for topic in own if topic.endswith("/state") and topic not in keep]:
            attributes = topic.removesuffix("state") + "attributes"
            for gone in (topic, attributes):
                self._lasting.pop(gone, None)
                self._change(Message(gone, "", retain=True))

    def _state_topics(self, source: SourceInfo, labels: Sequence[LabelInfo]) -> list[str]:
        return [self._topics.state(source.slug, label.slug) for label in labels]

    def _last(self, topic: str, payload: str) -> None:
        self._lasting[topic] = payload
        self._change(Message(topic, payload, retain=True))

    def _replace(self, topic: str, payload: str) -> None:
        if self.open:
            self._newest[topic] = payload

    def _change(self, message: Message) -> None:
        if not self.open:
            return
        self._changes.append(message)
        if len(self._changes) > self._limit + 2 * len(self._lasting):
            self._replaced_by_snapshot()

    def _replaced_by_snapshot(self) -> None:
        deletions = [change for change in self._changes if change.retain and not change.payload]
        events = sum(not change.retain for change in self._changes)
        if self.overflows == 0:
            _logger.warning("broker is too slow: queue overflow, %d waiting events are not fired", events)
        self.overflows += 1
        self.lost_events += events
        self._changes = deque([*deletions, *self.snapshot()])
