"""Tunes start thresholds on backgrounds alone, in which every reported event is false."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from clapstream.config import LabelSet
from clapstream.detection.scorer import Calibration, Scorer
from training.event_figures import unexplained
from training.scene import Scene
from training.scene_listener import HeardScene, detect_events

OFFSET_STEP = 0.1
START_STEP, HIGHEST_START = 0.05, 0.9

HeardBackgrounds = Sequence[tuple[Scene, HeardScene]]
MakeScorer = Callable[[Calibration], Scorer]


def tune_thresholds(
    labels: LabelSet, backgrounds: HeardBackgrounds, scaling: Calibration, make_scorer: MakeScorer, most: float
) -> tuple[LabelSet, Calibration]:
    """Raise start thresholds, then lower the offset, in steps until there are at most `most` false events."""
    while (count := false_events(labels, backgrounds, make_scorer(scaling))).total() > most:
        starts = {label.name: label.start for label in labels.labels}
        worst = next((name for name, _ in count.most_common() if starts[name] < HIGHEST_START), None)
        if worst is None:
            scaling = Calibration(scaling.slope, scaling.offset - OFFSET_STEP)
        else:
            labels = with_start(labels, worst, min(HIGHEST_START, round(starts[worst] + START_STEP, 2)))
    return labels, scaling


def false_events(labels: LabelSet, backgrounds: HeardBackgrounds, scorer: Scorer) -> Counter[str]:
    """How many events of each label are reported in backgrounds, without those of the backgrounds' own labels."""
    return Counter(
        event.label
        for scene, heard in backgrounds
        for event in unexplained(scene, detect_events(labels, scorer, heard))
    )


def with_start(labels: LabelSet, name: str, start: float) -> LabelSet:
    """The labels with one label's `start` changed."""
    changed = (
        label.model_copy(update={"start": start}) if label.name == name else label for label in labels.labels
    )
    return labels.model_copy(update={"labels": tuple(changed)})
