"""Faults injected into real parts: the microphone unplugged, the daemon killed, the model too slow."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from support.clapstream_process import ClapstreamProcess
from support.real_broker import Broker, Listener
from support.scene import write_scene
from support.scoring import same_score
from support.sound_system import SoundSystem

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.position import StreamPosition
from clapstream.config import LabelSet, LabelSettings, WindowSettings, load_settings
from clapstream.daemon.daemon import Daemon, Input
from clapstream.inference.engine import Embeddings
from clapstream.updates import SourceDiagnostics, Update, WindowHeard

Settings = dict[str, object]
StartClapstream = Callable[[Settings], ClapstreamProcess]


def listen_in_the_hall(
    broker: Broker, listener: Listener, start_clapstream: StartClapstream
) -> tuple[ClapstreamProcess, str]:
    """A daemon whose microphone is online, and the base topic of that."""
    process = start_clapstream(
        {
            "sources": [{"name": "hall", "type": "microphone", "device": "pulse"}],
            "mqtt": {"host": "127.0.0.1", "port": broker.port},
        }
    )
    base = "clapstream/home/hall"
    listener.wait(lambda heard: heard.on(f"{base}/availability")[-1:] == ["online"], "the microphone")
    return process, base


@pytest.mark.slow
def test_an_unplugged_microphone_is_offline_within_5_seconds_and_back_by_itself(
    tmp_path: Path, sound_system: SoundSystem, broker: Broker, start_clapstream: StartClapstream
) -> None:
    write_scene(tmp_path / "scene.wav", 30.0, {"dog_barking": 4.0, "doorbell": 8.0})
    listener = broker.listen()
    process, base = listen_in_the_hall(broker, listener, start_clapstream)
    playing = sound_system.play(tmp_path / "scene.wav")
    listener.wait(lambda heard: "ON" in heard.on(f"{base}/dog_barking/state"), "the dog")
    unplugged = time.monotonic()
    sound_system.remove_room()
    listener.wait(lambda heard: heard.on(f"{base}/availability")[-1:] == ["offline"], "the loss")
    assert time.monotonic() - unplugged < 5.0
    listener.wait(lambda heard: heard.on(f"{base}/dog_barking/state")[-1:] == ["OFF"], "the end of the event")
    playing.kill()
    playing.wait()
    sound_system.add_room()
    listener.wait(lambda heard: heard.on(f"{base}/availability")[-1:] == ["online"], "the return")
    assert process.stop()[0] == 0
    assert process.log.count("listening to") == 1, "the same process all along"


@pytest.mark.slow
def test_a_killed_daemon_is_seen_offline_and_leaves_no_label_on(
    tmp_path: Path, broker: Broker, start_clapstream: StartClapstream
) -> None:
    write_scene(tmp_path / "scene.wav", 60.0, {"dog_barking": 5.0})
    source = {"name": "yard", "type": "recording", "path": str(tmp_path / "scene.wav")}
    settings: Settings = {"sources": [source], "mqtt": {"host": "127.0.0.1", "port": broker.port}}
    listener = broker.listen()
    process = start_clapstream(settings)
    state = "clapstream/home/yard/dog_barking/state"
    listener.wait(lambda heard: heard.on(state)[-1:] == ["ON"], "the dog")
    process.stop(signal.SIGKILL)
    listener.wait(lambda heard: heard.on("clapstream/home/status")[-1:] == ["offline"], "the will")

    write_scene(tmp_path / "scene.wav", 60.0, {})  # quiet now
    process.start()
    listener.wait(lambda heard: heard.on("clapstream/home/status")[-1:] == ["online"], "the restart")
    listener.wait(lambda heard: heard.on(state)[-1:] == ["OFF"], "the state after the restart")
    assert process.stop()[0] == 0
    fresh = broker.listen()
    fresh.wait(lambda heard: state in {message.topic for message in heard.messages}, "the retained state")
    assert fresh.on(state) == ["OFF"]


@pytest.mark.slow
def test_a_daemon_killed_during_a_broker_outage_delivers_after_its_restart(
    tmp_path: Path, make_broker: Callable[..., Broker], start_clapstream: StartClapstream
) -> None:
    write_scene(tmp_path / "scene.wav", 60.0, {"dog_barking": 2.0})
    broker = make_broker()
    source = {"name": "yard", "type": "recording", "path": str(tmp_path / "scene.wav")}
    process = start_clapstream({"sources": [source], "mqtt": {"host": "127.0.0.1", "port": broker.port}})
    process.wait_for_log("dog barking started")
    time.sleep(1.0)  # until the disk has it
    process.stop(signal.SIGKILL)

    write_scene(tmp_path / "scene.wav", 60.0, {})  # quiet now
    broker.start()
    listener = broker.listen()
    process.start()
    base = "clapstream/home/yard"
    listener.wait(lambda heard: bool(heard.on(f"{base}/detection")), "what the killed process heard")
    listener.wait(lambda heard: heard.on(f"{base}/dog_barking/state")[-1:] == ["OFF"], "the state")
    assert process.stop()[0] == 0
    (told,) = (json.loads(payload) for payload in listener.on(f"{base}/detection"))
    assert (told["phase"], told["label"], told["late"]) == ("start", "dog barking", True)
    assert "ON" not in listener.on(f"{base}/dog_barking/state")


@pytest.mark.slow
def test_no_sound_is_lost_and_no_second_connection_made_while_the_broker_is_hurt(
    tmp_path: Path, sound_system: SoundSystem, broker: Broker, start_clapstream: StartClapstream
) -> None:
    listener = broker.listen()
    process, base = listen_in_the_hall(broker, listener, start_clapstream)
    listener.wait(lambda heard: bool(heard.on(f"{base}/diagnostics")), "the first window")
    before, started = json.loads(listener.on(f"{base}/diagnostics")[-1]), time.monotonic()
    connections: set[int] = set()

    def watch(seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            connections.add(connections_to(broker.port, process.pid))
            time.sleep(0.02)

    broker.kill()
    watch(1.0)
    broker.start()
    process.wait_for_log("connected to broker", after=process.log.index("lost the connection"))
    watch(1.0)
    broker.pause()
    watch(12.0)  # the daemon hangs up after 10 s without an answer
    broker.resume()
    watch(3.0)
    said = len(listener.on(f"{base}/diagnostics"))
    # Counters come every 30 s.
    listener.wait(lambda heard: len(heard.on(f"{base}/diagnostics")) > said, "windows after it all", 60.0)
    after, seconds = json.loads(listener.on(f"{base}/diagnostics")[-1]), time.monotonic() - started
    assert connections == {0, 1}
    assert after["dropped_blocks"] == 0
    assert after["reconnects"] == 0, "the microphone was not concerned"
    heard_seconds = 2.5 * (
        after["windows"] + after["skipped_windows"] - before["windows"] - before["skipped_windows"]
    )
    assert heard_seconds == pytest.approx(seconds, abs=2 * 2.5 + 1.0), "every window was made"
    assert process.stop()[0] == 0


def connections_to(port: int, pid: int) -> int:
    """How many established connections a process has to a local port."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, state, *_, inode = line.split()[:10]
        if state == "01" and int(remote.split(":")[1], 16) == port:
            inodes.add(f"socket:[{inode}]")
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(str(link.readlink()))
    return len(inodes.intersection(links))


