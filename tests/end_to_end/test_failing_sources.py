"""A source that cannot work is offline with its reason while the others go on: real files, a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clapstream_process import ClapstreamProcess
from support.real_broker import Broker
from support.scene import write_scene

BASE = "clapstream/home"


@pytest.fixture
def yard(tmp_path: Path) -> dict[str, object]:
    """A recording that can be heard for ever."""
    write_scene(tmp_path / "scene.wav", 20.0, {"dog_barking": 2.0})
    return {"name": "yard", "type": "recording", "path": str(tmp_path / "scene.wav"), "loop": True}


@pytest.fixture
def bad_sources(tmp_path: Path) -> dict[str, dict[str, object]]:
    """Sources that fail, by what they say."""
    text = tmp_path / "text.flac"
    text.write_text("no sound at all\n" * 100)
    broken = tmp_path / "broken.flac"
    write_scene(broken, 30.0, {"doorbell": 3.0})
    content = bytearray(broken.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 20_000] = bytes(20_000)
    broken.write_bytes(content)
    return {
        "pip install 'clapstream[stream]'": {"name": "porch", "type": "stream", "url": "rtsp://127.0.0.1:9/1"},
        "no such file": {"name": "card", "type": "recording", "path": str(tmp_path / "not mounted" / "card.flac")},
        "not a sound file": {"name": "text", "type": "recording", "path": str(text)},
        "broken after 19.": {"name": "broken", "type": "recording", "path": str(broken), "pace": "fast"},
    }


@pytest.fixture
def start() -> Iterator[list[ClapstreamProcess]]:
    processes: list[ClapstreamProcess] = []
    yield processes
    for process in processes:
        process.close()


def without_av(folder: Path, settings: dict[str, object]) -> ClapstreamProcess:
    """Clapstream where the package av is not installed."""
    package = folder / "packages" / "av"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('No module named av')\n")
    return ClapstreamProcess(folder, settings, environment={"PYTHONPATH": str(package.parent)})


def test_each_bad_source_is_offline_with_its_reason_and_the_good_one_goes_on(
    tmp_path: Path,
    broker: Broker,
    yard: dict[str, object],
    bad_sources: dict[str, dict[str, object]],
    start: list[ClapstreamProcess],
) -> None:
    listener = broker.listen()
    mqtt = {"host": "127.0.0.1", "port": broker.port}
    process = without_av(tmp_path, {"sources": [*bad_sources.values(), yard], "mqtt": mqtt})
    start.append(process)
    process.start()
    for reason, source in bad_sources.items():
        process.wait_for_log(f"ERROR   source {source['name']}: failed (")
        process.wait_for_log(reason)
        assert f"failed (source {source['name']}" not in process.log, "its name once"
    listener.wait(lambda heard: "ON" in heard.on(f"{BASE}/yard/dog_barking/state"), "the good one")
    for source in bad_sources.values():
        topic = f"{BASE}/{source['name']}/availability"
        listener.wait(lambda heard, topic=topic: heard.on(topic)[-1:] == ["offline"], topic)  # type: ignore[misc]
    found = [json.loads(payload) for payload in listener.on(f"{BASE}/broken/detection")]
    assert "doorbell" in {each["label"] for each in found}, "what was heard before the broken place counts"
    assert [each["phase"] for each in found].count("start") == [each["phase"] for each in found].count("end")
    assert listener.on(f"{BASE}/status")[-1] == "online"

    log = len(process.log)
    listener.publish(f"{BASE}/text/listening/set", "ON")
    process.wait_for_log("source text: failed", after=log)  # switching on tries again
    assert process.stop()[0] == 0
    assert "Traceback" not in process.log


def test_when_all_sources_failed_or_ended_the_reason_and_exit_code_1_remain(
    tmp_path: Path, broker: Broker, bad_sources: dict[str, dict[str, object]], start: list[ClapstreamProcess]
) -> None:
    write_scene(tmp_path / "short.wav", 3.0, {})
    good = {"name": "yard", "type": "recording", "path": str(tmp_path / "short.wav"), "pace": "fast"}
    listener = broker.listen()
    mqtt = {"host": "127.0.0.1", "port": broker.port}
    process = without_av(tmp_path, {"sources": [*bad_sources.values(), good], "mqtt": mqtt})
    start.append(process)
    process.start()
    assert process.wait() == 1
    last_line = process.log.splitlines()[-1]
    assert last_line.startswith("clapstream: ")
    assert all(reason in last_line for reason in bad_sources), last_line
    assert all(last_line.count(f"source {source['name']}: ") == 1 for source in bad_sources.values()), last_line
    assert "Traceback" not in process.log
    listener.wait(lambda heard: heard.on(f"{BASE}/status")[-1:] == ["offline"], "the end")
