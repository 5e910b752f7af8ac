"""Runs scenes through the daemon's own windows, engine, scores and events.

This is the only module of training that knows how the daemon's detection is put together.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block
from clapstream.audio.windower import Windower
from clapstream.clap import ClapModel
from clapstream.clap.hub import CheckpointSource
from clapstream.config import LabelSet, load_settings
from clapstream.daemon.daemon import event_rules
from clapstream.detection.events import EventTracker
from clapstream.detection.scorer import Calibration, Scorer
from clapstream.evaluation.embedder import ClapEmbedder
from clapstream.inference.text_embeddings import EmbeddingCache, embed_label_set
from clapstream.inference.torch_engine import Detector
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
        with torch.inference_mode():
            self._engine = Detector(model, settings.labels, settings.cache_directory)
        self._embeddings = embed_label_set(
            settings.labels, EmbeddingCache(None, ""), ClapEmbedder(checkpoint).embed_texts
        )
        self._logit_scale = float(ClapModel.from_pretrained(checkpoint).logit_scale_a.detach().exp())
        self._platt_scaling = read_calibration(checkpoint)

    def scorer(self, platt_scaling: Calibration | None = None) -> Scorer:
        """The scorer of the labels with this Platt scaling (None: the checkpoint's own)."""
        scaling = self._platt_scaling if platt_scaling is None else platt_scaling
        return Scorer(self._embeddings.prompts, self._embeddings.background, self._logit_scale, scaling)

    def hear(self, scene: Scene) -> HeardScene:
        """The embeddings of a scene's windows: what is needed to score it, once or many times."""
        windower = Windower(round(self._window.seconds * RATE_HZ), round(self._window.hop_seconds * RATE_HZ))
        windows = list(windower.push(Block(0, scene.samples)))
        embeddings = self._engine.embed([window.samples for window in windows])
        return HeardScene([(window.first_sample, window.end_sample) for window in windows], embeddings)

    def detect(self, scene: Scene) -> list[SceneEvent]:
        """The events that the daemon would report for a scene."""
        return detect_events(self.labels, self.scorer(), self.hear(scene))


def read_calibration(checkpoint: str) -> Calibration:
    """The Platt scaling in a checkpoint's calibration.json; the identity if it has none."""
    path = CheckpointSource(checkpoint).find("calibration.json")
    return Calibration() if path is None else Calibration(**json.loads(path.read_text(encoding="utf-8")))


def detect_events(labels: LabelSet, scorer: Scorer, heard: HeardScene) -> list[SceneEvent]:
    """The events of one scene, by the daemon's scorer and event tracker."""
    tracker = EventTracker(event_rules(labels))
    transitions = []
    for (first, end), scores in zip(heard.spans, scorer.score(heard.embeddings), strict=True):
        transitions += tracker.update(first, end, scores.tolist())
    transitions += tracker.finish()
    return [
        SceneEvent(ended.label.name, ended.start_sample / RATE_HZ, ended.end_sample / RATE_HZ)
        for ended in transitions
        if ended.end_sample is not None
    ]
