"""The conversation with a broker, without one: hostile messages, slow brokers, the order of things."""

from __future__ import annotations

import asyncio
import json
import math
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from support import hostile
from support.sources import YARD

from clapstream.control import Command, SetListening
from clapstream.sinks.mqtt.entities import Node
from clapstream.sinks.mqtt.outbox import Message, Outbox
from clapstream.sinks.mqtt.session import MqttSession
from clapstream.sinks.mqtt.spool import Spool
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import (
    Event,
    EventEnded,
    EventStarted,
    LabelInfo,
    LabelScore,
    SourceAvailability,
    SourceDiagnostics,
    SourceLabels,
    Update,
    WindowHeard,
)

TOPICS = Topics.of("clapstream", "home", "homeassistant")
DOG = LabelInfo("dog", "dog", 0.6, 0.4)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COMMAND = "clapstream/home/yard/listening/set"


def started(id: str) -> EventStarted:
    return EventStarted(Event(id, YARD, DOG, 0.8, 0.8, NOON))


class Talk:
    """A conversation and the commands it passed on."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.spool = Spool(None)
        self.session = MqttSession(
            TOPICS,
            Node("home", "bundled", "1.2.3", (YARD,)),
            spool=self.spool,
            on_command=self.commands.append,
        )

        self.session.offer(SourceLabels(YARD, (DOG,)))

    def introduce(self) -> list[Message]:
        self.session.connected()
        return self.session.begin() + self.session.due(100)

    def listen(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        self.session.receive(topic, payload, retained=retained)


heard_topics = st.sampled_from(
    [
        COMMAND,
        TOPICS.discovery,
        TOPICS.status,
        *TOPICS.births,
        TOPICS.detection("yard"),
        "clapstream/home/cellar/listening/set",
        "clapstream/home//listening/set",
        "clapstream/home/yard/listening",
    ]
) | st.text(max_size=100)
heard_payloads = (
    st.binary(max_size=200)
    | st.sampled_from(
        [b"ON", b"OFF", b"online", b"offline", b"{}", b"null", b'{"id": [], "phase": {}}', b"[" * 9_999]
    )
    | st.builds(
        lambda id, phase: json.dumps({"id": id, "phase": phase}).encode(),
        st.sampled_from(["one", "two"]) | st.integers(),
        st.sampled_from(["start", "end"]) | st.none(),
    )
)


@settings(max_examples=hostile.inputs(500))
@given(st.lists(st.tuples(heard_topics, heard_payloads, st.booleans()), max_size=20))
def test_whatever_is_heard_only_the_contract_is_said(heard: list[tuple[str, bytes, bool]]) -> None:
    talk = Talk()
    for topic, payload, retained in heard:
        talk.listen(topic, payload, retained=retained)
    commands = [payload for topic, payload, retained in heard if topic == COMMAND and not retained]
    assert talk.commands == [
        SetListening("yard", payload == b"ON") for payload in commands if payload in (b"ON", b"OFF")
    ]
    said = talk.introduce()
    assert {message.topic for message in said if message.payload} == {
        TOPICS.availability("yard"),
        TOPICS.listening("yard"),
        TOPICS.state("yard", "dog"),
        TOPICS.discovery,
        TOPICS.status,
        TOPICS.owner,
        TOPICS.diagnostics_of_node,
    }
    assert all(message.retain for message in said if message.topic != TOPICS.diagnostics_of_node)
    assert all(message.topic.startswith("clapstream/home/yard/") for message in said if not message.payload)


def test_states_come_before_online() -> None:
    talk = Talk()
    said = [message.topic for message in talk.introduce()]
    assert said.index(TOPICS.state("yard", "dog")) < said.index(TOPICS.discovery) < said.index(TOPICS.status)


def test_a_state_goes_before_its_detection() -> None:
    talk = Talk()
    talk.introduce()
    talk.session.offer(started("one"))
    assert talk.session.next_detection() is None
    assert [message.topic for message in talk.session.due(8)] == [
        TOPICS.attributes("yard", "dog"),
        TOPICS.state("yard", "dog"),
        TOPICS.last_label("yard"),
        TOPICS.event("yard"),
    ]
    detection = talk.session.next_detection()
    assert detection is not None and detection[1].topic == TOPICS.detection("yard")
    assert not talk.session.idle
    talk.session.answered(detection[1], None, detection[0])
    assert talk.session.idle


def test_a_detection_that_came_back_is_not_said_again() -> None:
    talk = Talk()
    talk.introduce()
    talk.session.offer(started("one"))
    talk.listen(TOPICS.detection("yard"), b'{"id": "one", "phase": "end"}')
    assert len(talk.spool) == 1
    talk.listen(TOPICS.detection("yard"), b'{"id": "one", "phase": "start"}')
    assert len(talk.spool) == 0


def window(level_dbfs: float, score: float) -> WindowHeard:
    return WindowHeard(YARD, NOON, NOON, False, level_dbfs, math.inf, (LabelScore(DOG, score, False),))


def test_a_slow_broker_builds_no_backlog() -> None:
    outbox = Outbox(TOPICS, sources=[YARD], model="bundled", limit=50)
    outbox.put(SourceLabels(YARD, (DOG,)))
    outbox.start()
    for number in range(10_000):
        event = Event(str(number), YARD, DOG, 0.8, 0.8, NOON)
        outbox.put(EventStarted(event))
        outbox.put(window(-number, 0.5))
        outbox.put(SourceDiagnostics(YARD, 30.0, number, 0, 0, 0))
        outbox.put(EventEnded(event))
    assert len(outbox) < 100
    said = outbox.take(1_000)
    last = {message.topic: message.payload for message in said}
    assert last[TOPICS.state("yard", "dog")] == "OFF"
    assert json.loads(last[TOPICS.diagnostics("yard")])["windows"] == 9_999
    assert len([message for message in said if message.topic == TOPICS.heard("yard")]) == 1
    assert len(outbox) == 0


def test_nothing_waits_without_a_connection() -> None:
    outbox = Outbox(TOPICS, sources=[YARD], model="bundled")
    outbox.put(SourceLabels(YARD, (DOG,)))
    updates: list[Update] = [started("one"), window(-30.0, 0.5), SourceAvailability(YARD, True)]
    for update in updates:
        outbox.put(update)
    assert len(outbox) == 0
    states = {message.topic: message.payload for message in outbox.start()}
    assert states[TOPICS.state("yard", "dog")] == "ON"
    assert states[TOPICS.availability("yard")] == "online"
    assert TOPICS.event("yard") not in states


@given(st.floats(), st.floats())
def test_any_number_is_published_as_one(level_dbfs: float, score: float) -> None:
    outbox = Outbox(TOPICS, sources=[YARD], model="bundled")
    outbox.put(SourceLabels(YARD, (DOG,)))
    outbox.start()
    outbox.put(window(level_dbfs, score))
    said = {message.topic: message.payload for message in outbox.take(10)}
    assert math.isfinite(float(said[TOPICS.level("yard")]))
    assert math.isfinite(json.loads(said[TOPICS.heard("yard")])["labels"][0]["score"])


def test_the_earlier_payload_is_known_once_a_connection() -> None:
    async def scenario() -> None:
        talk = Talk()
        assert not talk.session.earlier_known.is_set()
        talk.listen(TOPICS.discovery, b"")
        assert talk.session.earlier_known.is_set()
        talk.session.end()
        assert not talk.session.earlier_known.is_set()

    asyncio.run(scenario())
