"""How often measurements are published, and that losses are shown."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from typing import Any

import pytest
from support.session_bench import DOG, NOON, TOPICS, SessionBench, ended, started
from support.sources import YARD

from clapstream.sinks.mqtt.detection import Detection
from clapstream.sinks.mqtt.entities import Node, components
from clapstream.sinks.mqtt.outbox import Outbox
from clapstream.sinks.mqtt.spool import Spool, SpoolLimits
from clapstream.updates import SourceDiagnostics, SourceInfo, WindowHeard

QUIET = SourceDiagnostics(YARD, 30.0, 0, 0, 0, 0)


def connected(spool: Spool | None = None) -> SessionBench:
    """A session that has published everything of its start."""
    bench = SessionBench(spool)
    bench.connect()
    bench.published.clear()
    return bench


def test_a_day_of_windows_is_a_sane_number_of_messages() -> None:
    bench = connected()
    hours, hop_seconds = 2, 2.5
    for number in range(int(hours * 3600 / hop_seconds)):
        bench.now = number * hop_seconds
        bench.session.offer(WindowHeard(YARD, NOON, NOON, False, -number / 100, 30.0, ()))
        bench.session.offer(dataclasses.replace(QUIET, inference_ms=30 + number % 7, windows=number))
        bench.publish()
    counts = Counter(message.topic for message in bench.published)
    assert counts[TOPICS.heard("yard")] == hours * 3600 / hop_seconds
    for topic in (TOPICS.diagnostics("yard"), TOPICS.level("yard")):
        assert 0.9 * hours * 120 <= counts[topic] <= hours * 120
    # The newest value comes even if no window follows.
    bench.now += 31
    bench.publish()
    assert bench.on(TOPICS.diagnostics("yard"))[-1]["windows"] == number
    assert bench.on(TOPICS.level("yard"))[-1] == round(-number / 100, 1)


@pytest.mark.parametrize(
    "change", [{"silent": True}, {"dropped_blocks": 3}, {"skipped_windows": 1}, {"reconnects": 1}]
)
def test_a_change_that_matters_is_published_at_once(change: dict[str, Any]) -> None:
    bench = connected()
    bench.session.offer(QUIET)
    bench.publish()
    bench.now = 1.0
    bench.session.offer(dataclasses.replace(QUIET, windows=1))
    bench.publish()
    assert len(bench.on(TOPICS.diagnostics("yard"))) == 1
    bench.session.offer(dataclasses.replace(QUIET, windows=2, **change))
    bench.publish()
    assert len(bench.on(TOPICS.diagnostics("yard"))) == 2


def test_every_connection_begins_with_the_newest_measurements() -> None:
    bench = SessionBench()
    for number in range(3):  # before there is a connection
        bench.session.offer(WindowHeard(YARD, NOON, NOON, False, -20.0 - number, 30.0, ()))
        bench.session.offer(dataclasses.replace(QUIET, windows=number))
    bench.connect()
    assert [entry["windows"] for entry in bench.on(TOPICS.diagnostics("yard"))] == [2]
    assert bench.on(TOPICS.level("yard")) == [-22.0]
    bench.now = 1.0
    bench.session.on_disconnect()
    bench.session.offer(dataclasses.replace(QUIET, windows=3))
    bench.connect()
    assert [entry["windows"] for entry in bench.on(TOPICS.diagnostics("yard"))] == [2, 3]


def test_what_changes_all_the_time_is_disabled_by_default() -> None:
    entries = components(TOPICS, Node("home", "bundled", "1", (YARD,)), {YARD: [DOG]})
    disabled = {key for key, entry in entries.items() if entry.get("enabled_by_default") is False}
    names = (
        "level",
        "inference_time",
        "windows",
        "dropped_blocks",
        "skipped_windows",
        "gated_windows",
        "reconnects",
    )
    assert disabled == {f"yard-{name}" for name in names}


def test_events_are_never_retained_and_last_label_is() -> None:
    bench = connected()
    bench.session.offer(started("one"))
    bench.publish()
    retained = {message.topic: message.retain for message in bench.published}
    assert retained[TOPICS.last_label("yard")] and not retained[TOPICS.event("yard")]
    assert bench.on(TOPICS.last_label("yard")) == bench.on(TOPICS.event("yard"))


def test_losses_of_the_spool_are_in_log_and_diagnostics(caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(None, limits=SpoolLimits(rows=4))
    bench = connected(spool)
    for number in range(10):
        bench.session.offer(started(str(number)))
    bench.publish()
    assert bench.on(TOPICS.diagnostics_of_node)[-1]["dropped_detections"] == 6
    while detection := bench.session.next_detection():
        bench.session.on_answer(detection[1], None, detection[0])
    assert [record.getMessage() for record in caplog.records] == [
        "spool is full: dropping the oldest detections",
        "6 detections were dropped from the spool",
    ]


def test_an_overflow_of_the_queue_is_in_log_and_diagnostics(caplog: pytest.LogCaptureFixture) -> None:
    bench = connected()
    for number in range(2_000):
        bench.session.offer(started(str(number)))
        bench.session.offer(ended(str(number)))
    bench.publish()
    assert bench.on(TOPICS.diagnostics_of_node)[-1]["lost_events"] > 0
    logged = [record for record in caplog.records if "queue overflow" in record.getMessage()]
    assert [record.levelno for record in logged] == [logging.WARNING]
    assert Outbox(TOPICS, sources=[YARD], model="bundled").lost_events == 0


def test_sources_that_are_not_configured_any_more_are_kept_but_not_published() -> None:
    spool = Spool(None)
    spool.append(Detection("old", "start", SourceInfo.of("attic"), "dog", 0.8, 0.8, NOON))
    bench = connected(spool)
    assert bench.session.next_detection() is None and bench.session.idle
    assert bench.session.unconfigured() == {"attic": 1}
    bench.session.offer(started("new"))
    bench.publish()
    found = bench.session.next_detection()
    assert found is not None and found[0] == ("new", "start")
