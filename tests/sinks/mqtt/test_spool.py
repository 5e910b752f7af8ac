"""The spool: order, bounds, restarts and disks that fail."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clapstream.sinks.mqtt.spool import Spool, SpoolLimits


def body(text: str) -> str:
    return json.dumps({"source": "yard", "text": text})


async def with_spool(path: Path | None, work: Callable[[Spool], None], **options: Any) -> Spool:
    """Open a spool, work with it, close it."""
    spool = Spool(path, **options)
    await spool.open()
    work(spool)
    await spool.close()
    return spool


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def drain(spool: Spool) -> list[tuple[str, str]]:
    """Take everything out, oldest first."""
    keys = []
    while detection := spool.first():
        keys.append(detection.key)
        spool.remove(detection.key)
    return keys


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["start", "end", "take"])), max_size=30))
def test_it_is_a_queue_without_duplicates(steps: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        expected: list[tuple[str, str]] = []

        def work(spool: Spool) -> None:
            for id, phase in steps:
                if phase != "take":
                    spool.append(id, phase, body(id))
                    if (id, phase) not in expected:
                        expected.append((id, phase))
                elif expected:
                    first = spool.first()
                    assert first is not None and first.key == expected.pop(0)
                    assert spool.remove(first.key) and not spool.remove(first.key)
            assert drain(spool) == expected

        await with_spool(None, work)

    run(scenario())


def test_what_waits_survives_a_restart_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "state" / "spool.sqlite"

        def first(spool: Spool) -> None:
            for number in range(5):
                spool.append(str(number), "start", body(str(number)))
            spool.remove(("2", "start"))

        await with_spool(path, first)
        second = Spool(path)
        # Sounds may start before the file is read: they come after what the file has.
        second.append("new", "start", body("new"))
        second.append("4", "start", body("a second time"))
        await second.open()
        assert len(second) == 5
        drained = drain(second)
        await second.close()
        assert [id for id, _ in drained] == ["0", "1", "3", "new", "4"]
        await with_spool(path, lambda spool: assert_empty(spool))

    run(scenario())


def assert_empty(spool: Spool) -> None:
    assert spool.first() is None and len(spool) == 0


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (SpoolLimits(rows=3), ["7", "8", "9"]),
        (SpoolLimits(bytes=2 * len(body("0"))), ["8", "9"]),
        (SpoolLimits(age_seconds=3.5), ["6", "7", "8", "9"]),
    ],
)
def test_the_oldest_go_first_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, limits: SpoolLimits, kept: list[str]
) -> None:
    async def scenario() -> None:
        path = tmp_path / "spool.sqlite"
        now_seconds = 0.0
        spool = Spool(path, limits=limits, clock=lambda: now_seconds)
        await spool.open()
        for number in range(10):
            now_seconds = float(number)
            spool.append(str(number), "start", body(str(number)))
        assert spool.dropped == 10 - len(kept)
        await spool.close()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT id FROM detections ORDER BY sequence").fetchall()
        connection.close()
        assert [id for (id,) in rows] == kept

    run(scenario())


def test_a_clock_that_jumps_back_keeps_what_waits() -> None:
    async def scenario() -> None:
        times = iter([1e9, 1e9, *[0.0] * 10])
        spool = Spool(None, clock=lambda: next(times))
        spool.append("one", "start", body("one"))
        assert spool.first() is not None
        await spool.close()

    run(scenario())


def test_only_what_waited_while_the_broker_was_away_is_late() -> None:
    async def scenario() -> None:
        def work(spool: Spool) -> None:
            spool.append("one", "start", body("one"))
            spool.mark_late()
            spool.append("two", "start", body("two"))
            assert spool.is_late(("one", "start")) and not spool.is_late(("two", "start"))

        await with_spool(None, work)

    run(scenario())


def test_an_unwritable_disk_is_said_once_and_made_good_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        caplog.set_level(logging.INFO)
        blocked = tmp_path / "state"
        blocked.write_text("a file where the folder should be")
        spool = Spool(blocked / "spool.sqlite")
        await spool.open()
        for number in range(3):
            spool.append(str(number), "start", body(str(number)))
            await asyncio.sleep(0.05)
        assert len(spool) == 3
        blocked.unlink()
        spool.append("3", "start", body("3"))
        await spool.close()
        told = [record.levelname for record in caplog.records]
        assert told == ["WARNING", "INFO"]
        await with_spool(blocked / "spool.sqlite", lambda again: ids_are(again, ["0", "1", "2", "3"]))

    run(scenario())


def ids_are(spool: Spool, expected: list[str]) -> None:
    assert [id for id, _ in drain(spool)] == expected


def test_a_full_disk_is_said_once_and_the_queue_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite's own limit of pages gives the error of a full disk."""

    async def scenario() -> None:
        path = tmp_path / "spool.sqlite"
        await with_spool(path, lambda spool: None)
        spool = Spool(path)
        await spool.open()
        large = body("x" * 100_000)
        assert spool._disk is not None and spool._disk._connection is not None
        spool._disk._connection.execute("PRAGMA max_page_count = 8")
        spool.append("one", "start", large)
        await spool.close()
        assert len(spool) == 1
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "full" in caplog.text

    run(scenario())


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4_000])
def test_a_damaged_file_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    async def scenario() -> None:
        path = tmp_path / "spool.sqlite"
        path.write_bytes(content)
        await with_spool(path, lambda spool: spool.append("one", "start", body("one")))
        assert path.with_name("spool.sqlite.damaged").read_bytes() == content
        assert len(caplog.records) == 1
        await with_spool(path, lambda spool: ids_are(spool, ["one"]))

    run(scenario())


def test_rows_that_we_never_wrote_are_left_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "spool.sqlite"
        await with_spool(path, lambda spool: spool.append("one", "start", body("one")))
        connection = sqlite3.connect(path)
        with connection:
            insert = "INSERT INTO detections (id, phase, payload, stored) VALUES (?, ?, ?, ?)"
            strange = ["[]", "no json", "{}", '{"source": 3}', "[" * 100_000]
            rows = [(str(number), "odd", payload, 1e12) for number, payload in enumerate(strange)]
            connection.executemany(insert, [*rows, (b"bytes", "odd", "{}", 1e12), ("text", "odd", "{}", "old")])
        connection.close()
        await with_spool(path, lambda spool: ids_are(spool, ["one"]))

    run(scenario())
