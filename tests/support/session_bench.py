"""A session without a broker, under a clock of the test's own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from clapstream.control import Command
from clapstream.sinks.mqtt.entities import Node
from clapstream.sinks.mqtt.message import Message
from clapstream.sinks.mqtt.session import MqttSession
from clapstream.sinks.mqtt.spool import Spool
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import Event, EventEnded, EventStarted, LabelInfo, SourceLabels
from support.sources import YARD

TOPICS = Topics.of("clapstream", "home", "homeassistant")
DOG = LabelInfo("dog", "dog", 0.6, 0.4)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(id: str) -> Event:
    return Event(id, YARD, DOG, 0.8, 0.8, NOON)


def started(id: str) -> EventStarted:
    return EventStarted(event(id))


def ended(id: str) -> EventEnded:
    return EventEnded(event(id))


class SessionBench:
    """A session of one source, what it published, and the commands that arrived."""

    def __init__(self, spool: Spool | None = None) -> None:
        self.now = 0.0
        self.commands: list[Command] = []
        self.published: list[Message] = []
        self.spool = Spool(None) if spool is None else spool
        self.session = MqttSession(
            TOPICS,
            Node("home", "bundled", "1.2.3", (YARD,)),
            spool=self.spool,
            on_command=self.commands.append,
            clock=lambda: self.now,
        )
        self.session.offer(SourceLabels(YARD, (DOG,)))

    def connect(self) -> list[Message]:
        """Connect to a broker that accepts everything; returns what was published for it."""
        self.session.on_connect()
        before = len(self.published)
        self._accept(self.session.first_messages())
        self.publish()
        return self.published[before:]

    def publish(self) -> None:
        """Publish what is due."""
        while messages := self.session.next_messages(100):
            self._accept(messages)

    def on(self, topic: str) -> list[Any]:
        """What was published on a topic."""
        return [json.loads(message.payload) for message in self.published if message.topic == topic]

    def receive(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        """A message from the broker."""
        self.session.incoming.receive(topic, payload, retained=retained)

    def _accept(self, messages: list[Message]) -> None:
        self.published += messages
        for message in messages:
            self.session.on_answer(message, None)
