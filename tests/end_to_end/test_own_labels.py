"""Two recordings in one process, each with labels of its own, up to what Home Assistant is told."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.clapstream_process import ClapstreamProcess
from support.real_broker import Broker, Listener
from support.scene import write_scene

Settings = dict[str, object]

DISCOVERY = "homeassistant/device/clapstream_home/config"


def sound_entities(listener: Listener) -> set[str]:
    components = json.loads(listener.on(DISCOVERY)[-1])["components"]
    return {key for key, entry in components.items() if "-sound-" in key and len(entry) > 1}


def event_types(listener: Listener, source: str) -> list[str]:
    found: list[str] = json.loads(listener.on(DISCOVERY)[-1])["components"][f"{source}-event"]["event_types"]
    return found


def labels_heard(listener: Listener, source: str) -> set[str]:
    return {json.loads(payload)["label"] for payload in listener.on(f"clapstream/home/{source}/detection")}


@pytest.mark.slow
def test_each_source_reports_its_own_labels_only(
    tmp_path: Path, broker: Broker, start_clapstream: Callable[[Settings], ClapstreamProcess]
) -> None:
    """Both have the same sounds; one listens for dogs, the other, with a label file of its own, for doorbells."""
    write_scene(tmp_path / "scene.wav", 40.0, {"dog_barking": 5.0, "doorbell": 22.0})
    own = {"labels": [{"name": "doorbell", "prompts": ["a doorbell rings"]}], "defaults": {"start": 0.8}}
    (tmp_path / "porch.yaml").write_text(yaml.safe_dump(own))
    recording = {"type": "recording", "path": str(tmp_path / "scene.wav"), "pace": "fast", "loop": True}
    listener = broker.listen()
    process = start_clapstream(
        {
            "node": "home",
            "sources": [
                {"name": "Yard", "labels": ["dog barking"], **recording},
                {"name": "Porch", "labels": str(tmp_path / "porch.yaml"), **recording},
            ],
            "mqtt": {"host": "127.0.0.1", "port": broker.port},
        }
    )
    for source in ("yard", "porch"):
        listener.wait(lambda it, source=source: len(it.on(f"clapstream/home/{source}/detection")) >= 4, source)
    assert labels_heard(listener, "yard") == {"dog barking"}
    assert labels_heard(listener, "porch") == {"doorbell"}
    assert sound_entities(listener) == {"yard-sound-dog_barking", "porch-sound-doorbell"}
    assert event_types(listener, "yard") == ["dog_barking"]
    assert event_types(listener, "porch") == ["doorbell"]
    assert listener.on("clapstream/home/yard/doorbell/state") == []

    own["labels"].append({"name": "dog barking", "prompts": ["a dog barking"]})
    (tmp_path / "porch.yaml").write_text(yaml.safe_dump(own))
    process.send(signal.SIGHUP)
    listener.wait(lambda it: "porch-sound-dog_barking" in sound_entities(it), "the new label")
    assert sound_entities(listener) == {
        "yard-sound-dog_barking", "porch-sound-doorbell", "porch-sound-dog_barking",
    }  # fmt: skip
    listener.wait(lambda it: labels_heard(it, "porch") == {"doorbell", "dog barking"}, "a dog on the porch")
    assert labels_heard(listener, "yard") == {"dog barking"}
    assert process.stop()[0] == 0
