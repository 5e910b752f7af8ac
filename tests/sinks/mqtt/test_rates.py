"""How often measurements are published, and that losses are shown."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from support.sources import YARD

from clapstream.sinks.mqtt.detection import Detection
from clapstream.sinks.mqtt.entities import Node, components
from clapstream.sinks.mqtt.outbox import Message, Outbox
from clapstream.sinks.mqtt.session import MqttSession
from clapstream.sinks.mqtt.spool import Spool, SpoolLimits
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import (
    Event,
    EventEnded,
    EventStarted,
    LabelInfo,
    SourceDiagnostics,
    SourceInfo,
    SourceLabels,
    WindowHeard,
)

TOPICS = Topics.of("clapstream", "home", "homeassistant")
DOG = LabelInfo("dog", "dog", 0.6, 0.4)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUIET = SourceDiagnostics(YARD, 30.0, 0, 0, 0, 0)


class Clockwork:
    """A session under a clock of the test's own."""

    def __init__(self, spool: Spool | None = None) -> None:
        self.now = 0.0
        self.session = MqttSession(
            TOPICS,
            Node("home", "bundled", "1", (YARD,)),
            spool=Spool(None) if spool is None else spool,
            on_command=lambda command: None,
            clock=lambda: self.now,
        )
        self.session.offer(SourceLabels(YARD, (DOG,)))
        self.session.connected()
        self.session.begin()
        self.said: list[Message] = []
        self.pump()
        self.said.clear()

    def pump(self) -> None:
        while messages := self.session.due(100):
            self.said += messages

    def on(self, topic: str) -> list[Any]:
        return [json.loads(message.payload) for message in self.said if message.topic == topic]


def test_a_day_of_windows_is_a_sane_number_of_messages() -> None:
    clockwork = Clockwork()
    hours, hop_seconds = 2, 2.5
    for number in range(int(hours * 3600 / hop_seconds)):
        clockwork.now = number * hop_seconds
        clockwork.session.offer(WindowHeard(YARD, NOON, NOON, False, -number / 100, 30.0, ()))
        clockwork.session.offer(dataclasses.replace(QUIET, inference_ms=30 + number % 7, windows=number))
        clockwork.pump()
    counts = Counter(message.topic for message in clockwork.said)
    assert counts[TOPICS.heard("yard")] == hours * 3600 / hop_seconds
    for topic in (TOPICS.diagnostics("yard"), TOPICS.level("yard")):
        assert 0.9 * hours * 120 <= counts[topic] <= hours * 120
    # The newest value comes even if no window follows.
    clockwork.now += 31
    clockwork.pump()
    assert clockwork.on(TOPICS.diagnostics("yard"))[-1]["windows"] == number
    assert clockwork.on(TOPICS.level("yard"))[-1] == round(-number / 100, 1)


@pytest.mark.parametrize(
    "change", [{"silent": True}, {"dropped_blocks": 3}, {"skipped_windows": 1}, {"reconnects": 1}]
)
def test_a_change_that_matters_is_published_at_once(change: dict[str, Any]) -> None:
    clockwork = Clockwork()
    clockwork.session.offer(QUIET)
    clockwork.pump()
    clockwork.now = 1.0
    clockwork.session.offer(dataclasses.replace(QUIET, windows=1))
    clockwork.pump()
    assert len(clockwork.on(TOPICS.diagnostics("yard"))) == 1
    clockwork.session.offer(dataclasses.replace(QUIET, windows=2, **change))
    clockwork.pump()
    assert len(clockwork.on(TOPICS.diagnostics("yard"))) == 2


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
    clockwork = Clockwork()
    clockwork.session.offer(EventStarted(Event("one", YARD, DOG, 0.8, 0.8, NOON)))
    clockwork.pump()
    retained = {message.topic: message.retain for message in clockwork.said}
    assert retained[TOPICS.last_label("yard")] and not retained[TOPICS.event("yard")]
    assert clockwork.on(TOPICS.last_label("yard")) == clockwork.on(TOPICS.event("yard"))


def test_losses_of_the_spool_are_in_log_and_diagnostics(caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(None, limits=SpoolLimits(rows=4))
    clockwork = Clockwork(spool)
    for number in range(10):
        clockwork.session.offer(EventStarted(Event(str(number), YARD, DOG, 0.8, 0.8, NOON)))
    clockwork.pump()
    assert clockwork.on(TOPICS.diagnostics_of_node)[-1]["dropped_detections"] == 6
    while detection := clockwork.session.next_detection():
        clockwork.session.answered(detection[1], None, detection[0])
    assert [record.getMessage() for record in caplog.records] == [
        "spool is full: dropping the oldest detections",
        "6 detections were dropped from the spool",
    ]


def test_an_overflow_of_the_queue_is_in_log_and_diagnostics(caplog: pytest.LogCaptureFixture) -> None:
    clockwork = Clockwork()
    for number in range(2_000):
        event = Event(str(number), YARD, DOG, 0.8, 0.8, NOON)
        clockwork.session.offer(EventStarted(event))
        clockwork.session.offer(EventEnded(event))
    clockwork.pump()
    assert clockwork.on(TOPICS.diagnostics_of_node)[-1]["lost_events"] > 0
    told = [record for record in caplog.records if "queue overflow" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.WARNING]
    assert Outbox(TOPICS, sources=[YARD], model="bundled").lost_events == 0


def test_sources_that_are_not_configured_any_more_are_kept_but_not_published() -> None:
    spool = Spool(None)
    spool.append(Detection("old", "start", SourceInfo.of("attic"), "dog", 0.8, 0.8, NOON))
    clockwork = Clockwork(spool)
    assert clockwork.session.next_detection() is None and clockwork.session.idle
    assert clockwork.session.unconfigured() == {"attic": 1}
    clockwork.session.offer(EventStarted(Event("new", YARD, DOG, 0.8, 0.8, NOON)))
    clockwork.pump()
    found = clockwork.session.next_detection()
    assert found is not None and found[0] == ("new", "start")
