"""The discovery messages to publish: in which layout, and how entities move when it changes (pure)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from clapstream.sinks.mqtt import discovery
from clapstream.sinks.mqtt.component import Component
from clapstream.sinks.mqtt.discovery import Discovered
from clapstream.sinks.mqtt.entities import Node, components
from clapstream.sinks.mqtt.message import Message
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import LabelInfo, SourceInfo

_logger = logging.getLogger(__name__)


class DiscoveryMessages:
    """What Home Assistant should know of a node, and what was published; `due`: it is to be published."""

    def __init__(self, topics: Topics, node: Node) -> None:
        self._topics = topics
        self._node = node
        self._labels: dict[SourceInfo, Sequence[LabelInfo]] = {}
        self._announced: dict[str, Discovered] = {}
        self._retained: set[str] = set()
        self._unread: set[str] = set()
        self._gone: set[str] = set()
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
        """Whether the broker limits packets without announcing it in CONNACK."""
        return self._found_limit_bytes is not None

    @property
    def _limit_bytes(self) -> int | None:
        """The largest packet that the broker accepts, as far as it is known."""
        limits = (self._stated_limit_bytes, self._found_limit_bytes)
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def _components(self) -> dict[str, Component]:
        return components(self._topics, self._node, self._labels)

    @property
    def _earlier(self) -> Discovered:
        """What was announced last, by an earlier process or this one."""
        earlier = discovery.NOTHING
        for announced in self._announced.values():
            earlier = earlier.merged(announced)
        return earlier

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
            known = self._announced.get(topic, discovery.NOTHING)
            self._announced[topic] = known.merged(discovery.discovered(self._topics, payload))
            if payload:
                self._retained.add(topic)
        return not self._unread

    def stop_reading(self) -> None:
        """What arrives from now on is what we published ourselves."""
        self._unread.clear()
        self._gone |= self._earlier.retained_topics

    def deletions(self) -> list[Message]:
        """Delete the retained states of entities that an earlier process announced and that are gone.

        They come after discovery: until it has removed an entity, Home Assistant takes an empty message for a
        malformed value.
        """
        self._gone -= discovery.retained_topics(self._topics, self._components)
        return [Message(topic, "", retain=True) for topic in sorted(self._gone)]

    def on_answer(self, message: Message) -> None:
        """The broker accepted or refused a message; a deletion is not repeated then."""
        if not message.payload:
            self._gone.discard(message.topic)

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
        moves = [message for topic in moving for message in self._move_away(topic)]
        announced = [Message(topic, payload, retain=True) for topic, payload in payloads.items()]
        cleared = [Message(topic, "", retain=True) for topic in left]
        self._retained = set(payloads)
        self._announced = {
            topic: discovery.discovered(self._topics, payload.encode()) for topic, payload in payloads.items()
        }
        return moves + announced + cleared

    def _move_away(self, topic: str) -> list[Message]:
        """Let entities move from a topic; those that are gone are removed first, since another topic cannot."""
        announced = self._announced.get(topic, discovery.NOTHING).platforms
        current = self._components
        gone = {key: platform for key, platform in announced.items() if key not in current}
        removal = Message(topic, discovery.removal_payload(self._topics, gone))
        removals = [removal] if gone and self._fits(removal.packet_bytes) else []
        return [*removals, Message(topic, discovery.MIGRATE)]

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
