"""Runs scenes through the daemon's own detection: windows, model, scores, events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block
from clapstream.audio.windower import Windower
from clapstream.config import LabelSet, load_settings
from clapstream.detection.events import EventTracker
from clapstream.detection.rules import event_rules
from clapstream.inference.labels import LabelEmbedder
from clapstream.inference.torch_engine import TorchEngine
from training.scenes import Scene, SceneEvent

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeardScene:
    """First and end frame of each window of a scene, and the windows' unit embeddings `(windows, dim)`."""

    spans: list[tuple[int, int]]
    embeddings: Floats


class SceneListener:
    """A checkpoint with the windows, labels and thresholds of a configuration (None: the packaged one)."""

    def __init__(self, checkpoint: str, config: Path | None = None) -> None:
        self._settings = load_settings(config)
        model = self._settings.model.model_copy(update={"checkpoint": checkpoint})
        self._engine = TorchEngine(model, self._settings.cache_directory)
        embedder = LabelEmbedder(model, self._settings.cache_directory)
        self._labels = embedder.listened_labels(self._settings.labels)

    def detect(self, scene: Scene) -> list[SceneEvent]:
        """The events that the daemon would report for a scene."""
        spans, windows = self._windows(scene)
        return track(self._settings.labels, spans, self._labels.scorer.score(self._engine.embed(windows).windows))

    def hear(self, scene: Scene) -> HeardScene:
        """What is needed to score a scene again and again."""
        spans, windows = self._windows(scene)
        return HeardScene(spans, self._engine.embed(windows).windows)

    def _windows(self, scene: Scene) -> tuple[list[tuple[int, int]], list[Floats]]:
        window = self._settings.window
        windower = Windower(round(window.seconds * RATE_HZ), round(window.hop_seconds * RATE_HZ))
        heard = list(windower.push(Block(0, scene.samples)))
        return [(each.first_sample, each.end_sample) for each in heard], [each.samples for each in heard]


def track(labels: LabelSet, spans: Sequence[tuple[int, int]], scores: Floats) -> list[SceneEvent]:
    """The events in the scores `(windows, labels)` of one scene."""
    tracker = EventTracker(event_rules(labels))
    transitions = []
    for (first, end), row in zip(spans, scores, strict=True):
        transitions += tracker.update(first, end, row.tolist())
    transitions += tracker.finish()
    return [
        SceneEvent(ended.label.name, ended.start_sample / RATE_HZ, ended.end_sample / RATE_HZ)
        for ended in transitions
        if ended.end_sample is not None
    ]
