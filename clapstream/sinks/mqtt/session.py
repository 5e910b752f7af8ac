"""What a node says over MQTT and how it answers, without a broker (no input or output here).

Every connection begins with the states of all labels, so that whatever happened meanwhile (a crash of ours, a
broker without persistence) leaves no label ON. Detections leave the spool one at a time, each once the broker has
acknowledged it. If the connection breaks in between, nobody knows whether the broker took it: we subscribe to our
own detections in a session that the broker keeps, and what comes back after the reconnect is not sent again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from clapstream.sinks.mqtt import discovery, payloads
from clapstream.sinks.mqtt.outbox import Message, Outbox
from clapstream.sinks.mqtt.spool import Key, Spool
from clapstream.sinks.mqtt.topics import Topics
from clapstream.slugs import slugify
from clapstream.updates import EventEnded, EventStarted, LabelInfo, LabelsChanged, Update

_logger = logging.getLogger(__name__)


class MqttSession:
    """The node's side of the conversation with a broker.

    `on_listening(source_slug, listening)` is called for every command. `earlier_known` is set once our own retained
    discovery payload was read back, which tells what an earlier process left behind.
    """

    def __init__(
        self,
        topics: Topics,
        node: discovery.Node,
        *,
        labels: Sequence[LabelInfo],
        spool: Spool,
        on_listening: Callable[[str, bool], None],
    ) -> None:
        sources = [source.slug for source in node.sources]
        self._topics = topics
        self._node = node
        self._sources = frozenset(sources)
        self._labels = tuple(labels)
        self._spool = spool
        self._on_listening = on_listening
        self._outbox = Outbox(topics, sources=sources, labels=labels, model=node.model)
        self._earlier = discovery.NOTHING
        self._discovery_due = False
        self._status_due = False
        self.earlier_known = asyncio.Event()

    @property
    def subscriptions(self) -> tuple[tuple[str, int], ...]:
        """Topics with their quality of service.

        Discovery comes last, so that its payload tells that all before it has arrived. Commands are not kept for us
        while we are away: an old one should not switch a microphone.
        """
        topics = self._topics
        return (
            (topics.detections, 1),
            (topics.status, 0),
            *((birth, 0) for birth in topics.births),
            (topics.commands, 0),
            (topics.discovery, 0),
        )

    @property
    def idle(self) -> bool:
        """Whether everything was said."""
        return not (self._discovery_due or self._status_due or self._outbox or self._spool)

    def offer(self, update: Update) -> None:
        """Take an update; never blocks."""
        self._outbox.put(update)
        match update:
            case EventStarted(event):
                self._spool.append(event.id, "start", payloads.to_json(payloads.detection(event, "start")))
            case EventEnded(event):
                self._spool.append(event.id, "end", payloads.to_json(payloads.detection(event, "end")))
            case LabelsChanged(labels):
                self._labels = labels
                self._discovery_due = True

    def connected(self) -> None:
        """A broker answered: what waits now happened while it was away."""
        self._spool.mark_late()

    def begin(self) -> list[Message]:
        """What to say first on a new connection: deletions of what is no longer ours, then all states.

        Discovery and `online` are due after it, so that nobody sees an old state of a node that is online.
        """
        self._discovery_due = self._status_due = True
        current = discovery.components(self._topics, self._node, self._labels)
        stale = self._earlier.retained_topics - discovery.retained_topics(self._topics, current)
        return [Message(topic, "", retain=True) for topic in sorted(stale)] + self._outbox.start()

    def end(self) -> None:
        """The connection is gone."""
        self._outbox.stop()
        self.earlier_known.clear()

    def due(self, most: int) -> list[Message]:
        """What to say next, up to about `most` messages."""
        messages = []
        if self._discovery_due:
            self._discovery_due = False
            messages.append(Message(self._topics.discovery, self._discovery_payload(), retain=True))
        if self._status_due:
            self._status_due = False
            messages.append(Message(self._topics.status, payloads.ONLINE, retain=True))
        return messages + self._outbox.take(most)

    def next_detection(self) -> tuple[Key, Message] | None:
        """The oldest detection that the broker has not acknowledged, once its state and event went before it."""
        detection = None if self._outbox.has_changes else self._spool.first()
        if detection is None:
            return None
        source = slugify(payloads.source_name(detection.payload))
        body = payloads.mark_late(detection.payload, self._spool.is_late(detection.key))
        return detection.key, Message(self._topics.detection(source), body)

    def delivered(self, key: Key) -> None:
        """The broker has a detection."""
        self._spool.remove(key)

    def receive(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Act on a message from the broker, which may be anything."""
        topics = self._topics
        source = topics.source_of(topic)
        if topic == topics.discovery:
            self._remember(payload)
        elif topic in topics.births and payload == payloads.ONLINE.encode():
            self._discovery_due = True
        elif topic == topics.status:
            # The will of a connection that the broker gave up late must not outlive this connection.
            self._status_due = self._status_due or payload != payloads.ONLINE.encode()
        elif source in self._sources and topic == topics.detection(source):
            self._confirm(payload)
        elif source in self._sources and topic == topics.listening_set(source):
            self._obey(source, payload, retained=retained)
        else:
            _logger.debug("ignored %d bytes on %.200r", len(payload), topic)

    def _remember(self, payload: bytes) -> None:
        """Our discovery payload came back: before the first publication it tells what an earlier process left."""
        if not self.earlier_known.is_set():
            self._earlier = self._earlier.merged(discovery.discovered(self._topics, payload))
            self.earlier_known.set()

    def _confirm(self, payload: bytes) -> None:
        """A detection of ours came back: the broker has it, even if its acknowledgement was lost."""
        key = payloads.detection_key(payload)
        if key is not None:
            self._spool.remove(key)

    def _obey(self, source: str, payload: bytes, *, retained: bool) -> None:
        """A retained command is one of the past, sent again at every connect: it is ignored."""
        if retained or payload not in (payloads.ON.encode(), payloads.OFF.encode()):
            _logger.debug("ignored a listening command of %d bytes for %s", len(payload), source)
            return
        self._on_listening(source, payload == payloads.ON.encode())

    def _discovery_payload(self) -> str:
        """The payload to publish now; it becomes what the next one is compared with."""
        payload = discovery.discovery_payload(self._topics, self._node, self._labels, self._earlier)
        text = payloads.to_json(payload)
        self._earlier = discovery.discovered(self._topics, text.encode())
        return text
