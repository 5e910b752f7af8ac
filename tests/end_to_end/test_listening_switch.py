"""A source that was switched off stays off, whatever ends the process: a real broker, real disks, kill -9."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.clapstream_process import ClapstreamProcess
from support.real_broker import Broker, Listener
from support.scene import write_scene
from support.sound_system import SoundSystem

BASE = "clapstream/home"
Start = Callable[[dict[str, object]], ClapstreamProcess]


@pytest.fixture
def settings(tmp_path: Path, broker: Broker) -> dict[str, object]:
    write_scene(tmp_path / "scene.wav", 20.0, {"dog_barking": 2.0})
    recording = {"type": "recording", "path": str(tmp_path / "scene.wav"), "loop": True}
    return {
        "sources": [{"name": "bedroom", **recording}, {"name": "hall", **recording}],
        "mqtt": {"host": "127.0.0.1", "port": broker.port},
    }


def switch(listener: Listener, source: str, command: str, becomes: str) -> None:
    listener.publish(f"{BASE}/{source}/listening/set", command)
    topic = f"{BASE}/{source}/listening"
    listener.wait(lambda heard: heard.on(topic)[-1:] == [becomes], f"{source} switched {becomes}")


def opens(process: ClapstreamProcess, path: Path) -> int:
    """How often the process has a file open now."""
    links = Path(f"/proc/{process.pid}/fd").iterdir()
    return sum(link.exists() and link.resolve() == path for link in links)


@pytest.mark.slow
def test_off_survives_kill_9_and_a_retained_command_does_not_undo_it(
    tmp_path: Path, broker: Broker, settings: dict[str, object], start_clapstream: Start
) -> None:
    listener = broker.listen()
    process = start_clapstream(settings)
    listener.wait(lambda heard: "online" in heard.on(f"{BASE}/bedroom/availability"), "the bedroom")
    switch(listener, "bedroom", " off\n", "OFF")
    process.stop(signal.SIGKILL)

    listener.publish(f"{BASE}/bedroom/listening/set", "ON", retain=True)
    fresh = broker.listen()
    process.start()
    fresh.wait(lambda heard: heard.on(f"{BASE}/hall/availability")[-1:] == ["online"], "the hall")
    fresh.wait(lambda heard: bool(heard.on(f"{BASE}/hall/diagnostics")), "a window of the hall")
    assert set(fresh.on(f"{BASE}/bedroom/listening")) == {"OFF"}, "not even for a moment"
    # Retained from before the kill; a source that opened would say so anew.
    assert [each for each in fresh.messages if each.topic == f"{BASE}/bedroom/availability"][
        -1
    ].payload == "offline"
    assert opens(process, tmp_path / "scene.wav") <= 1, "the hall only"
    assert not [line for line in process.log.splitlines() if "bedroom: online" in line][1:]

    switch(fresh, "bedroom", "On", "ON")
    fresh.wait(lambda heard: heard.on(f"{BASE}/bedroom/availability")[-1:] == ["online"], "the bedroom")
    process.stop(signal.SIGKILL)
    process.start()
    listener.wait(
        lambda heard: heard.on(f"{BASE}/bedroom/listening")[-1:] == ["ON"], "the bedroom after the restart"
    )
    assert process.stop()[0] == 0


@pytest.mark.slow
def test_the_configuration_says_how_a_source_starts_until_it_is_switched(
    tmp_path: Path, broker: Broker, settings: dict[str, object], start_clapstream: Start
) -> None:
    sources = settings["sources"]
    assert isinstance(sources, list)
    sources[0]["listening"] = False
    listener = broker.listen()
    process = start_clapstream(settings)
    listener.wait(lambda heard: bool(heard.on(f"{BASE}/hall/diagnostics")), "the hall")
    assert set(listener.on(f"{BASE}/bedroom/listening")) == {"OFF"}
    assert set(listener.on(f"{BASE}/bedroom/availability")) == {"offline"}
    assert "listening to hall\n" in process.log
    switch(listener, "bedroom", "ON", "ON")
    listener.wait(lambda heard: heard.on(f"{BASE}/bedroom/availability")[-1:] == ["online"], "the bedroom")
    assert process.stop()[0] == 0
    process.start()
    process.wait_for_log("source bedroom: online", after=process.log.rindex("listening to"))
    assert process.stop()[0] == 0


@pytest.mark.slow
def test_a_microphone_that_is_off_is_not_opened(
    broker: Broker, sound_system: SoundSystem, start_clapstream: Start
) -> None:
    microphone = {"name": "bedroom", "type": "microphone", "device": "pulse", "listening": False}
    listener = broker.listen()
    process = start_clapstream({"sources": [microphone], "mqtt": {"host": "127.0.0.1", "port": broker.port}})
    listener.wait(lambda heard: "OFF" in heard.on(f"{BASE}/bedroom/listening"), "the switch")
    assert "listening to nothing: every source is switched off" in process.log
    time.sleep(1.0)  # in which it would have opened
    assert children(process) == 0, "each open microphone has a process of its own"
    switch(listener, "bedroom", "ON", "ON")
    listener.wait(lambda heard: heard.on(f"{BASE}/bedroom/availability")[-1:] == ["online"], "the microphone")
    assert children(process) == 1
    switch(listener, "bedroom", "OFF", "OFF")
    process.stop(signal.SIGKILL)
    process.start()
    time.sleep(1.0)
    assert children(process) == 0
    assert process.stop()[0] == 0


def children(process: ClapstreamProcess) -> int:
    return len(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
