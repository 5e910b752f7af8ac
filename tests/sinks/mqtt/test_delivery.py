"""What `clapstream check` says about deliveries without connecting."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.real_broker import Broker
from support.sink_bench import BASE, QUICK, Bench, run, started, wait_for_payload

from clapstream.cli import main
from clapstream.sinks.mqtt.delivery import Delivery, delivery_notes
from clapstream.sinks.mqtt.delivery_report import WRITE_SECONDS, DeliveryFile
from clapstream.sinks.mqtt.node_state import spool_path_of


def checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The notes of `clapstream check` on a node `home` with its state in a folder."""
    config = folder / "clapstream.yaml"
    source = {"name": "kitchen", "type": "pcm", "rate_hz": 48000, "channels": 1}
    config.write_text(yaml.safe_dump({"node": "home", "state_directory": str(folder), "sources": [source]}))
    assert main(["check", "-c", str(config)]) == 0
    return [line.removeprefix("clapstream: note: ") for line in capsys.readouterr().err.splitlines()]


def test_check_reports_what_waits_and_what_the_broker_refuses(
    make_broker: Callable[..., Broker], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"topic readwrite #\ntopic deny {BASE}/kitchen/detection\n")
    broker = make_broker("allow_anonymous true", f"acl_file {rules}")
    broker.start()
    spool = spool_path_of(tmp_path, "home")

    async def scenario() -> None:
        patient = Bench(broker.port, spool, timeouts=dataclasses.replace(QUICK, refused_retry=60.0))
        async with patient.running():
            await patient.until_state("online")
            patient.sink.offer(started("one"))
            patient.sink.offer(started("two"))
            await patient.until(lambda: bool(patient.deliveries) and patient.deliveries[-1].refused > 0)
            await patient.until((spool.parent / "delivery.json").exists)
            while_it_runs = await asyncio.to_thread(checked, tmp_path, capsys)
        for notes in (while_it_runs, checked(tmp_path, capsys)):
            assert len(notes) == 2, notes
            assert notes[0].startswith("detections waiting for the broker: 2, the oldest since 20")
            assert notes[1] == (
                f"the broker refuses messages on {BASE}/kitchen/detection "
                "(Not authorized: check the user and the access rules of the broker)"
            )
        broker.kill()
        away = Bench(broker.port, spool)
        async with away.running():
            await away.until_state("offline")
        assert len(checked(tmp_path, capsys)) == 2, "what was found out counts until the broker is there again"
        rules.write_text("topic readwrite #\n")
        broker.start()
        live = broker.listen()
        again = Bench(broker.port, spool)
        async with again.running():
            await wait_for_payload(live, f"{BASE}/status", "online")
            await again.until(lambda: len(live.on(f"{BASE}/kitchen/detection")) == 2)
        assert checked(tmp_path, capsys) == []

    run(scenario())


def test_check_writes_nothing_and_reads_any_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(tmp_path, capsys) == []
    assert [path.name for path in tmp_path.iterdir()] == ["clapstream.yaml"]
    spool = tmp_path / "odd #?%41 name" / "spool.sqlite3"
    spool.parent.mkdir()
    spool.write_bytes(b"no database" * 1_000)
    for content in (b"", b"[]", b"\xff", b"[" * 50_000, b'{"refused_topics": 3}', b'{"refused_topics": {"a": 1}}'):
        spool.with_name("delivery.json").write_bytes(content)
        (note,) = delivery_notes(spool)
        assert note.startswith("cannot read the spool")
    assert spool.read_bytes() == b"no database" * 1_000


def test_the_file_is_written_at_once_for_another_loss_and_seldom_for_numbers() -> None:
    written: list[str] = []
    now = 0.0
    file = DeliveryFile(written.append, lambda: now)
    file.update(Delivery())
    assert written == [""]
    for count in range(1, 50):
        file.update(Delivery(dropped_detections=count))
    assert [json.loads(text)["dropped_detections"] for text in written[1:]] == [1]
    now = WRITE_SECONDS
    file.update(Delivery(dropped_detections=50, refused=7, waiting=3))
    file.update(Delivery(dropped_detections=50, refused_topics={"a": "b"}))
    assert [json.loads(text)["refused_topics"] for text in written[1:]] == [{}, {}, {"a": "b"}]
    file.update(Delivery())
    assert written[-1] == ""


def test_refused_detections_are_named_before_states() -> None:
    topics = {f"{BASE}/kitchen/label_{number}/state": "no" for number in range(200)}
    delivery = Delivery(refused_topics={**topics, f"{BASE}/kitchen/detection": "no"})
    for text in (delivery.diagnostics(), delivery.record()):
        assert next(iter(json.loads(text)["refused_topics"])) == f"{BASE}/kitchen/detection"


def test_topics_that_are_refused_for_one_reason_take_one_line(tmp_path: Path) -> None:
    topics = {f"{BASE}/kitchen/label_{number}/state": "Not authorized" for number in range(7)}
    delivery = Delivery(refused_topics=topics, dropped_detections=3, lost_events=2)
    (tmp_path / "delivery.json").write_text(delivery.record())
    named = ", ".join(list(topics)[:5])
    assert list(delivery_notes(tmp_path / "spool.sqlite3")) == [
        f"the broker refuses messages on {named} and 2 more (Not authorized)",
        "detections dropped because the spool was full or they were too old: 3",
        "events not fired because the broker was too slow: 2",
    ]
