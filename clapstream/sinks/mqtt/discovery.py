"""Home Assistant's MQTT device discovery: one retained payload describes every entity of a node.

The shape follows https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload. A component that is
only a platform removes the entity. Such leftovers stay in the payload, so that a Home Assistant that was away when
a label was removed hears of it, too; the retained payload is thereby also our memory of what exists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clapstream.sinks.mqtt.payloads import OFF, OFFLINE, ON, ONLINE
from clapstream.sinks.mqtt.topics import Topics
from clapstream.slugs import slugify
from clapstream.updates import LabelInfo

Component = dict[str, object]

PROJECT_URL = "https://github.com/clapstream/clapstream"
MOST_REMEMBERED = 1_000
"""How many removed components the payload keeps naming."""

LARGEST_PAYLOAD_BYTES = 1 << 20

_COMPONENT_ID = re.compile(r"[a-z0-9_-]{1,160}")
_PLATFORMS = ("binary_sensor", "event", "sensor", "switch")
_COUNTERS = {
    "windows": "windows",
    "dropped_blocks": "dropped blocks",
    "skipped_windows": "skipped windows",
    "gated_windows": "gated windows",
    "reconnects": "reconnects",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A source by its name and slug."""

    name: str
    slug: str

    @classmethod
    def of(cls, name: str) -> Source:
        """The source with this name."""
        return cls(name, slugify(name))


@dataclass(frozen=True, slots=True)
class Discovered:
    """What an earlier payload announced: platforms by component id, and topics that hold retained messages."""

    platforms: Mapping[str, str]
    retained_topics: frozenset[str]

    def merged(self, other: Discovered) -> Discovered:
        """What either announced."""
        return Discovered({**self.platforms, **other.platforms}, self.retained_topics | other.retained_topics)


NOTHING = Discovered({}, frozenset())


@dataclass(frozen=True, slots=True)
class Node:
    """What is announced: a daemon with its sources, model and version."""

    name: str
    model: str
    version: str
    sources: tuple[Source, ...]


def components(topics: Topics, node: Node, labels: Sequence[LabelInfo]) -> dict[str, Component]:
    """Every entity by component id. Slugs have no dash, so ids joined with dashes cannot collide."""
    return {
        component_id: component
        for source in node.sources
        for component_id, component in _of_source(topics, source, labels).items()
    }


def discovery_payload(
    topics: Topics, node: Node, labels: Sequence[LabelInfo], earlier: Discovered = NOTHING
) -> dict[str, object]:
    """The device payload; components that only `earlier` has are named for removal."""
    current = components(topics, node, labels)
    removed = [(key, platform) for key, platform in earlier.platforms.items() if key not in current]
    leftovers: dict[str, Component] = {key: {"platform": platform} for key, platform in removed[-MOST_REMEMBERED:]}
    return {
        "device": {
            "identifiers": [topics.device_id],
            "name": f"clapstream {node.name}",
            "manufacturer": "clapstream",
            "model": node.model,
            "sw_version": node.version,
        },
        "origin": {"name": "clapstream", "sw_version": node.version, "support_url": PROJECT_URL},
        "availability": _availability(topics.status),
        "availability_mode": "all",
        "qos": 1,
        "components": current | leftovers,
    }


def discovered(topics: Topics, payload: bytes) -> Discovered:
    """Read back a payload that may be anything; whatever did not come from us is left out.

    Topics count only below the node's base, so that a forged payload cannot make us clear topics of others.
    """
    if len(payload) > LARGEST_PAYLOAD_BYTES:
        return NOTHING
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return NOTHING
    entries = value.get("components") if isinstance(value, dict) else None
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
    retained = r"/[a-z0-9_]+/(availability|listening|[a-z0-9_]+/(state|attributes))"
    return re.fullmatch(re.escape(topics.base) + retained, topic) is not None


def _of_source(topics: Topics, source: Source, labels: Sequence[LabelInfo]) -> dict[str, Component]:
    entities = _Entities(topics, source)
    for label in labels:
        entities.add_sound(label)
    entities.add_event(labels)
    entities.add_measurements()
    entities.add_diagnostics()
    entities.add_listening()
    return entities.components


