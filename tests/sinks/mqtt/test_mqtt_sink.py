"""The MQTT sink against a real mosquitto: the contract topic by topic, and the faults a broker can have."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from support.real_broker import Broker, Certificates, Received
from support.sink_bench import (
    BASE,
    DISCOVERY,
    DOG,
    DOORBELL,
    NOON,
    QUICK,
    Bench,
    ended,
    run,
    started,
    wait_for,
    wait_for_payload,
)
from support.sources import KITCHEN

from clapstream.config import TlsSettings
from clapstream.control import SetListening
from clapstream.sinks.mqtt.detection import Detection
from clapstream.sinks.mqtt.spool import Spool
from clapstream.updates import (
    LabelScore,
    SourceAvailability,
    SourceDiagnostics,
    SourceLabels,
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


def test_a_label_removed_by_a_reload_vanishes(broker: Broker) -> None:
    async def scenario() -> None:
        bench, live = Bench(broker.port), broker.listen()
        async with bench.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            bench.sink.offer(started("one"))
            bench.sink.offer(ended("one"))
            bench.sink.offer(SourceLabels(KITCHEN, (DOORBELL,)))
            await wait_for(live, lambda it: len(it.on(DISCOVERY)) == 2)
            await wait_for_payload(live, f"{BASE}/kitchen/dog_barking/state", "")
            await wait_for_payload(live, f"{BASE}/kitchen/dog_barking/attributes", "")
        components = json.loads(live.on(DISCOVERY)[-1])["components"]
        assert components["kitchen-sound-dog_barking"] == {"platform": "binary_sensor"}
        assert components["kitchen-event"]["event_types"] == ["doorbell"]

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


def test_a_broker_that_comes_later_is_found_and_missed_once(
    make_broker: Callable[..., Broker], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        caplog.set_level(logging.INFO)
        broker = make_broker()
        bench = Bench(broker.port)
        async with bench.running():
            bench.sink.offer(SourceAvailability(KITCHEN, True))
            bench.sink.offer(started("one"))
            await bench.until_state("offline")
            await asyncio.sleep(0.5)
            await asyncio.to_thread(broker.start)
            live = broker.listen()
            await wait_for_payload(live, f"{BASE}/kitchen/dog_barking/state", "ON")
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 1)
        assert json.loads(live.on(f"{BASE}/kitchen/detection")[0])["late"] is True
        assert bench.states == ["offline", "online", "offline"]
        warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 1 and "Connection refused" in warnings[0].getMessage()

    run(scenario())


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_killed_broker_gets_states_and_late_detections_once_and_in_order(
    broker: Broker, tmp_path: Path, protocol: str
) -> None:
    async def scenario() -> None:
        bench, live = Bench(broker.port, tmp_path / "spool.sqlite", protocol=protocol), broker.listen()
        async with bench.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            bench.sink.offer(started("zero"))
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 1)
            await asyncio.to_thread(broker.kill)
            await bench.until_state("offline")
            bench.sink.offer(ended("zero"))
            for number in range(20):
                bench.sink.offer(started(f"{number}"))
                bench.sink.offer(ended(f"{number}"))
            bench.sink.offer(started("last", DOORBELL))
            await asyncio.to_thread(broker.start)
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 43)
            bench.sink.offer(ended("last", DOORBELL))
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 44)
        detections = [json.loads(payload) for payload in live.on(f"{BASE}/kitchen/detection")]
        between = [(str(number), phase) for number in range(20) for phase in ("start", "end")]
        assert [(item["id"], item["phase"]) for item in detections] == [
            ("zero", "start"),
            ("zero", "end"),
            *between,
            ("last", "start"),
            ("last", "end"),
        ]
        assert [item["late"] for item in detections] == [False, *[True] * 42, False]
        assert live.on(f"{BASE}/kitchen/doorbell/state")[-2:] == ["ON", "OFF"]
        # Events are for automations: a late one would ring a bell that fell silent long ago.
        assert len(live.on(f"{BASE}/kitchen/event")) == 1

    run(scenario())


@pytest.mark.parametrize("pause_seconds", [0.5, 4.0])
def test_a_paused_broker_gets_each_detection_once(broker: Broker, tmp_path: Path, pause_seconds: float) -> None:
    """With the longer pause the sink gives the connection up while the broker still holds its last messages."""

    async def scenario() -> None:
        timeouts = dataclasses.replace(QUICK, reply=1.0)
        bench, live = Bench(broker.port, tmp_path / "spool.sqlite", timeouts=timeouts), broker.listen()
        async with bench.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            await asyncio.to_thread(broker.pause)
            for number in range(5):
                bench.sink.offer(started(f"{number}"))
            await asyncio.sleep(pause_seconds)
            assert bench.sink.state == ("online" if pause_seconds < 1.0 else "offline")
            bench.sink.offer(ended("4"))
            await asyncio.to_thread(broker.resume)
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 6)
            await bench.until_state("online")
            await wait_for(live, lambda it: it.on(f"{BASE}/status")[-1] == "online")
            bench.sink.offer(started("5"))
            await wait_for(live, lambda it: '"5"' in it.on(f"{BASE}/kitchen/detection")[-1])
        ids = [json.loads(payload)["id"] for payload in live.on(f"{BASE}/kitchen/detection")]
        assert ids == ["0", "1", "2", "3", "4", "4", "5"]

    run(scenario())


def test_attempts_at_a_broker_that_does_not_answer_leave_nothing_behind(broker: Broker) -> None:
    async def scenario() -> None:
        bench, live = Bench(broker.port, timeouts=dataclasses.replace(QUICK, reply=0.1)), broker.listen()
        async with bench.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            files, tasks = open_files(), len(asyncio.all_tasks())
            await asyncio.to_thread(broker.pause)
            bench.sink.offer(started("one"))
            await asyncio.sleep(2.5)  # about eight attempts
            assert open_files() <= files + 1
            assert len(asyncio.all_tasks()) <= tasks + 2
            await asyncio.to_thread(broker.resume)
            await wait_for(live, lambda it: it.on(f"{BASE}/status")[-1] == "online")
            await asyncio.sleep(0.5)
            assert live.on(f"{BASE}/status")[-1] == "online"
            assert open_files() <= files and len(asyncio.all_tasks()) <= tasks

    run(scenario())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_broker_that_dies_under_a_publication_is_an_outage_like_others(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        bench, live = Bench(broker.port), broker.listen()
        async with bench.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            await asyncio.sleep(0.2)  # until the sink waits for something to say
            # The broker dies right before the publications, so that writing notices it first, not reading.
            bench.sink.offer(started("one"))
            await asyncio.sleep(0)
            broker.kill()
            await bench.until_state("offline")
        assert [record.name for record in caplog.records] == ["clapstream.sinks.mqtt.connection_log"] * len(
            caplog.records
        )

    run(scenario())


def test_closing_while_the_broker_cannot_be_reached_does_not_wait_for_it() -> None:
    async def scenario() -> None:
        # A full backlog drops what comes, as a firewall does.
        with socket.create_server(("127.0.0.1", 0), backlog=0) as wall, contextlib.ExitStack() as guests:
            port = wall.getsockname()[1]
            for _ in range(2):
                guest = guests.enter_context(socket.socket())
                guest.setblocking(False)
                guest.connect_ex(("127.0.0.1", port))
            timeouts = dataclasses.replace(QUICK, connect=3.0, flush=0.1)
            bench = Bench(port, timeouts=timeouts)
            task = asyncio.create_task(bench.sink.run())
            await asyncio.sleep(0.3)
            bench.sink.close()
            await asyncio.wait_for(task, 2.5)
            assert bench.states == ["offline"]

    run(scenario())


def test_a_lost_acknowledgement_costs_no_second_delivery(broker: Broker) -> None:
    async def scenario() -> None:
        live = broker.listen()
        async with Proxy(broker.port, cut_after=b"kitchen/detection") as proxy:
            bench = Bench(proxy.port)
            async with bench.running():
                await wait_for_payload(live, f"{BASE}/status", "online")
                bench.sink.offer(started("one"))
                bench.sink.offer(ended("one"))
                await wait_for(live, lambda it: it.on(f"{BASE}/status") == ["online", "offline", "online"])
                bench.sink.offer(started("two"))
                await wait_for(live, lambda it: '"two"' in "".join(it.on(f"{BASE}/kitchen/detection")))
        detections = [json.loads(payload) for payload in live.on(f"{BASE}/kitchen/detection")]
        assert [(item["id"], item["phase"], item["late"]) for item in detections] == [
            ("one", "start", False),
            ("one", "end", True),
            ("two", "start", False),
        ]

    run(scenario())


def test_a_slow_broker_gets_the_newest_values_and_every_state(broker: Broker) -> None:
    async def scenario() -> None:
        live = broker.listen()
        async with Proxy(broker.port, answer_seconds=0.05) as proxy:
            bench = Bench(proxy.port)
            async with bench.running():
                await wait_for_payload(live, f"{BASE}/status", "online")
                for number in range(300):
                    bench.sink.offer(WindowHeard(KITCHEN, NOON, NOON, False, -number / 10, 30.0, ()))
                    if number in (100, 200):
                        bench.sink.offer(started("one") if number == 100 else ended("one"))
                    await asyncio.sleep(0.002)
                await wait_for_payload(live, f"{BASE}/kitchen/level", "-29.9")
                await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 2)
        assert len(live.on(f"{BASE}/kitchen/level")) < 150
        assert live.on(f"{BASE}/kitchen/dog_barking/state") == ["OFF", "ON", "OFF"]

    run(scenario())


class Proxy:
    """Stands between sink and broker, and spoils what comes back.

    Answers take `answer_seconds`. Once the bytes `cut_after` have reached the broker for the first time, no answer
    comes back and the connection ends.
    """

    def __init__(self, broker_port: int, *, cut_after: bytes = b"", answer_seconds: float = 0.0) -> None:
        self._broker_port = broker_port
        self._cut_after = cut_after
        self._answer_seconds = answer_seconds
        self._cuts = 0
        self.port = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_broker, to_broker = await asyncio.open_connection("127.0.0.1", self._broker_port)
        back = asyncio.create_task(self._copy(from_broker, writer))
        while sent := await reader.read(1 << 16):
            cut = bool(self._cut_after) and self._cuts == 0 and self._cut_after in sent
            if cut:
                self._cuts += 1
                back.cancel()
            to_broker.write(sent)
            await to_broker.drain()
            if cut:
                # Time for the broker to take it and to notice nothing.
                await asyncio.sleep(0.2)
                break
        back.cancel()
        for end in (writer, to_broker):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while received := await reader.read(1 << 16):
                await asyncio.sleep(self._answer_seconds)
                writer.write(received)
                await writer.drain()


def test_closing_while_the_broker_is_paused_takes_the_grace_period_at_most(broker: Broker) -> None:
    async def scenario() -> None:
        bench, live = Bench(broker.port, timeouts=dataclasses.replace(QUICK, flush=0.3)), broker.listen()
        task = asyncio.create_task(bench.sink.run())
        await wait_for_payload(live, f"{BASE}/status", "online")
        await asyncio.to_thread(broker.pause)
        bench.sink.offer(started("one"))
        bench.sink.close()
        await asyncio.wait_for(task, 5)
        await asyncio.to_thread(broker.resume)
        await wait_for_payload(live, f"{BASE}/status", "offline")

    run(scenario())


def test_waiting_detections_survive_a_restart(make_broker: Callable[..., Broker], tmp_path: Path) -> None:
    async def scenario() -> None:
        broker, path = make_broker(), tmp_path / "spool.sqlite"
        first = Bench(broker.port, path)
        async with first.running():
            await first.until_state("offline")
            first.sink.offer(started("one"))
            first.sink.offer(ended("one"))
        await asyncio.to_thread(broker.start)
        live = broker.listen()
        second = Bench(broker.port, path)
        async with second.running():
            second.sink.offer(started("two"))
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 3)
        third = Bench(broker.port, path)
        async with third.running():
            await third.until_state("online")
            third.sink.offer(ended("two"))
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 4)
        detections = [json.loads(payload) for payload in live.on(f"{BASE}/kitchen/detection")]
        assert [(item["id"], item["phase"]) for item in detections] == [
            ("one", "start"),
            ("one", "end"),
            ("two", "start"),
            ("two", "end"),
        ]
        assert [item["late"] for item in detections[:2]] == [True, True]

    run(scenario())


def test_a_refused_password_is_told_once_and_the_right_one_gets_in(
    make_broker: Callable[..., Broker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        # mosquitto's own format for "correct horse": PBKDF2 is made by mosquitto_passwd.
        passwords = tmp_path / "passwords"
        passwords.write_text("home:correct horse\n")
        passwords.chmod(0o600)
        convert = await asyncio.create_subprocess_exec("mosquitto_passwd", "-U", passwords)
        assert await convert.wait() == 0
        broker = make_broker("allow_anonymous false", f"password_file {passwords}")
        await asyncio.to_thread(broker.start)
        password_file = tmp_path / "password"
        password_file.write_text("wrong battery\n")
        bench = Bench(broker.port, username="home", password_file=password_file)
        async with bench.running():
            await bench.until(lambda: broker.log.count("not authorised") >= 3)
            assert bench.sink.state == "offline"
            password_file.write_text("correct horse\n")
            await bench.until_state("online")
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 1 and "authorized" in warnings[0]
        assert "wrong battery" not in caplog.text and "correct horse" not in caplog.text

    run(scenario())


def test_tls_with_a_client_certificate(
    make_broker: Callable[..., Broker], certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        broker = make_broker(
            "allow_anonymous true",
            f"cafile {certificates.authority}",
            f"certfile {certificates.broker}",
            f"keyfile {certificates.broker_key}",
            "require_certificate true",
        )
        await asyncio.to_thread(broker.start)
        ours = TlsSettings(
            ca_file=certificates.authority, cert_file=certificates.client, key_file=certificates.client_key
        )
        bench = Bench(broker.port, host="localhost", tls=ours)
        async with bench.running():
            await bench.until_state("online")
            bench.sink.offer(started("one"))
            await bench.until(lambda: "dog_barking/state" in broker.log)
        for trust, reason in (
            (TlsSettings(ca_file=certificates.authority), ""),
            (TlsSettings(ca_file=None), "certificate verify failed"),
        ):
            stranger = Bench(broker.port, host="localhost", tls=trust)
            async with stranger.running():
                await stranger.until_state("offline")
            assert "online" not in stranger.states
            assert reason in caplog.text

    run(scenario())


def test_tls_refuses_a_broker_under_another_name(
    make_broker: Callable[..., Broker], certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        # The client's certificate is signed by the authority but names no host.
        broker = make_broker(
            "allow_anonymous true", f"certfile {certificates.client}", f"keyfile {certificates.client_key}"
        )
        await asyncio.to_thread(broker.start)
        bench = Bench(broker.port, tls=TlsSettings(ca_file=certificates.authority))
        async with bench.running():
            await bench.until_state("offline")
        assert bench.states == ["offline"]
        assert "certificate is not valid for '127.0.0.1'" in caplog.text

    run(scenario())
