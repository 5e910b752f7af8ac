"""The entities of a node in Home Assistant: which a source has, and what each reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from clapstream.sinks.mqtt.commands import LISTENING
from clapstream.sinks.mqtt.component import Component, ComponentBuilder
from clapstream.sinks.mqtt.payloads import OFF, ON
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import LabelInfo, SourceInfo

_COUNTERS = {
    "windows": "windows",
    "dropped_blocks": "dropped blocks",
    "skipped_windows": "skipped windows",
    "gated_windows": "gated windows",
    "reconnects": "reconnects",
}

Entity = tuple[str, Component]
"""A component id and its component."""


@dataclass(frozen=True, slots=True)
class Node:
    """A daemon with its sources, model and version."""

    name: str
    model: str
    version: str
    sources: tuple[SourceInfo, ...]


Labels = Mapping[SourceInfo, Sequence[LabelInfo]]
"""What each source listens for."""


def components(topics: Topics, node: Node, labels: Labels) -> dict[str, Component]:
    """Every entity of every source by component id."""
    return {
        component_id: component
        for source in node.sources
        for component_id, component in _of_source(ComponentBuilder(topics, source), labels.get(source, ()))
    }


def _of_source(builder: ComponentBuilder, labels: Sequence[LabelInfo]) -> Iterator[Entity]:
    for label in labels:
        yield _sound(builder, label)
    yield _event(builder, labels)
    yield _level(builder)
    yield _last_label(builder)
    yield _inference_time(builder)
    for field, name in _COUNTERS.items():
        yield _counter(builder, field, name)
    yield _silent(builder)
    yield _listening(builder)


def _sound(builder: ComponentBuilder, label: LabelInfo) -> Entity:
    """A label is ON from the start to the end of its event."""
    source = builder.source.slug
    return builder.build(
        "binary_sensor",
        key=f"sound-{label.slug}",
        entity=label.slug,
        name=label.name,
        needs_sound=True,
        device_class="sound",
        state_topic=builder.topics.state(source, label.slug),
        json_attributes_topic=builder.topics.attributes(source, label.slug),
        payload_on=ON,
        payload_off=OFF,
    )


def _event(builder: ComponentBuilder, labels: Sequence[LabelInfo]) -> Entity:
    """One event entity that fires at every start."""
    return builder.build(
        "event",
        key="event",
        name="event",
        needs_sound=True,
        state_topic=builder.topics.event(builder.source.slug),
        event_types=[label.slug for label in labels],
        icon="mdi:ear-hearing",
    )


def _level(builder: ComponentBuilder) -> Entity:
    return builder.build(
        "sensor",
        key="level",
        name="level",
        needs_sound=True,
        state_topic=builder.topics.level(builder.source.slug),
        unit_of_measurement="dBFS",
        state_class="measurement",
        enabled_by_default=False,
        suggested_display_precision=1,
        icon="mdi:volume-high",
    )


def _last_label(builder: ComponentBuilder) -> Entity:
    topic = builder.topics.last_label(builder.source.slug)
    return builder.build(
        "sensor",
        key="last_label",
        name="last label",
        state_topic=topic,
        value_template="{{ value_json.label }}",
        json_attributes_topic=topic,
        icon="mdi:history",
    )


def _inference_time(builder: ComponentBuilder) -> Entity:
    """Disabled by default, as the counters: Home Assistant's recorder keeps every change."""
    return builder.build(
        "sensor",
        key="inference_time",
        name="inference time",
        state_topic=builder.topics.diagnostics(builder.source.slug),
        entity_category="diagnostic",
        value_template="{{ value_json.inference_ms }}",
        unit_of_measurement="ms",
        device_class="duration",
        state_class="measurement",
        enabled_by_default=False,
    )


def _counter(builder: ComponentBuilder, field: str, name: str) -> Entity:
    return builder.build(
        "sensor",
        key=field,
        name=name,
        state_topic=builder.topics.diagnostics(builder.source.slug),
        entity_category="diagnostic",
        value_template=f"{{{{ value_json.{field} }}}}",
        state_class="total_increasing",
        enabled_by_default=False,
    )


def _silent(builder: ComponentBuilder) -> Entity:
    """ON if the source delivers only digital silence, as a muted microphone does."""
    return builder.build(
        "binary_sensor",
        key="silent",
        name="silent",
        state_topic=builder.topics.diagnostics(builder.source.slug),
        entity_category="diagnostic",
        value_template="{{ 'ON' if value_json.silent else 'OFF' }}",
        device_class="problem",
    )


def _listening(builder: ComponentBuilder) -> Entity:
    """The switch that closes the microphone. It stays available while the source is offline or switched off."""
    source = builder.source.slug
    return builder.build(
        "switch",
        key="listening",
        name="listening",
        state_topic=builder.topics.listening(source),
        command_topic=builder.topics.command(source, LISTENING),
        payload_on=ON,
        payload_off=OFF,
        icon="mdi:microphone",
    )
