"""The MQTT sink with a real mosquitto: the contract topic by topic, commands, crashes and restarts of ours."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from support.real_broker import Broker, Received
from support.sink_bench import (
    BASE,
    DISCOVERY,
    DOG,
    DOORBELL,
    NOON,
    Bench,
    ended,
    run,
    started,
    wait_for,
    wait_for_payload,
)
from support.sources import KITCHEN

from clapstream.control import SetListening
from clapstream.sinks.mqtt.detection import Detection
from clapstream.sinks.mqtt.spool import Spool
from clapstream.updates import (
    LabelScore,
    SourceAvailability,
    SourceDiagnostics,
    SourceListening,
    WindowHeard,
)


def test_every_topic_of_the_contract(broker: Broker) -> None:
    async def scenario() -> None:
        bench, live = Bench(broker.port), broker.listen()
        async with bench.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            offer = bench.sink.offer
            offer(SourceAvailability(KITCHEN, True))
            scores = (LabelScore(DOG, 0.81239, True), LabelScore(DOORBELL, 0.1, False))
            offer(WindowHeard(KITCHEN, NOON, NOON + timedelta(seconds=10), False, -32.14, 31.26, scores))
            offer(SourceDiagnostics(KITCHEN, 31.26, 7, 1, 2, 3, gated_windows=4))
            offer(started("one"))
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 1)
            offer(ended("one"))
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 2)
            offer(SourceListening(KITCHEN, False))
            await wait_for_payload(live, f"{BASE}/kitchen/listening", "OFF")
            late = broker.listen()
            await wait_for(late, lambda it: len(it.messages) >= 9)
            kept = late.messages

        kitchen = f"{BASE}/kitchen"
        assert live.on(f"{kitchen}/dog_barking/state") == ["OFF", "ON", "OFF"]
        assert live.on(f"{kitchen}/level") == ["-32.1"]
        assert json.loads(live.on(f"{kitchen}/heard")[0])["labels"] == [
            {"label": "dog barking", "score": 0.812, "active": True},
            {"label": "doorbell", "score": 0.1, "active": False},
        ]
        assert json.loads(live.on(f"{kitchen}/diagnostics")[0]) == {
            "inference_ms": 31.3,
            "windows": 7,
            "dropped_blocks": 1,
            "skipped_windows": 2,
            "reconnects": 3,
            "silent": False,
            "gated_windows": 4,
        }
        assert [json.loads(payload) for payload in live.on(f"{kitchen}/event")] == [
            {
                "event_type": "dog_barking",
                "id": "one",
                "label": "dog barking",
                "score": 0.812,
                "started": "2026-03-01T12:00:00.123Z",
                "source": "kitchen",
                "model": "bundled",
            }
        ]
        start, end = (json.loads(payload) for payload in live.on(f"{kitchen}/detection"))
        assert (start["phase"], start["ended"], start["duration_seconds"]) == ("start", None, None)
        assert end == {
            "id": "one",
            "phase": "end",
            "source": "kitchen",
            "label": "dog barking",
            "score": 0.812,
            "peak_score": 0.9,
            "started": "2026-03-01T12:00:00.123Z",
            "ended": "2026-03-01T12:00:07.623Z",
            "duration_seconds": 7.5,
            "late": False,
        }
        attributes = [json.loads(payload) for payload in live.on(f"{kitchen}/dog_barking/attributes")]
        assert attributes[-1] == {
            "score": 0.812,
            "started": "2026-03-01T12:00:00.123Z",
            "ended": "2026-03-01T12:00:07.623Z",
            "duration_seconds": 7.5,
        }
        assert all(message.retained for message in kept)
        retained = {message.topic: message.payload for message in kept}
        discovery = json.loads(retained.pop(DISCOVERY))
        assert "kitchen-sound-dog_barking" in discovery["components"]
        assert json.loads(retained.pop(f"{kitchen}/dog_barking/attributes")) == attributes[-1]
        # An event entity forgets what fired when Home Assistant restarts: the sensor has a topic of its own.
        last_label = json.loads(live.on(f"{kitchen}/event")[0])
        assert json.loads(retained.pop(f"{kitchen}/last_label")) == last_label
        assert discovery["components"]["kitchen-last_label"]["state_topic"] == f"{kitchen}/last_label"
        assert json.loads(retained.pop(f"{BASE}/owner"))["id"] == "0" * 11
        assert retained == {
            f"{BASE}/status": "online",
            f"{kitchen}/availability": "online",
            f"{kitchen}/listening": "OFF",
            f"{kitchen}/dog_barking/state": "OFF",
            f"{kitchen}/doorbell/state": "OFF",
        }
        assert bench.states == ["online", "offline"]

    run(scenario())


def test_closing_publishes_what_is_left_and_then_offline(broker: Broker) -> None:
    async def scenario() -> None:
        bench, live = Bench(broker.port), broker.listen()
        async with bench.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            bench.sink.offer(started("one"))
            bench.sink.offer(ended("one"))
        await wait_for_payload(live, f"{BASE}/status", "offline")
        assert len(live.on(f"{BASE}/kitchen/detection")) == 2
        assert live.messages[-1] == Received(f"{BASE}/status", "offline", False)

    run(scenario())


def test_cancelling_publishes_offline_too(broker: Broker) -> None:
    async def scenario() -> None:
        bench, live = Bench(broker.port), broker.listen()
        task = asyncio.create_task(bench.sink.run())
        await wait_for_payload(live, f"{BASE}/status", "online")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_for_payload(live, f"{BASE}/status", "offline")

    run(scenario())


def test_a_connection_that_just_ends_is_announced_by_the_will(broker: Broker) -> None:
    async def scenario() -> None:
        live = broker.listen()
        process = await crashing_daemon(broker.port)
        await wait_for_payload(live, f"{BASE}/kitchen/dog_barking/state", "ON")
        process.kill()
        await process.wait()
        await wait_for_payload(live, f"{BASE}/status", "offline")
        # The next start leaves no label ON.
        bench = Bench(broker.port)
        async with bench.running():
            await wait_for(live, lambda it: it.on(f"{BASE}/status")[-1] == "online")
            assert live.on(f"{BASE}/kitchen/dog_barking/state")[-1] == "OFF"

    run(scenario())


def test_a_daemon_killed_while_it_catches_up_repeats_one_detection_at_most(broker: Broker, tmp_path: Path) -> None:
    async def scenario() -> None:
        path, live = tmp_path / "spool.sqlite", broker.listen()
        spool = Spool(path)
        await spool.open()
        for number in range(120):
            spool.append(Detection.of(started(f"{number}").event, "start"))
        await spool.close()
        process = await crashing_daemon(broker.port, path)
        await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) > 30)
        process.kill()
        await process.wait()
        async with Bench(broker.port, path).running():
            await wait_for(live, lambda it: '"119"' in it.on(f"{BASE}/kitchen/detection")[-1])
        ids = [int(json.loads(payload)["id"]) for payload in live.on(f"{BASE}/kitchen/detection")]
        assert sorted(set(ids)) == list(range(120))
        assert ids == sorted(ids) and len(ids) <= 121

    run(scenario())


async def crashing_daemon(port: int, spool_path: Path | None = None) -> asyncio.subprocess.Process:
    """A process of its own with a sink that says that a dog barks."""
    arguments = [str(port), *([str(spool_path)] if spool_path else [])]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", CRASHING_DAEMON, *arguments, cwd=Path(__file__).parents[3]
    )


CRASHING_DAEMON = """
import asyncio, pathlib, sys
sys.path[:0] = ["tests"]
from support.sink_bench import Bench, started

