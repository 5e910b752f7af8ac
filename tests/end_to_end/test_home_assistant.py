"""Two recordings in one process, each with labels of its own, in a real Home Assistant."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from support.clapstream_process import ClapstreamProcess
from support.home_assistant import HomeAssistant, State
from support.real_broker import Broker
from support.scene import write_scene

Start = Callable[[dict[str, object]], ClapstreamProcess]

ENABLED = {"event", "last_label", "silent", "listening"}
DISABLED = {
    "level", "inference_time", "windows", "dropped_blocks", "skipped_windows", "gated_windows", "reconnects",
}  # fmt: skip

DOG = "yard-sound-dog_barking"
DOORBELL = "porch-sound-doorbell"


@pytest.fixture
def home_assistant(tmp_path: Path, broker: Broker) -> Iterator[HomeAssistant]:
    """A running Home Assistant that is connected to the broker."""
    server = HomeAssistant(tmp_path / "hass")
    try:
        server.start()
        server.add_mqtt(broker.port)
        yield server
    finally:
        server.close()


class Entities:
    """The entities that Home Assistant has registered for the node, by the end of their unique ids."""

    def __init__(self, server: HomeAssistant) -> None:
        self._server = server

    def registered(self) -> dict[str, State]:
        prefix = "clapstream_home-"
        entries = self._server.request("config/entity_registry/list")
        ours = [entry for entry in entries if entry["platform"] == "mqtt"]
        assert all(entry["unique_id"].startswith(prefix) for entry in ours)
        return {entry["unique_id"].removeprefix(prefix): entry for entry in ours}

    def wait_for_sounds(self, *expected: str) -> None:
        """Return once the entities of labels are just these."""
        self._server.wait_until(
            lambda: {key for key in self.registered() if "-sound-" in key} == set(expected), f"just {expected}"
        )

    def wait_for_event_types(self, source: str, *expected: str) -> None:
        """Return once the event entity of a source has just these types."""
        self._server.wait_until(
            lambda: self.state(f"{source}-event")["attributes"].get("event_types") == list(expected),
            f"just {expected}",
        )

    def state(self, key: str) -> State:
        return self._server.states()[self.registered()[key]["entity_id"]]

    def wait(self, key: str, state: str, after: int = 0) -> State:
        entity_id = self.registered()[key]["entity_id"]
        return self._server.wait_for_state(entity_id, lambda found: found["state"] == state, after)

    def wait_for_event(self, key: str, after: int = 0) -> State:
        entity_id = self.registered()[key]["entity_id"]
        return self._server.wait_for_state(
            entity_id, lambda found: found["attributes"].get("event_type") is not None, after
        )


def write_labels(path: Path, *names: str) -> None:
    labels = [{"name": name, "prompts": [f"the sound of a {name}"], "start": 0.8} for name in names]
    path.write_text(yaml.safe_dump({"labels": labels}))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_home_assistant_has_the_entities_of_each_source_and_keeps_what_the_user_changed(
    tmp_path: Path, broker: Broker, home_assistant: HomeAssistant, start_clapstream: Start
) -> None:
    write_scene(tmp_path / "scene.wav", 24.0, {"dog_barking": 2.0, "doorbell": 14.0})
    write_labels(tmp_path / "porch.yaml", "doorbell")
    recording = {"type": "recording", "path": str(tmp_path / "scene.wav"), "loop": True}
    process = start_clapstream(
        {
            "sources": [
                {"name": "Yard", "labels": ["dog barking"], **recording},
                {"name": "Porch", "labels": str(tmp_path / "porch.yaml"), **recording},
            ],
            "mqtt": {"host": "127.0.0.1", "port": broker.port},
        }
    )
    entities = Entities(home_assistant)
    entities.wait_for_sounds(DOG, DOORBELL)
    check_entities(home_assistant, entities)
    check_events(entities)
    check_switch(home_assistant, entities)

    kept = customise(home_assistant, entities)
    write_labels(tmp_path / "porch.yaml", "doorbell", "siren", "thunder")
    process.send(signal.SIGHUP)
    entities.wait_for_sounds(DOG, DOORBELL, "porch-sound-siren", "porch-sound-thunder")
    entities.wait_for_event_types("porch", "doorbell", "siren", "thunder")
    entities.wait_for_event_types("yard", "dog_barking")
    write_labels(tmp_path / "porch.yaml", "doorbell", "siren")
    process.send(signal.SIGHUP)
    entities.wait_for_sounds(DOG, DOORBELL, "porch-sound-siren")
    assert user_settings(entities) == kept

    assert process.stop()[0] == 0
    entities.wait(DOG, "unavailable", len(home_assistant.history))
    write_labels(tmp_path / "porch.yaml", "doorbell")
    process.start()
    entities.wait_for_sounds(DOG, DOORBELL)
    assert user_settings(entities) == kept

    home_assistant.stop()
    before = len(home_assistant.history)
    home_assistant.start()
    entities.wait_for_sounds(DOG, DOORBELL)
    entities.wait(DOORBELL, "on", before)
    assert user_settings(entities) == kept
    assert process.stop()[0] == 0
    assert home_assistant.problems("mqtt") == []
    assert home_assistant.problems("clapstream") == []


def check_entities(server: HomeAssistant, entities: Entities) -> None:
    """Each source has its label and the entities that every source has; measurements are disabled at first."""
    of_each = {f"{source}-{key}" for source in ("yard", "porch") for key in ENABLED | DISABLED}
    server.wait_until(lambda: set(entities.registered()) == {DOG, DOORBELL} | of_each, "just these entities")
    registered = entities.registered()
    for key, entry in registered.items():
        expected = "integration" if key.split("-")[-1] in DISABLED else None
        assert entry["disabled_by"] == expected, key
    entities.wait_for_event_types("yard", "dog_barking")
    entities.wait_for_event_types("porch", "doorbell")


def check_events(entities: Entities) -> None:
    """Each source turns its own entity on, fires its own event and remembers its label."""
    for source, label, name in (("yard", "dog_barking", "dog barking"), ("porch", "doorbell", "doorbell")):
        sound = entities.wait(f"{source}-sound-{label}", "on")
        assert sound["attributes"]["device_class"] == "sound"
        event = entities.wait_for_event(f"{source}-event")
        assert (event["attributes"]["event_type"], event["attributes"]["label"]) == (label, name)
        entities.wait(f"{source}-last_label", name)
        entities.wait(f"{source}-silent", "off")
        entities.wait(f"{source}-sound-{label}", "off")


def check_switch(server: HomeAssistant, entities: Entities) -> None:
    """The switch of one source closes it and opens it again, the other goes on."""
    switch = entities.registered()["yard-listening"]["entity_id"]
    before = len(server.history)
    server.call("switch.turn_off", switch)
    entities.wait("yard-listening", "off", before)
    fired = entities.state("yard-event")["state"]
    before = len(server.history)
    for state in ("on", "off", "on"):  # the recording is played once more, with a dog in it
        entities.wait(DOORBELL, state, before)
        before = len(server.history)
    assert entities.state(DOG)["state"] == "off"
    assert entities.state("yard-event")["state"] == fired
    before = len(server.history)
    server.call("switch.turn_on", switch)
    entities.wait("yard-listening", "on", before)
    entities.wait(DOG, "on", before)


def customise(server: HomeAssistant, entities: Entities) -> dict[str, tuple[str, ...]]:
    """Give two entities a name and an area, and one of them another entity id, as a user would."""
    area = server.request("config/area_registry/create", name="Front garden")["area_id"]
    for key, name, entity_id in ((DOG, "Rex", "binary_sensor.rex"), (DOORBELL, "Visitors", None)):
        old = entities.registered()[key]["entity_id"]
        new = {"new_entity_id": entity_id} if entity_id else {}
        server.request("config/entity_registry/update", entity_id=old, name=name, area_id=area, **new)
    kept = user_settings(entities)
    assert kept[DOG] == ("binary_sensor.rex", "Rex", area)
    return kept


def user_settings(entities: Entities) -> dict[str, tuple[str, ...]]:
    """What a user can change of the two labels that stay: entity id, name and area."""
    registered = entities.registered()
    return {key: tuple(registered[key][it] for it in ("entity_id", "name", "area_id")) for key in (DOG, DOORBELL)}
