"""The lines that the log sink writes."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
from support.sources import YARD

from clapstream.sinks.log import LogSink
from clapstream.updates import (
    Event,
    EventEnded,
    EventStarted,
    LabelInfo,
    LabelScore,
    SourceAvailability,
    SourceDiagnostics,
    SourceLabels,
    SourceListening,
    Update,
    WindowHeard,
)

DOG = LabelInfo("dog barking", "dog_barking", 0.6, 0.4)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def lines(caplog: pytest.LogCaptureFixture, *updates: Update) -> list[tuple[str, str]]:
    """The level and text of each line that is logged for `updates`."""
    caplog.set_level(logging.DEBUG)
    sink = LogSink()
    for update in updates:
        sink.offer(update)
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_an_event_is_logged_when_it_starts_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    started = Event("one", YARD, DOG, 0.834, 0.834, NOON)
    ended = Event("one", YARD, DOG, 0.834, 0.91, NOON, NOON + timedelta(seconds=7.5), 7.5)
    assert lines(caplog, EventStarted(started), EventEnded(ended)) == [
        ("INFO", "yard: dog barking started (score 0.83)"),
        ("INFO", "yard: dog barking ended after 7.5 s (peak score 0.91)"),
    ]


def test_a_window_is_logged_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    heard = WindowHeard(YARD, NOON, NOON, False, -32.12, 30.7, (LabelScore(DOG, 0.834, True),))
    assert lines(caplog, heard) == [("DEBUG", "yard: -32.1 dBFS, 31 ms: dog barking 0.83 (on)")]


def test_a_gated_window_is_marked(caplog: pytest.LogCaptureFixture) -> None:
    heard = WindowHeard(YARD, NOON, NOON, False, -62.1, 30.7, (LabelScore(DOG, 0.034, False),), gated=True)
    assert lines(caplog, heard) == [("DEBUG", "yard: -62.1 dBFS, gated: dog barking 0.03")]


def test_each_change_of_availability_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    lost = SourceAvailability(YARD, False, "unplugged")
    assert lines(caplog, lost, lost, SourceAvailability(YARD, True)) == [
        ("WARNING", "source yard: offline (unplugged); retrying"),
        ("INFO", "source yard: online"),
    ]


def test_a_failed_source_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    failed = SourceAvailability(YARD, False, "not a sound file", failed=True)
    assert lines(caplog, failed) == [("ERROR", "source yard: failed (not a sound file); not retrying")]


def test_lost_audio_is_logged_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    counts = (0, 2, 3, 3, 3, 7)
    assert lines(caplog, *(SourceDiagnostics(YARD, 30.0, 1, count, 0, 0) for count in counts)) == [
        ("WARNING", "source yard: audio lost (2 blocks of 0.1 s)"),
        ("INFO", "source yard: no more audio lost (3 blocks in total)"),
        ("WARNING", "source yard: audio lost (4 blocks of 0.1 s)"),
    ]


def test_switches_and_labels_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert lines(caplog, SourceListening(YARD, False), SourceLabels(YARD, (DOG,))) == [
        ("INFO", "source yard: listening switched off"),
        ("DEBUG", "yard: labels dog barking"),
    ]


def test_run_returns_after_close() -> None:
    async def scenario() -> None:
        sink = LogSink()
        task = asyncio.create_task(sink.run())
        await asyncio.sleep(0)
        assert not task.done()
        sink.close()
        await asyncio.wait_for(task, 5)

    asyncio.run(scenario())
