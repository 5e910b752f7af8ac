"""The spool: order, bounds, restarts and disks that fail."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import sqlite3
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sources import YARD

from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.detection import Detection
from clapstream.sinks.mqtt.spool import Spool, SpoolLimits
from clapstream.updates import SourceInfo

NOON = datetime(2026, 3, 1, 12, 0, 0, 123000, UTC)


def start_of(id: str, label: str = "dog") -> Detection:
    return Detection(id, "start", YARD, label, 0.812, 0.9, NOON)


def end_of(id: str) -> Detection:
    return dataclasses.replace(start_of(id), phase="end", ended=NOON + timedelta(seconds=7.5), duration_seconds=7.5)


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
    while waiting := spool.first():
        keys.append(waiting.detection.key)
        spool.remove(waiting.detection.key)
    return keys


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["start", "end", "take"])), max_size=30))
def test_it_is_a_queue_without_duplicates(steps: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        expected: list[tuple[str, str]] = []

        def work(spool: Spool) -> None:
            for id, phase in steps:
                if phase != "take":
                    spool.append(start_of(id) if phase == "start" else end_of(id))
                    if (id, phase) not in expected:
                        expected.append((id, phase))
                elif expected:
                    first = spool.first()
                    assert first is not None and first.detection.key == expected.pop(0)
                    assert spool.remove(first.detection.key) and not spool.remove(first.detection.key)
            assert drain(spool) == expected

        await with_spool(None, work)

    run(scenario())


def test_what_waits_survives_a_restart_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "state" / "spool.sqlite"

        def first(spool: Spool) -> None:
            for number in range(5):
                spool.append(start_of(str(number)))
            spool.remove(("2", "start"))

        await with_spool(path, first)
        second = Spool(path)
        # Sounds may start before the file is read: they come after what the file has.
        second.append(start_of("new"))
        second.append(start_of("4", "a second time"))
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
        (SpoolLimits(bytes=2 * payloads.detection_bytes(start_of("0"))), ["8", "9"]),
        (SpoolLimits(age_seconds=3.5), ["6", "7", "8", "9"]),
    ],
)
def test_the_oldest_are_dropped_first_and_it_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, limits: SpoolLimits, kept: list[str]
) -> None:
    async def scenario() -> None:
        path = tmp_path / "spool.sqlite"
        now_seconds = 0.0
        spool = Spool(path, limits=limits, clock=lambda: now_seconds)
        await spool.open()
        for number in range(10):
            now_seconds = float(number)
            spool.append(start_of(str(number)))
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
        spool.append(start_of("one"))
        assert spool.first() is not None
        await spool.close()

    run(scenario())


def test_only_what_waited_while_the_broker_was_away_is_late() -> None:
    async def scenario() -> None:
        def work(spool: Spool) -> None:
            spool.append(start_of("one"))
            spool.mark_late()
            spool.append(start_of("two"))
            lateness = {}
            while waiting := spool.first():
                lateness[waiting.detection.id] = waiting.late
                spool.remove(waiting.detection.key)
            assert lateness == {"one": True, "two": False}

        await with_spool(None, work)

    run(scenario())


def test_an_unwritable_disk_is_logged_once_and_the_file_rewritten_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        caplog.set_level(logging.INFO)
        blocked = tmp_path / "state"
        blocked.write_text("a file where the folder should be")
        spool = Spool(blocked / "spool.sqlite")
        await spool.open()
        for number in range(3):
            spool.append(start_of(str(number)))
            await asyncio.sleep(0.05)
        assert len(spool) == 3
        blocked.unlink()
        spool.append(start_of("3"))
        await spool.close()
        logged = [record.levelname for record in caplog.records]
        assert logged == ["WARNING", "INFO"]
        await with_spool(blocked / "spool.sqlite", lambda again: ids_are(again, ["0", "1", "2", "3"]))

    run(scenario())


def ids_are(spool: Spool, expected: list[str]) -> None:
    assert [id for id, _ in drain(spool)] == expected


def test_a_full_disk_is_logged_once_and_the_queue_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite's own limit of pages gives the error of a full disk."""

    async def scenario() -> None:
        path = tmp_path / "spool.sqlite"
        await with_spool(path, lambda spool: None)
        spool = Spool(path)
        await spool.open()
        large = start_of("one", "x" * 100_000)
        assert spool._disk is not None and spool._disk._connection is not None
        spool._disk._connection.execute("PRAGMA max_page_count = 8")
        spool.append(large)
        await spool.close()
        assert len(spool) == 1
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "full" in caplog.text

    run(scenario())


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4_000])
def test_a_damaged_file_is_renamed(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    async def scenario() -> None:
        path = tmp_path / "spool.sqlite"
        path.write_bytes(content)
        await with_spool(path, lambda spool: spool.append(start_of("one")))
        assert path.with_name("spool.sqlite.damaged").read_bytes() == content
        assert len(caplog.records) == 1
        await with_spool(path, lambda spool: ids_are(spool, ["one"]))

    run(scenario())


def test_rows_that_we_never_wrote_are_left_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "spool.sqlite"
        await with_spool(path, lambda spool: spool.append(start_of("one")))
        connection = sqlite3.connect(path)
        with connection:
            insert = "INSERT INTO detections (id, phase, payload, stored) VALUES (?, ?, ?, ?)"
            ours = payloads.detection(start_of("two"))
            strange = [
                *("[]", "no json", "{}", '{"source": 3}', "[" * 100_000),
                *(json.dumps({**ours, field: value}) for field, value in ODD),
            ]
            rows = [(str(number), "start", payload, 1e12) for number, payload in enumerate(strange)]
            sound = json.dumps(ours)
            another_key, bytes_for_text, no_time = (
                ("three", "start", sound, 1e12),
                ("two", "start", sound.encode(), 1e12),
                ("two", "end", sound, "old"),
            )
            connection.executemany(insert, [*rows, another_key, bytes_for_text, no_time])
        connection.close()
        await with_spool(path, lambda spool: ids_are(spool, ["one"]))

    run(scenario())


ODD: list[tuple[str, object]] = [
    ("id", 3),
    ("phase", "odd"),
    ("source", None),
    ("label", ["dog"]),
    ("score", "high"),
    ("started", "noon"),
    ("started", "0001-01-01T00:00:00+14:00"),
    ("ended", 7),
    ("duration_seconds", {}),
]


def test_a_file_of_an_earlier_version_is_read_and_published_as_it_was(tmp_path: Path) -> None:
    """Table and payloads as every version since the first has written them."""

    async def scenario() -> None:
        path = tmp_path / "spool.sqlite"
        written = [
            '{"id":"a","phase":"start","source":"Front yard","label":"Hündin","score":0.812,"peak_score":0.812,'
            '"started":"2026-03-01T12:00:00.123Z","ended":null,"duration_seconds":null}',
            '{"id":"a","phase":"end","source":"Front yard","label":"Hündin","score":0.812,"peak_score":0.9,'
            '"started":"2026-03-01T12:00:00.123Z","ended":"2026-03-01T12:00:07.623Z","duration_seconds":7.5}',
        ]
        connection = sqlite3.connect(path)
        with connection:
            connection.execute(
                "CREATE TABLE detections (sequence INTEGER PRIMARY KEY, id TEXT NOT NULL, phase TEXT NOT NULL, "
                "payload TEXT NOT NULL, stored REAL NOT NULL, UNIQUE (id, phase))"
            )
            for phase, payload in zip(("start", "end"), written, strict=True):
                insert = "INSERT INTO detections (id, phase, payload, stored) VALUES ('a', ?, ?, 1e12)"
                connection.execute(insert, (phase, payload))
        connection.close()
        read: list[Detection] = []

        def work(spool: Spool) -> None:
            while waiting := spool.first():
                read.append(waiting.detection)
                spool.remove(waiting.detection.key)

        await with_spool(path, work)
        assert [payloads.to_json(payloads.detection(detection)) for detection in read] == written
        assert {detection.source for detection in read} == {SourceInfo("Front yard", "front_yard")}

    run(scenario())


numbers = st.floats()
texts = st.text(max_size=50)


@given(texts, texts, texts, numbers, numbers | st.none(), st.datetimes(timezones=st.just(UTC)))
def test_a_detection_takes_no_more_bytes_than_are_counted(
    id: str, source: str, label: str, score: float, duration_seconds: float | None, time: datetime
) -> None:
    detection = Detection(id, "start", SourceInfo.of(source), label, score, score, time, time, duration_seconds)
    published = payloads.to_json(payloads.detection_published(detection, True))
    assert len(published.encode()) <= payloads.detection_bytes(detection)
    kept = payloads.to_json(payloads.detection(detection))
    assert payloads.to_json(payloads.detection(payloads.read_detection(kept))) == kept
