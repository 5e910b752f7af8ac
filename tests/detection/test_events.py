"""Scores into events: times, confirmation, hold, and that every start has exactly one end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clapstream.detection.events import EventRule, EventTracker, Transition
from clapstream.updates import LabelInfo

HOP = 5
WINDOW = 20
DOG = LabelInfo("dog barking", "dog_barking", start=0.6, stop=0.4)
BELL = LabelInfo("doorbell", "doorbell", start=0.7, stop=0.5)


def windows(count: int) -> list[tuple[int, int]]:
    """The windows of an unbroken stream: growing at first, then sliding by one hop."""
    return [(max(0, end - WINDOW), end) for end in range(HOP, HOP * count + 1, HOP)]


def run(rule: EventRule, scores: Sequence[float]) -> list[Transition]:
    tracker = EventTracker([rule])
    found = []
    for (first, end), score in zip(windows(len(scores)), scores, strict=True):
        found += tracker.update(first, end, [score])
    return found


def phase(transition: Transition) -> str:
    return "start" if transition.end_sample is None else "end"


def spans(transitions: Sequence[Transition]) -> list[tuple[str, int, int | None]]:
    return [(phase(t), t.start_sample, t.end_sample) for t in transitions]


@pytest.mark.parametrize(
    ("sound", "expected"),
    [
        ((42, 44), (40, 45)),  # shorter than a hop: it lies in one hop
        ((42, 58), (40, 60)),
        ((40, 60), (40, 60)),
        ((2, 4), (0, 20)),  # from the growing windows at the stream's start, the end is only known late
    ],
)
def test_times_are_within_one_hop_of_the_truth(sound: tuple[int, int], expected: tuple[int, int]) -> None:
    begins, ends = sound
    scores = [0.9 if begins < end and ends > first else 0.1 for first, end in windows(20)]
    start, end = run(EventRule(DOG), scores)
    assert (phase(start), start.start_sample) == ("start", expected[0])
    if begins >= WINDOW:
        assert (phase(end), end.start_sample, end.end_sample) == ("end", *expected)
        assert abs(end.start_sample - begins) <= HOP
        assert abs((end.end_sample or 0) - ends) <= HOP


def test_between_the_thresholds_an_event_neither_starts_nor_stops() -> None:
    assert run(EventRule(DOG), [0.5] * 10) == []
    assert [phase(t) for t in run(EventRule(DOG), [0.6, 0.5, 0.4, 0.5])] == ["start"]


def test_confirmation_needs_windows_in_a_row_and_dates_back_to_the_first() -> None:
    rule = EventRule(DOG, confirm_windows=2)
    assert run(rule, [0.9, 0.1, 0.9, 0.1, 0.9]) == []
    (start,) = run(rule, [0.1, 0.1, 0.7, 0.9])
    assert (start.start_sample, start.score, start.peak_score) == (10, 0.9, 0.9)


def test_hold_bridges_a_pause_and_does_not_lengthen_the_event() -> None:
    bridged = run(EventRule(DOG, hold_samples=2 * HOP), [0.9, 0.1, 0.9, 0.1, 0.1])
    assert [phase(t) for t in bridged] == ["start"]
    tracker_scores = [0.1] * 8 + [0.9] * 4 + [0.1] * 4
    held = run(EventRule(DOG, hold_samples=2 * HOP), tracker_scores)
    at_once = run(EventRule(DOG), tracker_scores)
    assert spans(held) == spans(at_once)


def test_a_flickering_score_never_ends_before_it_started() -> None:
    start, end = run(EventRule(DOG), [0.1] * 10 + [0.9, 0.1])
    assert spans([start, end]) == [("start", 50, None), ("end", 50, 55)]


def test_a_sound_that_enters_and_leaves_faintly_is_dated_by_its_traces() -> None:
    start, end = run(EventRule(DOG), [0.1] * 8 + [0.2, 0.5, 0.9, 0.9, 0.5, 0.3, 0.1, 0.1])
    assert spans([start, end]) == [("start", 40, None), ("end", 40, 50)]
    _, held = run(EventRule(DOG, hold_samples=2 * HOP), [0.1] * 8 + [0.9, 0.9, 0.9, 0.9, 0.3, 0.1, 0.1])
    assert held.end_sample == 50  # where the first window without a trace begins, not the first below `stop`


def test_traces_that_go_on_date_an_end_no_later_than_the_last_window_that_was_sure() -> None:
    _, end = run(EventRule(DOG, hold_samples=8 * HOP), [0.1] * 8 + [0.9] + [0.3] * 9)
    assert end.end_sample == 9 * HOP
    tracker = EventTracker([EventRule(DOG, hold_samples=1000)])
    for (first, end_sample), score in zip(windows(12), [0.1] * 6 + [0.9] * 2 + [0.3] * 4, strict=True):
        tracker.update(first, end_sample, [score])
    assert spans(tracker.finish()) == [("end", 30, 40)]


def test_a_trace_dates_back_no_further_than_the_window_that_was_sure() -> None:
    (start,) = run(EventRule(DOG), [0.1] * 2 + [0.3] * 10 + [0.9])
    assert start.start_sample == 13 * HOP - WINDOW


def test_a_trace_alone_is_no_event_and_a_broken_one_counts_from_where_it_began_again() -> None:
    assert run(EventRule(DOG), [0.3] * 10) == []
    (start,) = run(EventRule(DOG), [0.1] * 6 + [0.3, 0.1, 0.3, 0.9])
    assert start.start_sample == 8 * HOP


def test_an_event_does_not_reach_back_into_the_one_before() -> None:
    first, ended, second = run(EventRule(DOG), [0.1] * 5 + [0.9, 0.3, 0.3, 0.9])
    assert (first.start_sample, ended.end_sample, second.start_sample) == (25, 30, 35)


def test_peak_and_confirming_score_are_kept_apart() -> None:
    *_, end = run(EventRule(DOG), [0.7, 0.95, 0.8, 0.1])
    assert (end.score, end.peak_score) == (0.7, 0.95)


def test_a_missing_window_widens_the_newest_part() -> None:
    tracker = EventTracker([EventRule(DOG)])
    tracker.update(0, 20, [0.1])
    (start,) = tracker.update(15, 35, [0.9])
    assert start.start_sample == 20


def test_windows_on_both_sides_of_a_hole_do_not_stretch_the_event_over_it() -> None:
    tracker = EventTracker([EventRule(DOG)])
    tracker.update(0, 20, [0.9])
    (end,) = tracker.update(100, 105, [0.1])
    assert end.end_sample == 20
    (start,) = tracker.update(100, 110, [0.9])
    assert start.start_sample == 105


def test_finish_ends_what_is_going_on_once_and_starts_afresh() -> None:
    tracker = EventTracker([EventRule(DOG), EventRule(BELL)])
    tracker.update(0, 5, [0.9, 0.1])
    tracker.update(0, 10, [0.9, 0.1])
    assert spans(tracker.finish()) == [("end", 0, 10)]
    assert tracker.finish() == []
    assert tracker.active == frozenset()
    (start,) = tracker.update(0, 5, [0.9, 0.1])
    assert phase(start) == "start"


def test_finish_during_hold_ends_where_the_sound_left() -> None:
    tracker = EventTracker([EventRule(DOG, hold_samples=1000)])
    for (first, end), score in zip(windows(12), [0.1] * 6 + [0.9] * 4 + [0.1] * 2, strict=True):
        tracker.update(first, end, [score])
    assert spans(tracker.finish()) == [("end", 30, 35)]


def test_reload_keeps_events_of_labels_that_stay_and_ends_the_others() -> None:
    tracker = EventTracker([EventRule(DOG), EventRule(BELL)])
    tracker.update(0, 5, [0.9, 0.9])
    ended = tracker.replace_rules([EventRule(BELL)])
    assert [t.label.slug for t in ended] == ["dog_barking"]
    assert tracker.active == {"doorbell"}
    with pytest.raises(ValueError, match="2 scores for 1 labels"):
        tracker.update(0, 10, [0.1, 0.1])


def test_windows_that_do_not_move_forward_are_refused() -> None:
    tracker = EventTracker([EventRule(DOG)])
    tracker.update(0, 20, [0.1])
    with pytest.raises(ValueError, match="does not follow"):
        tracker.update(0, 20, [0.1])


@given(
    scores=st.lists(st.floats(0, 1), max_size=60),
    confirm=st.integers(1, 4),
    hold=st.integers(0, 40),
    holes=st.sets(st.integers(0, 59)),
)
def test_every_start_has_exactly_one_end_with_times_in_order(
    scores: list[float], confirm: int, hold: int, holes: set[int]
) -> None:
    tracker = EventTracker([EventRule(DOG, confirm_windows=confirm, hold_samples=hold)])
    transitions: list[Transition] = []
    for index, ((first, end), score) in enumerate(zip(windows(len(scores)), scores, strict=True)):
        if index not in holes:
            transitions += tracker.update(first, end, [score])
    transitions += tracker.finish()
    assert [phase(t) for t in transitions] == ["start", "end"] * (len(transitions) // 2)
    last_end = -1
    for start, end in zip(transitions[::2], transitions[1::2], strict=True):
        assert end.end_sample is not None
        assert start.start_sample == end.start_sample < end.end_sample
        assert start.start_sample >= last_end
        assert end.peak_score >= end.score >= DOG.start
        last_end = end.end_sample


def test_a_skipped_window_is_one_in_which_nothing_scored() -> None:
    scored, skipping = EventTracker([EventRule(DOG)]), EventTracker([EventRule(DOG)])
    for first, end in windows(5):
        assert scored.update(first, end, [0.0]) == []
        skipping.skip(first, end)
    assert skipping.update(10, 30, [0.9]) == scored.update(10, 30, [0.9])
    assert spans(skipping.finish()) == [("end", 25, 30)]


@pytest.mark.parametrize(("scores", "is_idle"), [([], True), ([0.5], True), ([0.9], False), ([0.9, 0.5], False)])
def test_nothing_may_be_skipped_while_an_event_goes_on_or_waits(scores: list[float], is_idle: bool) -> None:
    for confirm_windows in (1, 2):
        tracker = EventTracker([EventRule(DOG, confirm_windows=confirm_windows, hold_samples=100)])
        for (first, end), score in zip(windows(4), scores, strict=False):
            tracker.update(first, end, [score])
        if confirm_windows == 2 and scores == [0.9, 0.5]:
            assert tracker.idle, "the first of two was not confirmed"
            continue
        assert tracker.idle is is_idle
        if not is_idle:
            with pytest.raises(ValueError, match="cannot be skipped"):
                tracker.skip(0, 100)
