"""A disk that is full or cannot be written costs what was to be kept there, never the listening: real disks."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.clapstream_process import ClapstreamProcess
from support.real_broker import Broker
from support.scene import write_scene
from support.small_disk import SmallDisk

Settings = dict[str, object]

LABELS = ["dog barking", "doorbell"]
BASE = "clapstream/home/yard"


@pytest.fixture
def settings(tmp_path: Path, small_disk: SmallDisk, make_broker: Callable[..., Broker]) -> Settings:
    """A dog every few seconds, a broker that is not there yet, and what is kept goes to the small disk."""
    write_scene(tmp_path / "scene.wav", 8.0, {"dog_barking": 2.0})
    write_labels(tmp_path, LABELS)
    return {
        "sources": [{"name": "yard", "type": "recording", "path": str(tmp_path / "scene.wav"), "loop": True}],
        "labels": str(tmp_path / "labels.yaml"),
        "window": {"seconds": 2.0, "hop_seconds": 0.5},
        "cache_directory": str(small_disk.path / "cache"),
        "state_directory": str(small_disk.path / "state"),
    }


def write_labels(folder: Path, names: list[str]) -> None:
    label_set = {
        "defaults": {"hold_seconds": 0.5},
        "labels": names,
        "background": ["a quiet room", "traffic in the distance"],
    }
    (folder / "labels.yaml").write_text(yaml.safe_dump(label_set))


@pytest.mark.slow
def test_a_full_disk_is_logged_once_and_waiting_detections_are_delivered_when_the_broker_comes(
    tmp_path: Path,
    small_disk: SmallDisk,
    settings: Settings,
    make_broker: Callable[..., Broker],
    start_clapstream: Callable[[Settings], ClapstreamProcess],
) -> None:
    broker = make_broker()
    process = start_clapstream({**settings, "mqtt": {"host": "127.0.0.1", "port": broker.port}})
    process.wait_for_log("dog barking ended")
    assert "spool" not in process.log
    small_disk.fill()
    process.wait_for_log("cannot write the spool", after=len(process.log))
    said = len(process.log)
    process.wait_for_log("dog barking ended", after=said)
    process.wait_for_log("dog barking ended", after=process.log.index("dog barking ended", said) + 1)
    assert process.log.count("cannot write the spool") == 1
    broker.start()
    listener = broker.listen()
    process.wait_for_log("connected to broker")

    def phases() -> list[tuple[str, str]]:
        found = [json.loads(payload) for payload in listener.on(f"{BASE}/detection")]
        return [(detection["id"], detection["phase"]) for detection in found]

    listener.wait(lambda _: len(phases()) >= 6, "all that happened, with and without the disk")
    small_disk.clear()
    process.wait_for_log("can be written again")
    assert process.stop()[0] == 0
    listener.wait(lambda heard: heard.on("clapstream/home/status")[-1:] == ["offline"], "the goodbye")
    told = phases()
    assert len(set(told)) == len(told), "each once"
    assert [phase for _, phase in told] == ["start", "end"] * (len(told) // 2), "and in order"
    assert process.log.count("WARNING") == 2, process.log  # the broker, the spool


def test_an_unwritable_cache_and_spool_are_each_logged_once(
    tmp_path: Path,
    small_disk: SmallDisk,
    settings: Settings,
    broker: Broker,
    start_clapstream: Callable[[Settings], ClapstreamProcess],
) -> None:
    small_disk.fill()
    listener = broker.listen()
    process = start_clapstream({**settings, "mqtt": {"host": "127.0.0.1", "port": broker.port}})
    listener.wait(lambda heard: "ON" in heard.on(f"{BASE}/dog_barking/state"), "the dog")
    write_labels(tmp_path, [*LABELS, "glass breaking"])
    process.send(signal.SIGHUP)
    listener.wait(lambda heard: "OFF" in heard.on(f"{BASE}/glass_breaking/state"), "the new label")
    assert process.stop()[0] == 0
    assert process.log.count("cannot write to the cache") == 1, process.log
    assert process.log.count("cannot write the spool") == 1
    assert process.log.count("WARNING") == 2, process.log


def test_a_cache_on_a_read_only_disk_is_logged_once(
    small_disk: SmallDisk, settings: Settings, start_clapstream: Callable[[Settings], ClapstreamProcess]
) -> None:
    small_disk.remount("ro")
    process = start_clapstream({**settings, "mqtt": None})
    process.wait_for_log("dog barking started")
    assert process.stop()[0] == 0
    assert [line for line in process.log.splitlines() if "WARNING" in line and "Read-only file system" in line]
    assert process.log.count("WARNING") == 1, process.log