async def main():
    bench = Bench(int(sys.argv[1]), *map(pathlib.Path, sys.argv[2:]))
    if not sys.argv[2:]:
        bench.sink.offer(started("one"))
    async with bench.running():
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_listening_commands_reach_the_daemon(broker: Broker, protocol: str) -> None:
    async def scenario() -> None:
        bench, live = Bench(broker.port, protocol=protocol, sources=["kitchen", "Front yard"]), broker.listen()
        # A retained command is from the past; others are no commands at all.
        live.publish(f"{BASE}/kitchen/listening/set", "OFF", retain=True)
        async with bench.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            for topic, payload in HOSTILE:
                live.publish(topic, payload)
            live.publish(f"{BASE}/front_yard/listening/set", " off\n")
            live.publish(f"{BASE}/kitchen/listening/set", "On")
            await bench.until(lambda: len(bench.commands) == 2)
        assert bench.commands == [SetListening("front_yard", False), SetListening("kitchen", True)]

    run(scenario())


HOSTILE: list[tuple[str, bytes]] = [
    (f"{BASE}/kitchen/listening/set", b"\xff\x00\xfe"),
    (f"{BASE}/kitchen/listening/set", b""),
    (f"{BASE}/kitchen/listening/set", b"yes"),
    (f"{BASE}/kitchen/listening/set", b"ON" * 600_000),
    (f"{BASE}/cellar/listening/set", b"OFF"),
    (f"{BASE}/kitchen/detection", b"[" * 100_000),
    (f"{BASE}/kitchen/detection", b"{}"),
    ("homeassistant/status", b"\x00"),
    (DISCOVERY, b"not json"),
]


