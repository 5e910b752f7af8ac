"""What arrives from the broker: the subscriptions of a node, and what each message changes.

A message may hold anything; one that cannot be parsed is ignored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from clapstream.control import Handle
from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.commands import READERS
from clapstream.sinks.mqtt.discovery_messages import DiscoveryMessages
from clapstream.sinks.mqtt.presence import Presence
from clapstream.sinks.mqtt.spool import Spool
from clapstream.sinks.mqtt.topics import Topics

_logger = logging.getLogger(__name__)


class Incoming:
    """Handles messages for a node whose sources have these slugs.

    `discovery_read` is set once our own retained discovery payloads were received, which tell what an earlier
    process left behind.
    """

    def __init__(
        self,
        topics: Topics,
        sources: Collection[str],
        *,
        discovery: DiscoveryMessages,
        presence: Presence,
        spool: Spool,
        on_command: Handle,
    ) -> None:
        self._topics = topics
        self._sources = frozenset(sources)
        self._discovery = discovery
        self._presence = presence
        self._spool = spool
        self._on_command = on_command
        self.discovery_read = asyncio.Event()

    @property
    def subscriptions(self) -> tuple[tuple[str, int], ...]:
        """Topic filters with their quality of service.

        Discovery comes last: once its payloads are here, all before them has arrived. The broker keeps no commands
        for us while we are away: an old one should not switch a microphone.
        """
        topics = self._topics
        return (
            (topics.detections, 1),
            (topics.status, 0),
            (topics.owner, 1),
            *((birth, 0) for birth in topics.births),
            *((topics.command("+", suffix), 0) for suffix in READERS),
            *((topic, 0) for topic in self._discovery.topics),
        )

    def on_disconnect(self) -> None:
        """The retained payloads are read again on the next connection."""
        self.discovery_read.clear()

    def receive(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Handle one message."""
        topics = self._topics
        source, suffix = topics.split(topic)
        if self._discovery.owns(topic):
            if self._discovery.receive(topic, payload):
                self.discovery_read.set()
        elif topic == topics.owner:
            self._presence.receive_owner(payload)
        elif topic in topics.births and payload == payloads.ONLINE.encode():
            self._discovery.due = True
        elif topic == topics.status:
            self._presence.receive_status(payload)
        elif source in self._sources and topic == topics.detection(source):
            self._confirm_detection(payload)
        elif source in self._sources and suffix in READERS:
            self._handle_command(source, suffix, payload, retained=retained)
        else:
            _logger.debug("ignored %d bytes on %.200r", len(payload), topic)

    def _confirm_detection(self, payload: bytes) -> None:
        """One of our detections came back: the broker has it, even if its acknowledgement was lost."""
        key = payloads.detection_key(payload)
        if key is not None:
            self._spool.remove(key)

    def _handle_command(self, source: str, suffix: str, payload: bytes, *, retained: bool) -> None:
        """A retained command is an old one that the broker sends again at every connect: it is ignored."""
        command = None if retained else READERS[suffix](source, payload)
        if command is None:
            _logger.debug("ignored %d bytes on %s of source %s", len(payload), suffix, source)
            return
        self._on_command(command)
