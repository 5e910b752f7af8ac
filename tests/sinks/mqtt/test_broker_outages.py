"""A real mosquitto that is absent, killed, paused, slow or unreachable: nothing is lost, repeated or leaked."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fake_servers import in_front_of, serving
from support.real_broker import Broker
from support.sink_bench import (
    BASE,
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

from clapstream.updates import (
    SourceAvailability,
    WindowHeard,
)


def test_a_broker_that_starts_later_is_found_and_its_absence_logged_once(
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


@pytest.mark.parametrize("pause_seconds", [0.5, pytest.param(4.0, marks=pytest.mark.slow)])
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
        with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as clients:
            port = server.getsockname()[1]
            for _ in range(2):
                client = clients.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
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
        async with serving(in_front_of(broker.port, cut_after=b"kitchen/detection")) as port:
            bench = Bench(port)
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
        async with serving(in_front_of(broker.port, answer_seconds=0.05)) as port:
            bench = Bench(port)
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
