"""`clapstream forget` on a real broker, as a user runs it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from support.real_broker import Broker
from support.sink_bench import BASE, DISCOVERY, Bench, run, started, wait_for, wait_for_payload


def forget(folder: Path, port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = folder / "clapstream.yaml"
    config.write_text(yaml.safe_dump({"mqtt": {"host": "127.0.0.1", "port": port}}))
    command = [sys.executable, "-m", "clapstream", "forget", *arguments, "-c", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


async def leave_something(broker: Broker, **options: Any) -> None:
    live = broker.listen()
    bench = Bench(broker.port, **options)
    async with bench.running():
        await wait_for(live, lambda it: any(message.topic.endswith("/status") for message in it.messages))
        bench.sink.offer(started("one"))
        await wait_for(live, lambda it: any(message.topic.endswith("/detection") for message in it.messages))


def retained(broker: Broker) -> set[str]:
    listener = broker.listen()
    listener.publish("end/of/retained", "x")
    listener.wait(lambda it: bool(it.on("end/of/retained")))
    return {message.topic for message in listener.messages if message.retained and message.payload}


def test_everything_of_the_old_name_goes_and_nothing_else(broker: Broker, tmp_path: Path) -> None:
    asyncio.run(leave_something(broker))
    other = broker.listen()
    kept = {"clapstream/homestead/status", "homeassistant/device/clapstream_homestead/config", "zigbee2mqtt/lamp"}
    for topic in kept:
        other.publish(topic, "kept", retain=True)
    assert {DISCOVERY, f"{BASE}/status", f"{BASE}/owner", f"{BASE}/kitchen/last_label"} <= retained(broker)
    live = broker.listen()
    done = forget(tmp_path, broker.port, "home")
    assert (done.returncode, done.stderr) == (0, "")
    assert "retained topics of node home" in done.stdout
    assert retained(broker) == kept
    # Home Assistant removes the device before its topics vanish.
    assert next(message.topic for message in live.messages if not message.retained) == DISCOVERY
    again = forget(tmp_path, broker.port, "home")
    assert again.returncode == 0 and "nothing is retained" in again.stdout


def test_other_topics_can_be_named(broker: Broker, tmp_path: Path) -> None:
    asyncio.run(leave_something(broker, base_topic="sounds/old", discovery_prefix="ha"))
    assert forget(tmp_path, broker.port, "home").stdout.startswith("nothing")
    done = forget(tmp_path, broker.port, "home", "--base-topic", "sounds/old", "--discovery-prefix", "ha")
    assert done.returncode == 0 and retained(broker) == set(), done.stderr


def test_a_node_that_is_online_is_refused_unless_forced(broker: Broker, tmp_path: Path) -> None:
    async def scenario() -> None:
        live = broker.listen()
        async with Bench(broker.port).running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            done = await asyncio.to_thread(forget, tmp_path, broker.port, "home")
            assert done.returncode == 1 and "node home is online" in done.stderr and "--force" in done.stderr
            assert f"{BASE}/status" in retained(broker)
        live.publish(f"{BASE}/status", "online", retain=True)
        forced = await asyncio.to_thread(forget, tmp_path, broker.port, "home", "--force")
        assert forced.returncode == 0 and not retained(broker)

    run(scenario())


def test_faults_are_reported_in_a_line(make_broker: Callable[..., Broker], tmp_path: Path) -> None:
    gone = make_broker()
    done = forget(tmp_path, gone.port, "home")
    assert done.returncode == 1 and f"cannot use broker at 127.0.0.1:{gone.port}" in done.stderr
    assert "Traceback" not in done.stderr
    wild = forget(tmp_path, gone.port, "home", "--base-topic", "a/#")
    assert wild.returncode == 2 and "not a valid MQTT topic" in wild.stderr


def test_refused_deletions_are_reported(make_broker: Callable[..., Broker], tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite #\n")
    rules.chmod(0o600)
    broker = make_broker("allow_anonymous true", f"acl_file {rules}")
    broker.start()
    asyncio.run(leave_something(broker))
    rules.write_text(f"topic read #\ntopic readwrite {BASE}/#\ntopic readwrite end/#\n")
    broker.reload()
    done = forget(tmp_path, broker.port, "home")
    assert done.returncode == 1 and f"broker refused to delete {DISCOVERY} (Not authorized" in done.stderr
