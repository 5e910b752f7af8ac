"""The discovery messages to publish: in which layout, and how entities move when it changes (pure)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from clapstream.sinks.mqtt import discovery
from clapstream.sinks.mqtt.entities import Node, components
from clapstream.sinks.mqtt.message import Message
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import LabelInfo, SourceInfo

_logger = logging.getLogger(__name__)


class DiscoveryMessages:
    """What Home Assistant should know of a node, and what it was told; `due` tells that it is to be published."""

    def __init__(self, topics: Topics, node: Node) -> None:
        self._topics = topics
        self._node = node
        self._labels: dict[SourceInfo, Sequence[LabelInfo]] = {}
        self._earlier = discovery.NOTHING
        self._retained: set[str] = set()
        self._unread: set[str] = set()
        self._stated_limit_bytes: int | None = None
        self._found_limit_bytes: int | None = None
        self._warned = False
        self.due = False

    @property
    def topics(self) -> tuple[str, ...]:
        """Where payloads of ours are or may be retained."""
        return tuple(sorted({self._topics.discovery, *self._retained}))

    @property
    def retained(self) -> tuple[str, ...]:
        """Where payloads of ours are retained."""
        return tuple(sorted(self._retained))

    @property
    def found_limit(self) -> bool:
        """Whether the broker limits packets without having said so in CONNACK."""
        return self._found_limit_bytes is not None

    @property
    def _limit_bytes(self) -> int | None:
        """The largest packet that the broker accepts, as far as it is known."""
        limits = (self._stated_limit_bytes, self._found_limit_bytes)
        return min((limit for limit in limits if limit is not None), default=None)

    def set_labels(self, source: SourceInfo, labels: Sequence[LabelInfo]) -> None:
        """A source listens for these labels from now on."""
        self._labels[source] = tuple(labels)
        self.due = True

    def on_connect(self, left_on: Collection[str], limit_bytes: int | None) -> None:
        """Expect retained payloads on the topics where an earlier process left them, read them before publishing.

        `limit_bytes` is the largest packet that the broker says it accepts.
        """
        self._stated_limit_bytes = limit_bytes
        self._retained.update(left_on)
        self._unread = set(self.topics)

    def owns(self, topic: str) -> bool:
        """Whether a topic holds a payload of ours."""
        return topic in self.topics

    def receive(self, topic: str, payload: bytes) -> bool:
        """Read back a payload of ours, from an earlier process or this one; returns whether none is missing."""
        if topic in self._unread:
            self._unread.discard(topic)
            self._earlier = self._earlier.merged(discovery.discovered(self._topics, payload))
            if payload:
                self._retained.add(topic)
        return not self._unread

    def stop_reading(self) -> None:
        """What arrives from now on is what we published ourselves."""
        self._unread.clear()

    def deletions(self) -> list[Message]:
        """Delete the retained states of entities that an earlier process announced and that are gone."""
        current = components(self._topics, self._node, self._labels)
        gone = self._earlier.retained_topics - discovery.retained_topics(self._topics, current)
        return [Message(topic, "", retain=True) for topic in sorted(gone)]

    def too_large(self, message: Message) -> bool:
        """The broker refuses a payload of this size; returns whether a smaller layout is to be tried."""
        size = message.packet_bytes
        if self._limit_bytes is not None and size > self._limit_bytes:
            return False
        self._found_limit_bytes = size - 1
        self.due = True
        return True

    def take(self) -> list[Message]:
        """What to publish if it is due; the next messages are compared with it."""
        if not self.due:
            return []
        self.due = False
        payloads = self._fitting()
        if not payloads:
            return []
        moving, left = discovery.migration(self._retained, payloads)
        moves = [Message(topic, discovery.MIGRATE) for topic in moving]
        announced = [Message(topic, payload, retain=True) for topic, payload in payloads.items()]
        cleared = [Message(topic, "", retain=True) for topic in left]
        self._retained = set(payloads)
        self._earlier = discovery.NOTHING
        for payload in payloads.values():
            self._earlier = self._earlier.merged(discovery.discovered(self._topics, payload.encode()))
        return moves + announced + cleared

    def _fitting(self) -> dict[str, str]:
        """Payloads by topic: the plainest layout of which every payload fits, else what fits of the smallest."""
        fitting: dict[str, str] = {}
        largest = 0
        for layout in discovery.layouts(self._topics, self._node, self._labels, self._earlier):
            sizes = {topic: Message(topic, payload).packet_bytes for topic, payload in layout.items()}
            fitting = {topic: layout[topic] for topic, size in sizes.items() if self._fits(size)}
            largest = max(sizes.values())
            if len(fitting) == len(layout):
                return layout
        if not self._warned:
            self._warned = True
            _logger.warning(
                "Home Assistant discovery is not published: it takes packets of %d bytes, the broker accepts %d; "
                "raise the broker's limit (max_packet_size in mosquitto.conf) or use fewer labels",
                largest,
                self._limit_bytes,
            )
        return fitting

    def _fits(self, size: int) -> bool:
        return self._limit_bytes is None or size <= self._limit_bytes
