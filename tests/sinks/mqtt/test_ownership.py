"""Two installations of one name on a real broker, and what becomes of a name whose owner is gone."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from support.real_broker import Broker
from support.sink_bench import BASE, DISCOVERY, QUICK, Bench, run, started, wait_for, wait_for_payload

from clapstream.sinks.mqtt.name_check import NameCheck
from clapstream.sinks.mqtt.node_state import open_node_state
from clapstream.sinks.mqtt.owner import Owner
from clapstream.sinks.mqtt.topics import Topics

FIRST, SECOND = "1" * 11, "2" * 11
PROMPT = dataclasses.replace(QUICK, takeover=0.3)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_second_node_of_one_name_logs_it_and_publishes_nothing(
    broker: Broker, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    async def scenario() -> None:
        live = broker.listen()
        first = Bench(broker.port, installation=FIRST, protocol=protocol)
        second = Bench(broker.port, installation=SECOND, protocol=protocol, sources=["cellar"], timeouts=PROMPT)
        async with first.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            async with second.running():
                await second.until_state("name in use")
                second.sink.offer(started("stranger"))
                first.sink.offer(started("ours"))
                await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 1)
                await asyncio.sleep(1.0)
                assert second.sink.state == "name in use"
            first.sink.offer(started("later"))
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 2)
            assert first.states == ["online"]
        assert live.on(f"{BASE}/status") == ["online", "offline"]
        assert not [message for message in live.messages if "cellar" in message.topic]
        assert len(live.on(DISCOVERY)) == 1 and live.on(f"{BASE}/kitchen/availability") == ["offline"]
        logged = [text.getMessage() for text in caplog.records if "in use" in text.getMessage()]
        assert len(logged) == 1 and "node name home is in use by another clapstream" in logged[0]

    run(scenario())


def test_a_name_is_taken_over_once_its_owner_is_gone(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        live = broker.listen()
        second = Bench(broker.port, installation=SECOND, timeouts=PROMPT)
        async with Bench(broker.port, installation=FIRST).running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            running = asyncio.create_task(second.sink.run())
            await second.until_state("name in use")
        await wait_for(live, lambda it: it.on(f"{BASE}/status") == ["online", "offline", "online"])
        assert "is offline: taking it over" in caplog.text
        # The first one comes back: now it is the second.
        first = Bench(broker.port, installation=FIRST)
        async with first.running():
            await first.until_state("name in use")
            assert second.sink.state == "online"
        second.sink.close()
        await running

    run(scenario())


def test_a_reinstalled_node_takes_its_name_at_once(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """The state directory was wiped: the owner that the broker remembers is offline."""

    async def scenario() -> None:
        live = broker.listen()
        async with Bench(broker.port, installation=FIRST).running():
            await wait_for_payload(live, f"{BASE}/status", "online")
        again = Bench(broker.port, installation=SECOND)
        async with again.running():
            await again.until_state("online")
        assert "taking it over" in caplog.text
        assert "name in use" not in again.states

    run(scenario())


def test_a_stale_online_is_found_out_by_the_missing_heartbeat(broker: Broker) -> None:
    """After a power cut of broker and node at once, `online` may stay retained for ever."""

    async def scenario() -> None:
        live = broker.listen()
        live.publish(f"{BASE}/status", "online", retain=True)
        live.publish(f"{BASE}/owner", Owner(FIRST, "gone").payload(), retain=True)
        second = Bench(broker.port, installation=SECOND, timeouts=dataclasses.replace(QUICK, owner_silence=1.0))
        async with second.running():
            await second.until_state("name in use")
            await second.until_state("online")
        patient = Bench(
            broker.port, installation=FIRST, timeouts=dataclasses.replace(QUICK, heartbeat=0.2, owner_silence=60.0)
        )
        async with patient.running():
            await patient.until_state("online")
            await wait_for(live, lambda it: len(it.on(f"{BASE}/owner")) > 5, "heartbeats")

    run(scenario())


def test_of_two_that_start_at_once_one_stays(broker: Broker) -> None:
    async def scenario() -> None:
        benches = [Bench(broker.port, installation=str(number) * 11) for number in range(1, 4)]
        tasks = [asyncio.create_task(bench.sink.run()) for bench in benches]

        def settled() -> bool:
            return sorted(bench.sink.state for bench in benches) == ["name in use", "name in use", "online"]

        await benches[0].until(settled)
        await asyncio.sleep(1.0)
        assert settled()
        for bench in benches:
            bench.sink.close()
        await asyncio.gather(*tasks)

    run(scenario())


def test_a_restarted_node_and_a_restarted_broker_keep_the_owner(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        caplog.set_level(logging.INFO)
        for _ in range(2):
            bench = Bench(broker.port, installation=FIRST)
            async with bench.running():
                await bench.until_state("online")
                await asyncio.to_thread(broker.kill)
                await bench.until_state("offline")
                await asyncio.to_thread(broker.start)
                await bench.until_state("online")
            assert "name in use" not in bench.states and "taking it over" not in caplog.text

    run(scenario())


@pytest.mark.parametrize("keeps", [False, True], ids=["forgetful", "persistent"])
def test_a_restarted_broker_does_not_give_the_name_to_the_one_that_waits(
    make_broker: Callable[..., Broker], tmp_path: Path, keeps: bool
) -> None:
    """Also where the owner is slower to come back, and where the broker kept its record and the will."""
    kept = ["persistence true", f"persistence_location {tmp_path}/"] if keeps else []
    broker = make_broker("allow_anonymous true", *kept)
    broker.start()

    async def scenario() -> None:
        slow = dataclasses.replace(QUICK, first_retry=2.0, longest_retry=2.0)
        first = Bench(broker.port, installation=FIRST, timeouts=slow)
        second = Bench(broker.port, installation=SECOND, sources=["cellar"])
        async with first.running():
            await first.until_state("online")
            async with second.running():
                await second.until_state("name in use")
                await asyncio.to_thread(broker.stop if keeps else broker.kill)
                await first.until_state("offline")
                await second.until_state("offline")
                await asyncio.to_thread(broker.start)
                await second.until_state("name in use")
                live = broker.listen()
                await first.until_state("online")
                await asyncio.sleep(0.5)
                assert (first.states[-1], second.states[-1]) == ("online", "name in use")
        assert not [message for message in live.messages if "cellar" in message.topic]
        assert "name in use" not in first.states

    run(scenario())


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b'{"id": 3}', b"[" * 50_000, b"\xff", b'{"id": "x"'])
def test_a_damaged_owner_record_does_not_lock_the_node_out(broker: Broker, payload: bytes) -> None:
    async def scenario() -> None:
        live = broker.listen()
        live.publish(f"{BASE}/owner", payload, retain=True)
        bench = Bench(broker.port)
        async with bench.running():
            await bench.until_state("online")
            await wait_for(live, lambda it: bool(it.on(f"{BASE}/status")))
            live.publish(f"{BASE}/owner", payload, retain=True)
            text = payload.decode(errors="replace")
            await wait_for(
                live, lambda it: it.on(f"{BASE}/owner").count(text) == 2 and "00" in it.on(f"{BASE}/owner")[-1]
            )

    run(scenario())


def test_a_forged_record_names_no_topics_of_others() -> None:
    topics = Topics.of("clapstream", "home", "homeassistant")
    strange = [
        "zigbee2mqtt/lamp/config",
        "homeassistant/device/clapstream_other/config",
        "homeassistant/#",
        DISCOVERY,
    ]
    owner = Owner.read(topics, json.dumps({"id": FIRST, "host": "a\nb", "discovery": strange}).encode())
    assert owner is not None and owner.discovery == (DISCOVERY,) and owner.host == "a_b"


def test_the_name_of_a_node_that_was_offline_for_a_moment_is_not_taken_over() -> None:
    topics = Topics.of("clapstream", "home", "homeassistant")
    check = NameCheck(topics, SECOND, QUICK, contested=False, now=0.0)
    check.receive(topics.owner, Owner(FIRST, "").payload().encode(), 0.0)
    check.receive(topics.status, b"online", 0.0)
    assert check.verdict(1.0) == "in use"
    check.receive(topics.status, b"offline", 10.0)
    assert check.verdict(10.0 + QUICK.takeover - 1.0) == "in use"
    check.receive(topics.status, b"online", 30.0)
    assert check.verdict(100.0) == "in use"


def test_ids_are_kept_and_differ(tmp_path: Path) -> None:
    ids = []
    for folder, node in (("a", "home"), ("a", "home"), ("b", "home"), ("a", "yard")):
        state = open_node_state(tmp_path / folder, node, [])
        state.close()
        ids.append(state.installation_id)
    assert ids[0] == ids[1] and len(set(ids)) == 3
