"""The session without a broker: hostile messages, slow brokers, the order of messages."""

from __future__ import annotations

import asyncio
import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from support import hostile
from support.session_bench import DOG, NOON, TOPICS, SessionBench, ended, started
from support.sources import YARD

from clapstream.control import SetListening
from clapstream.sinks.mqtt.outbox import Outbox
from clapstream.updates import (
    LabelInfo,
    LabelScore,
    SourceAvailability,
    SourceDiagnostics,
    SourceLabels,
    Update,
    WindowHeard,
)

COMMAND = "clapstream/home/yard/listening/set"

received_topics = st.sampled_from(
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
received_payloads = (
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
@given(st.lists(st.tuples(received_topics, received_payloads, st.booleans()), max_size=20))
def test_any_message_received_leaves_only_contract_topics_published(
    received: list[tuple[str, bytes, bool]],
) -> None:
    bench = SessionBench()
    for topic, payload, retained in received:
        bench.receive(topic, payload, retained=retained)
    commands = [payload for topic, payload, retained in received if topic == COMMAND and not retained]
    assert bench.commands == [
        SetListening("yard", payload == b"ON") for payload in commands if payload in (b"ON", b"OFF")
    ]
    published = bench.connect()
    assert {message.topic for message in published if message.payload} == {
        TOPICS.availability("yard"),
        TOPICS.listening("yard"),
        TOPICS.state("yard", "dog"),
        TOPICS.discovery,
        TOPICS.status,
        TOPICS.owner,
        TOPICS.diagnostics_of_node,
    }
    assert all(message.retain for message in published if message.topic != TOPICS.diagnostics_of_node)
    assert all(message.topic.startswith("clapstream/home/yard/") for message in published if not message.payload)


def test_states_come_before_online() -> None:
    bench = SessionBench()
    published = [message.topic for message in bench.connect()]
    assert (
        published.index(TOPICS.state("yard", "dog"))
        < published.index(TOPICS.discovery)
        < published.index(TOPICS.status)
    )


def test_states_of_a_label_that_is_gone_are_deleted_once_after_its_entity() -> None:
    earlier = SessionBench()
    earlier.session.offer(SourceLabels(YARD, (DOG, LabelInfo("cat", "cat", 0.6, 0.4))))
    payload = next(message.payload for message in earlier.connect() if message.topic == TOPICS.discovery)
    bench = SessionBench()
    bench.session.on_connect()
    bench.receive(TOPICS.discovery, payload.encode(), retained=True)
    published = [message.topic for message in bench.connect()]
    gone = [TOPICS.attributes("yard", "cat"), TOPICS.state("yard", "cat")]
    assert [topic for topic in published if "/cat/" in topic] == gone
    assert published.index(TOPICS.discovery) < published.index(gone[0])
    assert not set(gone) & {message.topic for message in bench.connect()}


def test_a_state_goes_before_its_detection() -> None:
    bench = SessionBench()
    bench.connect()
    bench.session.offer(started("one"))
    assert bench.session.next_detection() is None
    assert [message.topic for message in bench.session.next_messages(8)] == [
        TOPICS.attributes("yard", "dog"),
        TOPICS.state("yard", "dog"),
        TOPICS.last_label("yard"),
        TOPICS.event("yard"),
    ]
    detection = bench.session.next_detection()
    assert detection is not None and detection[1].topic == TOPICS.detection("yard")
    assert not bench.session.idle
    bench.session.on_answer(detection[1], None, detection[0])
    assert bench.session.idle


def test_a_detection_that_came_back_is_not_published_again() -> None:
    bench = SessionBench()
    bench.connect()
    bench.session.offer(started("one"))
    bench.receive(TOPICS.detection("yard"), b'{"id": "one", "phase": "end"}')
    assert len(bench.spool) == 1
    bench.receive(TOPICS.detection("yard"), b'{"id": "one", "phase": "start"}')
    assert len(bench.spool) == 0


def window(level_dbfs: float, score: float) -> WindowHeard:
    return WindowHeard(YARD, NOON, NOON, False, level_dbfs, math.inf, (LabelScore(DOG, score, False),))


def test_a_slow_broker_builds_no_backlog() -> None:
    outbox = Outbox(TOPICS, sources=[YARD], model="bundled", queue_limit=50)
    outbox.put(SourceLabels(YARD, (DOG,)))
    outbox.start()
    for number in range(10_000):
        outbox.put(started(str(number)))
        outbox.put(window(-number, 0.5))
        outbox.put(SourceDiagnostics(YARD, 30.0, number, 0, 0, 0))
        outbox.put(ended(str(number)))
    assert len(outbox) < 100
    published = outbox.take(1_000)
    last = {message.topic: message.payload for message in published}
    assert last[TOPICS.state("yard", "dog")] == "OFF"
    assert json.loads(last[TOPICS.diagnostics("yard")])["windows"] == 9_999
    assert len([message for message in published if message.topic == TOPICS.heard("yard")]) == 1
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
    published = {message.topic: message.payload for message in outbox.take(10)}
    assert math.isfinite(float(published[TOPICS.level("yard")]))
    assert math.isfinite(json.loads(published[TOPICS.heard("yard")])["labels"][0]["score"])


def test_the_earlier_payload_is_known_once_a_connection() -> None:
    async def scenario() -> None:
        bench = SessionBench()
        assert not bench.session.incoming.discovery_read.is_set()
        bench.receive(TOPICS.discovery, b"")
        assert bench.session.incoming.discovery_read.is_set()
        bench.session.on_disconnect()
        assert not bench.session.incoming.discovery_read.is_set()

    asyncio.run(scenario())
