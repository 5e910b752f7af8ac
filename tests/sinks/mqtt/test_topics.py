"""Topics from any names."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import hostile

from clapstream.sinks.mqtt.commands import READERS
from clapstream.sinks.mqtt.topics import Topics
from clapstream.slugs import slugify


@settings(max_examples=hostile.inputs(100))
@given(st.text(), st.text(), st.text())
def test_no_name_breaks_out_of_its_level(node: str, source: str, label: str) -> None:
    topics = Topics.of("a/b", node, "homeassistant")
    state = topics.state(slugify(source), slugify(label))
    assert state.split("/") == ["a", "b", slugify(node), slugify(source), slugify(label), "state"]
    assert not set(state) & set("+#\0")
    assert topics.split(state) == (slugify(source), f"{slugify(label)}/state")
    for suffix in READERS:
        assert topics.split(topics.command(slugify(source), suffix)) == (slugify(source), suffix)


@pytest.mark.parametrize("topic", ["", "/", "a/+/b", "#", "a\0b"])
def test_wildcards_are_refused(topic: str) -> None:
    with pytest.raises(ValueError, match="not a valid MQTT topic"):
        Topics.of(topic, "home", "homeassistant")
    with pytest.raises(ValueError, match="not a valid MQTT topic"):
        Topics.of("clapstream", "home", topic)


@pytest.mark.parametrize(
    "topic", ["", "clapstream", "clapstream/home", "homeassistant/status", "x/clapstream/home/y"]
)
def test_other_topics_have_no_source(topic: str) -> None:
    assert Topics.of("clapstream", "home", "homeassistant").split(topic) == ("", "")