def test_sighup_reloads_labels_and_keeps_the_old_ones_when_the_new_are_wrong(
    tmp_path: Path, broker: Broker, start_clapstream: StartClapstream
) -> None:
    write_scene(tmp_path / "scene.wav", 90.0, {})
    labels = tmp_path / "labels.yaml"
    labels.write_text(yaml.safe_dump({"labels": ["dog barking", "doorbell"]}))
    source = {"name": "yard", "type": "recording", "path": str(tmp_path / "scene.wav")}
    broker_settings = {"host": "127.0.0.1", "port": broker.port}
    listener = broker.listen()
    process = start_clapstream({"sources": [source], "mqtt": broker_settings, "labels": str(labels)})
    base = "clapstream/home/yard"
    listener.wait(lambda heard: "OFF" in heard.on(f"{base}/doorbell/state"), "the first labels")

    labels.write_text("labels: [dog barking, {name: cat, start: nine}]\n")
    process.send(signal.SIGHUP)
    process.wait_for_log("labels[1].start")
    labels.write_text(yaml.safe_dump({"labels": ["dog barking", "cat meowing"]}))
    process.send(signal.SIGHUP)
    listener.wait(lambda heard: "OFF" in heard.on(f"{base}/cat_meowing/state"), "the new label")
    listener.wait(lambda heard: heard.on(f"{base}/doorbell/state")[-1:] == [""], "the old label's going")
    discovery = next(
        topic for topic in {each.topic for each in listener.messages} if topic.startswith("homeassistant")
    )
    listener.wait(
        lambda heard: "cat_meowing" in heard.on(discovery)[-1] and "A doorbell" not in heard.on(discovery)[-1],
        "the discovery",
    )
    names = {"dog barking", "cat meowing"}
    listener.wait(
        lambda heard: any(
            {each["label"] for each in json.loads(payload)["labels"]} == names
            for payload in heard.on(f"{base}/heard")
        ),
        "a window scored with the new labels",
    )
    assert listener.on(f"{base}/availability").count("online") == 1, "the stream went on"
    assert process.stop()[0] == 0


