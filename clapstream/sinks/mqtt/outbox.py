"""The queue of messages to publish, made from updates.

Retained messages (states, attributes, availability, listening) are kept as a snapshot that every connection starts
with. While connected, changes wait in a bounded queue in their order; where only the newest value matters (heard,
level, diagnostics) one waits per topic. When the queue is full the broker is too slow for every change: it gets the
snapshot instead, so that no backlog grows and the last state always arrives.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.message import Message
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


class Outbox:
    """The queue of one node; `lost_events` counts the events that were dropped when it was full."""

    def __init__(
        self,
        topics: Topics,
        *,
        sources: Sequence[SourceInfo],
        model: str,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        self._topics = topics
        self._model = model
        self._queue_limit = queue_limit
        self._retained: dict[str, str] = {}
        self._changes: deque[Message] = deque()
        self._newest: dict[str, str] = {}
        self.open = False
        self.overflows = 0
        self.lost_events = 0
        for source in sources:
            # Unavailable until the source reports that it delivers sound.
            self._retained[topics.availability(source.slug)] = payloads.OFFLINE
            self._retained[topics.listening(source.slug)] = payloads.ON

    def put(self, update: Update, *, with_level: bool = True) -> None:
        """Queue what an update changes; the level of a window may be left out."""
        match update:
            case WindowHeard(source):
                self._replace(self._topics.heard(source.slug), payloads.to_json(payloads.heard(update)))
                if with_level:
                    self.put_level(update)
            case EventStarted(event):
                self._put_event(event, payloads.ON)
                text = payloads.to_json(payloads.event_fired(event, self._model))
                self._retain(self._topics.last_label(event.source.slug), text)
                self._queue(Message(self._topics.event(event.source.slug), text))
            case EventEnded(event):
                self._put_event(event, payloads.OFF)
            case SourceAvailability(source, is_online):
                self._retain(self._topics.availability(source.slug), payloads.online(is_online))
            case SourceListening(source, listening):
                self._retain(self._topics.listening(source.slug), payloads.switch(listening))
            case SourceDiagnostics(source):
                text = payloads.to_json(payloads.diagnostics(update))
                self._replace(self._topics.diagnostics(source.slug), text)
            case SourceLabels(source, labels):
                self._remove_labels(source, labels)
                self._add_labels(source, labels)

    def put_level(self, window: WindowHeard) -> None:
        """Queue the level of a window only."""
        self._replace(self._topics.level(window.source.slug), payloads.level(window))

    def start(self) -> list[Message]:
        """Queue changes from now on; returns the snapshot that they build on."""
        self.open = True
        return self.snapshot()

    def stop(self) -> None:
        """Drop the queue: the connection is gone, and only the snapshot is kept."""
        self.open = False
        self._changes.clear()
        self._newest.clear()

    def snapshot(self) -> list[Message]:
        """All retained messages."""
        return [Message(topic, payload, retain=True) for topic, payload in self._retained.items()]

    def publish_again(self, topic: str) -> None:
        """Queue the retained message of a topic once more, if it has one."""
        if topic in self._retained:
            self._queue(Message(topic, self._retained[topic], retain=True))

    def take(self, limit: int) -> list[Message]:
        """Up to `limit` messages: changes in their order, then measurements."""
        taken = [self._changes.popleft() for _ in range(min(limit, len(self._changes)))]
        for topic in list(self._newest)[: limit - len(taken)]:
            taken.append(Message(topic, self._newest.pop(topic)))
        return taken

    @property
    def has_changes(self) -> bool:
        """Whether states or events wait, not only measurements."""
        return bool(self._changes)

    def __len__(self) -> int:
        return len(self._changes) + len(self._newest)

    def _put_event(self, event: Event, state: str) -> None:
        source = event.source.slug
        attributes = payloads.to_json(payloads.attributes(event))
        self._retain(self._topics.attributes(source, event.label.slug), attributes)
        self._retain(self._topics.state(source, event.label.slug), state)

    def _add_labels(self, source: SourceInfo, labels: Sequence[LabelInfo]) -> None:
        for topic in self._state_topics(source, labels):
            if topic not in self._retained:
                self._retain(topic, payloads.OFF)

    def _remove_labels(self, source: SourceInfo, kept: Sequence[LabelInfo]) -> None:
        keep = set(self._state_topics(source, kept))
        own = [topic for topic in self._retained if self._topics.split(topic)[0] == source.slug]
        for topic in [topic for topic in own if topic.endswith("/state") and topic not in keep]:
            attributes = topic.removesuffix("state") + "attributes"
            for gone in (topic, attributes):
                self._retained.pop(gone, None)
                self._queue(Message(gone, "", retain=True))

    def _state_topics(self, source: SourceInfo, labels: Sequence[LabelInfo]) -> list[str]:
        return [self._topics.state(source.slug, label.slug) for label in labels]

    def _retain(self, topic: str, payload: str) -> None:
        self._retained[topic] = payload
        self._queue(Message(topic, payload, retain=True))

    def _replace(self, topic: str, payload: str) -> None:
        if self.open:
            self._newest[topic] = payload

    def _queue(self, message: Message) -> None:
        if not self.open:
            return
        self._changes.append(message)
        if len(self._changes) > self._queue_limit + 2 * len(self._retained):
            self._replace_by_snapshot()

    def _replace_by_snapshot(self) -> None:
        deletions = [change for change in self._changes if change.retain and not change.payload]
        events = sum(not change.retain for change in self._changes)
        if self.overflows == 0:
            _logger.warning("broker is too slow: queue overflow, %d events are not published", events)
        self.overflows += 1
        self.lost_events += events
        self._changes = deque([*deletions, *self.snapshot()])
