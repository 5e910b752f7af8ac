"""The whole of it: sound played into a room comes out of the broker as events, through real parts only."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.clapstream_process import ClapstreamProcess
from support.real_broker import Broker, Listener
from support.scene import write_scene
from support.sound_system import SoundSystem

HOP_SECONDS = 2.5
LATENCY_SECONDS = 0.6
"""From `paplay` to the microphone: PulseAudio buffers up to half a second."""

Settings = dict[str, object]


def broker_settings(broker: Broker) -> Settings:
    return {"host": "127.0.0.1", "port": broker.port}


def detections(listener: Listener, base: str) -> list[dict[str, object]]:
    return [json.loads(payload) for payload in listener.on(f"{base}/detection")]


def seconds_since(origin: datetime, text: object) -> float:
    return (datetime.fromisoformat(str(text)) - origin) / timedelta(seconds=1)


@pytest.mark.slow
def test_sounds_in_a_room_become_states_and_events_with_true_times(
    tmp_path: Path,
    sound_system: SoundSystem,
    broker: Broker,
    start_clapstream: Callable[[Settings], ClapstreamProcess],
) -> None:
    spans = write_scene(tmp_path / "scene.wav", 62.0, {"dog_barking": 5.0, "doorbell": 15.0, "speech": 28.0})
    listener = broker.listen()
    process = start_clapstream(
        {
            "node": "test home",
            "sources": [{"name": "Hall", "type": "microphone", "device": "pulse"}],
            "mqtt": broker_settings(broker),
        }
    )
    base = "clapstream/test_home/hall"
    listener.wait(lambda heard: "online" in heard.on(f"{base}/availability"), "the microphone")
    time.sleep(3.0)  # so that the room is known quiet before the first sound
    origin = datetime.now(UTC)
    playing = sound_system.play(tmp_path / "scene.wav")
    assert playing.wait(90) == 0

    code, seconds = process.stop()
    assert code == 0
    assert seconds < 5.0
    for name, (begins, ends) in spans.items():
        assert listener.on(f"{base}/{name}/state")[-3:] == ["OFF", "ON", "OFF"], f"{name}: {process.log}"
        start, end = (found for found in detections(listener, base) if found["label"] == name.replace("_", " "))
        assert (start["phase"], end["phase"]) == ("start", "end")
        started, ended = seconds_since(origin, start["started"]), seconds_since(origin, end["ended"])
        assert begins - HOP_SECONDS <= started <= begins + HOP_SECONDS + LATENCY_SECONDS, name
        assert ends - HOP_SECONDS <= ended <= ends + HOP_SECONDS + LATENCY_SECONDS, name
    assert listener.on(f"{base}/availability")[-1] == "offline"
    assert listener.on("clapstream/test_home/status") == ["online", "offline"]


def test_a_recording_as_fast_as_possible_says_the_same_and_ends(
    tmp_path: Path, broker: Broker, start_clapstream: Callable[[Settings], ClapstreamProcess]
) -> None:
    write_scene(tmp_path / "scene.wav", 40.0, {"dog_barking": 12.0})
    listener = broker.listen()
    process = start_clapstream(
        {
            "sources": [{"name": "yard", "type": "recording", "path": str(tmp_path / "scene.wav"), "pace": "fast"}],
            "mqtt": broker_settings(broker),
        }
    )
    base = "clapstream/home/yard"
    listener.wait(lambda heard: heard.on("clapstream/home/status")[-1:] == ["offline"], "the end of the recording")
    found = [each for each in detections(listener, base) if each["label"] == "dog barking"]
    assert [each["phase"] for each in found] == ["start", "end"], process.log
    assert found[1]["duration_seconds"] == pytest.approx(HOP_SECONDS, abs=HOP_SECONDS)
    kept = [path for name in ("cache", "state") for path in (tmp_path / name).rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} == {".safetensors", ".sqlite3", ".json", ""}, (
        "label embeddings, the spool, an id and a lock: no sound"
    )


@pytest.mark.slow
def test_an_absent_broker_at_start_is_logged_once_and_listening_continues(
    tmp_path: Path,
    make_broker: Callable[..., Broker],
    start_clapstream: Callable[[Settings], ClapstreamProcess],
) -> None:
    write_scene(tmp_path / "scene.wav", 30.0, {"dog_barking": 3.0})
    broker = make_broker()
    recording = {"name": "yard", "type": "recording", "path": str(tmp_path / "scene.wav"), "loop": True}
    process = start_clapstream({"sources": [recording], "mqtt": broker_settings(broker)})
    process.wait_for_log("dog barking")
    assert process.log.count("WARNING") == 1, process.log
    broker.start()
    listener = broker.listen()
    base = "clapstream/home/yard"
    listener.wait(lambda heard: bool(detections(heard, base)), "what happened meanwhile")
    assert detections(listener, base)[0]["late"] is True
    code, seconds = process.stop(signal.SIGINT)
    assert (code, seconds < 5.0) == (0, True)
    assert "Traceback" not in process.log
