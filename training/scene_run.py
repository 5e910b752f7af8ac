"""Runs scenes through the daemon's own detection: windows, model, scores, events."""

from __future__ import annotations

from pathlib import Path

import torch

from clapstream.audio.block import RATE_HZ, Block
from clapstream.audio.windower import Windower
from clapstream.config import load_settings
from clapstream.daemon import event_rules
from clapstream.detection.detector import Detector
from clapstream.detection.events import EventTracker
from training.scenes import Scene, SceneEvent


class SceneListener:
    """A checkpoint with the windows, labels and thresholds of a configuration (None: the packaged one)."""

    def __init__(self, checkpoint: str, config: Path | None = None) -> None:
        self._settings = load_settings(config)
        model = self._settings.model.model_copy(update={"checkpoint": checkpoint})
        with torch.inference_mode():
            self._detector = Detector(model, self._settings.labels, self._settings.cache_directory)

    @torch.inference_mode()
    def detect(self, scene: Scene) -> list[SceneEvent]:
        """The events that the daemon would report for a scene."""
        window = self._settings.window
        windower = Windower(round(window.seconds * RATE_HZ), round(window.hop_seconds * RATE_HZ))
        tracker = EventTracker(event_rules(self._settings.labels))
        transitions = []
        for heard in windower.push(Block(0, scene.samples)):
            scores = self._detector.score([heard.samples])[0]
            transitions += tracker.update(heard.first_frame, heard.end_frame, scores.tolist())
        transitions += tracker.finish()
        return [
            SceneEvent(ended.label.name, ended.start_frame / RATE_HZ, ended.end_frame / RATE_HZ)
            for ended in transitions
            if ended.end_frame is not None
        ]