@pytest.mark.parametrize("prefix", ["homeassistant", "elsewhere"])
def test_home_assistants_birth_is_answered_with_discovery(broker: Broker, prefix: str) -> None:
    async def scenario() -> None:
        bench, live = Bench(broker.port, discovery_prefix=prefix), broker.listen()
        topic = f"{prefix}/device/clapstream_home/config"
        async with bench.running():
            await wait_for(live, lambda it: len(it.on(topic)) == 1)
            live.publish("homeassistant/status", "online")
            await wait_for(live, lambda it: len(it.on(topic)) == 2)
        assert live.on(topic)[0] == live.on(topic)[1]

    run(scenario())


def test_a_forged_offline_is_corrected(broker: Broker) -> None:
    async def scenario() -> None:
        bench, live = Bench(broker.port), broker.listen()
        async with bench.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            live.publish(f"{BASE}/status", "offline", retain=True)
            await wait_for(live, lambda it: it.on(f"{BASE}/status") == ["online", "offline", "online"])

    run(scenario())


def test_what_an_earlier_process_announced_vanishes(broker: Broker) -> None:
    async def scenario() -> None:
        first = Bench(broker.port, sources=["kitchen", "yard"])
        live = broker.listen()
        async with first.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            first.sink.offer(started("one"))
            await wait_for_payload(live, f"{BASE}/kitchen/dog_barking/state", "ON")
        second = Bench(broker.port, labels=(DOORBELL,))
        async with second.running():
            await wait_for(live, lambda it: it.on(f"{BASE}/status") == ["online", "offline", "online"])
            late = broker.listen()
            await wait_for(late, lambda it: len(it.messages) >= 7)
        assert {message.topic for message in late.messages} == {
            DISCOVERY,
            f"{BASE}/status",
            f"{BASE}/owner",
            f"{BASE}/kitchen/availability",
            f"{BASE}/kitchen/listening",
            f"{BASE}/kitchen/last_label",
            f"{BASE}/kitchen/doorbell/state",
        }
        components = json.loads(late.on(DISCOVERY)[0])["components"]
        assert components["kitchen-sound-dog_barking"] == {"platform": "binary_sensor"}
        assert components["yard-listening"] == {"platform": "switch"}
        assert "state_topic" in components["kitchen-sound-doorbell"]

    run(scenario())
