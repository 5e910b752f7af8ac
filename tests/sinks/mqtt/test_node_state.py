"""One lock, one id and one spool for each node of a state directory."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.detection import Detection
from clapstream.sinks.mqtt.node_state import StateInUseError, open_node_state
from clapstream.sinks.mqtt.spool import Spool
from clapstream.sinks.mqtt.spool_file import SCHEMA
from clapstream.updates import SourceInfo


def old_spool(folder: Path, *sources: str) -> Path:
    path = folder / "spool.sqlite3"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(SCHEMA)
        for number, source in enumerate(sources):
            noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
            detection = Detection(str(number), "start", SourceInfo.of(source), "dog", 0.8, 0.8, noon)
            payload = payloads.to_json(payloads.detection(detection))
            connection.execute(
                "INSERT INTO detections (id, phase, payload, stored) VALUES (?, 'start', ?, 1e12)",
                (str(number), payload),
            )
    connection.close()
    return path


def waiting(path: Path | None) -> list[str]:
    async def read() -> list[str]:
        spool = Spool(path)
        await spool.open()
        names = list(spool.sources().elements())
        await spool.close()
        return names

    return asyncio.run(read())


def test_a_second_process_with_the_same_node_and_state_directory_is_refused(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        with pytest.raises(StateInUseError) as raised:
            open_node_state(tmp_path, "home", [])
        assert f"(process {holder.pid})" in str(raised.value) and "node home" in str(raised.value)
        open_node_state(tmp_path, "yard", []).close()
    finally:
        holder.kill()
        holder.communicate()
    open_node_state(tmp_path, "home", []).close()


HOLDER = """
import pathlib, sys
from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.detection import Detection
from clapstream.sinks.mqtt.node_state import open_node_state
state = open_node_state(pathlib.Path(sys.argv[1]), "home", [])
print("locked", flush=True)
sys.stdin.read()
"""


def test_each_node_takes_its_own_from_the_old_spool(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    old = old_spool(tmp_path, "kitchen", "yard", "kitchen", "attic")
    home = open_node_state(tmp_path, "home", ["kitchen"])
    assert waiting(home.spool_path) == ["kitchen", "kitchen"]
    assert "2 detections stay in" in caplog.text and "attic, yard" in caplog.text
    shed = open_node_state(tmp_path, "shed", ["yard", "attic"])
    assert waiting(shed.spool_path) == ["yard", "attic"]
    assert not old.exists()
    assert "clapstream forget home" in caplog.text
    home.close()
    shed.close()
    # Nothing is taken twice.
    assert waiting(open_node_state(tmp_path, "home", ["kitchen"]).spool_path) == ["kitchen", "kitchen"]


def test_a_damaged_old_spool_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = tmp_path / "spool.sqlite3"
    old.write_bytes(b"no database" * 100)
    state = open_node_state(tmp_path, "home", ["kitchen"])
    assert state.lock is not None and old.exists()
    assert "cannot read detections from" in caplog.text


def test_a_state_directory_that_cannot_be_written_is_no_reason_not_to_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("a file")
    first, second = (open_node_state(blocked, "home", []) for _ in range(2))
    assert first.lock is None and first.installation_id != second.installation_id
    assert "cannot write the state directory" in caplog.text


@pytest.mark.parametrize("content", ["", "[]", '{"id": 3}', '{"id": "../x"}', "\x00"])
def test_a_damaged_id_is_replaced(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "nodes" / "home"
    folder.mkdir(parents=True)
    (folder / "installation.json").write_text(content)
    state = open_node_state(tmp_path, "home", [])
    state.close()
    assert open_node_state(tmp_path, "home", []).installation_id == state.installation_id
