"""When the node's own diagnostics are published: at once for the first loss of a kind, else at intervals."""

from __future__ import annotations

from collections.abc import Callable

from clapstream.sinks.mqtt.delivery import Delivery
from clapstream.sinks.mqtt.message import Message
from clapstream.sinks.mqtt.topics import Topics


class NodeDiagnostics:
    """Publishes what the broker refused, what waits for it and what was lost; `clock` gives seconds."""

    def __init__(self, topics: Topics, interval_seconds: float, clock: Callable[[], float]) -> None:
        self._topics = topics
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._published: tuple[int, ...] | None = None
        self._published_at = 0.0

    def publish_again(self) -> None:
        """The next call of `take` publishes, whether something changed or not."""
        self._published = None

    def take(self, delivery: Delivery) -> list[Message]:
        """The message to publish now, if there is one."""
        counts = (delivery.refused, delivery.dropped_detections, delivery.lost_events)
        if counts == self._published or not self._is_due(counts):
            return []
        self._published, self._published_at = counts, self._clock()
        return [Message(self._topics.diagnostics_of_node, delivery.diagnostics())]

    def _is_due(self, counts: tuple[int, ...]) -> bool:
        if self._published is None or self._clock() - self._published_at >= self._interval_seconds:
            return True
        return any(before == 0 and after > 0 for before, after in zip(self._published, counts, strict=True))
