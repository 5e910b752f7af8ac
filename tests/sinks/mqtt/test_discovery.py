"""The device payload against what Home Assistant documents, and what is read back from one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import hostile
from support.sources import YARD

from clapstream.sinks.mqtt import discovery, entities, payloads
from clapstream.sinks.mqtt.discovery import NOTHING
from clapstream.sinks.mqtt.entities import Labels, Node
from clapstream.sinks.mqtt.topics import Topics
from clapstream.slugs import slugify
from clapstream.updates import LabelInfo, SourceInfo

TOPICS = Topics.of("clapstream", "home", "homeassistant")

# The options of https://www.home-assistant.io/integrations/mqtt/ and its pages for each platform.
SHARED = {
    "platform",
    "unique_id",
    "default_entity_id",
    "name",
    "enabled_by_default",
    "icon",
    "entity_category",
    "availability",
    "availability_mode",
    "json_attributes_topic",
    "device_class",
    "state_topic",
    "value_template",
}
PLATFORMS: dict[str, tuple[set[str], set[str]]] = {
    "binary_sensor": ({"state_topic"}, SHARED | {"payload_on", "payload_off"}),
    "event": ({"state_topic", "event_types"}, SHARED | {"event_types"}),
    "sensor": ({"state_topic"}, SHARED | {"unit_of_measurement", "state_class", "suggested_display_precision"}),
    "switch": ({"command_topic"}, SHARED | {"command_topic", "payload_on", "payload_off"}),
}
# Values of options that Home Assistant refuses otherwise.
ALLOWED = {
    "device_class": {"sound", "problem", "duration"},
    "state_class": {"measurement", "total_increasing"},
    "entity_category": {"diagnostic", "config"},
    "availability_mode": {"all", "any", "latest"},
}


def node(*sources: str) -> Node:
    return Node("home", "bundled", "1.2.3", tuple(SourceInfo.of(name) for name in sources))


def everywhere(node: Node, labels: Sequence[LabelInfo]) -> Labels:
    """Every source listens for the same."""
    return dict.fromkeys(node.sources, labels)


def label(name: str) -> LabelInfo:
    return LabelInfo(name, slugify(name), 0.6, 0.4)


def check_component(component: dict[str, Any]) -> None:
    required, allowed = PLATFORMS[component["platform"]]
    assert required <= component.keys() <= allowed
    assert {"unique_id", "name"} <= component.keys()
    platform, _, entity = component["default_entity_id"].partition(".")
    assert platform == component["platform"]
    assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", entity)
    for option, values in ALLOWED.items():
        assert option not in component or component[option] in values
    for option, value in component.items():
        if option.endswith("_topic"):
            check_topic(value)
    for entry in component.get("availability", []):
        assert entry.keys() == {"topic", "payload_available", "payload_not_available"}
        check_topic(entry["topic"])


def check_topic(topic: str) -> None:
    assert topic.startswith("clapstream/home/")
    assert not set(topic) & set("+#\0") and len(topic.encode()) < 65_536 and "//" not in topic


names = st.text(min_size=1, max_size=300)


@settings(max_examples=hostile.inputs(100))
@given(
    sources=st.lists(names, min_size=1, max_size=3, unique_by=slugify),
    labels=st.lists(names, max_size=8, unique_by=slugify),
)
def test_any_names_make_a_payload_that_home_assistant_takes(sources: list[str], labels: list[str]) -> None:
    home, infos = node(*sources), [label(name) for name in labels]
    text = payloads.to_json(discovery.discovery_payload(TOPICS, home, everywhere(home, infos)))
    payload = json.loads(text)
    assert payload.keys() == {"device", "origin", "availability", "availability_mode", "qos", "components"}
    assert payload["device"]["identifiers"] == ["clapstream_home"] and payload["origin"]["name"] == "clapstream"
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", TOPICS.discovery)
    components = payload["components"]
    assert len(components) == len(sources) * (len(labels) + 11)
    for component in components.values():
        check_component(component)
    unique = {(component["platform"], component["unique_id"]) for component in components.values()}
    assert len(unique) == len(components)
    assert discovery.discovered(TOPICS, text.encode()).platforms == {
        key: component["platform"] for key, component in components.items()
    }


def test_entities_of_a_source_are_unavailable_without_it_but_its_switch_is_not() -> None:
    components = entities.components(TOPICS, node("yard"), {YARD: [label("dog barking")]})
    both = ["clapstream/home/status", "clapstream/home/yard/availability"]
    for key in ("yard-sound-dog_barking", "yard-event", "yard-level"):
        availability = components[key]["availability"]
        assert isinstance(availability, list)
        assert [entry["topic"] for entry in availability] == both
        assert components[key]["availability_mode"] == "all"
    assert "availability" not in components["yard-listening"]


def test_the_event_entity_knows_every_label() -> None:
    components = entities.components(TOPICS, node("yard"), {YARD: [label("Hündin"), label("🐕")]})
    assert components["yard-event"]["event_types"] == [slugify("Hündin"), slugify("🐕")]


def test_removed_components_stay_named_for_removal() -> None:
    two = discovery.discovery_payload(TOPICS, node("yard"), {YARD: [label("dog"), label("cat")]})
    earlier = discovery.discovered(TOPICS, payloads.to_json(two).encode())
    one = discovery.discovery_payload(TOPICS, node("yard"), {YARD: [label("cat")]}, earlier)
    assert components_of(one)["yard-sound-dog"] == {"platform": "binary_sensor"}
    # Also after the next start, for a Home Assistant that was away, and until the label is back.
    earlier = discovery.discovered(TOPICS, payloads.to_json(one).encode())
    again = discovery.discovery_payload(TOPICS, node("yard"), {YARD: [label("cat")]}, earlier)
    assert again == one
    back = discovery.discovery_payload(TOPICS, node("yard"), {YARD: [label("dog"), label("cat")]}, earlier)
    assert back == two


def components_of(payload: dict[str, object]) -> dict[str, object]:
    components = payload["components"]
    assert isinstance(components, dict)
    return components


def test_how_much_is_remembered_is_bounded() -> None:
    earlier = discovery.Discovered(
        {f"yard-sound-{number}": "binary_sensor" for number in range(5_000)}, frozenset()
    )
    payload = discovery.discovery_payload(TOPICS, node("yard"), {YARD: [label("cat")]}, earlier)
    assert len(components_of(payload)) == discovery.MAX_REMEMBERED + 12
    assert len(payloads.to_json(payload)) < discovery.MAX_PAYLOAD_BYTES


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.text()
    | st.sampled_from(["switch", "clapstream/home/a/listening"]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["components", "platform", "state_topic", "availability", "topic", "yard-x"])
            | st.text(),
            inner,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=hostile.inputs(100))
@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_payload_can_be_read_back(payload: bytes) -> None:
    found = discovery.discovered(TOPICS, payload)
    assert set(found.platforms.values()) <= set(PLATFORMS)
    assert all(topic.startswith("clapstream/home/") for topic in found.retained_topics)


@pytest.mark.parametrize(
    "topic",
    [
        "clapstream/home/status",
        "clapstream/home/yard/listening/set",
        "clapstream/home/yard/+/state",
        "clapstream/home/#",
        "clapstream/other/yard/dog/state",
        "zigbee2mqtt/lamp/state",
        "clapstream/home/yard/dog/state/x",
    ],
)
def test_a_forged_payload_makes_us_clear_no_other_topics(topic: str) -> None:
    component = {"platform": "sensor", "state_topic": topic, "availability": [{"topic": topic}]}
    payload = json.dumps({"components": {"yard-x": component}}).encode()
    assert discovery.discovered(TOPICS, payload).retained_topics == frozenset()


@pytest.mark.parametrize("payload", [b"", b"[" * 200_000, b'{"components": []}', b"null", b"{" + b" " * (1 << 20)])
def test_payloads_of_others_announce_nothing(payload: bytes) -> None:
    assert discovery.discovered(TOPICS, payload) == NOTHING
