"""Sources with labels of their own on a real broker: each has just its own entities, states and event types.

The slug of one source is the beginning of the other's, so that a topic or component matched by its beginning would
be taken for the other's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from support.fake_servers import in_front_of, limiting_packets, serving
from support.real_broker import Broker, Listener
from support.sink_bench import BASE, DISCOVERY, DOG, DOORBELL, Bench, ended, run, started, wait_for

from clapstream.sinks.mqtt import abbreviations
from clapstream.updates import EventEnded, EventStarted, LabelInfo, SourceInfo, SourceLabels

YARD, YARD_2 = SourceInfo.of("yard"), SourceInfo.of("yard 2")
NAMES = [YARD.name, YARD_2.name]
MANY = [LabelInfo(f"label number {number}", f"label_number_{number}", 0.6, 0.4) for number in range(30)]
NO_LIMIT, SHORT_KEYS, ONE_TOPIC_A_SOURCE = None, 40_000, 20_000


def discovery_topics(limit_bytes: int | None) -> dict[SourceInfo, str]:
    """Where each source is announced to a broker that accepts packets of so many bytes."""
    if limit_bytes != ONE_TOPIC_A_SOURCE:
        return {YARD: DISCOVERY, YARD_2: DISCOVERY}
    return {source: f"homeassistant/device/clapstream_home-{source.slug}/config" for source in (YARD, YARD_2)}


@contextlib.asynccontextmanager
async def running(
    broker: Broker, limit_bytes: int | None, labels: dict[str, Sequence[LabelInfo]]
) -> AsyncGenerator[Bench]:
    """A sink whose broker says how large packets may be, until it has published everything of its start."""
    async with contextlib.AsyncExitStack() as stack:
        port = broker.port
        if limit_bytes is not None:
            limited = in_front_of(broker.port, on_connack=limiting_packets(limit_bytes))
            port = await stack.enter_async_context(serving(limited))
        live = broker.listen()
        bench = Bench(port, sources=NAMES, labels=labels)
        await stack.enter_async_context(bench.running())
        await wait_for(live, lambda it: "online" in [each.payload for each in fresh(it, f"{BASE}/status")])
        yield bench


def fresh(listener: Listener, topic: str) -> list[Any]:
    return [message for message in listener.messages if message.topic == topic and not message.retained]


def retained(broker: Broker) -> dict[str, str]:
    """Everything that the broker retains."""
    listener = broker.listen()
    listener.publish("end/of/retained", "x")
    listener.wait(lambda it: bool(it.on("end/of/retained")))
    return {message.topic: message.payload for message in listener.messages if message.retained}


def entities(kept: dict[str, str], topic: str) -> dict[str, dict[str, Any]]:
    """The components in a discovery payload, with the full names of their options."""
    components: Any = abbreviations.expand(json.loads(kept[topic]))["components"]
    return dict(components)


def states(kept: dict[str, str], source: SourceInfo) -> set[str]:
    """The labels of which the broker retains a state."""
    levels = [topic.removeprefix(f"{BASE}/").split("/") for topic in kept if topic.endswith("/state")]
    return {label for slug, label, _ in levels if slug == source.slug}


def attributes(kept: dict[str, str], source: SourceInfo) -> set[str]:
    levels = [topic.removeprefix(f"{BASE}/").split("/") for topic in kept if topic.endswith("/attributes")]
    return {label for slug, label, _ in levels if slug == source.slug}


def slugs(labels: Sequence[LabelInfo]) -> list[str]:
    return [label.slug for label in labels]


def sounds(components: dict[str, dict[str, Any]], source: SourceInfo) -> tuple[set[str], set[str]]:
    """The labels of a source that have an entity, and those whose entity is removed."""
    prefix = f"{source.slug}-sound-"
    own = {key.removeprefix(prefix): entry for key, entry in components.items() if key.startswith(prefix)}
    removed = {label for label, entry in own.items() if entry == {"platform": "binary_sensor"}}
    return set(own) - removed, removed


def happening(source: SourceInfo, label: LabelInfo) -> tuple[EventStarted, EventEnded]:
    start, end = started(f"{source.slug} {label.slug}", label), ended(f"{source.slug} {label.slug}", label)
    return (
        EventStarted(dataclasses.replace(start.event, source=source)),
        EventEnded(dataclasses.replace(end.event, source=source)),
    )


@pytest.mark.parametrize(("changed", "other"), [(YARD, YARD_2), (YARD_2, YARD)])
def test_a_reload_changes_one_source_only(broker: Broker, changed: SourceInfo, other: SourceInfo) -> None:
    async def scenario() -> None:
        live = broker.listen()
        async with running(broker, NO_LIMIT, {changed.name: [DOG, DOORBELL], other.name: [DOG]}) as bench:
            for source, label in ((other, DOG), (changed, DOG), (changed, DOORBELL)):
                for update in happening(source, label):
                    bench.sink.offer(update)
            await wait_for(live, lambda it: len(it.on(f"{BASE}/{changed.slug}/detection")) == 4)
            before = retained(broker)
            bench.sink.offer(SourceLabels(changed, (DOORBELL,)))
            await wait_for(live, lambda it: len(it.on(DISCOVERY)) == 2)
            await wait_for(live, lambda it: it.on(f"{BASE}/{changed.slug}/dog_barking/attributes")[-1] == "")
            after = retained(broker)
        for kept, labels in ((before, {"dog_barking", "doorbell"}), (after, {"doorbell"})):
            assert (states(kept, changed), attributes(kept, changed)) == (labels, labels)
            assert (states(kept, other), attributes(kept, other)) == ({"dog_barking"}, {"dog_barking"})
            components = entities(kept, DISCOVERY)
            assert sounds(components, changed) == (labels, {"dog_barking", "doorbell"} - labels)
            assert sounds(components, other) == ({"dog_barking"}, set())
            assert components[f"{changed.slug}-event"]["event_types"] == sorted(labels)
            assert components[f"{other.slug}-event"]["event_types"] == ["dog_barking"]
        fired = [json.loads(payload)["event_type"] for payload in live.on(f"{BASE}/{other.slug}/event")]
        assert fired == ["dog_barking"]

    run(scenario())


@pytest.mark.parametrize("limit_bytes", [NO_LIMIT, SHORT_KEYS, ONE_TOPIC_A_SOURCE])
def test_a_restart_with_labels_for_each_source_removes_just_what_is_gone(
    broker: Broker, limit_bytes: int | None
) -> None:
    """Also the upgrade from labels that all sources share, which are announced in the same way."""

    async def scenario() -> None:
        topics = discovery_topics(limit_bytes)
        own: dict[SourceInfo, Sequence[LabelInfo]] = {YARD: MANY[2:], YARD_2: MANY[:-1]}
        async with running(broker, limit_bytes, {YARD.name: MANY, YARD_2.name: MANY}) as bench:
            for source in own:
                for update in happening(source, MANY[0]):
                    bench.sink.offer(update)
            live = broker.listen()
            await wait_for(live, lambda it: len(it.on(f"{BASE}/yard_2/detection")) == 2)
        before = retained(broker)
        async with running(broker, limit_bytes, {source.name: labels for source, labels in own.items()}):
            pass
        after = retained(broker)
        assert {topic for topic in after if topic.startswith("homeassistant/")} == set(topics.values())
        for source, labels in own.items():
            gone = set(slugs(MANY)) - set(slugs(labels))
            assert sounds(entities(before, topics[source]), source) == (set(slugs(MANY)), set())
            assert sounds(entities(after, topics[source]), source) == (set(slugs(labels)), gone)
            event = entities(after, topics[source])[f"{source.slug}-event"]
            assert event["event_types"] == slugs(labels)
            assert states(before, source) == set(slugs(MANY)) and states(after, source) == set(slugs(labels))
        assert attributes(before, YARD) == attributes(before, YARD_2) == {MANY[0].slug}
        assert (attributes(after, YARD), attributes(after, YARD_2)) == (set(), {MANY[0].slug})
        for topic in set(topics.values()):
            ids = {key: entry.get("unique_id") for key, entry in entities(before, topic).items()}
            for key, entry in entities(after, topic).items():
                assert entry.get("unique_id") in (ids[key], None)
            assert entities(after, topic).keys() == ids.keys()

    run(scenario())


def test_what_is_gone_is_removed_before_the_other_entities_move_to_another_topic(broker: Broker) -> None:
    """With fewer labels one topic may do again; Home Assistant removes an entity only by the topic it came from."""

    async def scenario() -> None:
        topics = discovery_topics(ONE_TOPIC_A_SOURCE)
        async with running(broker, ONE_TOPIC_A_SOURCE, {YARD.name: MANY, YARD_2.name: MANY}):
            pass
        live = broker.listen()
        async with running(broker, ONE_TOPIC_A_SOURCE, {YARD.name: MANY[:2], YARD_2.name: []}):
            kept = retained(broker)
        assert {topic for topic in kept if topic.startswith("homeassistant/")} == {DISCOVERY}
        for source, gone in ((YARD, MANY[2:]), (YARD_2, MANY)):
            removal, migration, cleared = live.on(topics[source])[-3:]
            components = json.loads(removal)["components"]
            assert set(components) == {f"{source.slug}-sound-{slug}" for slug in slugs(gone)}
            assert all(entry == {"platform": "binary_sensor"} for entry in components.values())
            assert (json.loads(migration), cleared) == ({"migrate_discovery": True}, "")
        assert sounds(entities(kept, DISCOVERY), YARD)[0] == set(slugs(MANY[:2]))

    run(scenario())
