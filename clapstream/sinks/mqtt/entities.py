"""The entities of a node as Home Assistant's MQTT platforms read them.

The options are those of https://www.home-assistant.io/integrations/mqtt/ and its pages for each platform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clapstream.sinks.mqtt.commands import LISTENING
from clapstream.sinks.mqtt.payloads import OFF, OFFLINE, ON, ONLINE
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import LabelInfo, SourceInfo

Component = dict[str, object]

_COUNTERS = {
    "windows": "windows",
    "dropped_blocks": "dropped blocks",
    "skipped_windows": "skipped windows",
    "gated_windows": "gated windows",
    "reconnects": "reconnects",
}


@dataclass(frozen=True, slots=True)
class Node:
    """What is announced: a daemon with its sources, model and version."""

    name: str
    model: str
    version: str
    sources: tuple[SourceInfo, ...]


Labels = Mapping[SourceInfo, Sequence[LabelInfo]]
"""What each source listens for."""


def components(topics: Topics, node: Node, labels: Labels) -> dict[str, Component]:
    """Every entity by component id. Slugs have no dash, so ids joined with dashes cannot collide."""
    return {
        component_id: component
        for source in node.sources
        for component_id, component in _of_source(topics, source, labels.get(source, ())).items()
    }


def _of_source(topics: Topics, source: SourceInfo, labels: Sequence[LabelInfo]) -> dict[str, Component]:
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

    def __init__(self, topics: Topics, source: SourceInfo) -> None:
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
            enabled_by_default=False,
            suggested_display_precision=1,
            icon="mdi:volume-high",
        )
        self._add(
            "sensor",
            key="last_label",
            name="last label",
            state_topic=self._topics.last_label(self._source.slug),
            value_template="{{ value_json.label }}",
            json_attributes_topic=self._topics.last_label(self._source.slug),
            icon="mdi:history",
        )

    def add_diagnostics(self) -> None:
        """Inference time, counters, and whether the microphone seems to be muted.

        What changes all the time is disabled by default: Home Assistant's recorder keeps every change.
        """
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
            enabled_by_default=False,
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
                enabled_by_default=False,
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
            command_topic=self._topics.command(self._source.slug, LISTENING),
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
            options["availability"] = availability(self._topics.status, self._topics.availability(slug))
            options["availability_mode"] = "all"
        self.components[f"{slug}-{key}"] = {
            "platform": platform,
            "unique_id": f"{self._topics.device_id}-{slug}-{key}",
            "default_entity_id": f"{platform}.{self._topics.node}_{slug}_{entity or key}",
            "name": f"{self._source.name} {name}",
            **options,
        }


def availability(*topics: str) -> list[dict[str, str]]:
    return [{"topic": topic, "payload_available": ONLINE, "payload_not_available": OFFLINE} for topic in topics]
