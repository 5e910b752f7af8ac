"""One stream through scorer, tracker and gate, without a model: the embedding is the scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from support.scoring import listened

from clapstream.audio.block import RATE_HZ, Block
from clapstream.audio.windower import Window, Windower
from clapstream.detection.detector import Detector, DetectorRule, ListenedLabels
from clapstream.detection.events import EventRule, Transition
from clapstream.detection.gate import GateRule
from clapstream.detection.scorer import Scorer
from clapstream.updates import LabelInfo

Floats = NDArray[np.float32]
WINDOW, HOP = 4 * RATE_HZ, RATE_HZ
DOG = LabelInfo("dog", "dog", 0.6, 0.4)
BELL = LabelInfo("bell", "bell", 0.6, 0.4)


def windows(seconds: int, samples: Floats | None = None) -> Iterator[Window]:
    """The whole windows of some seconds of sound."""
    windower = Windower(WINDOW, HOP)
    sound = np.zeros(seconds * RATE_HZ, np.float32) if samples is None else samples
    return (window for window in windower.push(Block(0, sound)) if not window.partial)


def span(window: Window) -> tuple[int, int]:
    return window.first_sample, window.end_sample


def run(detector: Detector, scores: Sequence[Sequence[float]]) -> list[Transition]:
    found: list[Transition] = []
    for window, row in zip(windows(len(scores) + 3), scores, strict=True):
        found += detector.update(*span(window), np.array(row, np.float32))
    return found


def test_scores_become_events_and_are_kept_in_order() -> None:
    detector = Detector(listened([EventRule(DOG), EventRule(BELL)]), DetectorRule(WINDOW, HOP))
    assert detector.scores == ()
    found = run(detector, [[0.1, 0.2], [0.9, 0.2], [0.1, 0.7]])
    assert [(each.label.slug, each.end_sample is None) for each in found] == [
        ("dog", True), ("dog", False), ("bell", True),
    ]  # fmt: skip
    assert [(each.label.slug, round(each.score, 2), each.active) for each in detector.scores] == [
        ("bell", 0.7, True), ("dog", 0.1, False),
    ]  # fmt: skip
    (ended,) = detector.finish()
    assert ended.label == BELL and ended.end_sample == 6 * RATE_HZ


def test_each_detector_has_labels_of_its_own() -> None:
    """Two scorers, one embedding: what one source listens for does not show at the other."""
    east, north = np.eye(2, dtype=np.float32)
    background = np.array([[0.6, 0.8]], dtype=np.float32)
    dogs, bells = (
        Detector(
            ListenedLabels((EventRule(label),), Scorer([prompt[None]], background, logit_scale=20.0)),
            DetectorRule(WINDOW, HOP),
        )
        for label, prompt in ((DOG, east), (BELL, north))
    )
    (window,) = windows(4)
    assert [each.label for each in dogs.update(*span(window), east)] == [DOG]
    assert bells.update(*span(window), east) == []
    assert [each.label for each in bells.scores] == [BELL]


def test_labels_change_between_windows() -> None:
    detector = Detector(listened([EventRule(DOG), EventRule(BELL)]), DetectorRule(WINDOW, HOP))
    run(detector, [[0.9, 0.9]])
    (ended,) = detector.replace_labels(listened([EventRule(BELL)]))
    assert ended.label == DOG
    later = list(windows(6))[1]
    assert detector.update(*span(later), np.array([0.9], np.float32)) == []
    assert [each.label for each in detector.scores] == [BELL]
    with pytest.raises(ValueError, match="2 scores for 1 labels"):
        detector.update(*span(list(windows(7))[2]), np.array([0.9, 0.9], np.float32))


def test_the_gate_skips_steady_noise_but_not_while_an_event_goes_on() -> None:
    noise = np.random.default_rng(0).standard_normal(200 * RATE_HZ).astype(np.float32) * 1e-3
    detector = Detector(listened([EventRule(DOG)]), DetectorRule(WINDOW, HOP, GateRule(3.0, 30 * RATE_HZ)))
    skipped, started, ended = [], 0, 0
    for window in windows(200, noise):
        second = window.end_sample // RATE_HZ
        if detector.is_nothing(window):
            skipped.append(second)
            detector.skip(*span(window))
            continue
        for each in detector.update(*span(window), np.array([0.9 if 100 <= second < 150 else 0.01], np.float32)):
            started, ended = (second, 0) if each.end_sample is None else (started, second)
    assert 100 <= started < 130 and ended == 150, "one window is scored every thirty seconds"
    assert any(second < started for second in skipped) and any(second > ended for second in skipped)
    assert not any(started <= second <= ended for second in skipped)


def test_a_label_can_ask_for_every_window() -> None:
    noise = np.random.default_rng(0).standard_normal(120 * RATE_HZ).astype(np.float32) * 1e-3
    rules = [EventRule(DOG), EventRule(BELL, always_score=True)]
    detector = Detector(listened(rules), DetectorRule(WINDOW, HOP, GateRule(3.0, 30 * RATE_HZ)))
    for window in windows(120, noise):
        assert not detector.is_nothing(window)
        detector.update(*span(window), np.array([0.01, 0.01], np.float32))