class SteadySource:
    """Noise in real time, a block every tenth of a second."""

    name = "hall"
    dropped_blocks = 0
    reconnects = 0
    silent = False

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        yield StreamOpened(datetime.now(UTC))
        noise = np.random.default_rng(0).standard_normal(RATE_HZ // 10).astype(np.float32) * 0.1
        started, position = time.monotonic(), 0
        while True:
            yield Block(position, noise)
            position += len(noise)
            await asyncio.sleep(max(0.0, started + position / RATE_HZ - time.monotonic()))


class SlowEngine:
    """Takes as long as the test says."""

    checkpoint = "test"
    runs_on = "nothing"
    segment_spans = ()

    def __init__(self) -> None:
        self.seconds = 0.0

    def embed(
        self, windows: Sequence[NDArray[np.float32]], positions: Sequence[StreamPosition] | None = None
    ) -> Embeddings:
        time.sleep(self.seconds)
        return Embeddings(np.zeros((len(windows), 1), dtype=np.float32))


class LatestSink:
    """Keeps the newest of each kind, and the lag of every window behind the present."""

    def __init__(self) -> None:
        self.diagnostics: SourceDiagnostics | None = None
        self.lags: list[float] = []
        self._closed = asyncio.Event()

    def offer(self, update: Update) -> None:
        if isinstance(update, SourceDiagnostics):
            self.diagnostics = update
        if isinstance(update, WindowHeard):
            self.lags.append((datetime.now(UTC) - update.ended).total_seconds())

    async def run(self) -> None:
        await self._closed.wait()

    def close(self) -> None:
        self._closed.set()


@pytest.mark.slow
def test_a_model_three_times_too_slow_hears_the_newest_counts_the_rest_and_recovers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hop_seconds = 0.1
    label_set = LabelSet(labels=(LabelSettings(name="dog"),), background=("room",))
    settings = load_settings(None).model_copy(
        update={
            "labels": label_set,
            "mqtt": None,
            "window": WindowSettings(seconds=0.5, hop_seconds=hop_seconds),
        }
    )
    engine = SlowEngine()

    def told() -> list[str]:
        """Which of the two things was said of keeping up, in order."""
        sayings = ("cannot keep up", "keeps up again")
        return [said for record in caplog.records for said in sayings if said in record.message]

    async def main() -> tuple[LatestSink, int, list[float]]:
        sink = LatestSink()
        daemon = Daemon(
            settings,
            inputs=[Input(SteadySource(), live=True)],
            load_engine=lambda: engine,
            prepare_labels=same_score,
        )
        daemon.add_sink(sink)
        running = asyncio.create_task(daemon.run())
        await asyncio.sleep(2.0)
        caplog.clear()  # a busy machine may fall behind at the start by itself
        engine.seconds = 3 * hop_seconds
        await asyncio.sleep(9.0)
        assert sink.diagnostics is not None
        skipped, slow_lags = sink.diagnostics.skipped_windows, sink.lags[-20:]
        assert told() == ["cannot keep up"], "once, not for each window"
        engine.seconds = 0.0
        await asyncio.sleep(3.0)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 10)
        return sink, skipped, slow_lags

    with caplog.at_level("INFO", "clapstream.daemon.pipeline"):
        sink, skipped, slow_lags = asyncio.run(main())
    assert 40 <= skipped <= 75, "two of three windows in nine seconds"
    assert max(slow_lags) < 3 * 3 * hop_seconds, "what is scored is the present, not a backlog"
    assert sink.diagnostics is not None
    assert sink.diagnostics.skipped_windows - skipped <= 3
    assert told() == ["cannot keep up", "keeps up again"]