class _Entities:
    """Collects the components of one source."""

    def __init__(self, topics: Topics, source: Source) -> None:
        self._topics = topics
        self._source = source
        self.components: dict[str, Component] = {}

    def add_sound(self, label: LabelInfo) -> None:
        """A label is ON while its sound goes on."""
        self._add(
            "binary_sensor",
            key=f"sound-{label.slug}",
            entity=label.slug,
            name=label.name,
            needs_sound=True,
            device_class="sound",
            state_topic=self._topics.state(self._source.slug, label.slug),
            json_attributes_topic=self._topics.attributes(self._source.slug, label.slug),
            payload_on=ON,
            payload_off=OFF,
        )

    def add_event(self, labels: Sequence[LabelInfo]) -> None:
        """One event entity that fires at every start."""
        self._add(
            "event",
            key="event",
            name="event",
            needs_sound=True,
            state_topic=self._topics.event(self._source.slug),
            event_types=[label.slug for label in labels],
            icon="mdi:ear-hearing",
        )

    def add_measurements(self) -> None:
        """The level, and the label that started last."""
        self._add(
            "sensor",
            key="level",
            name="level",
            needs_sound=True,
            state_topic=self._topics.level(self._source.slug),
            unit_of_measurement="dBFS",
            state_class="measurement",
            suggested_display_precision=1,
            icon="mdi:volume-high",
        )
        self._add(
            "sensor",
            key="last_label",
            name="last label",
            state_topic=self._topics.event(self._source.slug),
            value_template="{{ value_json.label }}",
            json_attributes_topic=self._topics.event(self._source.slug),
            icon="mdi:history",
        )

    def add_diagnostics(self) -> None:
        """Inference time, counters, and whether the microphone seems to be muted."""
        topic = self._topics.diagnostics(self._source.slug)
        self._add(
            "sensor",
            key="inference_time",
            name="inference time",
            state_topic=topic,
            entity_category="diagnostic",
            value_template="{{ value_json.inference_ms }}",
            unit_of_measurement="ms",
            device_class="duration",
            state_class="measurement",
        )
        for field, name in _COUNTERS.items():
            self._add(
                "sensor",
                key=field,
                name=name,
                state_topic=topic,
                entity_category="diagnostic",
                value_template=f"{{{{ value_json.{field} }}}}",
                state_class="total_increasing",
            )
        self._add(
            "binary_sensor",
            key="silent",
            name="silent",
            state_topic=topic,
            entity_category="diagnostic",
            value_template="{{ 'ON' if value_json.silent else 'OFF' }}",
            device_class="problem",
        )

    def add_listening(self) -> None:
        """The switch that closes the microphone. It stays usable while the source is lost or switched off."""
        self._add(
            "switch",
            key="listening",
            name="listening",
            state_topic=self._topics.listening(self._source.slug),
            command_topic=self._topics.listening_set(self._source.slug),
            payload_on=ON,
            payload_off=OFF,
            icon="mdi:microphone",
        )

    def _add(
        self,
        platform: str,
        *,
        key: str,
        name: str,
        entity: str = "",
        needs_sound: bool = False,
        **options: object,
    ) -> None:
        """Add one entity; one that `needs_sound` is unavailable while the source is.

        Availability of a component replaces the device's, so both are named then.
        """
        slug = self._source.slug
        if needs_sound:
            options["availability"] = _availability(self._topics.status, self._topics.availability(slug))
            options["availability_mode"] = "all"
        self.components[f"{slug}-{key}"] = {
            "platform": platform,
            "unique_id": f"{self._topics.device_id}-{slug}-{key}",
            "default_entity_id": f"{platform}.{self._topics.node}_{slug}_{entity or key}",
            "name": f"{self._source.name} {name}",
            **options,
        }


def _availability(*topics: str) -> list[dict[str, str]]:
    return [{"topic": topic, "payload_available": ONLINE, "payload_not_available": OFFLINE} for topic in topics]
