"""Home Assistant's MQTT device discovery: a retained payload describes every entity of a node.

The shape follows https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload. A component that is
only a platform removes the entity. Such removals stay in the payload, so that a Home Assistant that lost its
connection when a label was removed learns of it, too; the retained payload thereby also tells a later process what
exists. A Home Assistant that was not running then keeps the entity, unavailable, until the user deletes it: after a
start it ignores removals of what it has not discovered since.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from clapstream.sinks.mqtt import abbreviations, payloads
from clapstream.sinks.mqtt.component import Component, availability
from clapstream.sinks.mqtt.entities import Labels, Node, components
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import SourceInfo

PROJECT_URL = "https://github.com/clapstream/clapstream"
MAX_REMEMBERED = 1_000
"""How many removed components stay in the payload."""

MAX_PAYLOAD_BYTES = 1 << 20

MIGRATE = payloads.to_json({"migrate_discovery": True})

_COMPONENT_ID = re.compile(r"[a-z0-9_-]{1,160}")
_PLATFORMS = ("binary_sensor", "event", "sensor", "switch")


@dataclass(frozen=True, slots=True)
class Discovered:
    """What an earlier payload announced: platforms by component id, and topics that hold retained messages."""

    platforms: Mapping[str, str]
    retained_topics: frozenset[str]

    def merged(self, other: Discovered) -> Discovered:
        """What either announced."""
        return Discovered({**self.platforms, **other.platforms}, self.retained_topics | other.retained_topics)


NOTHING = Discovered({}, frozenset())


def discovery_payload(
    topics: Topics, node: Node, labels: Labels, earlier: Discovered = NOTHING
) -> dict[str, object]:
    """The device payload; components that only `earlier` has are named for removal."""
    current = components(topics, node, labels)
    removed = [(key, platform) for key, platform in earlier.platforms.items() if key not in current]
    removals: dict[str, Component] = {key: {"platform": platform} for key, platform in removed[-MAX_REMEMBERED:]}
    return {
        "device": {
            "identifiers": [topics.device_id],
            "name": f"clapstream {node.name}",
            "manufacturer": "clapstream",
            "model": node.model,
            "sw_version": node.version,
        },
        "origin": {"name": "clapstream", "sw_version": node.version, "support_url": PROJECT_URL},
        "availability": availability(topics.status),
        "availability_mode": "all",
        "qos": 1,
        "components": current | removals,
    }


def layouts(topics: Topics, node: Node, labels: Labels, earlier: Discovered = NOTHING) -> Iterator[dict[str, str]]:
    """Payloads by topic, from the plainest to the smallest: one, one with short keys, one for each source.

    Home Assistant takes several topics for a device of the same identifiers; entities keep their unique ids.
    """
    whole = discovery_payload(topics, node, labels, earlier)
    yield {topics.discovery: payloads.to_json(whole)}
    yield {topics.discovery: payloads.to_json(abbreviations.abbreviate(whole, topics.base))}
    yield {
        topics.discovery_of(source.slug): payloads.to_json(
            abbreviations.abbreviate(_of_source(whole, source), topics.base)
        )
        for source in node.sources
    }


def removal_payload(topics: Topics, platforms: Mapping[str, str]) -> str:
    """A payload that removes these components, given as platforms by component id, and changes no others."""
    removals = {key: {"platform": platform} for key, platform in platforms.items()}
    device, origin = {"identifiers": [topics.device_id]}, {"name": "clapstream"}
    return payloads.to_json({"device": device, "origin": origin, "components": removals})


def migration(old: Collection[str], new: Collection[str]) -> tuple[list[str], list[str]]:
    """Topics where entities move away from, and topics that are empty afterwards.

    Home Assistant ignores an entity that it knows from another topic until that topic says `migrate_discovery`; an
    empty payload alone would remove the entities with their names and areas.
    """
    left = sorted(set(old) - set(new))
    moves = not set(old) & set(new)
    return (left if moves else []), left


def _of_source(whole: Mapping[str, object], source: SourceInfo) -> dict[str, object]:
    listed = whole["components"]
    assert isinstance(listed, dict)
    own = {key: entry for key, entry in listed.items() if key.startswith(f"{source.slug}-")}
    return {**whole, "components": own}


def discovered(topics: Topics, payload: bytes) -> Discovered:
    """What a payload announced, which may be anything; what is not ours is left out.

    Topics count only below the node's base, so that a forged payload cannot make us clear topics of others.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        return NOTHING
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return NOTHING
    entries = abbreviations.expand(value).get("components") if isinstance(value, dict) else None
    if not isinstance(entries, dict):
        return NOTHING
    valid = {
        key: entry
        for key, entry in entries.items()
        if _COMPONENT_ID.fullmatch(key) and isinstance(entry, dict) and entry.get("platform") in _PLATFORMS
    }
    return Discovered(
        {key: entry["platform"] for key, entry in valid.items()},
        frozenset(_retained_topics(topics, valid.values())),
    )


def retained_topics(topics: Topics, current: Mapping[str, Component]) -> frozenset[str]:
    """The retained topics that components read."""
    return frozenset(_retained_topics(topics, current.values()))


def _retained_topics(topics: Topics, entries: Iterable[Mapping[str, object]]) -> Iterable[str]:
    for entry in entries:
        availability = entry.get("availability")
        listed = availability if isinstance(availability, list) else []
        named = [item.get("topic") for item in listed if isinstance(item, dict)]
        for topic in (entry.get("state_topic"), entry.get("json_attributes_topic"), *named):
            if isinstance(topic, str) and _is_retained(topics, topic):
                yield topic


def _is_retained(topics: Topics, topic: str) -> bool:
    """Whether we retain messages on a topic that belongs to one of our sources."""
    retained = r"/[a-z0-9_]+/(availability|listening|last_label|[a-z0-9_]+/(state|attributes))"
    return re.fullmatch(re.escape(topics.base) + retained, topic) is not None
