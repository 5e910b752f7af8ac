"""What a node says over MQTT and how it answers, without a broker (no input or output here).

Every connection begins with the states of all labels, so that whatever happened meanwhile (a crash of ours, a
broker without persistence) leaves no label ON. Detections leave the spool one at a time, each once the broker has
acknowledged it. If the connection breaks in between, nobody knows whether the broker took it: we subscribe to our
own detections in a session that the broker keeps, and what comes back after the reconnect is not sent again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from clapstream.control import Handle
from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.announcement import Announcement
from clapstream.sinks.mqtt.commands import READERS
from clapstream.sinks.mqtt.delivery import Delivery
from clapstream.sinks.mqtt.detection import Detection, Key
from clapstream.sinks.mqtt.entities import Node
from clapstream.sinks.mqtt.outbox import Message, Outbox
from clapstream.sinks.mqtt.ownership import Owner
from clapstream.sinks.mqtt.refusals import Refusals
from clapstream.sinks.mqtt.spool import Spool
from clapstream.sinks.mqtt.throttle import Throttle, matters
from clapstream.sinks.mqtt.timeouts import Timeouts
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import (
    EventEnded,
    EventStarted,
    SourceDiagnostics,
    SourceInfo,
    SourceLabels,
    Update,
    WindowHeard,
)

_logger = logging.getLogger(__name__)

KEPT = "; detections are kept in the spool and tried again"
LEFT_OUT = "; leaving the topic out for now"
TRIED_SMALLER = "; trying smaller messages"


class MqttSession:
    """The node's side of the conversation with a broker.

    `on_command` takes every command that arrives. `earlier_known` is set once our own retained
    discovery payloads were read back, which tell what an earlier process left behind. `usurped` tells that another
    installation has taken the node's name.
    """

    def __init__(
        self,
        topics: Topics,
        node: Node,
        *,
        spool: Spool,
        on_command: Handle,
        owner: Owner | None = None,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        timeouts = timeouts or Timeouts()
        self._topics = topics
        self._sources = frozenset(source.slug for source in node.sources)
        self._source_names = frozenset(source.name for source in node.sources)
        self._spool = spool
        self._on_command = on_command
        self._owner = owner or Owner("", "")
        self._clock = clock
        self._heartbeat_seconds = timeouts.heartbeat
        self._owner_due_at = 0.0
        self._claimed = False
        self._outbox = Outbox(topics, sources=node.sources, model=node.model)
        self._announcement = Announcement(topics, node)
        self._windows = Throttle(timeouts.diagnostics, clock)
        self._counters = Throttle(timeouts.diagnostics, clock)
        self._last_counters: dict[SourceInfo, SourceDiagnostics] = {}
        self._discovery_due = False
        self._status_due = False
        self._told_counts: tuple[int, ...] | None = None
        self._told_counts_at = 0.0
        self._diagnostics_seconds = timeouts.diagnostics
        self.refusals = Refusals(timeouts.refused_retry, timeouts.disconnected_retry, clock)
        self.earlier_known = asyncio.Event()
        self.usurped: Owner | None = None

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
            (topics.owner, 1),
            *((birth, 0) for birth in topics.births),
            *((topics.command("+", suffix), 0) for suffix in READERS),
            *((topic, 0) for topic in self._announcement.topics),
        )

    @property
    def idle(self) -> bool:
        """Whether everything was said that can be said now."""
        pending = self._discovery_due or self._status_due or self._outbox
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

    def offer(self, update: Update) -> None:
        """Take an update; never blocks."""
        match update:
            case SourceDiagnostics(source):
                at_once = matters(self._last_counters.get(source), update)
                if self._counters.passes(source, update, at_once=at_once):
                    self._last_counters[source] = update
                    self._outbox.put(update)
                return
            case EventStarted(event):
                self._spool.append(Detection.of(event, "start"))
            case EventEnded(event):
                self._spool.append(Detection.of(event, "end"))
            case SourceLabels(source, labels):
                self._announcement.relabel(source, labels)
                self._discovery_due = True
            case WindowHeard(source):
                self._outbox.put(update, with_level=self._windows.passes(source, update))
                return
        self._outbox.put(update)

    def connected(self, earlier_owner: Owner | None = None, most_bytes: int | None = None) -> None:
        """A broker answered: what waits now happened while it was away."""
        self._spool.mark_late()
        self.refusals.connected()
        self._announcement.connected(most_bytes)
        self._announcement.expect(earlier_owner.discovery if earlier_owner else ())
        self._claimed = False
        self.usurped = None

    def claim(self) -> Message:
        """The record that says whose the name is."""
        self._owner_due_at = self._clock() + self._heartbeat_seconds
        owner = Owner(self._owner.id, self._owner.host, self._announcement.retained)
        return Message(self._topics.owner, owner.payload(), retain=True)

    def begin(self) -> list[Message]:
        """What to say first on a new connection: deletions of what is no longer ours, then all states.

        Discovery and `online` are due after it, so that nobody sees an old state of a node that is online.
        """
        self._discovery_due = self._status_due = True
        self._told_counts = None
        stale = [Message(topic, "", retain=True) for topic in self._announcement.stale_topics()]
        self._announcement.all_read()
        return [message for message in stale + self._outbox.start() if not self.refusals.is_left_out(message.topic)]

    def end(self) -> None:
        """The connection is gone."""
        self._outbox.stop()
        self.earlier_known.clear()

    def due(self, most: int) -> list[Message]:
        """What to say next, up to about `most` messages."""
        self._release_held()
        messages = []
        if self._discovery_due:
            self._discovery_due = False
            before = self._announcement.retained
            messages += self._announcement.messages()
            if self._announcement.retained != before:
                self._owner_due_at = 0.0
        if self._status_due:
            self._status_due = False
            messages.append(Message(self._topics.status, payloads.ONLINE, retain=True))
        if self._clock() >= self._owner_due_at:
            messages.append(self.claim())
            self._told_counts = None
        messages += self._diagnostics() + self._outbox.take(most)
        return [message for message in messages if not self.refusals.is_left_out(message.topic)]

    def next_due_seconds(self) -> float:
        """How long nothing has to be said unless something happens."""
        return max(0.01, min(self._owner_due_at - self._clock(), 1.0))

    def next_detection(self) -> tuple[Key, Message] | None:
        """The oldest detection that the broker has not acknowledged, once its state and event went before it."""
        waiting = None if self._outbox.has_changes else self._spool.first(self._can_be_sent)
        if waiting is None:
            return None
        detection = waiting.detection
        body = payloads.to_json(payloads.detection_published(detection, waiting.late))
        return detection.key, Message(self._topics.detection(detection.source.slug), body)

    def answered(self, message: Message, refusal: str | None, key: Key | None = None) -> None:
        """The broker took a message, or refused it; `key` is that of a detection."""
        topic = message.topic
        if refusal is None:
            self.refusals.accepted(topic)
            if key is not None:
                self._spool.remove(key)
                self._spool.tell_dropped()
        elif "too large" in refusal and self._announcement.is_ours(topic):
            self._discovery_due = self._announcement.too_large(message) or self._discovery_due
        else:
            self.refusals.refused(topic, refusal, KEPT if key is not None else "")

    def connection_lost(self, under_way: Sequence[Message], reason: str) -> bool:
        """The broker ended the connection while these messages were under way.

        Returns whether discovery was too large for it: the next connection begins with a smaller form.
        """
        largest = max(under_way, key=lambda message: len(message.payload))
        discovery = largest if self._announcement.is_ours(largest.topic) else None
        # Brokers of MQTT 3.1.1 do not say why they disconnect: most often the packet is too large.
        if discovery is not None and ("too large" in reason or self._announcement.is_limited):
            return self._announcement.too_large(discovery)
        consequence = TRIED_SMALLER if discovery is not None else LEFT_OUT
        self.refusals.connection_lost([message.topic for message in under_way], reason, consequence)
        if discovery is None or not self.refusals.is_left_out(discovery.topic):
            return False
        self.refusals.forget(discovery.topic)
        return self._announcement.too_large(discovery)

    def unconfigured(self) -> dict[str, int]:
        """Detections in the spool of sources that are no longer configured, by source."""
        return {name: count for name, count in self._spool.sources().items() if name not in self._source_names}

    def receive(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Act on a message from the broker, which may be anything."""
        topics = self._topics
        source, suffix = topics.split(topic)
        if self._announcement.is_ours(topic):
            if self._announcement.read_back(topic, payload):
                self.earlier_known.set()
        elif topic == topics.owner:
            self._watch_owner(payload)
        elif topic in topics.births and payload == payloads.ONLINE.encode():
            self._discovery_due = True
        elif topic == topics.status:
            # The will of a connection that the broker gave up late must not outlive this connection.
            self._status_due = self._status_due or payload != payloads.ONLINE.encode()
        elif source in self._sources and topic == topics.detection(source):
            self._confirm(payload)
        elif source in self._sources and suffix in READERS:
            self._read_command(source, suffix, payload, retained=retained)
        else:
            _logger.debug("ignored %d bytes on %.200r", len(payload), topic)

    def _watch_owner(self, payload: bytes) -> None:
        """Of two installations that claim a name at once, the one whose record stays has it."""
        owner = Owner.read(self._topics, payload)
        if owner is not None and owner.id == self._owner.id:
            self._claimed = True
        elif owner is not None and self._claimed:
            self.usurped = owner
        elif self._claimed:
            self._owner_due_at = 0.0  # somebody deleted or damaged it

    def _can_be_sent(self, detection: Detection) -> bool:
        """Whether its source is configured and its topic was not just refused."""
        if detection.source.name not in self._source_names:
            return False
        return not self.refusals.is_waiting(self._topics.detection(detection.source.slug))

    def _release_held(self) -> None:
        """Counters and levels that were held back, and what was refused and is to be tried again."""
        for source, update in self._counters.due():
            if isinstance(update, SourceDiagnostics):
                self._last_counters[source] = update
                self._outbox.put(update)
        for _, update in self._windows.due():
            if isinstance(update, WindowHeard):
                self._outbox.put_level(update)
        for topic in self.refusals.take_due():
            if self._announcement.is_ours(topic):
                self._discovery_due = True
            self._status_due = self._status_due or topic == self._topics.status
            self._outbox.repeat(topic)

    def _diagnostics(self) -> list[Message]:
        """The node's own counters, at once when something is lost for the first time, else at times."""
        delivery = self.delivery
        counts = (delivery.refused, delivery.dropped_detections, delivery.lost_events)
        told, now = self._told_counts, self._clock()
        is_first = told is None or any(not before and after for before, after in zip(told, counts, strict=True))
        if counts == told or not (is_first or now - self._told_counts_at >= self._diagnostics_seconds):
            return []
        self._told_counts, self._told_counts_at = counts, now
        return [Message(self._topics.diagnostics_of_node, delivery.diagnostics())]

    def _confirm(self, payload: bytes) -> None:
        """A detection of ours came back: the broker has it, even if its acknowledgement was lost."""
        key = payloads.detection_key(payload)
        if key is not None:
            self._spool.remove(key)

    def _read_command(self, source: str, suffix: str, payload: bytes, *, retained: bool) -> None:
        """A retained command is an old one that the broker sends again at every connect: it is ignored."""
        command = None if retained else READERS[suffix](source, payload)
        if command is None:
            _logger.debug("ignored %d bytes on %s of source %s", len(payload), suffix, source)
            return
        self._on_command(command)
