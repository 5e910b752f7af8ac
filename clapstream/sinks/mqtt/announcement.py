"""Which discovery payloads a broker can take, and how entities move when that changes (no input or output here)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from clapstream.sinks.mqtt import discovery
from clapstream.sinks.mqtt.entities import Node, components
from clapstream.sinks.mqtt.outbox import Message
from clapstream.sinks.mqtt.packets import packet_bytes
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import LabelInfo, SourceInfo

_logger = logging.getLogger(__name__)


class Announcement:
    """What Home Assistant is told about a node. `known` is set once every topic of ours was read back."""

    def __init__(self, topics: Topics, node: Node) -> None:
        self._topics = topics
        self._node = node
        self._labels: dict[SourceInfo, Sequence[LabelInfo]] = {}
        self._earlier = discovery.NOTHING
        self._retained: set[str] = set()
        self._awaited: set[str] = set()
        self._said_bytes: int | None = None
        self._found_bytes: int | None = None
        self._told_too_large = False

    @property
    def topics(self) -> tuple[str, ...]:
        """Where payloads of ours are or may be retained."""
        own = {self._topics.discovery, *self._retained}
        return tuple(sorted(own))

    @property
    def retained(self) -> tuple[str, ...]:
        """Where payloads of ours are retained."""
        return tuple(sorted(self._retained))

    @property
    def is_limited(self) -> bool:
        """Whether the broker was found to limit the size of packets without saying so when we connected."""
        return self._found_bytes is not None

    @property
    def _most_bytes(self) -> int | None:
        """The largest packet that the broker takes, as far as it is known."""
        return min((limit for limit in (self._said_bytes, self._found_bytes) if limit is not None), default=None)

    def relabel(self, source: SourceInfo, labels: Sequence[LabelInfo]) -> None:
        """A source listens for these labels from now on."""
        self._labels[source] = tuple(labels)

    def expect(self, topics: Collection[str]) -> None:
        """An earlier process says that it left payloads on these topics; read them before the first publication."""
        self._retained.update(topics)
        self._awaited = set(self.topics)

    def connected(self, most_bytes: int | None) -> None:
        """The broker takes packets of up to `most_bytes`, as far as it said."""
        self._said_bytes = most_bytes

    def is_ours(self, topic: str) -> bool:
        """Whether a topic holds a payload of ours."""
        return topic in self.topics

    def read_back(self, topic: str, payload: bytes) -> bool:
        """A payload of ours came back, from an earlier process or this one; returns whether nothing is missing."""
        if topic in self._awaited:
            self._awaited.discard(topic)
            self._earlier = self._earlier.merged(discovery.discovered(self._topics, payload))
            if payload:
                self._retained.add(topic)
        return not self._awaited

    def all_read(self) -> None:
        """Stop reading: what comes back from now on is our own."""
        self._awaited.clear()

    def stale_topics(self) -> list[str]:
        """Topics with retained messages that an earlier process left and that are no longer used."""
        current = components(self._topics, self._node, self._labels)
        return sorted(self._earlier.retained_topics - discovery.retained_topics(self._topics, current))

    def too_large(self, message: Message) -> bool:
        """The broker does not take a payload of this size; returns whether there is a smaller form to try."""
        size = packet_bytes(message)
        if self._most_bytes is not None and size > self._most_bytes:
            return False
        self._found_bytes = size - 1
        return True

    def messages(self) -> list[Message]:
        """What to publish now; it becomes what the next is compared with."""
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
        """The plainest form of which every payload fits, else what fits of the smallest one."""
        fitting: dict[str, str] = {}
        largest = 0
        for form in discovery.layouts(self._topics, self._node, self._labels, self._earlier):
            sizes = {topic: packet_bytes(Message(topic, payload)) for topic, payload in form.items()}
            fitting = {topic: form[topic] for topic, size in sizes.items() if self._fits(size)}
            largest = max(sizes.values())
            if len(fitting) == len(form):
                return form
        if not self._told_too_large:
            self._told_too_large = True
            _logger.warning(
                "Home Assistant discovery does not fit: packets of %d bytes, the broker takes %d; going on "
                "without it: raise the broker's limit (max_packet_size in mosquitto.conf) or use fewer labels",
                largest,
                self._most_bytes,
            )
        return fitting

    def _fits(self, size: int) -> bool:
        return self._most_bytes is None or size <= self._most_bytes
