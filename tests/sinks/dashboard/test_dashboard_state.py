from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from support.sources import KITCHEN

from clapstream.sinks.dashboard.state import (
    MAX_EVENTS,
    MAX_NOTICES,
    MAX_PAST_WINDOWS,
    PEAK_WINDOWS,
    DashboardState,
    Notice,
    add_notice,
    apply,
    initial_state,
)
from clapstream.updates import (
    Event,
    EventEnded,
    EventStarted,
    LabelInfo,
    LabelScore,
    SourceAvailability,
    SourceDiagnostics,
    SourceInfo,
    SourceLabels,
    SourceListening,
    Update,
    WindowHeard,
)

START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DOG = LabelInfo("dog barking", "dog_barking", 0.6, 0.4)
BELL = LabelInfo("doorbell", "doorbell", 0.6, 0.4)


def empty(*sources: str) -> DashboardState:
    return initial_state(
        node="home", model="bundled", device="cpu", sources=[SourceInfo.of(name) for name in sources], broker=None
    )


def heard(source: str = "kitchen", level_dbfs: float = -40.0, active: bool = False) -> WindowHeard:
    scores = (LabelScore(DOG, 0.8, active), LabelScore(BELL, 0.1, False))
    return WindowHeard(SourceInfo.of(source), START, START + timedelta(seconds=10), False, level_dbfs, 20.0, scores)


def event(number: int = 0) -> Event:
    return Event(f"id{number}", KITCHEN, DOG, 0.7, 0.7, START)


def ended(event: Event) -> Event:
    return replace(event, ended=START + timedelta(seconds=3), duration_seconds=3.0)


def fold(state: DashboardState, *updates: Update) -> DashboardState:
    for update in updates:
        state = apply(state, update)
    return state


def test_a_window_brings_a_source_online() -> None:
    state = fold(empty("kitchen", "yard"), heard())
    assert state.sources["kitchen"].heard == heard()
    assert state.sources["kitchen"].online is True
    assert state.sources["yard"].online is None


def test_a_state_is_immutable() -> None:
    before = empty("kitchen")
    fold(before, heard(), EventStarted(event()), SourceListening(KITCHEN, False))
    assert before == empty("kitchen")


def test_an_unknown_source_is_added() -> None:
    assert list(fold(empty("kitchen"), heard("attic")).sources) == ["kitchen", "attic"]


def test_an_event_moves_from_active_to_ended() -> None:
    state = fold(empty("kitchen"), EventStarted(event(1)), EventStarted(event(2)))
    assert list(state.active) == ["id1", "id2"]
    state = fold(state, EventEnded(ended(event(1))))
    assert list(state.active) == ["id2"]
    assert state.ended == (ended(event(1)),)
    assert state.ended_count == 1


def test_an_offline_source_has_a_reason_and_no_old_scores() -> None:
    state = fold(empty("kitchen"), heard(), SourceAvailability(KITCHEN, False, "unplugged"))
    source = state.sources["kitchen"]
    assert (source.online, source.reason, source.heard) == (False, "unplugged", None)
    assert fold(state, heard()).sources["kitchen"].reason == ""


def test_a_source_that_is_switched_off_has_no_old_scores() -> None:
    state = fold(empty("kitchen"), heard(), SourceListening(KITCHEN, False))
    assert state.sources["kitchen"].heard is None
    assert fold(state, SourceListening(KITCHEN, True)).sources["kitchen"].listening


def test_removed_labels_disappear_at_once() -> None:
    state = fold(empty("kitchen", "yard"), heard(), SourceLabels(KITCHEN, (BELL,)))
    window = state.sources["kitchen"].heard
    assert window is not None
    assert [score.label for score in window.scores] == [BELL]


def test_the_peak_is_that_of_the_latest_windows() -> None:
    loud = fold(empty("kitchen"), heard(level_dbfs=-3.0), *[heard()] * (PEAK_WINDOWS - 1))
    assert loud.sources["kitchen"].peak_dbfs == -3.0
    assert fold(loud, heard()).sources["kitchen"].peak_dbfs == -40.0


def test_diagnostics_are_kept() -> None:
    diagnostics = SourceDiagnostics(KITCHEN, 20.0, 5, 1, 2, 3)
    assert fold(empty("kitchen"), diagnostics).sources["kitchen"].diagnostics == diagnostics


def test_its_size_is_limited() -> None:
    state = empty("kitchen")
    for number in range(MAX_EVENTS + 50):
        state = fold(state, heard(), EventStarted(event(number)), EventEnded(ended(event(number))))
        state = add_notice(state, Notice(START, False, str(number)))
    assert len(state.sources["kitchen"].past) == MAX_PAST_WINDOWS
    assert len(state.ended) == MAX_EVENTS
    assert len(state.notices) == MAX_NOTICES
    assert state.ended_count == MAX_EVENTS + 50
    assert state.notices[-1].text == str(MAX_EVENTS + 49)


infos = st.sampled_from([SourceInfo.of("a"), SourceInfo.of("b")])
updates = st.one_of(
    st.builds(heard, st.sampled_from("ab"), st.floats(), st.booleans()),
    st.builds(EventStarted, st.builds(event, st.integers(0, 3))),
    st.builds(lambda number: EventEnded(ended(event(number))), st.integers(0, 3)),
    st.builds(SourceAvailability, infos, st.booleans(), st.text(max_size=5)),
    st.builds(SourceListening, infos, st.booleans()),
    st.builds(SourceLabels, infos, st.sampled_from([(), (DOG,), (DOG, BELL)])),
)


@given(st.lists(updates, max_size=30))
def test_any_order_of_updates(sequence: list[Update]) -> None:
    """Ends without a start, removed labels and unknown sources are all accepted."""
    state = fold(empty("a"), *sequence)
    assert state.ended_count == sum(isinstance(update, EventEnded) for update in sequence)
    if sequence and isinstance(sequence[-1], EventEnded):
        assert sequence[-1].event.id not in state.active
