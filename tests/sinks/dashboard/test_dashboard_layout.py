from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.sources import KITCHEN, YARD

from clapstream.sinks.dashboard.layout import render
from clapstream.sinks.dashboard.state import DashboardState, Notice, add_notice, apply, initial_state
from clapstream.sinks.dashboard.text import bar, clock_time, duration
from clapstream.sinks.mqtt.delivery import Delivery
from clapstream.updates import (
    Event,
    EventEnded,
    EventStarted,
    LabelInfo,
    LabelScore,
    SourceAvailability,
    SourceDiagnostics,
    SourceInfo,
    SourceListening,
    WindowHeard,
)

NOW = datetime(2026, 5, 1, 14, 0, 0, tzinfo=timezone(timedelta(hours=2)))
NAMES = ["dog barking", "doorbell", "speech", "glass breaking", *(f"label {number}" for number in range(20))]
LABELS = [LabelInfo(name, name.replace(" ", "_"), 0.6, 0.4) for name in NAMES]
SIZES = [(80, 24), (120, 40)]


def ago(seconds: float) -> datetime:
    return NOW.astimezone(UTC) - timedelta(seconds=seconds)


def heard(source: str, *, score: float = 0.87, active: bool = True, partial: bool = False) -> WindowHeard:
    rest = [LabelScore(label, 0.5 / number, False) for number, label in enumerate(LABELS[1:], 1)]
    scores = (LabelScore(LABELS[0], score, active), *rest)
    return WindowHeard(SourceInfo.of(source), ago(12), ago(2), partial, -32.4, 27.4, scores)


def build(sources: Sequence[str], broker: str | None = "localhost:1883") -> DashboardState:
    infos = [SourceInfo.of(name) for name in sources]
    state = initial_state(node="home", model="bundled", device="cpu bf16", sources=infos, broker=broker)
    for source in infos:
        running = Event(f"{source.name} 1", source, LABELS[0], 0.87, 0.93, ago(12.4))
        past = Event(f"{source.name} 0", source, LABELS[1], 0.7, 0.72, ago(300), ago(297), 3.1)
        state = apply(state, SourceAvailability(source, True))
        state = apply(state, EventEnded(past))
        state = apply(state, EventStarted(running))
        state = apply(state, heard(source.name))
        state = apply(state, SourceDiagnostics(source, 27.4, 341, 0, 2, 1, gated_windows=207))
    return replace(state, broker_state="online")


def lines(state: DashboardState, width: int = 80, height: int = 24, now: datetime = NOW) -> list[str]:
    """The picture as text, one string a row."""
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None)
    options = console.options.update(height=None)
    return [
        "".join(s.text for s in row) for row in console.render_lines(render(state, now, width, height), options)
    ]


def row_with(rows: list[str], text: str) -> str:
    (found,) = [row for row in rows if text in row]
    return found


@pytest.mark.parametrize("sources", [["kitchen"], ["kitchen", "yard", "porch"], list("abcdefghijklmnopqrstuvwxyz")])
@pytest.mark.parametrize("size", [*SIZES, (119, 10), (40, 12), (200, 60)])
def test_a_picture_fills_the_terminal_exactly(sources: list[str], size: tuple[int, int]) -> None:
    width, height = size
    rows = lines(build(sources), width, height)
    assert len(rows) == height
    assert {len(row) for row in rows} == {width}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sources", [["kitchen"], ["kitchen", "yard", "porch"]])
def test_every_part_is_shown(sources: list[str], size: tuple[int, int]) -> None:
    rows = lines(build(sources), *size)
    header = rows[0]
    for part in ("clapstream", "home", "bundled", "cpu bf16", "27 ms", "mqtt online", "14:00:00"):
        assert part in header
    for source in sources:
        assert f"{source} ● listening · 207 gated" in "\n".join(rows)
    text = "\n".join(rows)
    assert text.count("341 windows · 0 dropped · 2 skipped · 1 reconnects") == len(sources)
    assert text.count("-32 dBFS ▴-32") == len(sources)
    assert text.count("● dog barking") == len(sources)
    assert f"events ● {len(sources)} now" in text
    assert "13:59:47  dog barking" in text
    assert f"{len(sources)} ended" in text


def test_a_label_has_a_bar_its_thresholds_and_the_duration_of_its_event() -> None:
    row = row_with(lines(build(["kitchen"])), "● dog barking  ").strip("│ ")
    name, _, rest = row.partition("▆")
    cells = ("▆" + rest)[: rest.index("  ") + 1]
    assert name.strip() == "● dog barking"
    assert rest.split()[-3:] == ["0.87", "12", "s"]
    assert cells.index("╎") == int(0.4 * len(cells))
    assert cells.index("│") == int(0.6 * len(cells))
    assert cells.rindex("▆") + 1 == round(0.87 * len(cells))


def test_an_active_label_is_shown_even_if_others_score_higher() -> None:
    state = apply(build(["kitchen", "yard", "porch"]), heard("yard", score=0.001))
    assert "0.00" in "\n".join(lines(state))


