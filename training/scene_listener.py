"""Runs scenes through the daemon's own windows, engine, scores and events.

This is the only module of training that knows how the daemon's detection is put together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block
from clapstream.audio.windower import Windower
from clapstream.config import LabelSet, load_settings
from clapstream.detection.detector import Detector, DetectorRule, ListenedLabels
from clapstream.detection.rules import event_rules
from clapstream.detection.scorer import PlattScaling, Scorer
from clapstream.inference.labels import LabelEmbedder
from clapstream.inference.torch_engine import TorchEngine
from training.scene import Scene, SceneEvent

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeardScene:
    """First and end sample of each window of a scene, and the windows' unit embeddings `(windows, dim)`."""

    spans: list[tuple[int, int]]
    embeddings: Floats


class SceneListener:
    """A checkpoint with the windows, labels and thresholds of a configuration (None: the packaged one)."""

    def __init__(self, checkpoint: str, config: Path | None = None) -> None:
        settings = load_settings(config)
        model = settings.model.model_copy(update={"checkpoint": checkpoint})
        self.labels = settings.labels
        self._window = settings.window
        self._engine = TorchEngine(model, settings.cache_directory)
        self._embedder = LabelEmbedder(model, settings.cache_directory)

    def scorer(self, platt_scaling: PlattScaling | None = None) -> Scorer:
        """The scorer of the labels with this Platt scaling (None: the checkpoint's own)."""
        return self._embedder.scorer(self.labels, platt_scaling)

    def hear(self, scene: Scene) -> HeardScene:
        """The embeddings of a scene's windows: what is needed to score it, once or many times."""
        windower = Windower(round(self._window.seconds * RATE_HZ), round(self._window.hop_seconds * RATE_HZ))
        windows = list(windower.push(Block(0, scene.samples)))
        embeddings = self._engine.embed([window.samples for window in windows]).windows
        return HeardScene([(window.first_sample, window.end_sample) for window in windows], embeddings)

    def detect(self, scene: Scene) -> list[SceneEvent]:
        """The events that the daemon would report for a scene."""
        return detect_events(self.labels, self.scorer(), self.hear(scene))


def detect_events(labels: LabelSet, scorer: Scorer, heard: HeardScene) -> list[SceneEvent]:
    """The events of one scene, by the daemon's own detector."""
    rule = DetectorRule(window_samples=heard.spans[0][1] - heard.spans[0][0], hop_samples=1)  # only a gate asks
    detector = Detector(ListenedLabels(event_rules(labels), scorer), rule)
    transitions = []
    for (first, end), embedding in zip(heard.spans, heard.embeddings, strict=True):
        transitions += detector.update(first, end, embedding)
    transitions += detector.finish()
    return [
        SceneEvent(ended.label.name, ended.start_sample / RATE_HZ, ended.end_sample / RATE_HZ)
        for ended in transitions
        if ended.end_sample is not None
    ]
