"""What a node publishes, in which order, and what it does with the broker's answers (no input or output here).

Every connection begins with the states of all labels, so that anything that happened meanwhile (a crash of ours, a
broker without persistence) leaves no label ON. Detections leave the spool one at a time, each once the broker has
acknowledged it. If the connection breaks in between, nobody knows whether the broker has it: we subscribe to our
own detections in a session that the broker keeps, and what comes back after the reconnect is not sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from clapstream.control import Handle
from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.delivery import Delivery
from clapstream.sinks.mqtt.detection import Detection, Key
from clapstream.sinks.mqtt.discovery_messages import DiscoveryMessages
from clapstream.sinks.mqtt.entities import Node
from clapstream.sinks.mqtt.incoming import Incoming
from clapstream.sinks.mqtt.measurements import Measurements
from clapstream.sinks.mqtt.message import Message
from clapstream.sinks.mqtt.node_diagnostics import NodeDiagnostics
from clapstream.sinks.mqtt.outbox import Outbox
from clapstream.sinks.mqtt.owner import NOBODY, Owner
from clapstream.sinks.mqtt.presence import Presence
from clapstream.sinks.mqtt.refusals import Refusals
from clapstream.sinks.mqtt.spool import Spool
from clapstream.sinks.mqtt.timeouts import Timeouts
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import EventEnded, EventStarted, SourceDiagnostics, SourceLabels, Update, WindowHeard

KEPT = "; detections are kept in the spool and retried"
SKIPPED = "; the topic is not used for now"
SMALLER = "; trying smaller messages"


class MqttSession:
    """One node's messages over all of its connections; `on_command` takes the commands that arrive."""

    def __init__(
        self,
        topics: Topics,
        node: Node,
        *,
        spool: Spool,
        on_command: Handle,
        owner: Owner = NOBODY,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        timeouts = timeouts or Timeouts()
        self._topics = topics
        self._source_names = frozenset(source.name for source in node.sources)
        self._spool = spool
        self._outbox = Outbox(topics, sources=node.sources, model=node.model)
        self._discovery = DiscoveryMessages(topics, node)
        self._measurements = Measurements(timeouts.diagnostics, clock)
        self._diagnostics = NodeDiagnostics(topics, timeouts.diagnostics, clock)
        self.presence = Presence(topics, owner, heartbeat_seconds=timeouts.heartbeat, clock=clock)
        self.refusals = Refusals(timeouts.refused_retry, timeouts.disconnected_retry, clock)
        self.incoming = Incoming(
            topics,
            [source.slug for source in node.sources],
            discovery=self._discovery,
            presence=self.presence,
            spool=spool,
            on_command=on_command,
        )

    @property
    def idle(self) -> bool:
        """Whether nothing is left to publish now."""
        pending = self._discovery.due or self.presence.status_due or self._outbox
        return not pending and self.next_detection() is None

    @property
    def delivery(self) -> Delivery:
        """What waits, what the broker refuses and what was lost."""
        return Delivery(
            waiting=len(self._spool),
            refused=self.refusals.total,
            refused_topics=self.refusals.reasons(),
            dropped_detections=self._spool.dropped,
            lost_events=self._outbox.lost_events,
        )

    def unconfigured(self) -> dict[str, int]:
        """Detections in the spool of sources that are no longer configured, by source."""
        return {name: count for name, count in self._spool.sources().items() if name not in self._source_names}

    def offer(self, update: Update) -> None:
        """Take an update; never blocks."""
        match update:
            case SourceDiagnostics():
                if self._measurements.counters_pass(update):
                    self._outbox.put(update)
                return
            case WindowHeard():
                self._outbox.put(update, with_level=self._measurements.level_passes(update))
                return
            case EventStarted(event):
                self._spool.append(Detection.of(event, "start"))
            case EventEnded(event):
                self._spool.append(Detection.of(event, "end"))
            case SourceLabels(source, labels):
                self._discovery.set_labels(source, labels)
        self._outbox.put(update)

    def on_connect(self, previous_owner: Owner = NOBODY, limit_bytes: int | None = None) -> None:
        """Mark what waits now as late: it happened while the broker was away.

        `previous_owner` is the owner of the node's name so far, `limit_bytes` the largest packet that the broker
        says it accepts.
        """
        self._spool.mark_late()
        self.refusals.on_connect()
        self._discovery.on_connect(previous_owner.discovery, limit_bytes)
        self.presence.on_connect()

    def on_disconnect(self) -> None:
        """Drop what is of no use on another connection."""
        self._outbox.stop()
        self.incoming.on_disconnect()

    def claim(self) -> Message:
        """The retained record of the installation that uses the node's name."""
        return self.presence.claim(self._discovery.retained)

    def first_messages(self) -> list[Message]:
        """What to publish first on a new connection: all states.

        Discovery and `online` are due after it, so that nobody sees an old state of a node that is online, then
        deletions of what is gone.
        """
        self._discovery.due = self.presence.status_due = True
        self._diagnostics.publish_again()
        self._measurements.on_connect()
        self._discovery.stop_reading()
        return self._allowed(self._outbox.start())

    def next_messages(self, limit: int) -> list[Message]:
        """What to publish next, up to about `limit` messages; detections are not among them."""
        self._queue_due()
        before = self._discovery.retained
        messages = self._discovery.take() + self._discovery.deletions()
        if self._discovery.retained != before:
            self.presence.claim_now()
        messages += self.presence.take_status()
        if self.presence.heartbeat_in_seconds() <= 0.0:
            messages.append(self.claim())
            self._diagnostics.publish_again()
        messages += self._diagnostics.take(self.delivery) + self._outbox.take(limit)
        return self._allowed(messages)

    def next_due_seconds(self) -> float:
        """How long nothing has to be published unless something happens."""
        return max(0.01, min(self.presence.heartbeat_in_seconds(), 1.0))

    def next_detection(self) -> tuple[Key, Message] | None:
        """The oldest detection that the broker has not acknowledged, once its state and event were published."""
        waiting = None if self._outbox.has_changes else self._spool.first(self._can_be_sent)
        if waiting is None:
            return None
        detection = waiting.detection
        payload = payloads.to_json(payloads.detection_published(detection, waiting.late))
        return detection.key, Message(self._topics.detection(detection.source.slug), payload)

    def on_answer(self, message: Message, refusal: str | None, key: Key | None = None) -> None:
        """The broker accepted a message, or refused it for a reason; `key` is that of a detection."""
        topic = message.topic
        self._discovery.on_answer(message)
        if refusal is None:
            self.refusals.accepted(topic)
            if key is not None:
                self._spool.remove(key)
                self._spool.log_dropped()
        elif "too large" in refusal and self._discovery.owns(topic):
            self._discovery.too_large(message)
        else:
            self.refusals.refused(topic, refusal, KEPT if key is not None else "")

    def on_connection_lost(self, unacknowledged: Sequence[Message], reason: str) -> bool:
        """The broker ended the connection before it acknowledged these messages.

        Returns whether discovery was too large for it: the next connection begins with a smaller layout.
        """
        largest = max(unacknowledged, key=lambda message: len(message.payload))
        discovery = largest if self._discovery.owns(largest.topic) else None
        # Brokers of MQTT 3.1.1 do not say why they disconnect: most often the packet is too large.
        if discovery is not None and ("too large" in reason or self._discovery.found_limit):
            return self._discovery.too_large(discovery)
        consequence = SMALLER if discovery is not None else SKIPPED
        self.refusals.connection_lost([message.topic for message in unacknowledged], reason, consequence)
        if discovery is None or not self.refusals.is_skipped(discovery.topic):
            return False
        self.refusals.forget(discovery.topic)
        return self._discovery.too_large(discovery)

    def _allowed(self, messages: Sequence[Message]) -> list[Message]:
        return [message for message in messages if not self.refusals.is_skipped(message.topic)]

    def _can_be_sent(self, detection: Detection) -> bool:
        """Whether its source is configured and its topic was not just refused."""
        if detection.source.name not in self._source_names:
            return False
        return not self.refusals.is_waiting(self._topics.detection(detection.source.slug))

    def _queue_due(self) -> None:
        """Queue counters and levels that were held back, and what was refused and is to be tried again."""
        for update in self._measurements.due_counters():
            self._outbox.put(update)
        for window in self._measurements.due_levels():
            self._outbox.put_level(window)
        for topic in self.refusals.take_due():
            self._discovery.due = self._discovery.due or self._discovery.owns(topic)
            self.presence.status_due = self.presence.status_due or topic == self._topics.status
            self._outbox.publish_again(topic)