@pytest.mark.parametrize(
    ("update", "status", "explanation"),
    [
        (SourceAvailability(KITCHEN, False, "unplugged"), "● offline", "unplugged; retrying"),
        (SourceAvailability(KITCHEN, False, "ended"), "● ended", "there is no more sound"),
        (SourceListening(KITCHEN, False), "● switched off", "the source is closed until it is switched on"),
        (SourceDiagnostics(KITCHEN, 20.0, 9, 0, 0, 0, silent=True), "● silent: muted?", "dog barking"),
        (heard("kitchen", partial=True), "● listening, first window filling", "dog barking"),
        (replace(heard("kitchen"), gated=True), "● listening, quiet", "dog barking"),
    ],
)
def test_the_status_of_a_source(update: SourceAvailability, status: str, explanation: str) -> None:
    rows = lines(apply(build(["kitchen"]), update))
    assert f"kitchen {status}" in rows[1]
    assert explanation in "\n".join(rows)


def test_before_the_first_window() -> None:
    state = initial_state(node="home", model="bundled", device="auto", sources=[KITCHEN], broker="b")
    text = "\n".join(lines(state))
    for part in ("kitchen ● starting", "waiting for the first window", "no events yet", "mqtt connecting"):
        assert part in text


def test_missing_windows_are_shown() -> None:
    later = NOW + timedelta(seconds=90)
    assert "kitchen ● no new window for 1m 32s" in lines(build(["kitchen"]), now=later)[1]


def test_without_a_broker_its_state_is_not_shown() -> None:
    assert "mqtt" not in lines(build(["kitchen"], broker=None))[0]


def test_active_events_come_first_then_the_newest() -> None:
    state = build(["kitchen"])
    later = Event("x", KITCHEN, LABELS[2], 0.7, 0.7, ago(100), ago(50), 50.0)
    rows = lines(apply(state, EventEnded(later)))
    found = [rows.index(row_with(rows, at)) for at in ("13:59:47", "13:58:20", "13:55:00")]
    assert found == sorted(found)


def test_warnings_are_at_the_bottom() -> None:
    state = add_notice(build(["kitchen"]), Notice(ago(5), False, "broker away\nand more"))
    assert lines(state)[-1].rstrip() == " ▲ 13:59:55 broker away and more"


def test_refused_waiting_and_lost_messages_have_a_line() -> None:
    state = replace(build(["kitchen"]), broker_state="online", delivery=Delivery(waiting=1))
    assert "mqtt:" not in "".join(lines(state)), "a message about to be published is not shown as waiting"
    lost = Delivery(waiting=12, refused=7, refused_topics={"a": "", "b": ""}, dropped_detections=5, lost_events=3)
    rows = lines(replace(state, delivery=lost))
    expected = " mqtt: 2 topics refused · 12 detections waiting · 5 detections dropped · 3 events not fired"
    assert rows[-1].rstrip("… ") in expected and "12 detections waiting · 5 detections" in rows[-1]
    away = replace(state, broker_state="offline", delivery=Delivery(waiting=1))
    assert lines(away)[-1].rstrip() == " mqtt: 1 detection waiting"


def test_control_characters_are_removed() -> None:
    hostile = LabelInfo("\x1b[2Jdog\n", "dog", 0.6, 0.4)
    state = build(["kit\x1b[2Jchen"])
    state = apply(state, EventStarted(Event("x", SourceInfo.of("\x1b[H"), hostile, 0.9, 0.9, ago(1))))
    window = replace(heard("kit\x1b[2Jchen"), scores=(LabelScore(hostile, 0.9, True),))
    state = apply(state, window)
    state = apply(state, SourceAvailability(SourceInfo.of("b"), False, "\x1b[31m"))
    assert all(row.isprintable() for row in lines(state))


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 220), st.integers(4, 70), st.integers(0, 30), st.text(min_size=1, max_size=80))
def test_any_size_any_number_of_sources_any_name(width: int, height: int, count: int, name: str) -> None:
    state = build([f"{name}{number}" for number in range(count)])
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True)
    rows = console.render_lines(render(state, NOW, width, height), console.options.update(height=None))
    assert all(sum(segment.cell_length for segment in row) == width for row in rows)
    assert len(rows) <= max(height, 5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (3.21, "3.2 s"),
        (9.97, "10 s"),
        (59.7, "1m 00s"),
        (125, "2m 05s"),
        (3660, "1h 01m"),
        (90_000, "25h 00m"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_times_are_local_and_those_of_other_days_are_dates() -> None:
    assert clock_time(datetime(2026, 5, 1, 11, 30, tzinfo=UTC), NOW) == "13:30:00"
    assert clock_time(datetime(2026, 4, 30, 21, 59, tzinfo=UTC), NOW) == "  Apr 30"


@pytest.mark.parametrize(("fraction", "filled"), [(-1.0, 0), (0.0, 0), (0.5, 5), (1.0, 10), (7.0, 10)])
def test_a_bar_never_exceeds_its_columns(fraction: float, filled: int) -> None:
    assert bar(fraction, 10, "red", {}).plain == "▆" * filled + "▁" * (10 - filled)


def test_a_failed_source_has_a_reason_and_is_not_retried() -> None:
    state = apply(build(["yard"]), SourceAvailability(YARD, False, "no such file", failed=True))
    picture = "\n".join(lines(state))
    assert "yard ● failed" in picture
    assert "no such file" in picture
    assert "retrying" not in picture
