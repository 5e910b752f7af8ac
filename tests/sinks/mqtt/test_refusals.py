"""A real broker that refuses: access rules, packets that are too large, missing features, other protocols."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fake_servers import in_front_of, limiting_packets, serving
from support.real_broker import Broker, Listener
from support.sink_bench import (
    BASE,
    DISCOVERY,
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
from support.sources import KITCHEN, YARD

from clapstream.sinks.mqtt import abbreviations
from clapstream.updates import LabelInfo, WindowHeard

MANY = tuple(LabelInfo(f"label number {number}", f"label_number_{number}", 0.6, 0.4) for number in range(40))


def with_rules(make_broker: Callable[..., Broker], tmp_path: Path, *rules: str, **options: Any) -> Broker:
    rules_file = tmp_path / "acl"
    rules_file.write_text("\n".join(["topic readwrite #", *rules]) + "\n")
    rules_file.chmod(0o600)
    broker = make_broker("allow_anonymous true", f"acl_file {rules_file}", *options.get("lines", ()))
    broker.start()
    return broker


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_refused_detections_are_logged_once_kept_and_sent_when_the_broker_allows_them(
    make_broker: Callable[..., Broker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        rules = f"topic deny {BASE}/kitchen/detection"
        broker = with_rules(make_broker, tmp_path, rules)
        live = broker.listen()
        bench = Bench(
            broker.port,
            tmp_path / "spool.sqlite3",
            sources=["kitchen", "yard"],
            timeouts=dataclasses.replace(QUICK, refused_retry=0.5),
        )
        async with bench.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            for number in range(3):
                bench.sink.offer(started(f"{number}"))
                bench.sink.offer(ended(f"{number}"))
            await bench.until(lambda: "refused" in caplog.text)
            other = started("other").event
            bench.sink.offer(type(started("x"))(dataclasses.replace(other, source=YARD)))
            # One topic that is refused holds up no other.
            await wait_for(live, lambda it: len(it.on(f"{BASE}/yard/detection")) == 1)
            await wait_for(live, lambda it: '"refused":' in "".join(it.on(f"{BASE}/diagnostics")))
            await wait_for(live, lambda it: json.loads(it.on(f"{BASE}/diagnostics")[-1])["refused"] > 0)
            shown = json.loads(live.on(f"{BASE}/diagnostics")[-1])
            assert shown["spooled"] >= 6
            assert "Not authorized" in shown["refused_topics"][f"{BASE}/kitchen/detection"]
            assert live.on(f"{BASE}/kitchen/detection") == []
            (tmp_path / "acl").write_text("topic readwrite #\n")
            broker.reload()
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 6)
        assert [json.loads(payload)["id"] for payload in live.on(f"{BASE}/kitchen/detection")] == list("001122")
        logged = [text for text in warnings(caplog) if "refused" in text]
        assert len(logged) == 1 and f"{BASE}/kitchen/detection (Not authorized" in logged[0] and "kept" in logged[0]

    run(scenario())


def test_refused_detections_survive_a_restart(
    make_broker: Callable[..., Broker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        broker = with_rules(make_broker, tmp_path, f"topic deny {BASE}/kitchen/detection")
        live, path = broker.listen(), tmp_path / "spool.sqlite3"
        first = Bench(broker.port, path)
        async with first.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            first.sink.offer(started("one"))
            await first.until(lambda: "refused" in caplog.text)
        (tmp_path / "acl").write_text("topic readwrite #\n")
        broker.reload()
        async with Bench(broker.port, path).running():
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 1)

    run(scenario())


@pytest.mark.parametrize(
    "topic",
    [f"{BASE}/kitchen/dog_barking/state", DISCOVERY, f"{BASE}/status", f"{BASE}/owner", f"{BASE}/kitchen/level"],
)
def test_any_refused_topic_is_logged_once_and_the_rest_goes_on(
    make_broker: Callable[..., Broker], tmp_path: Path, caplog: pytest.LogCaptureFixture, topic: str
) -> None:
    async def scenario() -> None:
        broker = with_rules(make_broker, tmp_path, f"topic deny {topic}")
        live = broker.listen()
        bench = Bench(broker.port)
        async with bench.running():
            await bench.until_state("online")
            await wait_for_payload(live, f"{BASE}/kitchen/doorbell/state", "OFF")
            for number in range(3):
                bench.sink.offer(started(f"{number}"))
                bench.sink.offer(ended(f"{number}"))
            bench.sink.offer(window(-30.0))
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 6)
            await bench.until(lambda: "refused" in caplog.text)
        logged = [text for text in warnings(caplog) if "message on" in text]
        assert logged == [text for text in logged if f"message on {topic} (Not authorized" in text]
        assert len(logged) == 1

    run(scenario())


def window(level_dbfs: float) -> WindowHeard:
    return WindowHeard(KITCHEN, NOON, NOON, False, level_dbfs, 30.0, ())


def retained_discovery(broker: Broker, count: int) -> dict[str, dict[str, Any]]:
    listener = Listener(broker.port, "homeassistant/#")
    try:
        listener.wait(
            lambda it: len({message.topic for message in it.messages if message.payload}) >= count, "discovery"
        )
        return {message.topic: json.loads(message.payload) for message in listener.messages if message.payload}
    finally:
        listener.close()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize(("limit", "topics"), [(40_000, 1), (20_000, 2), (1_000, 0)])
def test_discovery_shrinks_until_it_fits_and_is_left_out_else(
    make_broker: Callable[..., Broker], caplog: pytest.LogCaptureFixture, protocol: str, limit: int, topics: int
) -> None:
    async def scenario() -> None:
        broker = make_broker("allow_anonymous true", f"max_packet_size {limit}")
        broker.start()
        live = Listener(broker.port, "clapstream/#")
        bench = Bench(broker.port, protocol=protocol, labels=MANY[:30], sources=["kitchen", "yard"])
        try:
            async with bench.running():
                await wait_for_payload(live, f"{BASE}/status", "online")
                bench.sink.offer(started("one", MANY[0]))
                await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 1)
                await bench.until(lambda: "discovery is not published" in caplog.text or topics > 0)
                found = await asyncio.to_thread(retained_discovery, broker, topics) if topics else {}
                assert bench.sink.state == "online"
        finally:
            live.close()
        assert len(found) == topics
        logged = [text for text in warnings(caplog) if "discovery is not published" in text]
        assert len(logged) == (0 if topics else 1)
        assert all("max_packet_size" in text for text in logged)
        if topics:
            expanded: list[dict[str, Any]] = [abbreviations.expand(payload) for payload in found.values()]
            assert {tuple(payload["dev"]["ids"]) for payload in found.values()} == {("clapstream_home",)}
            ids = [entry["unique_id"] for payload in expanded for entry in payload["components"].values()]
            assert len(ids) == len(set(ids)) == 2 * (30 + 11)
            assert "clapstream_home-kitchen-sound-label_number_0" in ids

    run(scenario())


def test_entities_move_when_the_form_of_discovery_changes(make_broker: Callable[..., Broker]) -> None:
    """Home Assistant keeps names and areas only if the old topic says `migrate_discovery` first."""

    async def scenario() -> None:
        broker = make_broker("allow_anonymous true")
        broker.start()
        live = broker.listen()
        labels, sources = MANY[:30], ["kitchen", "yard"]
        async with Bench(broker.port, labels=labels, sources=sources).running():
            await wait_for(live, lambda it: len(it.on(DISCOVERY)) == 1)
        async with (
            serving(in_front_of(broker.port, on_connack=limiting_packets(20_000))) as port,
            Bench(port, labels=labels, sources=sources).running(),
        ):
            await wait_for(live, lambda it: it.on(DISCOVERY)[-1] == "")
        topics = [message.topic for message in live.messages if message.topic.startswith("homeassistant/")]
        per_source = [f"homeassistant/device/clapstream_home-{source}/config" for source in sources]
        assert topics[-4:] == [DISCOVERY, *per_source, DISCOVERY]
        assert json.loads(live.on(DISCOVERY)[-2]) == {"migrate_discovery": True}
        # And back, once the broker takes more.
        async with Bench(broker.port, labels=labels, sources=sources).running():
            await wait_for(live, lambda it: it.on(per_source[1])[-1] == "")
        assert [json.loads(live.on(topic)[-2]) for topic in per_source] == [{"migrate_discovery": True}] * 2
        assert "components" in json.loads(live.on(DISCOVERY)[-1])

    run(scenario())


def test_a_broker_that_does_not_say_what_is_too_large_is_understood_after_few_connections(
    make_broker: Callable[..., Broker], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        broker = make_broker("allow_anonymous true", "max_packet_size 20000")
        broker.start()
        live = broker.listen()
        bench = Bench(broker.port, labels=MANY[:30], sources=["kitchen", "yard"], protocol="3.1.1")
        async with bench.running():
            await wait_for(live, lambda it: bool(it.on("homeassistant/device/clapstream_home-yard/config")))
            bench.sink.offer(started("one"))
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 1)
        assert bench.states.count("online") <= 5
        (logged,) = (text for text in warnings(caplog) if "refused" in text)
        assert DISCOVERY in logged and logged.endswith("trying smaller messages")

    run(scenario())


@pytest.mark.parametrize(
    "line",
    ["max_qos 0", "retain_available false", "max_inflight_messages 1", "max_keepalive 10"],
)
def test_brokers_that_do_less_are_used_as_they_are(make_broker: Callable[..., Broker], line: str) -> None:
    async def scenario() -> None:
        broker = make_broker("allow_anonymous true", line)
        broker.start()
        live = broker.listen()
        bench = Bench(broker.port)
        async with bench.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            for number in range(10):
                bench.sink.offer(started(f"{number}", DOORBELL))
                bench.sink.offer(ended(f"{number}", DOORBELL))
            await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 20)
            assert bench.states == ["online"] or line.startswith(("max_qos", "retain"))
        await wait_for_payload(live, f"{BASE}/status", "offline")

    run(scenario())


@pytest.mark.parametrize(
    ("protocol", "goodbye", "reason"), [("5", b"\xe0\x01\x87", "Not authorized"), ("3.1.1", b"", "connection lost")]
)
def test_a_broker_that_disconnects_for_one_topic_gets_the_others(
    broker: Broker, caplog: pytest.LogCaptureFixture, protocol: str, goodbye: bytes, reason: str
) -> None:
    async def scenario() -> None:
        live = broker.listen()
        topic = f"{BASE}/kitchen/doorbell/state".encode()
        forbidden = len(topic).to_bytes(2, "big") + topic
        strict = in_front_of(broker.port, forbidden=forbidden, goodbye=goodbye)
        async with serving(strict) as port:
            bench = Bench(port, protocol=protocol)
            async with bench.running():
                await bench.until(lambda: "the topic is not used for now" in caplog.text)
                bench.sink.offer(started("one"))
                bench.sink.offer(started("two", DOORBELL))
                await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 2)
                assert live.on(f"{BASE}/kitchen/dog_barking/state")[-1] == "ON"
        assert reason in caplog.text

    run(scenario())


@pytest.mark.parametrize("most_bytes", [None, 100_000])
def test_a_broker_that_disconnects_for_discovery_gets_everything_else(
    broker: Broker, caplog: pytest.LogCaptureFixture, most_bytes: int | None
) -> None:
    async def scenario() -> None:
        live = broker.listen()
        strict = in_front_of(
            broker.port,
            forbidden=b"github.com/clapstream",
            goodbye=b"\xe0\x01\x87",
            on_connack=None if most_bytes is None else limiting_packets(most_bytes),
        )
        async with serving(strict) as port:
            bench = Bench(port)
            async with bench.running():
                bench.sink.offer(started("one"))
                await wait_for(live, lambda it: len(it.on(f"{BASE}/kitchen/detection")) == 1)
                await wait_for_payload(live, f"{BASE}/status", "online")
        assert "discovery is not published" in caplog.text

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "protocol", "words"),
    [
        (b"\x20\x03\x00\x84\x00", "5", 'Unsupported protocol version: use protocol: "3.1.1"'),
        (b"\x20\x02\x00\x01", "5", 'Unsupported protocol version: use protocol: "3.1.1"'),
        (b"\x20\x03\x00\x86\x00", "5", "Bad user name or password"),
        (b"\x20\x03\x00\x88\x00", "5", "Server unavailable"),
        (b"\x20\x03\x00\x95\x00", "5", "Packet too large"),
        (b"\x20\x02\x00\x04", "3.1.1", "Bad user name or password"),
        (b"\x20\x02\x00\x05", "3.1.1", "Not authorized"),
        (b"\x20\x02\x00\x02", "3.1.1", "Client identifier not valid"),
        (b"\x20\x03\x00\x00\x00\xe0\x01\x8e", "5", "Session taken over"),
        (b"\x20\x03\x00\x00\x00\xe0\x01\x8b", "5", "Server shutting down"),
        (b"\x20\x03\x00\x00\x00\xe0\x01\x97", "5", "Quota exceeded"),
    ],
)
def test_the_reasons_of_a_broker_are_logged_in_words(
    caplog: pytest.LogCaptureFixture, answer: bytes, protocol: str, words: str
) -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1 << 16)
            writer.write(answer)
            await writer.drain()
            await reader.read()

        async with serving(serve) as port:
            bench = Bench(port, protocol=protocol)
            async with bench.running():
                await bench.until(lambda: words in caplog.text)
        assert all("[code" not in text for text in warnings(caplog))
        assert any("retrying" in text for text in warnings(caplog))

    run(scenario())
